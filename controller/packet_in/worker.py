"""Worker thread that handles packet-ins and refreshes neighbours' MACs."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Collection, Mapping
from typing import Protocol

from controller import metrics
from controller.packet_in import answer, neighbor
from controller.packet_in.handler import PacketIn, PacketOut
from controller.packet_in.neighbor_probes import LOST_AFTER, SILENT_AFTER, NeighborProbes
from controller.packet_in.queue import PacketQueue
from controller.reconcile.compile import PipelineContext
from controller.reconcile.events import Event, NeighborsSilent
from state.model import Appliance, Network
from state.ovsdb import DatabaseError

log = logging.getLogger("sluice.packet_in")

_WAITING = 1000
_PROBE_SECONDS = 0.25


class PacketInState(Protocol):
    """Desired state as far as answers need it; see `source.Source`."""

    @property
    def neighbors(self) -> Mapping[str, str]: ...

    @property
    def drives(self) -> Mapping[str, int]: ...

    def network(self, key: int) -> Network | None: ...

    def write_neighbor(self, address: str, mac: str) -> None: ...

    def forget_neighbors(self, addresses: Collection[str]) -> None: ...


class PacketSender(Protocol):
    """Where answers go; see `switch.Switch`."""

    @property
    def connected(self) -> bool: ...

    def packet_out(self, packets: list[PacketOut]) -> None: ...


class PipelineContexts(Protocol):
    """Who knows the site, and is told who does not answer; see `reconcile.Reconciler`."""

    @property
    def site(self) -> PipelineContext | None: ...

    def post(self, event: Event) -> None: ...


class _View:
    def __init__(self, source: PacketInState, site: PipelineContext) -> None:
        self._source, self.site = source, site

    @property
    def appliance(self) -> Appliance:
        """Settings of this appliance."""
        return self.site.appliance

    @property
    def drives(self) -> Mapping[str, int]:
        """Key of the owning network by address of a drive."""
        return self._source.drives

    def network(self, key: int) -> Network | None:
        """The network of that key."""
        return self._source.network(key)


class PacketInWorker:
    """One thread; `put` may be called by any."""

    def __init__(self, source: PacketInState, switch: PacketSender, sites: PipelineContexts) -> None:
        self._source, self._switch, self._sites = source, switch, sites
        self._packets = PacketQueue(_WAITING)
        self._probes = NeighborProbes()
        self._silent: frozenset[str] = frozenset()
        self._probe_at = 0.0

    def start(self) -> None:
        """Start answering."""
        threading.Thread(target=self._run, name="answers", daemon=True).start()

    def put(self, packet: PacketIn) -> None:
        """Answer `packet` soon; dropped, and counted, when too many of its network wait already."""
        if not self._packets.put(packet):
            metrics.PACKET_INS_LOST.inc()

    def _run(self) -> None:
        while True:
            try:
                self._turn()
            except Exception:
                metrics.FAULTS.labels("answers").inc()
                log.exception("fault while answering a packet")

    def _turn(self) -> None:
        wait = self._probe_at - time.monotonic()
        if wait <= 0:
            self._probe()
            return
        packet = self._packets.get(wait)
        if packet is not None:
            self.handle(packet)

    def handle(self, packet: PacketIn) -> None:
        """Answer one packet."""
        site = self._sites.site
        if site is None:
            return
        done = answer(packet, _View(self._source, site))
        metrics.PACKET_INS.labels(packet.table.title, done.what).inc()
        if done.out:
            self._switch.packet_out(list(done.out))
        if done.ask is not None:
            self._probes.ask(done.ask)
        if done.neighbor is not None:
            try:
                self._source.write_neighbor(*done.neighbor)
                self._probes.answered(done.neighbor[0], time.monotonic())
            except DatabaseError as error:
                metrics.STATUS_ERRORS.inc()
                log.warning("neighbour not written", extra={"address": done.neighbor[0], "error": str(error)})

    def _probe(self) -> None:
        self._probe_at = time.monotonic() + _PROBE_SECONDS
        site = self._sites.site
        if site is None or not self._switch.connected:
            return
        next_hop, drives, known = site.appliance.gateway.next_hop, self._source.drives, self._source.neighbors
        # Nobody is lost for want of a port to ask by.
        asked = {next_hop, *drives} if site.storage_port is not None else {next_hop}
        questions = [neighbor.request(site, address) for address in self._probes.due(asked, time.monotonic())]
        self._switch.packet_out([question for question in questions if question is not None])
        silent = self._probes.silent(SILENT_AFTER) & drives.keys()
        if silent != self._silent:
            self._silent = silent
            self._sites.post(NeighborsSilent(silent))
        # The next hop is all there is: its last MAC is better than none.
        gone = known.keys() & (self._probes.silent(LOST_AFTER) | (known.keys() - drives.keys())) - {next_hop}
        if not gone:
            return
        try:
            self._source.forget_neighbors(gone)
            log.info("neighbours forgotten", extra={"addresses": sorted(gone)[:20], "count": len(gone)})
        except DatabaseError as error:
            metrics.STATUS_ERRORS.inc()
            log.warning("neighbours not forgotten", extra={"error": str(error)})
