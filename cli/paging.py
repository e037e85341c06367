"""Lists, page by page."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

Page = TypeVar("Page")

_PAGE = 1000


def pages(call: Callable[..., Page], request: Any, timeout: float | None) -> Iterator[Page]:
    """Each page of the list `request` asks for; `call` is the stub's method. Raises grpc.RpcError."""
    request.page_size = _PAGE
    while True:
        page: Any = call(request, timeout=timeout)
        yield page
        if not page.next_page_token:
            return
        request.page_token = page.next_page_token
