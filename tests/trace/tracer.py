"""What the switch would do with a packet: `ofproto/trace` (ovs-vswitchd(8)) as a value.

A trace never asks conntrack, so it cannot find out that a packet belongs to a
known connection, nor undo its NAT. What conntrack says is chosen by the test:
for packets that `ct()` sends there by `--ct-next`, and a packet that is given a
`ct_state` goes on behind `ct()`, with the address NAT would have given it back.
"""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import examples
from dummy_switch import DummySwitch, dummy_switch

from controller.openflow import group_messages, wire
from controller.openflow.client import OpenFlowClient
from controller.pipeline.registry import Table
from controller.reconcile.compile import Compiled, compile_network, compile_shared
from state.model import Machine, Network

NUMBERS = {table.number: table for table in Table}
ROUTER_MAC = examples.APPLIANCE.router_mac
GATEWAY_MAC = examples.APPLIANCE.gateway.mac
NEXT_HOP_MAC = examples.SITE.neighbors[examples.APPLIANCE.gateway.next_hop]
BROADCAST = "ff:ff:ff:ff:ff:ff"
KNOWN = ("trk", "new", "snat")
NEW = ("trk", "new")
"""What conntrack says of a connection that it has translated, and of one that it has never seen."""
# The lookup is followed by the commit, and by those of a second to fourth try.
_LATER_PASSES = 4
INTERNET = "198.51.100.10"
"""An address somewhere in the Internet."""
SHARED_ADDRESS = "203.0.113.64"

_PORTS = {number: name for name, number in examples.SITE.ports.items()}
_STEP = re.compile(r"^ *(\d+)\. .*?priority \d+(?:, cookie (0x[0-9a-f]+))?$")
_AFTER_CONNTRACK = (
    f"priority=65535,in_port=1,ct_state=+trk actions=goto_table:{Table.GATEWAY_TRACK.number}",
    f"priority=65534,ct_state=+trk actions=goto_table:{Table.SNAT_PORTS.number}",
)


@dataclass(frozen=True, slots=True)
class Out:
    """One copy of the packet leaving: port name, and its tag or VNI."""

    port: str
    vlan: int | None = None
    vni: int | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """Where a packet went and how it ended.

    `tables` in order, from `classify` on, without those of branches that end at
    the controller;
    `output` every copy that leaves; `dropped` the reason of the drop flow it
    ended at and `dropped_by` the network key it is counted for; `controller`
    the tables that send it (or, where its size decides, might send it) to the
    controller, each with the meter; `final_flow` the fields of the packet when
    it left, as text; `nat` the range it is given and `tracked` the source it
    had before; `meters` every one it passed.
    """

    tables: tuple[Table, ...]
    output: tuple[Out, ...]
    dropped: str | None
    dropped_by: int | None
    controller: tuple[tuple[Table, int], ...]
    final_flow: dict[str, str]
    nat: str | None
    tracked: str | None
    meters: tuple[int, ...]


class Tracer:
    """A switch that holds the flows of the examples."""

    def __init__(self, switch: DummySwitch, networks: tuple[Network, ...] = examples.ALL_NETWORKS) -> None:
        self._switch = switch
        # As the controller has it: only so a first fragment shows its ports, and `nw_frag` can be matched.
        switch.ofctl("set-frags", switch.bridge, "nx-match")
        for name, number in examples.SITE.ports.items():
            switch.add_port(name, number)
        self.compiled: list[Compiled] = [
            compile_shared(examples.SITE), *(compile_network(n, examples.SITE) for n in networks)
        ]  # fmt: skip
        with OpenFlowClient(switch.mgmt) as bridge:
            meters = [wire.meter_add(meter, rate) for one in self.compiled for meter, rate in one.meters.items()]
            groups = [
                group_messages.add(number, group_messages.buckets(group))
                for one in self.compiled for number, group in one.groups.items()
            ]  # fmt: skip
            assert bridge.send((*meters, *groups)) == {}
        self._flows = {cookie: flow for one in self.compiled for cookie, flow in one.flows.items()}
        lines = [f"cookie={cookie:#x},{flow.text()}" for cookie, flow in self._flows.items()]
        file = switch.directory / "flows"
        file.write_text("\n".join((*lines, *_AFTER_CONNTRACK)))
        switch.ofctl("add-flows", switch.bridge, str(file))

    def trace(
        self, flow: str, ct: tuple[str, ...] = KNOWN, again: tuple[str, ...] = KNOWN, frame: bytes | None = None
    ) -> Verdict:
        """Trace a packet given as in ovs-fields(7), or with `frame` as bytes that come by the port of `flow`.

        `ct` is what conntrack says when the packet is sent there first, and `again` what it says after that.
        """
        what = [flow] if frame is None else [flow, frame.hex()]
        says = [part for state in (ct, *[again] * _LATER_PASSES) for part in ("--ct-next", ",".join(state))]
        return self._read(self._ask(self._switch.bridge, *what, *says))

    def _ask(self, *arguments: str) -> str:
        # What ovs-appctl(8) does (JSON-RPC, RFC 7047 section 4), without a process for each of many hundred questions.
        with socket.socket(socket.AF_UNIX) as link:
            link.connect(str(self._switch.directory / "vswitchd.ctl"))
            link.sendall(json.dumps({"method": "ofproto/trace", "params": arguments, "id": 0}).encode())
            text = ""
            while chunk := link.recv(1 << 16):
                text += chunk.decode()
                try:
                    answer = json.loads(text)
                except json.JSONDecodeError:
                    continue
                assert answer["error"] is None, f"{arguments}: {answer['error']}"
                return str(answer["result"])
        raise AssertionError(f"{arguments}: no answer")

    def _read(self, text: str) -> Verdict:
        # The switch would have the controller see the packet, at no rate.
        assert "decrement TTL exception" not in text, text
        tables: list[Table] = []
        output: list[Out] = []
        controller: list[tuple[Table, int]] = []
        meters: list[int] = []
        dropped = dropped_by = nat = tracked = None
        table, meter, why, key = Table.CLASSIFY, 0, "", 0
        vlan: int | None = None
        vni: int | None = None
        grouped = False
        final: dict[str, str] = {}
        for line in text.splitlines():
            if found := _STEP.match(line):
                table, meter = NUMBERS[int(found[1])], 0
                # A branch that is taken only by a large packet is indented, as is the bucket of a group.
                if table is not Table.PRIORITY_TAG and (grouped or not line.startswith("    ")):
                    tables.append(table)
                flow = self._flows.get(int(found[2], 16)) if found[2] else None
                why, key = (flow.why, flow.key) if flow else ("", 0)
                continue
            action, _, value = line.strip().partition(":")
            grouped = grouped or action == "group"
            if found := re.search(r"set_field:(\d+)->vlan_vid", line):
                vlan = int(found[1]) & 0xFFF
            elif found := re.search(r"set_field:(0x[0-9a-f]+)->tun_id", line):
                vni = int(found[1], 16)
            elif found := re.match(r"^ +nat\(src=(.*)\)$", line):
                nat = found[1]
            elif found := re.match(r"^ Initial flow: nw_src=([\d.]+)", line):
                tracked = found[1]
            elif action == "pop_vlan":
                vlan = None
            elif action == "meter":
                meter = int(value)
                meters.append(meter)
            elif action == "CONTROLLER":
                controller.append((table, meter))
            elif action == "output":
                port = _PORTS[int(value)]
                output.append(Out(port, vlan, vni if port == "vxlan" else None))
            elif line.strip() == "IN_PORT":
                output.append(Out("uplink"))
            elif line.strip() == ">> skipping output to input port":
                output.pop()
            elif line.strip() == "drop":
                dropped, dropped_by = why, key
            elif line.startswith(("Flow: ", "Final flow: ")) and not line.endswith("unchanged"):
                final = dict(pair.partition("=")[::2] for pair in line.partition(": ")[2].split(","))
        return Verdict(
            tuple(tables), tuple(output), dropped, dropped_by, tuple(controller), final, nat, tracked, tuple(meters)
        )


@contextmanager
def tracer() -> Iterator[Tracer]:
    """A tracer, for as long as it is needed."""
    with dummy_switch() as switch:
        yield Tracer(switch)


def arrival(machine: Machine) -> str:
    """The fields a frame from the attachment of `machine` has on arrival."""
    at = machine.attachment
    tag = "" if at.vlan is None else f",dl_vlan={at.vlan}"
    tag += "" if at.vni is None else f",tun_id={at.vni}"
    return f"in_port={examples.SITE.ports[at.port]}{tag},dl_src={machine.mac}"


def ip(machine: Machine, destination: str, mac: str = ROUTER_MAC, *, kind: str = "udp", ttl: int = 64, more: str = "",
       source: str | None = None) -> str:  # fmt: skip
    """An IPv4 packet a machine sends."""
    more = f",{more}" if more else ""
    addresses = f"nw_src={source or machine.address},nw_dst={destination}"
    return f"{arrival(machine)},dl_dst={mac},{kind},{addresses},nw_ttl={ttl}{more}"


def echo(machine: Machine, destination: str, mac: str = ROUTER_MAC, *, ttl: int = 64) -> str:
    """An echo request a machine sends."""
    return ip(machine, destination, mac, kind="icmp", ttl=ttl, more="icmp_type=8,icmp_code=0")


def arp(machine: Machine, target: str, *, operation: int = 1, sender: str | None = None, hardware: str | None = None,
        mac: str = BROADCAST) -> str:  # fmt: skip
    """An ARP packet a machine sends."""
    return (
        f"{arrival(machine)},dl_dst={mac},arp,arp_op={operation},arp_spa={sender or machine.address},"
        f"arp_tpa={target},arp_sha={hardware or machine.mac}"
    )


def outside(destination: str, source: str = INTERNET, *, kind: str = "udp", ttl: int = 64, more: str = "",
            mac: str = GATEWAY_MAC) -> str:  # fmt: skip
    """An IPv4 packet from the next hop."""
    more = f",{more}" if more else ""
    return (
        f"in_port=1,dl_src={NEXT_HOP_MAC},dl_dst={mac},{kind},nw_src={source},nw_dst={destination},nw_ttl={ttl}{more}"
    )


def reply(machine: Machine, state: str = "est|rpl|dnat", *, kind: str = "udp", ttl: int = 64, more: str = "") -> str:
    """A packet from the Internet as conntrack hands it back: its destination is the machine's transit address."""
    more = f",{more}" if more else ""
    return outside(machine.transit, kind=kind, ttl=ttl, more=f"ct_state=trk|{state}{more}")


def out_of(machine: Machine) -> tuple[Out, ...]:
    """Where a packet for `machine` leaves."""
    at = machine.attachment
    return (Out(at.port, at.vlan, at.vni),)


def path(*titles: str) -> tuple[Table, ...]:
    """Tables by their names."""
    return tuple(next(table for table in Table if table.title == title) for title in titles)
