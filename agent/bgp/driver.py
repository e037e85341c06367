"""All interconnects: `Driver.set(desired)` keeps a thread for each, and takes away those that are gone."""

from __future__ import annotations

import logging
import queue
import threading
from pathlib import Path

from agent.bgp import metrics, namespace
from agent.bgp.keeper import Keeper, Surroundings
from agent.bgp.source import Desired
from state.interconnect import leg_port

log = logging.getLogger("sluice.bgp")

LOOK_SECONDS = 2.0
END_SECONDS = 5.0


class Driver:
    """Keeps interconnects as last `set`; before the first time nothing is touched."""

    def __init__(self, around: Surroundings) -> None:
        self._around = around
        self._keepers: dict[int, Keeper] = {}
        # When what they keep was made: a number may be another interconnect's by now.
        self._made: dict[int, int] = {}
        self._leaving: dict[int, Keeper] = {}
        self._first = True
        self._queue: queue.SimpleQueue[Desired | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="driver", daemon=True)
        self._thread.start()

    def set(self, desired: Desired) -> None:
        """Have all interconnects be as `desired`; returns at once."""
        self._queue.put(desired)

    def stop(self) -> None:
        """Leave all as it is, and end."""
        self._queue.put(None)
        self._thread.join()
        for keeper in self._keepers.values():
            keeper.end(remove=False)
        for keeper in (*self._keepers.values(), *self._leaving.values()):
            keeper.join(END_SECONDS)

    def _run(self) -> None:
        wanted: Desired | None = None
        while True:
            try:
                wanted = self._queue.get(timeout=LOOK_SECONDS)
                if wanted is None:
                    return
                self._apply(wanted)
            except queue.Empty:
                if wanted is not None and self._leaving:
                    self._apply(wanted)
            except Exception:
                metrics.FAULTS.inc()
                log.exception("keeping interconnects failed")
            metrics.RUNNING.set(sum(keeper.running for keeper in list(self._keepers.values())))

    def _apply(self, desired: Desired) -> None:
        links = {link.interconnect.number: link for link in desired.links}
        metrics.WANTED.set(len(links))
        self._around.report.only(link.interconnect.name for link in desired.links)
        self._around.legs.set(map(leg_port, links))
        if self._first:
            # What a daemon before this one left behind.
            self._first = False
            for number in _left(self._around.directory) - links.keys():
                self._keepers[number] = Keeper(number, self._around)
        for number in list(self._keepers):
            made = self._made.get(number)
            if number not in links or (made is not None and made != links[number].interconnect.created_at):
                self._leaving[number] = self._keepers.pop(number)
                self._made.pop(number, None)
                self._leaving[number].end(remove=True)
        self._leaving = {number: keeper for number, keeper in self._leaving.items() if not keeper.ended}
        # One that is made anew while the last of its number still goes waits for that: see `_run`.
        for number, link in links.items():
            if number not in self._leaving:
                if number not in self._keepers:
                    self._keepers[number] = Keeper(number, self._around)
                    self._made[number] = link.interconnect.created_at
                self._keepers[number].set(link)


def _left(directory: Path) -> set[int]:
    """Numbers of the interconnects that left a namespace or files."""
    files = {int(path.stem) for path in directory.glob("*") if path.stem.isdecimal()}
    return files | set(namespace.present())
