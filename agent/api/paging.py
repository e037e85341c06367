"""Page tokens (https://google.aip.dev/158): opaque to clients, a position by name.

A token names the last object given out, so pages neither repeat nor skip
objects that exist throughout, whatever is created or deleted meanwhile.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Sequence
from typing import TypeVar

from agent.errors import InvalidArgument, Violation
from agent.validation.objects import DEFAULT_PAGE, MAX_PAGE, page_size

T = TypeVar("T")
# Names and filters are much shorter; what is nested deeper than Python follows is longer.
_LONGEST_TOKEN = 2048


def selection(parent: str, tenant: str) -> str:
    """Both filters of a list in one; a parent has no space."""
    return f"{parent} {tenant}" if tenant else parent


def encode(collection: str, selection: str, last: str) -> str:
    """The token of the page after the object `last` of a list with this filter."""
    return base64.urlsafe_b64encode(json.dumps([collection, selection, last]).encode()).decode()


def decode(collection: str, selection: str, token: str) -> str:
    """The name after which the page begins (empty: the first). Raises InvalidArgument."""
    if not token:
        return ""
    try:
        if len(token) > _LONGEST_TOKEN:
            raise ValueError
        of, selected, last = json.loads(base64.b64decode(token, altchars=b"-_", validate=True))
    except (binascii.Error, ValueError, TypeError, RecursionError):
        of, selected, last = None, None, None
    if of == collection and selected == selection and isinstance(last, str):
        return last
    raise unknown_token()


def unknown_token() -> InvalidArgument:
    """The refusal of a token that is not of the list."""
    allowed = "next_page_token of the page before, with the same other fields, or empty"
    return InvalidArgument([Violation("page_token", f"page_token is not one of this list; allowed: {allowed}")])


def size(asked: int) -> int:
    """How many objects the page holds (https://google.aip.dev/158). Raises InvalidArgument."""
    violations = list(page_size(asked))
    if violations:
        raise InvalidArgument(violations)
    return min(asked, MAX_PAGE) or DEFAULT_PAGE


def cut(
    found: Sequence[T], size: int, collection: str, selection: str, name: Callable[[T], str]
) -> tuple[Sequence[T], str]:
    """The page of `size` objects, and the token of the next one: `found` has one more where there is one."""
    if len(found) <= size:
        return found, ""
    return found[:size], encode(collection, selection, name(found[size - 1]))
