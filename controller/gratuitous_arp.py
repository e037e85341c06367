"""Announces public addresses by gratuitous ARP, when they are assigned and when the gateway port appears."""

from __future__ import annotations

import heapq
import itertools
import logging
import queue
import threading
import time
from collections.abc import Iterable

from controller import metrics
from controller.conntrack.flush import AddressAssignment
from controller.packet_in import neighbor
from controller.packet_in.worker import PacketSender, PipelineContexts

log = logging.getLogger("sluice.gratuitous_arp")

# RFC 5227 section 1.1: ANNOUNCE_NUM and ANNOUNCE_INTERVAL.
_TIMES = 2
_INTERVAL_SECONDS = 2.0
# Neighbours' ARP tables take some thousands a second at most.
_PAUSE_SECONDS = 0.001


class GratuitousArp:
    """One thread; `announce` and `announce_all` may be called by any."""

    def __init__(self, switch: PacketSender, sites: PipelineContexts) -> None:
        self._switch, self._sites = switch, sites
        self._asked: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._due: list[tuple[float, int, int, str]] = []
        self._order = itertools.count()

    def start(self) -> None:
        """Start announcing; the thread ends with the process."""
        threading.Thread(target=self._run, name="announce", daemon=True).start()

    def announce(self, assignment: AddressAssignment) -> None:
        """Announce a public address soon, and once more a little later."""
        self._asked.put(assignment.address)

    def announce_all(self, assignments: Iterable[AddressAssignment]) -> None:
        """Announce public addresses as `announce` does."""
        for assignment in assignments:
            self.announce(assignment)

    def _run(self) -> None:
        while True:
            try:
                self.turn()
            except Exception:
                metrics.FAULTS.labels("announce").inc()
                log.exception("fault while announcing an address")

    def turn(self) -> None:
        """Wait for the next announcement that is due, or asked for, and send it."""
        now = time.monotonic()
        try:
            address = self._asked.get(timeout=max(0.0, self._due[0][0] - now) if self._due else None)
            left = _TIMES
        except queue.Empty:
            _, _, left, address = heapq.heappop(self._due)
        site = self._sites.site
        packet = neighbor.announcement(site, address) if site is not None else None
        if packet is None:
            return
        self._switch.packet_out([packet])
        if left > 1:
            heapq.heappush(self._due, (time.monotonic() + _INTERVAL_SECONDS, next(self._order), left - 1, address))
        time.sleep(_PAUSE_SECONDS)
