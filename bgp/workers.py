"""Runs one worker per interconnect."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from bgp import metrics, namespace
from bgp.desired_state import DesiredInterconnects, Link
from bgp.worker import InterconnectContext, InterconnectWorker
from daemons import workers
from state.interconnect import leg_port

log = logging.getLogger("sluice.bgp")


class InterconnectWorkers(workers.Workers[DesiredInterconnects, Link]):
    """Keeps interconnects as last `set`; before the first time nothing is touched."""

    def __init__(self, around: InterconnectContext) -> None:
        self._around = around
        super().__init__("interconnects", log, metrics.RUNNING.set, metrics.FAULTS.inc)

    def prepare(self, desired: DesiredInterconnects) -> Mapping[int, Link]:
        """Have rows and legs of these interconnects only; they by number."""
        links = {link.interconnect.number: link for link in desired.links}
        metrics.WANTED.set(len(links))
        self._around.report.only(link.interconnect.name for link in desired.links)
        self._around.legs.set(map(leg_port, links))
        return links

    def worker(self, number: int) -> InterconnectWorker:
        """Who keeps the interconnect of that number."""
        return InterconnectWorker(number, self._around)

    def left(self) -> set[int]:
        """Numbers of the interconnects that left a namespace or files."""
        files = {int(path.stem) for path in self._around.directory.glob("*") if path.stem.isdecimal()}
        return files | set(namespace.present())

    def made_at(self, wanted: Link) -> int:
        """When the interconnect was made: a number may be another one's by now."""
        return wanted.interconnect.created_at
