"""Flushes conntrack entries of addresses that are no longer assigned.

Conntrack remembers a connection for hours. Without this, the next machine with
the address would get what is sent to the last one's, the next network with the
port block would find ports taken, and a public address fragments of the
assignment before.
"""

from __future__ import annotations

import ipaddress
import logging
import queue
import struct
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Container, Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from controller import metrics
from controller.openflow import conntrack_messages, wire
from controller.openflow.client import InstalledFlow, OpenFlowClient, SwitchError
from controller.pipeline.match import Field
from controller.pipeline.registry import ZONE, Feature, split_cookie
from state import remote
from state.model import Network

log = logging.getLogger("sluice.conntrack_flush")

_RETRY_SECONDS = 1.0
# Each address costs the switch a walk through all connections (75 ms with 170,000); most of its time is for packets.
_REST = 4
# One walk of OVS 3.1 misses some of them (7 of 21, measured): entries go while it walks.
_WALKS = 4

T = TypeVar("T")


@dataclass(frozen=True, slots=True, order=True)
class AddressAssignment:
    """A public address that stands for a machine, and the conntrack zone of its fragments; of a VPN gateway: none."""

    address: str
    zone: int = 0


class AddressTracker(Generic[T]):
    """Things by network key, as the switch's flows have them; one thread.

    `read` finds a thing in a flow's match and instructions. `gone` is called
    with each whose flows have just been removed, `new` with each whose flows
    are on the switch for the first time.
    """

    def __init__(self, read: Callable[[bytes], T | None]) -> None:
        self._read = read
        self._held: dict[int, frozenset[T]] = {}
        self.gone: Callable[[T], None] = lambda thing: None
        self.new: Callable[[T], None] = lambda thing: None

    def adopt(self, flows: Iterable[InstalledFlow], others: Iterable[tuple[int, T]] = ()) -> None:
        """Start over with the flows of one table that a switch was found with, and other things by network key."""
        found: dict[int, set[T]] = defaultdict(set)
        for flow in flows:
            thing = self._read(flow.detail)
            if thing is not None:
                found[split_cookie(flow.cookie)[0]].add(thing)
        for key, thing in others:
            found[key].add(thing)
        self._held = {key: frozenset(things) for key, things in found.items()}

    def hold(self, key: int, things: frozenset[T]) -> None:
        """The switch has the flows of network `key`, which has exactly these things."""
        before = self._held.pop(key, frozenset[T]())
        if things:
            self._held[key] = things
        for thing in sorted(before - things):  # type: ignore[type-var]
            self.gone(thing)
        for thing in sorted(things - before):  # type: ignore[type-var]
            self.new(thing)

    def everything(self) -> list[T]:
        """All that any network has."""
        return [thing for things in self._held.values() for thing in things]


def transit_addresses(network: Network | None) -> frozenset[str]:
    """The addresses a network's machines, and its additional addresses, have in the zone of shared addresses."""
    return frozenset(one.transit for one in network.addressed) if network else frozenset()


def assignments(network: Network | None, without: Container[str] = ()) -> frozenset[AddressAssignment]:
    """The public addresses of a network's machines and VPN gateway, but of those named in `without`."""
    if network is None:
        return frozenset()
    found = {
        AddressAssignment(machine.public, machine.public_zone)
        for machine in network.machines
        if machine.public and machine.name not in without
    }
    gateway = network.vpn
    if gateway is not None and f"vpnGateways/{gateway.name}" not in without:
        found.add(AddressAssignment(gateway.address))
    return frozenset(found)


def destination(detail: bytes) -> str | None:
    """The IPv4 destination that a flow's match (OpenFlow 1.4 section 7.2.2, as bytes) asks for exactly, if any."""
    at, end = 4, int.from_bytes(detail[2:4], "big")
    wanted = Field.IP_DST.oxm_class << 16 | Field.IP_DST.number << 9 | Field.IP_DST.size
    while at < end:
        if int.from_bytes(detail[at : at + 4], "big") == wanted:
            return str(ipaddress.IPv4Address(detail[at + 4 : at + 8]))
        at += 4 + detail[at + 3]
    return None


def assignment(detail: bytes) -> AddressAssignment | None:
    """The assignment a flow of PUBLIC_IN is of: only that for fragments names the zone."""
    address = destination(detail)
    zone = conntrack_zone(detail)
    return None if address is None or zone is None else AddressAssignment(address, zone)


def gateway_assignments(public: Iterable[InstalledFlow]) -> Iterator[tuple[int, AddressAssignment]]:
    """Network keys and the assignments of their VPN gateways, by the flows of PUBLIC_IN."""
    for flow in public:
        key, owner, _ = split_cookie(flow.cookie)
        address = destination(flow.detail)
        if owner == Feature.VPN and address is not None:
            yield key, AddressAssignment(address)


def drive_zones(network: Network | None) -> frozenset[int]:
    """The conntrack zone of what comes from beyond a network to its drives."""
    found = None if network is None or not network.drives else remote.client(network)
    return frozenset() if found is None else frozenset((found.zone,))


def conntrack_zone(detail: bytes) -> int | None:
    """The zone of the conntrack action (NXAST_CT, nicira-ext.h) among a flow's applied actions, if any."""
    length = int.from_bytes(detail[2:4], "big")
    at = length + -length % 8
    while at + 8 <= len(detail):
        kind, size = struct.unpack_from("!HH", detail, at)
        if kind == wire.APPLY_ACTIONS:
            return _zone_of_actions(detail[at + 8 : at + size])
        at += size
    return None


def _zone_of_actions(actions: bytes) -> int | None:
    at = 0
    while at + 8 <= len(actions):
        size = int.from_bytes(actions[at + 2 : at + 4], "big")
        if actions[at : at + 2] == b"\xff\xff" and actions[at + 4 : at + 10] == wire.CT_ACTION:
            return int.from_bytes(actions[at + 16 : at + 18], "big")
        at += size
    return None


class ConntrackFlush:
    """Has the switch forget connections, in a thread of its own, over a connection of its own."""

    def __init__(self, mgmt: str) -> None:
        self._mgmt = mgmt
        self._queue: queue.SimpleQueue[tuple[str, bytes]] = queue.SimpleQueue()
        self._pause = threading.Event()
        self._thread = threading.Thread(target=self._run, name="connections", daemon=True)

    def start(self) -> None:
        """Start the thread; it ends with the process."""
        self._thread.start()

    def forget(self, address: str) -> None:
        """Forget every connection opened from `address`, soon; for any thread."""
        self._queue.put((address, conntrack_messages.flush(ZONE, address)))

    def forget_assignment(self, ended: AddressAssignment) -> None:
        """Forget every connection in the zone of an assignment, soon; for any thread."""
        if ended.zone:
            self._queue.put((ended.address, conntrack_messages.flush_zone(ended.zone)))

    def forget_zone(self, zone: int) -> None:
        """Forget every connection in a zone, soon; for any thread."""
        self._queue.put((f"zone {zone}", conntrack_messages.flush_zone(zone)))

    def _run(self) -> None:
        while True:
            address, message = self._queue.get()
            began = time.monotonic()
            while not self._flush(address, message):
                self._pause.wait(_RETRY_SECONDS)
            self._pause.wait(_REST * (time.monotonic() - began))

    def _flush(self, address: str, message: bytes) -> bool:
        try:
            with OpenFlowClient(self._mgmt) as bridge:
                errors = bridge.send([message] * _WALKS)
        except SwitchError as error:
            log.info("connections not forgotten yet", extra={"address": address, "error": str(error)})
            return False
        if errors:
            metrics.FAULTS.labels("connections").inc()
            log.error("the switch does not forget connections", extra={"address": address, "error": errors[0]})
        return True
