"""Update masks: which fields a request sets (https://google.aip.dev/134)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message

from agent.errors import InvalidArgument
from agent.validation.objects import wrong

_MOST_PATHS = 100
"""More than any object has fields, also where a client names some twice."""


def mask(
    what: str,
    asked: Message,
    update_mask: FieldMask,
    changeable: Sequence[str],
    parts: Sequence[str] = (),
    kept: Mapping[str, object] | None = None,
    unread: Sequence[str] = (),
) -> set[str]:
    """The paths among `changeable` and their `parts` that are to be set.

    Without a mask those that are set in `asked`; then fields in `kept`, which
    cannot change, must be empty or hold the value given there. Of everything
    (`*`) the fields in `unread` stay as they are: a client that sends back what
    it read does not have them, and takes them away by their names. Raises InvalidArgument.
    """
    paths = list(update_mask.paths)
    if paths == ["*"]:
        return set(changeable) - set(unread)
    known = (*changeable, *parts)
    if len(paths) > _MOST_PATHS:
        raise InvalidArgument(
            [wrong("update_mask", f"{len(paths)} paths", f"at most {_MOST_PATHS} of {', '.join(known)}")]
        )
    found = [wrong("update_mask", path, f"{', '.join(known)}, or * alone") for path in paths if path not in known]
    if not paths:
        for field, value in (kept or {}).items():
            given = getattr(asked, field)
            if given and given != value:
                found.append(wrong(f"{what}.{field}", given, f"{value or 'empty'}; it cannot be changed"))
        paths = [field.name for field, _ in asked.ListFields() if field.name in changeable]
    if found:
        raise InvalidArgument(found)
    return set(paths)
