"""Fan-out of changes to watch streams, each behind a bounded queue."""

from __future__ import annotations

import enum
import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from agent import metrics
from agent.cache.records import (
    DriveView,
    InterconnectView,
    MachineView,
    NetworkView,
    PublicAddressView,
    View,
    VpnConnectionView,
    VpnGatewayView,
)
from agent.errors import Aborted, Unavailable


class ChangeKind(enum.Enum):
    """What happened to an object."""

    CREATED = "created"
    UPDATED = "updated"
    DELETED = "deleted"


V = TypeVar(
    "V", NetworkView, MachineView, PublicAddressView, DriveView, VpnGatewayView, VpnConnectionView, InterconnectView
)


@dataclass(frozen=True, slots=True)
class Event(Generic[V]):
    """One change; `view` is the object after it, or as it last was."""

    kind: ChangeKind
    view: V


class Watcher(Generic[V]):
    """The queue of one stream: `put` from the reader of the database, iterate in the stream's thread."""

    def __init__(self, of: type[V], wanted: Callable[[V], bool], depth: int) -> None:
        self._of: type[V] = of
        self._wanted: Callable[[V], bool] = wanted
        self._depth = depth
        self._events: deque[Event[V]] = deque()
        self._ready = threading.Condition()
        self._closed = False
        self._stopping = False
        self._overrun = False

    def put(self, kind: ChangeKind, view: View) -> None:
        """Queue a change that concerns this stream; never blocks."""
        if not isinstance(view, self._of) or not self._wanted(view):
            return
        with self._ready:
            if len(self._events) >= self._depth:
                self._overrun = True
                self._events.clear()
            elif not self._overrun:
                self._events.append(Event(kind, view))
            self._ready.notify()

    def close(self, *, stopping: bool = False) -> None:
        """End the iteration; `stopping`: since the agent ends, not the client."""
        with self._ready:
            self._closed, self._stopping = True, stopping
            self._ready.notify()

    def __iter__(self) -> Iterator[Event[V]]:
        """Events in order until `close`.

        Raises Aborted when the client was too slow, Unavailable when the agent stops.
        """
        while True:
            with self._ready:
                while not (self._events or self._closed or self._overrun):
                    self._ready.wait()
                if self._stopping:
                    raise Unavailable("the agent is stopping; watch again")
                if self._closed:
                    return
                if self._overrun:
                    metrics.SLOW_WATCHES.inc()
                    raise Aborted(
                        f"more than {self._depth} changes were waiting for this stream; watch again from the start"
                    )
                event = self._events.popleft()
            yield event


class Hub:
    """All watch streams; call it under the cache's lock."""

    def __init__(self, depth: int = 16384) -> None:
        self._depth = depth
        self._watchers: set[Watcher[Any]] = set()
        self._lock = threading.Lock()

    def publish(self, before: View | None, after: View | None) -> None:
        """Tell every stream of a change of one object; not both are None."""
        kind, view = ChangeKind.UPDATED, after
        if before is None:
            kind = ChangeKind.CREATED
        elif after is None:
            kind, view = ChangeKind.DELETED, before
        assert view is not None
        with self._lock:
            watchers = list(self._watchers)
        for watcher in watchers:
            watcher.put(kind, view)

    def add(self, of: type[V], wanted: Callable[[V], bool]) -> Watcher[V]:
        """A new stream of those changes of objects of one kind that `wanted` selects."""
        watcher = Watcher(of, wanted, self._depth)
        with self._lock:
            self._watchers.add(watcher)
        metrics.WATCHES.inc()
        return watcher

    def remove(self, watcher: Watcher[Any]) -> None:
        """End a stream."""
        watcher.close()
        with self._lock:
            if watcher in self._watchers:
                self._watchers.remove(watcher)
                metrics.WATCHES.dec()

    def close(self) -> None:
        """End every stream."""
        with self._lock:
            watchers = list(self._watchers)
        for watcher in watchers:
            watcher.close(stopping=True)
