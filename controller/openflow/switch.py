"""The bridge as the reconciler sees it: the only file that speaks OpenFlow with it.

os-ken keeps the connection and parses what comes; what goes out is packed by
`wire`. One exchange at a time: messages, a barrier, the answers by their
transaction id.
"""

from __future__ import annotations

import itertools
import logging
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from controller.openflow import wire
from controller.openflow.client import InstalledFlow, OpenFlowClient, SwitchError
from controller.packet_in.handler import PacketOut
from controller.pipeline.meters import Rate

log = logging.getLogger("sluice.switch")

_TIMEOUT = 30.0
_OWN_XIDS = 0x80000000
_MAX_OPEN_BUNDLE = 0x7FFFFFFF


@dataclass(slots=True)
class _Exchange:
    """Messages under way: transaction ids, the id whose answer ends it, and what was said of them."""

    first: int
    count: int
    last: int
    errors: dict[int, str] = field(default_factory=dict)
    done: threading.Event = field(default_factory=threading.Event)
    lost: bool = False


class Switch:
    """One bridge; `commit` and the read-backs are called by one thread, the rest by any."""

    def __init__(self, mgmt: str) -> None:
        self._mgmt = mgmt
        self._datapath: Any = None
        self._bundles = itertools.count(1)
        self._lock = threading.Lock()
        self._next_xid = _OWN_XIDS
        self._exchange: _Exchange | None = None

    # What the app reports.

    def attach(self, datapath: Any) -> None:
        """The switch connected: from now on talk to `datapath`."""
        self._datapath = datapath
        datapath.send(wire.set_config())

    def detach(self, datapath: Any) -> bool:
        """`datapath` is gone; False if another has taken its place already."""
        if datapath is not self._datapath:
            return False
        self._datapath = None
        exchange = self._exchange
        if exchange is not None:
            exchange.lost = True
            exchange.done.set()
        return True

    def on_error(self, message: Any) -> None:
        """An error message of the switch."""
        exchange, xid = self._exchange, message.xid
        text = _error_text(message)
        if exchange is not None and (xid == exchange.last or exchange.first <= xid < exchange.first + exchange.count):
            exchange.errors[min(xid - exchange.first, exchange.count - 1)] = text
            if xid == exchange.last:
                exchange.done.set()
        else:
            log.error("the switch refused a message", extra={"xid": xid, "error": text})

    def on_reply(self, message: Any) -> None:
        """A barrier reply or a bundle control message of the switch."""
        exchange = self._exchange
        if exchange is not None and message.xid == exchange.last:
            exchange.done.set()

    # What the reconciler and the services ask.

    @property
    def connected(self) -> bool:
        """Whether a switch is connected."""
        return self._datapath is not None

    def ports(self) -> dict[str, int]:
        """Names and numbers of the bridge's ports; empty when not connected."""
        datapath = self._datapath
        if datapath is None:
            return {}
        highest = datapath.ofproto.OFPP_MAX
        # Another thread may add one meanwhile: copy first.
        ports = list(datapath.ports.values())
        return {port.name.decode(): port.port_no for port in ports if port.port_no <= highest}

    def ports_down(self) -> frozenset[str]:
        """Names of the bridge's ports without a link; empty when not connected."""
        datapath = self._datapath
        if datapath is None:
            return frozenset()
        ofproto = datapath.ofproto
        return frozenset(
            port.name.decode()
            for port in list(datapath.ports.values())
            if port.state & ofproto.OFPPS_LINK_DOWN or port.config & ofproto.OFPPC_PORT_DOWN
        )

    def read_ports(self) -> dict[str, int]:
        """As `ports`, but asked of the switch now. Raises SwitchError."""
        with OpenFlowClient(self._mgmt) as bridge:
            return bridge.ports()

    def read_flow_ids(self) -> set[tuple[int, int]]:
        """Table and cookie of every flow on the switch. Raises SwitchError."""
        with OpenFlowClient(self._mgmt) as bridge:
            return bridge.flow_ids()

    def read_flow_counts(self) -> dict[int, int]:
        """Number of flows by table. Raises SwitchError."""
        with OpenFlowClient(self._mgmt) as bridge:
            return bridge.flow_counts()

    def read_flows(self, table: int) -> list[InstalledFlow]:
        """All flows of one table. Raises SwitchError."""
        with OpenFlowClient(self._mgmt) as bridge:
            return list(bridge.flows(table))

    def read_meters(self) -> dict[int, Rate]:
        """Meters and their rates. Raises SwitchError."""
        with OpenFlowClient(self._mgmt) as bridge:
            return bridge.meters()

    def read_groups(self) -> dict[int, bytes]:
        """Groups and their buckets. Raises SwitchError."""
        with OpenFlowClient(self._mgmt) as bridge:
            return bridge.groups()

    def commit(self, before: Sequence[bytes], mods: Sequence[bytes]) -> Mapping[int, str]:
        """Send `before`, then all of `mods` in one bundle: either all of those take effect, or none.

        Returns index → error in words for the refused ones, indexes of `mods`
        counted after those of `before`; empty when everything was done. A
        flow the switch cannot read is refused at once, but a commit would go
        on with the others (OVS 3.1): so errors are awaited first.
        Raises SwitchError when the connection is lost: the outcome is unknown.
        """
        bundle = next(self._bundles) & _MAX_OPEN_BUNDLE
        count = len(before) + len(mods)
        first = self._reserve(count + 2)
        xid = first + len(before)
        messages = [wire.with_xid(message, first + index) for index, message in enumerate(before)]
        if mods:
            messages.append(wire.bundle_control(bundle, wire.BUNDLE_OPEN, first + count))
            messages += [wire.bundle_add(bundle, message, xid + index) for index, message in enumerate(mods)]
        messages.append(wire.barrier(first + count + 1))
        errors = self._talk(first, count + 2, b"".join(messages))
        if not mods:
            return errors
        kind = wire.BUNDLE_DISCARD if errors else wire.BUNDLE_COMMIT
        last = self._reserve(1)
        # Errors of the commit come with the transaction ids of the flows at fault.
        late = self._talk(first, count + 2, wire.bundle_control(bundle, kind, last), last)
        return {**errors, **late}

    def send(self, messages: Sequence[bytes]) -> None:
        """Send without waiting; what the switch refuses is logged. Nothing when not connected."""
        datapath = self._datapath
        if datapath is not None and messages:
            first = self._reserve(len(messages))
            datapath.send(b"".join([wire.with_xid(message, first + i) for i, message in enumerate(messages)]))

    def packet_out(self, packets: Sequence[PacketOut]) -> None:
        """Send packets; lost when not connected."""
        self.send([wire.packet_out(packet.frame, packet.actions) for packet in packets])

    def _reserve(self, count: int) -> int:
        # Ours are above os-ken's own, which start at random: a mix-up could only be of an error.
        with self._lock:
            if self._next_xid + count > 0xFFFFFFFF:
                self._next_xid = _OWN_XIDS
            first = self._next_xid
            self._next_xid += count
        return first

    def _talk(self, first: int, count: int, data: bytes, last: int | None = None) -> Mapping[int, str]:
        datapath = self._datapath
        if datapath is None:
            raise SwitchError("the switch is not connected")
        exchange = _Exchange(first, count, first + count - 1 if last is None else last)
        self._exchange = exchange
        try:
            if not datapath.send(data):
                raise SwitchError("connection to the switch lost")
            if not exchange.done.wait(_TIMEOUT):
                datapath.close()
                raise SwitchError(f"no answer from the switch within {_TIMEOUT:g} s")
        finally:
            self._exchange = None
        if exchange.lost:
            raise SwitchError("connection to the switch lost before its answer")
        return exchange.errors


def _error_text(message: Any) -> str:
    ofproto = message.datapath.ofproto
    kind = getattr(message, "type", None)
    code = getattr(message, "code", None)
    if kind is None or code is None:
        return "an experimenter error"
    names = f"{ofproto.ofp_error_type_to_str(kind)}, {ofproto.ofp_error_code_to_str(kind, code)}"
    exhausted = {
        (ofproto.OFPET_METER_MOD_FAILED, ofproto.OFPMMFC_OUT_OF_METERS): "meters",
        (ofproto.OFPET_GROUP_MOD_FAILED, ofproto.OFPGMFC_OUT_OF_GROUPS): "groups",
        (ofproto.OFPET_FLOW_MOD_FAILED, ofproto.OFPFMFC_TABLE_FULL): "flows",
    }.get((kind, code))
    return names if exhausted is None else f"the datapath has no {exhausted} left: {names}"
