"""VPN gateways and drives by the switch's own conntrack: there and back, errors, fragments, and strangers."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator

import examples
import pytest
from dummy_switch import dummy_switch, wait_until
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPerror, UDPerror, fragment
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw
from scapy.utils import RawPcapReader
from tracer import ROUTER_MAC, Tracer
from vpn_packets import ARCHIVE, BRANCH, CLIENT, OFFICE, STORAGE

from controller.packet_in import reply_path
from controller.pipeline.registry import Table
from state.vpn import INSIDE_MAC

DRIVE_MAC = examples.SITE.neighbors[ARCHIVE.address]
OTHER = "10.77.1.1"
PATIENCE = "last"
"""What is sent at the end: when it has come out, all before it has or never will."""


@dataclasses.dataclass(frozen=True, slots=True)
class Wire:
    """`office` and `drive` send, `controller` sends on for a drive; `at_drive` and `at_office` are what came there."""

    office: Callable[[Packet], None]
    drive: Callable[[Packet], None]
    controller: Callable[[Packet], None]
    at_drive: Callable[[], list[Packet]]
    at_office: Callable[[], list[Packet]]


@pytest.fixture
def wire() -> Iterator[Wire]:
    assert STORAGE is not None
    with dummy_switch() as switch:
        Tracer(switch, (BRANCH,))
        captures = {port: switch.directory / f"{port}.pcap" for port in ("storage", "vpn7-in")}
        for port, capture in captures.items():
            switch.vsctl("set", "Interface", port, f"options:tx_pcap={capture}")

        def sender(port: str, source: str, destination: str) -> Callable[[Packet], None]:
            def send(payload: Packet) -> None:
                frame = bytes(Ether(src=source, dst=destination) / payload)
                control = ("ovs-appctl", "-t", str(switch.directory / "vswitchd.ctl"))
                switch.run(*control, "netdev-dummy/receive", port, frame.hex())

            return send

        def receiver(port: str) -> Callable[[], list[Packet]]:
            def received() -> list[Packet]:
                capture = captures[port]
                if not capture.exists() or capture.stat().st_size < 24:
                    return []
                return [Ether(data) for data, _ in RawPcapReader(str(capture))]

            return received

        def inject(payload: Packet) -> None:
            frame = bytes(Ether(src=DRIVE_MAC, dst=STORAGE.mac) / payload).hex()
            actions = ",".join(action.text(False) for action in reply_path.inject(BRANCH.key, Table.STORAGE_MACHINE))
            switch.ofctl("packet-out", switch.bridge, f"in_port=controller packet={frame} actions={actions}")

        yield Wire(
            sender("vpn7-in", INSIDE_MAC, ROUTER_MAC), sender("storage", DRIVE_MAC, STORAGE.mac), inject,
            receiver("storage"), receiver("vpn7-in"),
        )  # fmt: skip


def arrived(received: Callable[[], list[Packet]], count: int) -> list[Packet]:
    wait_until(lambda: len(received()) >= count, what=f"{count} packets")
    packets = received()
    assert len(packets) == count
    return packets


def ask(source: str = OFFICE, port: int = 7000, data: bytes = b"question") -> Packet:
    return IP(src=source, dst=ARCHIVE.address) / UDP(sport=port, dport=2049) / Raw(data)


def answer(port: int, data: bytes = b"answer") -> Packet:
    return IP(src=ARCHIVE.address, dst=CLIENT) / UDP(sport=2049, dport=port) / Raw(data)


def opened(wire: Wire) -> Packet:
    """The question of a connection that the office has opened, as the drive got it."""
    wire.office(ask())
    (packet,) = arrived(wire.at_drive, 1)
    return packet


def sound(packet: Packet) -> bool:
    """Whether all checksums are as they must be."""
    anew = packet[IP].copy()
    for layer in (IP, UDP, TCP, ICMP):
        if layer in anew:
            del anew[layer].chksum
    return bytes(IP(bytes(anew))) == bytes(packet[IP])


def test_there_and_back(wire: Wire) -> None:
    asked = opened(wire)
    assert (asked[IP].src, asked[IP].dst, asked.dst) == (CLIENT, ARCHIVE.address, DRIVE_MAC)
    assert sound(asked)
    wire.drive(answer(asked[UDP].sport))
    (answered,) = arrived(wire.at_office, 1)
    assert (answered[IP].src, answered[IP].dst, answered[UDP].dport) == (ARCHIVE.address, OFFICE, 7000)
    assert (answered.src, answered.dst) == (ROUTER_MAC, INSIDE_MAC)
    assert (bytes(answered[Raw]), sound(answered)) == (b"answer", True)


def test_a_connection_of_tcp(wire: Wire) -> None:
    header = IP(src=OFFICE, dst=ARCHIVE.address)
    wire.office(header / TCP(sport=7000, dport=445, flags="S", seq=100))
    (syn,) = arrived(wire.at_drive, 1)
    back = IP(src=ARCHIVE.address, dst=CLIENT)
    wire.drive(back / TCP(sport=445, dport=syn[TCP].sport, flags="SA", seq=500, ack=101))
    arrived(wire.at_office, 1)
    wire.office(header / TCP(sport=7000, dport=445, flags="A", seq=101, ack=501) / Raw(b"data"))
    established = arrived(wire.at_drive, 2)[-1]
    assert (established[IP].src, bytes(established[Raw])) == (CLIENT, b"data")
    wire.drive(back / TCP(sport=445, dport=syn[TCP].sport, flags="FA", seq=501, ack=105))
    finished = arrived(wire.at_office, 2)[-1]
    assert (finished[IP].dst, finished[TCP].dport, finished[TCP].flags) == (OFFICE, 7000, "FA")


def test_two_offices_that_use_one_port_are_told_apart(wire: Wire) -> None:
    for source in (OFFICE, OTHER):
        wire.office(ask(source))
    first, second = arrived(wire.at_drive, 2)
    assert {packet[IP].src for packet in (first, second)} == {CLIENT}
    assert first[UDP].sport != second[UDP].sport
    for packet in (first, second):
        wire.drive(answer(packet[UDP].sport))
    assert [packet[IP].dst for packet in arrived(wire.at_office, 2)] == [OFFICE, OTHER]


def test_an_echo(wire: Wire) -> None:
    wire.office(IP(src=OFFICE, dst=ARCHIVE.address) / ICMP(type=8, id=9, seq=1) / Raw(b"ping"))
    (request,) = arrived(wire.at_drive, 1)
    wire.drive(IP(src=ARCHIVE.address, dst=CLIENT) / ICMP(type=0, id=request[ICMP].id, seq=1) / Raw(b"ping"))
    (reply,) = arrived(wire.at_office, 1)
    assert (reply[IP].dst, reply[ICMP].id) == (OFFICE, 9)


@pytest.mark.parametrize(("kind", "code"), [(3, 3), (3, 4), (11, 0)])
def test_an_error_of_the_drive_is_about_what_the_office_sent(wire: Wire, kind: int, code: int) -> None:
    asked = opened(wire)
    wire.drive(IP(src=ARCHIVE.address, dst=CLIENT) / ICMP(type=kind, code=code) / asked[IP])
    (error,) = arrived(wire.at_office, 1)
    assert (error[IP].src, error[IP].dst, error[ICMP].type) == (ARCHIVE.address, OFFICE, kind)
    assert (error[IPerror].src, error[IPerror].dst, error[UDPerror].sport) == (OFFICE, ARCHIVE.address, 7000)


@pytest.mark.parametrize("source", [BRANCH.router, OFFICE, OTHER])
def test_the_gateway_and_the_office_may_tell_a_drive_of_errors(wire: Wire, source: str) -> None:
    """'Fragmentation needed' is how a drive learns of the tunnel's MTU."""
    asked = opened(wire)
    wire.drive(answer(asked[UDP].sport))
    (answered,) = arrived(wire.at_office, 1)
    wire.office(IP(src=source, dst=ARCHIVE.address) / ICMP(type=3, code=4, nexthopmtu=1400) / answered[IP])
    error = arrived(wire.at_drive, 2)[-1]
    assert (error[IP].dst, error[ICMP].code, error[ICMP].nexthopmtu) == (ARCHIVE.address, 4, 1400)
    assert error[IP].src == CLIENT
    assert (error[IPerror].src, error[IPerror].dst) == (ARCHIVE.address, CLIENT)
    assert error[UDPerror].dport == asked[UDP].sport


def test_an_error_about_no_connection_goes_nowhere(wire: Wire) -> None:
    asked = opened(wire)
    quoted = IP(src=ARCHIVE.address, dst=OFFICE) / UDP(sport=2049, dport=7999) / Raw(b"answered")
    wire.office(IP(src=BRANCH.router, dst=ARCHIVE.address) / ICMP(type=3, code=4) / quoted)
    wire.drive(IP(src=ARCHIVE.address, dst=CLIENT) / ICMP(type=3, code=3) / quoted)
    wire.drive(answer(asked[UDP].sport, PATIENCE.encode()))
    (only,) = arrived(wire.at_office, 1)
    assert bytes(only[Raw]) == PATIENCE.encode()
    wire.office(ask(data=PATIENCE.encode()))
    assert bytes(arrived(wire.at_drive, 2)[-1][Raw]) == PATIENCE.encode()


def test_a_drive_opens_no_connection(wire: Wire) -> None:
    asked = opened(wire)
    for port in (7000 + 1, 22, 445):
        wire.drive(answer(port))
        wire.drive(IP(src=ARCHIVE.address, dst=CLIENT) / TCP(sport=2049, dport=port, flags="S"))
    wire.drive(IP(src=ARCHIVE.address, dst=CLIENT) / ICMP(type=8, id=3))
    wire.drive(IP(src=ARCHIVE.address, dst=OFFICE) / UDP(sport=2049, dport=7000))
    wire.drive(answer(asked[UDP].sport, PATIENCE.encode()))
    (only,) = arrived(wire.at_office, 1)
    assert bytes(only[Raw]) == PATIENCE.encode()


def test_fragments_reach_a_drive_as_they_were(wire: Wire) -> None:
    data = bytes(range(256)) * 10
    for part in fragment(ask(data=data), fragsize=1200):
        wire.office(part)
    parts = arrived(wire.at_drive, 3)
    assert {part[IP].src for part in parts} == {CLIENT}
    parts.sort(key=lambda part: part[IP].frag)
    assert b"".join(bytes(part[IP].payload) for part in parts)[8:] == data


def test_what_the_controller_cut_reaches_the_office(wire: Wire) -> None:
    asked = opened(wire)
    data = bytes(range(256)) * 10
    for part in fragment(answer(asked[UDP].sport, data), fragsize=1200):
        wire.controller(part)
    parts = sorted(arrived(wire.at_office, 3), key=lambda part: part[IP].frag)
    assert {(part[IP].src, part[IP].dst) for part in parts} == {(ARCHIVE.address, OFFICE)}
    whole = b"".join(bytes(part[IP].payload) for part in parts)
    assert (UDP(whole[:8]).dport, whole[8:]) == (7000, data)
