"""Watch streams: the present objects, SYNCED, then each change."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

from agent.api import encode
from agent.api.calls import ConcurrencyLimit, Context
from agent.cache.watch import V, Watcher
from agent.store import Store
from sluice.v1 import status_pb2

E = TypeVar("E")


def stream(
    store: Store,
    seats: ConcurrencyLimit,
    context: Context,
    watch: Callable[[], tuple[list[V], Watcher[V]]],
    event: Callable[[status_pb2.ChangeType.ValueType, V | None], E],
) -> Iterator[E]:
    """The events of one stream, until the client ends it; `event` makes one of its type and object.

    Raises ResourceExhausted when no seat is free.
    """
    with seats.seated():
        existing, watcher = watch()
        try:
            if not context.add_callback(watcher.close):
                return
            for view in existing:
                yield event(status_pb2.EXISTING, view)
            yield event(status_pb2.SYNCED, None)
            for change in watcher:
                yield event(encode.CHANGES[change.kind], change.view)
        finally:
            store.hub.remove(watcher)
