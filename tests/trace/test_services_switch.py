"""Services and a real switch together: what flows send up, and where answers end.

The flows are the compiled ones, conntrack is that of the switch; only the way
between switch and service is played, by ovs-ofctl.
"""

from __future__ import annotations

import os
import queue
import re
import subprocess
import threading
from collections.abc import Iterator, Mapping
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from types import MappingProxyType

import examples
import pytest
from dummy_switch import DummySwitch, dummy_switch, wait_until
from scapy.layers.dhcp import BOOTP, DHCP
from scapy.layers.inet import ICMP, IP, TCP, UDP, defragment
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.packet import Packet, Raw
from scapy.utils import RawPcapReader
from services_world import proved, quoted

from controller.openflow import group_messages, wire
from controller.openflow.client import OpenFlowClient
from controller.packet_in import PacketIn, PacketInReply, PacketOut, answer, neighbor
from controller.pipeline.registry import Table, split_cookie
from controller.reconcile.compile import PipelineContext, compile_network, compile_shared
from state.interconnect import INTERCONNECT_MAC, Interconnect, leg_port
from state.model import Appliance, Machine, Network

SERVER = "192.0.2.80"
GATEWAY = examples.APPLIANCE.gateway
NEXT_HOP_MAC = examples.SITE.neighbors[GATEWAY.next_hop]
NUMBERS = {table.number: table for table in Table}
_POOL = IPv4Network(examples.APPLIANCE.nat_pool[0])
_DATA = re.compile(r"^[0-9a-f]{8}  ((?:[0-9a-f]{2}[- ]?){1,16})")


def neutral(network: Network) -> Network:
    """The network with transit addresses that keep checksums, as the agent chooses them.

    The switch damages later fragments when it rewrites an address to another.
    """

    def moved(machine: Machine) -> Machine:
        address, upper = int(IPv4Address(machine.address)), 0xF000 + network.key
        lower = ((address >> 16) + (address & 0xFFFF) - upper) % 0xFFFF
        return replace(machine, transit=str(IPv4Address(upper << 16 | lower)))

    return replace(network, machines=tuple(moved(machine) for machine in network.machines))


ISOLATED, OFFICE, SHOP = examples.ISOLATED, neutral(examples.OFFICE), neutral(examples.SHOP)
CLINIC = examples.INTERCONNECT_NETWORKS[0]
NETWORKS = (ISOLATED, OFFICE, SHOP, CLINIC)
# Each kind of packet has a port of its own, so that conntrack knows its connections apart.
WEB, CLERK, DB, CART = ISOLATED.machines[0], OFFICE.machines[2], OFFICE.machines[3], SHOP.machines[0]


class World:
    """Desired state as examples have it."""

    appliance: Appliance = examples.APPLIANCE
    site: PipelineContext = examples.SITE
    drives: Mapping[str, int] = MappingProxyType({})

    def network(self, key: int) -> Network | None:
        return next((network for network in NETWORKS if network.key == key), None)


class Bench:
    """A switch with the flows of all examples; its controller is this test."""

    def __init__(self, switch: DummySwitch) -> None:
        self._switch = switch
        self._target = f"unix:{switch.mgmt}"
        self._captures: dict[str, Path] = {}
        self._read: dict[str, int] = {}
        self._lines: queue.Queue[str] = queue.Queue()
        for name, number in examples.SITE.ports.items():
            switch.add_port(name, number)
            self._captures[name] = switch.directory / f"{name}.pcap"
            switch.vsctl("set", "Interface", name, f"options:tx_pcap={self._captures[name]}")
        compiled = [compile_shared(World.site), *(compile_network(n, World.site) for n in NETWORKS)]
        for one in compiled:
            with OpenFlowClient(switch.mgmt) as bridge:
                assert bridge.send(wire.meter_add(*meter) for meter in one.meters.items()) == {}
                assert (
                    bridge.send(group_messages.add(n, group_messages.buckets(g)) for n, g in one.groups.items()) == {}
                )
        flows = switch.directory / "flows"
        flows.write_text("".join(f"cookie={c:#x},{f.text()}\n" for one in compiled for c, f in one.flows.items()))
        switch.ofctl("add-flows", self._target, str(flows))
        # With -m the monitor prints the bytes of each packet; it ends with this process.
        self._monitor = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "ovs-ofctl", "-O", "OpenFlow14", "-m", "monitor", self._target, "65535"],
            env={**os.environ, "OVS_RUNDIR": str(switch.directory)},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        threading.Thread(target=self._watch, daemon=True).start()
        self._wait_for_monitor()

    def close(self) -> None:
        """End the monitor."""
        self._monitor.kill()
        self._monitor.wait()

    def _watch(self) -> None:
        assert self._monitor.stdout is not None
        for line in self._monitor.stdout:
            self._lines.put(line)

    def _wait_for_monitor(self) -> None:
        for _ in range(200):
            self.receive("uplink", arp_reply())
            try:
                self.packet_in(timeout=0.05)
            except queue.Empty:
                continue
            while True:
                try:
                    self.packet_in(timeout=0.3)
                except queue.Empty:
                    return
        raise AssertionError("the monitor sees no packets")

    def receive(self, port: str, frame: Packet) -> None:
        """A frame arrives at a port."""
        ctl = str(self._switch.directory / "vswitchd.ctl")
        self._switch.run("ovs-appctl", "-t", ctl, "netdev-dummy/receive", port, bytes(frame).hex())

    def packet_in(self, timeout: float = 5.0) -> PacketIn:
        """The next packet a flow sent up; raises queue.Empty when none comes."""
        text, data = self._lines.get(timeout=timeout), b""
        while "PACKET_IN" not in text:
            text = self._lines.get(timeout=timeout)
        length = int(re.search(r"total_len=(\d+)", text)[1])  # type: ignore[index]
        while len(data) < length:
            if found := _DATA.match(self._lines.get(timeout=timeout)):
                data += bytes.fromhex(re.sub(r"[- ]", "", found[1]))
        table = NUMBERS[int(re.search(r"table_id=(\d+)", text)[1])]  # type: ignore[index]
        cookie = re.search(r"cookie=0x([0-9a-f]+)", text)
        assert cookie is not None, text
        key, attachment = split_cookie(int(cookie[1], 16))[0], re.search(r"\breg2=(0x[0-9a-f]+)", text)
        port = examples.SITE.ports["uplink"]
        return PacketIn(table, key, port, data, attachment=int(attachment[1], 16) if attachment else 0)

    def serve(self, table: Table) -> PacketInReply:
        """Let the service answer the next packet, which came from `table`, and send that."""
        packet = self.packet_in()
        assert packet.table is table
        done = answer(packet, World())
        for out in done.out:
            self.send(out)
        return done

    def send(self, out: PacketOut) -> None:
        """One packet-out."""
        actions = ",".join(action.text(False) for action in out.actions)
        message = f"in_port=CONTROLLER packet={out.frame.hex()} actions={actions}"
        self._switch.ofctl("packet-out", self._target, message)

    def sent(self, port: str, count: int = 1) -> list[Packet]:
        """The next `count` frames that left by a port, and no more."""
        start = self._read.get(port, 0)
        frames: list[bytes] = []

        def arrived() -> bool:
            frames[:] = [data for data, _ in RawPcapReader(str(self._captures[port]))]
            return len(frames) >= start + count

        wait_until(arrived, what=f"{count} frames by {port}")
        assert len(frames) == start + count
        self._read[port] = len(frames)
        return [Ether(frame) for frame in frames[start:]]


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    with dummy_switch() as switch:
        started = Bench(switch)
        yield started
        started.close()


def arp_reply() -> Packet:
    reply = ARP(op=2, psrc=GATEWAY.next_hop, hwsrc=NEXT_HOP_MAC, pdst=GATEWAY.ip, hwdst=GATEWAY.mac)
    return Ether(src=NEXT_HOP_MAC, dst=GATEWAY.mac) / reply


def from_machine(machine: Machine, payload: Packet) -> Packet:
    tag = Dot1Q(vlan=machine.attachment.vlan) if machine.attachment.vlan else None
    header = Ether(src=machine.mac, dst=examples.APPLIANCE.router_mac)
    return header / tag / payload if tag else header / payload


def from_internet(payload: Packet) -> Packet:
    return Ether(src=NEXT_HOP_MAC, dst=GATEWAY.mac) / payload


def outside(bench: Bench, machine: Machine, payload: Packet) -> Packet:
    """A packet of the machine as the Internet sees it."""
    bench.receive(machine.attachment.port, from_machine(machine, IP(src=machine.address, dst=SERVER) / payload))
    (packet,) = bench.sent("uplink")
    assert IPv4Address(packet[IP].src) in _POOL
    return packet


def test_dhcp_goes_up_and_the_answer_comes_out_of_the_port(bench: Bench) -> None:
    message = BOOTP(chaddr=bytes.fromhex(CLERK.mac.replace(":", "")), xid=7) / DHCP(
        options=[("message-type", "discover"), "end"]
    )
    frame = from_machine(CLERK, IP(src="0.0.0.0", dst="255.255.255.255") / UDP(sport=68, dport=67) / message)
    bench.receive("trunk", frame)
    assert bench.serve(Table.PORT_SECURITY).what == "dhcp-offer"
    (packet,) = bench.sent("trunk")
    assert (packet[Dot1Q].vlan, packet[BOOTP].yiaddr) == (30, CLERK.address)


def test_next_hop_is_learned(bench: Bench) -> None:
    question = neighbor.request(World.site, GATEWAY.next_hop)
    assert question is not None
    bench.send(question)
    (packet,) = bench.sent("uplink")
    assert (packet[ARP].op, packet[ARP].pdst) == (1, GATEWAY.next_hop)
    bench.receive("uplink", arp_reply())
    assert bench.serve(Table.GATEWAY).neighbor == (GATEWAY.next_hop, NEXT_HOP_MAC)


@pytest.mark.parametrize(
    ("ip", "table", "what"),
    [
        (IP(dst=SERVER, ttl=1) / UDP(), Table.TTL, "time-exceeded"),
        (IP(dst="10.0.0.1") / UDP(sport=4000, dport=7), Table.ROUTER_LOCAL, "port-unreachable"),
        (IP(dst="10.0.0.1", proto=47) / Raw(b"gre!"), Table.ROUTER_LOCAL, "protocol-unreachable"),
        (IP(dst="10.0.0.1") / TCP(flags="S"), Table.ROUTER_LOCAL, "tcp-reset"),
        (IP(dst="172.16.0.2") / UDP(), Table.UNROUTABLE, "network-unreachable"),
        (IP(dst="198.18.0.5") / UDP(), Table.UNROUTABLE, "prohibited"),
        (IP(dst="10.0.9.9") / UDP(), Table.DELIVER, "host-unreachable"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_machine_is_told(bench: Bench, ip: Packet, table: Table, what: str) -> None:
    ip[IP].src = DB.address
    bench.receive("db1", from_machine(DB, ip))
    assert bench.serve(table).what == what
    (packet,) = bench.sent("db1")
    assert (packet.dst, packet[IP].src, packet[IP].dst) == (DB.mac, OFFICE.router, DB.address)


def test_traceroute_from_outside(bench: Bench) -> None:
    bench.receive("uplink", from_internet(IP(src=SERVER, dst="203.0.113.64", ttl=1) / UDP()))
    assert bench.serve(Table.GATEWAY).what == "time-exceeded"
    (packet,) = bench.sent("uplink")
    assert (packet.dst, packet[IP].src, packet[IP].dst) == (NEXT_HOP_MAC, GATEWAY.ip, SERVER)


LINKS = [(one, "192.168.50.9", Table.INTERCONNECT_TTL) for one in CLINIC.interconnects]
LINKS += [(one, "151.101.0.9", Table.PEERING_IN) for one in examples.PEERINGS]


@pytest.mark.parametrize(("one", "source", "table"), LINKS, ids=lambda value: getattr(value, "name", None))
def test_traceroute_from_the_other_side_of_an_interconnect(
    bench: Bench, one: Interconnect, source: str, table: Table
) -> None:
    probe = IP(src=source, dst=CLINIC.machines[0].address, ttl=1) / UDP(sport=33434, dport=33435)
    bench.receive(one.port, Ether(src="02:00:00:00:cc:99", dst=INTERCONNECT_MAC) / Dot1Q(vlan=one.vlan) / probe)
    assert bench.serve(table).what == "time-exceeded"
    (packet,) = bench.sent(one.port)
    assert (packet.src, packet.dst, packet[Dot1Q].vlan) == (INTERCONNECT_MAC, one.session.mac, one.vlan)
    assert (packet[IP].src, packet[IP].dst, packet[ICMP].type) == (one.local_ip, source, 11)
    # Its namespace sees nothing of it.
    assert bench.sent(leg_port(one.number), 0) == []


def test_too_large_for_the_gateway(bench: Bench) -> None:
    large = IP(src=CART.address, dst=SERVER, flags="DF") / UDP(sport=700, dport=9) / Raw(bytes(2000))
    bench.receive("trunk", from_machine(CART, large))
    assert bench.serve(Table.FRAGMENTATION).what == "fragmentation-needed"
    (packet,) = bench.sent("trunk")
    assert (packet[Dot1Q].vlan, packet[ICMP].nexthopmtu) == (41, 1500)


def test_fragments_leave_by_the_networks_port_block(bench: Bench) -> None:
    large = IP(src=CART.address, dst=SERVER, id=70) / UDP(sport=701, dport=9) / Raw(bytes(range(250)) * 8)
    bench.receive("trunk", from_machine(CART, large))
    assert bench.serve(Table.FRAGMENTATION).what == "fragmented"
    packets = bench.sent("uplink", 2)
    assert all(len(packet[IP]) <= 1500 and packet.dst == NEXT_HOP_MAC for packet in packets)
    (whole,) = defragment([packet[IP] for packet in packets])
    assert whole[IP].src == SHOP.block.address
    assert SHOP.block.first <= whole[UDP].sport <= SHOP.block.last
    assert bytes(whole[UDP].payload) == bytes(range(250)) * 8


def test_internet_is_told_the_mtu_of_a_private_network(bench: Bench) -> None:
    seen = outside(bench, DB, UDP(sport=800, dport=9))
    reply = IP(src=SERVER, dst=seen[IP].src, flags="DF") / UDP(sport=9, dport=seen[UDP].sport) / Raw(bytes(1440))
    bench.receive("uplink", from_internet(reply))
    assert bench.serve(Table.INBOUND_FRAGMENTATION).what == "fragmentation-needed"
    (packet,) = bench.sent("uplink")
    packet = proved(packet.original)
    assert (packet[IP].src, packet[IP].dst, packet[ICMP].nexthopmtu) == (seen[IP].src, SERVER, OFFICE.mtu)
    about = IP(quoted(packet))
    assert (about.src, about.dst, about[UDP].dport) == (SERVER, seen[IP].src, seen[UDP].sport)


def test_large_reply_reaches_the_machine_in_fragments(bench: Bench) -> None:
    seen = outside(bench, DB, UDP(sport=801, dport=9))
    reply = IP(src=SERVER, dst=seen[IP].src, id=8) / UDP(sport=9, dport=seen[UDP].sport) / Raw(bytes(range(240)) * 6)
    bench.receive("uplink", from_internet(reply))
    assert bench.serve(Table.INBOUND_FRAGMENTATION).what == "fragmented"
    packets = bench.sent("db1", 2)
    assert all(len(packet[IP]) <= OFFICE.mtu and packet.dst == DB.mac for packet in packets)
    (whole,) = defragment([packet[IP] for packet in packets])
    assert (whole[IP].dst, whole[UDP].dport) == (DB.address, 801)
    assert bytes(whole[UDP].payload) == bytes(range(240)) * 6


@pytest.mark.parametrize("payload", [UDP(sport=810, dport=9) / Raw(b"x" * 40), TCP(sport=811, dport=9), ICMP(id=812)])
def test_error_of_the_internet_reaches_a_private_machine(bench: Bench, payload: Packet) -> None:
    machine = DB
    seen = outside(bench, machine, payload)
    error = IP(src="192.0.2.33", dst=seen[IP].src) / ICMP(type=11) / Raw(bytes(seen[IP]))
    bench.receive("uplink", from_internet(error))
    assert bench.serve(Table.INBOUND_MTU).what == "icmp-error-in"
    (packet,) = bench.sent("db1")
    packet = proved(packet.original)
    assert (packet[IP].src, packet[IP].dst) == ("192.0.2.33", machine.address)
    about = IP(quoted(packet))
    assert (about.src, about.dst) == (machine.address, SERVER)
    mine = IP(bytes(IP(src=machine.address, dst=SERVER) / payload))
    for layer, name in ((UDP, "sport"), (TCP, "sport"), (ICMP, "id"), (UDP, "chksum"), (TCP, "chksum")):
        if layer in mine:
            assert about[layer].getfieldval(name) == mine[layer].getfieldval(name)


def test_error_of_a_private_machine_reaches_the_internet(bench: Bench) -> None:
    seen = outside(bench, DB, UDP(sport=820, dport=9))
    reply = IP(src=SERVER, dst=seen[IP].src) / UDP(sport=9, dport=seen[UDP].sport) / Raw(b"unwanted")
    bench.receive("uplink", from_internet(reply))
    (got,) = bench.sent("db1")
    error = IP(src=DB.address, dst=SERVER) / ICMP(type=3, code=3) / Raw(bytes(got[IP]))
    bench.receive("db1", from_machine(DB, error))
    assert bench.serve(Table.TRANSIT).what == "icmp-error-out"
    (packet,) = bench.sent("uplink")
    packet = proved(packet.original)
    assert (packet[IP].src, packet[IP].dst) == (seen[IP].src, SERVER)
    about = IP(quoted(packet))
    assert (about.src, about.dst, about[UDP].dport) == (SERVER, seen[IP].src, seen[UDP].sport)
    assert about[UDP].chksum == IP(bytes(reply))[UDP].chksum


def test_isolated_machines_errors_need_no_service(bench: Bench) -> None:
    seen = outside(bench, WEB, UDP(sport=830, dport=9))
    error = IP(src="192.0.2.33", dst=seen[IP].src) / ICMP(type=3, code=1) / Raw(bytes(seen[IP]))
    bench.receive("uplink", from_internet(error))
    (packet,) = bench.sent("web1")
    packet = proved(packet.original)
    assert IP(quoted(packet)).src == WEB.address
