"""Runs one worker thread per desired object, keyed by number."""

from __future__ import annotations

import logging
import queue
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Generic, Protocol, TypeVar

LOOK_SECONDS = 2.0
END_SECONDS = 5.0

Desired = TypeVar("Desired")
Wanted = TypeVar("Wanted")
Wanted_contra = TypeVar("Wanted_contra", contravariant=True)


class Worker(Protocol[Wanted_contra]):
    """What keeps one thing, in a thread of its own."""

    @property
    def running(self) -> bool:
        """Whether its daemon runs."""
        ...

    @property
    def ended(self) -> bool:
        """Whether it was left alone or is taken away."""
        ...

    def set(self, wanted: Wanted_contra, /) -> None:
        """Have it be so; returns at once."""
        ...

    def end(self, *, remove: bool) -> None:
        """Leave all as it is, or take it all away. Does not wait: see `join`."""
        ...

    def join(self, seconds: float) -> None:
        """Wait until it has ended."""
        ...


class Workers(ABC, Generic[Desired, Wanted]):
    """Keeps all as last `set`; before the first time nothing is touched.

    `what` is kept, `running` is told how many run, `on_fault` of each fault.
    """

    def __init__(
        self, what: str, log: logging.Logger, running: Callable[[float], None], on_fault: Callable[[], None]
    ) -> None:
        self._what, self._log, self._running, self._on_fault = what, log, running, on_fault
        self._keepers: dict[int, Worker[Wanted]] = {}
        # When what they keep was made: a number may be another's by now.
        self._made: dict[int, int] = {}
        self._leaving: dict[int, Worker[Wanted]] = {}
        self._first = True
        self._queue: queue.SimpleQueue[Desired | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="driver", daemon=True)
        self._thread.start()

    @abstractmethod
    def prepare(self, desired: Desired) -> Mapping[int, Wanted]:
        """Tell others of what is desired; what is wanted of it, by number."""

    @abstractmethod
    def worker(self, number: int) -> Worker[Wanted]:
        """Who keeps the thing of that number."""

    @abstractmethod
    def left(self) -> set[int]:
        """Numbers of what a process before this one left behind, perhaps still wanted."""

    def made_at(self, wanted: Wanted) -> int:
        """What differs between two things of one number; 0: there are never two."""
        return 0

    def set(self, desired: Desired) -> None:
        """Have all be as `desired`; returns at once."""
        self._queue.put(desired)

    def stop(self) -> None:
        """Leave all as it is, and end."""
        self._queue.put(None)
        self._thread.join()
        for worker in self._keepers.values():
            worker.end(remove=False)
        for worker in (*self._keepers.values(), *self._leaving.values()):
            worker.join(END_SECONDS)

    def _run(self) -> None:
        desired: Desired | None = None
        while True:
            try:
                desired = self._queue.get(timeout=LOOK_SECONDS)
                if desired is None:
                    return
                self._apply(desired)
            except queue.Empty:
                if desired is not None and self._leaving:
                    self._apply(desired)
            except Exception:
                self._on_fault()
                self._log.exception("keeping %s failed", self._what)
            self._running(sum(worker.running for worker in list(self._keepers.values())))

    def _apply(self, desired: Desired) -> None:
        wanted = self.prepare(desired)
        if self._first:
            self._first = False
            for number in self.left() - wanted.keys():
                self._keepers[number] = self.worker(number)
        for number in list(self._keepers):
            made = self._made.get(number)
            if number not in wanted or (made is not None and made != self.made_at(wanted[number])):
                self._leaving[number] = self._keepers.pop(number)
                self._made.pop(number, None)
                self._leaving[number].end(remove=True)
        self._leaving = {number: worker for number, worker in self._leaving.items() if not worker.ended}
        # One that is made anew while the last of its number still goes waits for that: see `_run`.
        for number, one in wanted.items():
            if number not in self._leaving:
                if number not in self._keepers:
                    self._keepers[number] = self.worker(number)
                    self._made[number] = self.made_at(one)
                self._keepers[number].set(one)
