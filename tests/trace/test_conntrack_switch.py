"""The switch's own conntrack: what it says of ICMP errors that quote somebody else's connection, and at exhaustion."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator

import examples
import pytest
from dummy_switch import dummy_switch, wait_until
from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.l2 import Dot1Q, Ether
from scapy.packet import Packet, Raw
from scapy.utils import RawPcapReader
from tracer import GATEWAY_MAC, NEXT_HOP_MAC, ROUTER_MAC, SHARED_ADDRESS, Tracer

from state.model import Machine, PortBlock

SERVER = "192.0.2.80"
# Two ports only, so that the third connection to one server finds none.
SMALL = dataclasses.replace(examples.ISOLATED, block=PortBlock(SHARED_ADDRESS, 1024, 1025))
VICTIM, ATTACKER = examples.ISOLATED_VLAN.machines[0], SMALL.machines[0]
SHOP = examples.SHOP.machines[0]


@dataclasses.dataclass(frozen=True, slots=True)
class Wire:
    """`send` has a machine, or the next hop (None), send a packet; `outside` is what left by the gateway port."""

    send: Callable[[Machine | None, Packet], None]
    outside: Callable[[], list[Packet]]


@pytest.fixture
def wire() -> Iterator[Wire]:
    with dummy_switch() as switch:
        Tracer(switch, (SMALL, examples.ISOLATED_VLAN, examples.SHOP))
        capture = switch.directory / "uplink.pcap"
        switch.vsctl("set", "Interface", "uplink", f"options:tx_pcap={capture}")

        def send(machine: Machine | None, payload: Packet) -> None:
            if machine is None:
                port, frame = "uplink", Ether(src=NEXT_HOP_MAC, dst=GATEWAY_MAC) / payload
            else:
                at = machine.attachment
                header = Ether(src=machine.mac, dst=ROUTER_MAC)
                port, frame = at.port, (header / Dot1Q(vlan=at.vlan) if at.vlan else header) / payload
            control = ("ovs-appctl", "-t", str(switch.directory / "vswitchd.ctl"))
            switch.run(*control, "netdev-dummy/receive", port, bytes(frame).hex())

        def outside() -> list[Packet]:
            if not capture.exists() or capture.stat().st_size < 24:
                return []
            return [Ether(data) for data, _ in RawPcapReader(str(capture))]

        yield Wire(send, outside)


def say(machine: Machine, port: int) -> Packet:
    return IP(src=machine.address, dst=SERVER) / UDP(sport=port, dport=53) / Raw(b"question")


def complain(sender: Machine, about: str, port: int, kind: int, mark: int) -> Packet:
    """An ICMP error of `sender` about an answer of the server to `about`."""
    quoted = IP(src=SERVER, dst=about) / UDP(sport=53, dport=port) / Raw(b"answered")
    return IP(src=sender.address, dst=SERVER, id=mark) / ICMP(type=kind, code=1) / quoted


def arrived(wire: Wire, count: int) -> list[Packet]:
    wait_until(lambda: len(wire.outside()) >= count, what=f"{count} packets outside")
    packets = wire.outside()
    assert len(packets) == count
    return packets


def test_an_error_about_anothers_connection_does_not_leave(wire: Wire) -> None:
    wire.send(VICTIM, say(VICTIM, 5000))
    (opened,) = arrived(wire, 1)
    for kind in (3, 4, 5, 11, 12):
        for about, port in (
            (VICTIM.address, 5000),
            (VICTIM.transit, 5000),
            (opened[IP].src, opened[UDP].sport),
        ):
            wire.send(ATTACKER, complain(ATTACKER, about, port, kind, 66))
            wire.send(SHOP, complain(SHOP, about, port, kind, 66))
    wire.send(VICTIM, complain(VICTIM, VICTIM.address, 5000, 3, 77))
    last = arrived(wire, 2)[-1]
    assert (last[IP].id, last[IP].src, last[ICMP].type) == (77, SHARED_ADDRESS, 3)


def test_what_finds_no_port_does_not_leave(wire: Wire) -> None:
    for port in range(7000, 7006):
        wire.send(ATTACKER, say(ATTACKER, port))
    wire.send(VICTIM, say(VICTIM, 5000))
    packets = arrived(wire, 3)
    assert {packet[IP].src for packet in packets} == {SHARED_ADDRESS}
    assert {packet[UDP].sport for packet in packets[:2]} == {1024, 1025}
    assert examples.ISOLATED_VLAN.block.first <= packets[2][UDP].sport <= examples.ISOLATED_VLAN.block.last
