"""Which addresses of the conntrack zone lead to machines, and the end of connections of those that no longer do.

Conntrack remembers a connection for hours. Without this, the next machine with
the address would get what is sent to the last one's, and the next network with
the port block would find ports taken.
"""

from __future__ import annotations

import ipaddress
import logging
import queue
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable

from controller import metrics, wire
from controller.match import Field
from controller.mgmt import Bridge, InstalledFlow, SwitchError
from controller.pipeline import ZONE, split_cookie

log = logging.getLogger("sluice.addresses")

_RETRY_SECONDS = 1.0
# Each address costs the switch a walk through all connections (75 ms with 170,000); most of its time is for packets.
_REST = 4
# One walk of OVS 3.1 misses some of them (7 of 21, measured): entries go while it walks.
_WALKS = 4


class Addresses:
    """Addresses by network key, as the switch's flows have them; one thread.

    `gone` is called with each address whose flows have just been removed.
    """

    def __init__(self, gone: Callable[[str], None] = lambda address: None) -> None:
        self.gone = gone
        self._held: dict[int, frozenset[str]] = {}

    def adopt(self, inbound: Iterable[InstalledFlow]) -> None:
        """Start over with the flows a switch was found with in the table INBOUND."""
        found: dict[int, set[str]] = defaultdict(set)
        for flow in inbound:
            address = destination(flow.detail)
            if address is not None:
                found[split_cookie(flow.cookie)[0]].add(address)
        self._held = {key: frozenset(addresses) for key, addresses in found.items()}

    def hold(self, key: int, addresses: frozenset[str]) -> None:
        """The switch has the flows of network `key`, which has exactly these addresses."""
        before = self._held.pop(key, frozenset())
        if addresses:
            self._held[key] = addresses
        for address in sorted(before - addresses):
            self.gone(address)


def destination(detail: bytes) -> str | None:
    """The IPv4 destination that a flow's match (OpenFlow 1.4 section 7.2.2, as bytes) asks for exactly, if any."""
    at, end = 4, int.from_bytes(detail[2:4], "big")
    wanted = Field.IP_DST.oxm_class << 16 | Field.IP_DST.number << 9 | Field.IP_DST.size
    while at < end:
        if int.from_bytes(detail[at : at + 4], "big") == wanted:
            return str(ipaddress.IPv4Address(detail[at + 4 : at + 8]))
        at += 4 + detail[at + 3]
    return None


class Connections:
    """Has the switch forget connections, in a thread of its own, over a connection of its own."""

    def __init__(self, mgmt: str) -> None:
        self._mgmt = mgmt
        self._queue: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._pause = threading.Event()
        self._thread = threading.Thread(target=self._run, name="connections", daemon=True)

    def start(self) -> None:
        """Start the thread; it ends with the process."""
        self._thread.start()

    def forget(self, address: str) -> None:
        """Forget every connection opened from `address`, soon; for any thread."""
        self._queue.put(address)

    def _run(self) -> None:
        while True:
            address = self._queue.get()
            began = time.monotonic()
            while not self._flush(address):
                self._pause.wait(_RETRY_SECONDS)
            self._pause.wait(_REST * (time.monotonic() - began))

    def _flush(self, address: str) -> bool:
        try:
            with Bridge(self._mgmt) as bridge:
                errors = bridge.send([wire.ct_flush(ZONE, address) for _ in range(_WALKS)])
        except SwitchError as error:
            log.info("connections not forgotten yet", extra={"address": address, "error": str(error)})
            return False
        if errors:
            metrics.FAULTS.labels("connections").inc()
            log.error("the switch does not forget connections", extra={"address": address, "error": errors[0]})
        return True
