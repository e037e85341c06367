"""`sluicectl … watch`: what exists, then every change; it goes on when the API was away.

The stream of the API begins with all that exists and has no position to go on
from. What was missed is therefore the difference between what was shown last
and what exists then: of several changes of one object it is the last.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Generic, TypeVar

import click
import grpc
from google.protobuf.message import Message

from cli import output
from cli.errors import from_call
from cli.session import CliSession
from sluice.v1 import status_pb2

Watched = TypeVar("Watched", bound=Message)

# The agent stops or nobody is there; this client was too slow, and shall begin again.
_PASSING = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.ABORTED)
_SHORTEST, _LONGEST = 0.1, 5.0


class Shown(Generic[Watched]):
    """What was shown of each object: tells which events of a stream are new.

    `of` is the field of an event that has the object; `essence` is an object
    without what alone makes no event.
    """

    def __init__(self, of: str, essence: Callable[[Watched], Watched]) -> None:
        self._of, self._essence = of, essence
        self._last: dict[str, Any] = {}
        self._unseen: dict[str, Any] = {}
        self._synced = False

    def begin(self) -> None:
        """A stream begins."""
        self._unseen = dict(self._last)

    def news(self, event: Any) -> Iterator[Any]:
        """The events to show for the next one of the stream, none where it was shown before."""
        if event.type == status_pb2.SYNCED:
            for gone in self._unseen.values():
                yield self._noted(self._made(event, status_pb2.DELETED, gone))
            if not self._synced:
                self._synced = True
                yield event
        elif event.type == status_pb2.EXISTING:
            yield from self._existing(event)
        else:
            yield self._noted(event)

    def _existing(self, event: Any) -> Iterator[Any]:
        now = getattr(event, self._of)
        before = self._unseen.pop(now.name, None)
        if before is not None and before.create_time != now.create_time:
            yield self._noted(self._made(event, status_pb2.DELETED, before))
            before = None
        if before is None:
            yield self._noted(self._made(event, status_pb2.CREATED, now) if self._synced else event)
        elif self._essence(before) != self._essence(now):
            yield self._noted(self._made(event, status_pb2.UPDATED, now))

    def _made(self, like: Any, kind: status_pb2.ChangeType.ValueType, one: Any) -> Any:
        return type(like)(**{"type": kind, self._of: one})

    def _noted(self, event: Any) -> Any:
        one = getattr(event, self._of)
        if event.type == status_pb2.DELETED:
            self._last.pop(one.name, None)
        else:
            self._last[one.name] = one
        return event


def _itself(one: Any) -> Any:
    return one


def watch(
    session: CliSession,
    call: Callable[..., Iterable[Any]],
    request: Message,
    of: str,
    row: Callable[[Any], Sequence[object]],
    essence: Callable[[Any], Any] = _itself,
) -> None:
    """Write the events of a watch as they come, a line each, until Ctrl-C.

    `call` opens the stream; `of` and `essence` are those of `Shown`. Raises
    grpc.RpcError where nobody answers at first, and for what another try does
    not mend.
    """
    shown: Shown[Any] = Shown(of, essence)
    answered, failures = False, 0
    while True:
        shown.begin()
        try:
            for event in call(request, wait_for_ready=failures > 0):
                if failures:
                    click.echo(f"note: the API at {session.api} is back; the watch goes on", err=True)
                answered, failures = True, 0
                for news in shown.news(event):
                    output.print_event(news, of, row, as_json=session.json)
            return
        except grpc.RpcError as error:
            if not (answered and isinstance(error, grpc.Call) and error.code() in _PASSING):
                raise
            if not failures:
                why = from_call(error, session.api).message
                click.echo(f"note: the watch is interrupted and goes on when the API is back: {why}", err=True)
        time.sleep(min(_SHORTEST * 2**failures, _LONGEST))
        failures += 1
