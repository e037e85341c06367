"""`sluicectl … watch`: what exists, then every change."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from google.protobuf.message import Message

from cli import output
from cli.session import Session


def watch(
    session: Session,
    call: Callable[..., Iterable[Any]],
    request: Message,
    of: str,
    row: Callable[[Any], Sequence[object]],
) -> None:
    """Write the events of a watch as they come, a line each; `of` is the field that has their object.

    Raises grpc.RpcError.
    """
    for event in call(request):
        output.print_event(event, of, row, as_json=session.json)
