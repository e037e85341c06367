"""ICMP errors and resets: which packets get which, and which none."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption_NOP
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Packet, Raw
from services_world import (
    ALONE,
    ANNE,
    GATEWAY_MAC,
    ISOLATED,
    NEXT_HOP_MAC,
    PRIVATE,
    ROUTER_MAC,
    SERVER,
    UNPLUGGED,
    WORLD,
    ask,
    from_machine,
    quoted,
    sent,
    with_network,
)

from controller.packet_in import PacketInReply
from controller.pipeline.flow import Output, PushVlan, Resubmit, SetField
from controller.pipeline.match import Field
from controller.pipeline.registry import ATTACHMENT, Table
from state.interconnect import INTERCONNECT_MAC, Interconnect, InterconnectKind

PROBE = UDP(sport=33434, dport=33435) / Raw(b"probe")


def anne(payload: Packet, dst: str = SERVER, **fields: Any) -> Packet:
    return from_machine(ANNE, IP(src=ANNE.address, dst=dst, **fields) / payload)


@pytest.mark.parametrize(
    ("table", "destination", "expected", "what"),
    [
        (Table.TTL, SERVER, (11, 0), "time-exceeded"),
        (Table.DELIVER, "10.0.0.200", (3, 1), "host-unreachable"),
        (Table.UNROUTABLE, "192.168.7.7", (3, 0), "network-unreachable"),
        (Table.UNROUTABLE, "192.168.1.7", (3, 13), "prohibited"),
        (Table.UNROUTABLE, "203.0.113.2", (3, 13), "prohibited"),
        (Table.UNROUTABLE, "198.51.100.9", (3, 13), "prohibited"),
        (Table.ROUTER_LOCAL, "10.0.0.1", (3, 3), "port-unreachable"),
    ],
)
def test_error_of_each_table(table: Table, destination: str, expected: tuple[int, int], what: str) -> None:
    frame = anne(PROBE, destination, ttl=1, tos=0xB8, id=7)
    answer = ask(table, PRIVATE, frame)
    assert answer.what == what
    assert answer.out[0].actions == (PushVlan(7), Output(12))
    packet = sent(answer)
    assert (packet.src, packet.dst) == (ROUTER_MAC, ANNE.mac)
    assert (packet[IP].src, packet[IP].dst, packet[IP].ttl) == ("10.0.0.1", ANNE.address, 64)
    assert packet[IP].tos >> 5 == 6
    assert str(packet[IP].flags) == "DF"
    assert (packet[ICMP].type, packet[ICMP].code) == expected
    assert quoted(packet) == bytes(frame[IP])


def test_every_isolated_network_has_its_own_router() -> None:
    frame = from_machine(ALONE, IP(src=ALONE.address, dst=SERVER, ttl=1) / PROBE)
    packet = sent(ask(Table.TTL, ISOLATED, frame))
    assert (packet[IP].src, packet[IP].dst, packet.dst) == ("172.16.0.1", "172.16.0.2", ALONE.mac)


def test_other_protocols_to_the_router_are_unreachable() -> None:
    packet = sent(ask(Table.ROUTER_LOCAL, PRIVATE, anne(Raw(b"x" * 40), "10.0.0.1", proto=47)))
    assert (packet[ICMP].type, packet[ICMP].code) == (3, 2)


def test_error_quotes_what_576_bytes_hold() -> None:
    frame = anne(UDP(sport=1, dport=2) / Raw(bytes(1300)))
    packet = sent(ask(Table.TTL, PRIVATE, frame))
    assert len(packet[IP]) == 576
    assert quoted(packet) == bytes(frame[IP])[:548]


def test_error_about_a_packet_with_options() -> None:
    frame = anne(PROBE, options=[IPOption_NOP()] * 4)
    assert quoted(sent(ask(Table.TTL, PRIVATE, frame))) == bytes(frame[IP])


def test_error_about_a_first_fragment() -> None:
    frame = anne(PROBE, flags="MF")
    assert quoted(sent(ask(Table.TTL, PRIVATE, frame))) == bytes(frame[IP])


SILENT = [
    pytest.param(anne(ICMP(type=kind) / Raw(bytes(28))), "about-an-error", id=f"about ICMP type {kind}")
    for kind in (3, 4, 5, 11, 12)
] + [
    pytest.param(anne(Raw(b""), proto=1), "about-an-error", id="ICMP without a type"),
    pytest.param(anne(PROBE, frag=100), "later-fragment", id="later fragment"),
    pytest.param(anne(PROBE, frag=100, flags="MF"), "later-fragment", id="middle fragment"),
    pytest.param(anne(PROBE, "224.0.0.251"), "to-a-group", id="multicast"),
    pytest.param(anne(PROBE, "255.255.255.255"), "to-a-group", id="broadcast"),
    pytest.param(anne(PROBE, "10.0.255.255"), "to-a-group", id="directed broadcast"),
    pytest.param(anne(PROBE, "10.0.0.0"), "to-a-group", id="old directed broadcast"),
    pytest.param(
        from_machine(ANNE, IP(src=ANNE.address, dst=SERVER) / PROBE, "ff:ff:ff:ff:ff:ff"),
        "to-a-group", id="link-layer broadcast",
    ),
    pytest.param(
        from_machine(ANNE, IP(src=ANNE.address, dst=SERVER) / PROBE, "01:00:5e:00:00:fb"),
        "to-a-group", id="link-layer multicast",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("frame", "what"), SILENT)
@pytest.mark.parametrize("table", [Table.TTL, Table.UNROUTABLE, Table.DELIVER])
def test_no_error(table: Table, frame: Packet, what: str) -> None:
    assert ask(table, PRIVATE, frame) == PacketInReply(what)


@pytest.mark.parametrize("table", [Table.TTL, Table.ROUTER_LOCAL, Table.UNROUTABLE, Table.DELIVER, Table.FRAGMENTATION])
def test_only_known_machines_are_answered(table: Table) -> None:
    frame = from_machine(ANNE, IP(src="10.0.0.3", dst=SERVER, flags="DF") / PROBE)
    assert ask(table, PRIVATE, frame).out == ()
    frame = from_machine(ALONE, IP(src=ANNE.address, dst=SERVER, flags="DF") / PROBE)
    assert ask(table, PRIVATE, frame).out == ()
    frame = from_machine(UNPLUGGED, IP(src=UNPLUGGED.address, dst=SERVER, flags="DF") / PROBE)
    assert ask(table, PRIVATE, frame).out == ()
    assert ask(table, 77, anne(PROBE, flags="DF")).out == ()


LINK = Interconnect("dc", InterconnectKind.DIRECT_CONNECT, 9, 1, "xc1", 101, "169.254.101.1/30", "169.254.101.2",
                    64512, 65001)  # fmt: skip
JOINED = replace(PRIVATE, interconnects=(LINK,))


def from_site(payload: Packet, **fields: Any) -> Packet:
    head = Ether(src="02:00:00:00:cc:01", dst=INTERCONNECT_MAC) / IP(src="192.168.50.9", dst=ANNE.address, **fields)
    return head / payload


def test_the_sender_beyond_an_interconnect_is_told_by_the_link_address() -> None:
    answer = ask(Table.INTERCONNECT_TTL, JOINED, from_site(PROBE, ttl=1), with_network(JOINED), attachment=9)
    assert answer.what == "time-exceeded"
    assert answer.out[0].actions == (
        SetField(ATTACHMENT, 9), SetField(Field.METADATA, JOINED.key), Resubmit(Table.INTERCONNECT_OUT)
    )  # fmt: skip
    packet = sent(answer)
    assert (packet[IP].src, packet[IP].dst, packet[ICMP].type) == ("169.254.101.1", "192.168.50.9", 11)
    assert quoted(packet) == bytes(from_site(PROBE, ttl=1)[IP])


@pytest.mark.parametrize(
    ("attachment", "frame", "what"),
    [
        (8, from_site(PROBE, ttl=1), "unknown-sender"),
        (9, from_site(ICMP(type=11) / Raw(bytes(28)), ttl=1), "about-an-error"),
        (9, from_site(PROBE, ttl=1, frag=100), "later-fragment"),
        (9, b"\0" * 60, "malformed"),
    ],
)
def test_nobody_else_beyond_an_interconnect_is_told(attachment: int, frame: Packet, what: str) -> None:
    world = with_network(JOINED)
    assert ask(Table.INTERCONNECT_TTL, JOINED, frame, world, attachment=attachment) == PacketInReply(what)
    # An interconnect that is gone, or another network's.
    assert ask(Table.INTERCONNECT_TTL, PRIVATE, from_site(PROBE), attachment=9) == PacketInReply("unknown-sender")
    assert ask(Table.PEERING_IN, 0, from_site(PROBE), world, attachment=9) == PacketInReply("unknown-sender")


def test_ping_the_flows_do_not_answer_stays_unanswered() -> None:
    assert ask(Table.ROUTER_LOCAL, PRIVATE, anne(ICMP(type=13), "10.0.0.1")) == PacketInReply("icmp-ignored")


@pytest.mark.parametrize(
    ("segment", "expected"),
    [
        (TCP(sport=5000, dport=22, seq=1000, flags="S"), {"seq": 0, "ack": 1001, "flags": "RA"}),
        (TCP(sport=5000, dport=22, seq=0xFFFFFFFF, flags="S"), {"seq": 0, "ack": 0, "flags": "RA"}),
        (TCP(sport=5000, dport=22, seq=1000, flags="F") / Raw(b"12345"), {"seq": 0, "ack": 1006, "flags": "RA"}),
        (TCP(sport=5000, dport=22, seq=1000, ack=77, flags="A"), {"seq": 77, "ack": 0, "flags": "R"}),
        (TCP(sport=5000, dport=22, seq=1000, ack=77, flags="SA"), {"seq": 77, "ack": 0, "flags": "R"}),
        (
            TCP(sport=5000, dport=22, seq=1000, flags="S", options=[("MSS", 1460)]) / Raw(b"123"),
            {"seq": 0, "ack": 1004, "flags": "RA"},
        ),
    ],
)
def test_nothing_listens_on_the_router(segment: Packet, expected: dict[str, Any]) -> None:
    answer = ask(Table.ROUTER_LOCAL, PRIVATE, anne(segment, "10.0.0.1"))
    assert answer.what == "tcp-reset"
    packet = sent(answer)
    assert (packet[IP].src, packet[IP].dst, packet.dst) == ("10.0.0.1", ANNE.address, ANNE.mac)
    tcp = packet[TCP]
    assert (tcp.sport, tcp.dport, tcp.window) == (22, 5000, 0)
    assert {"seq": tcp.seq, "ack": tcp.ack, "flags": str(tcp.flags)} == expected


@pytest.mark.parametrize(
    "frame",
    [
        pytest.param(anne(TCP(flags="R"), "10.0.0.1"), id="a reset"),
        pytest.param(anne(TCP(flags="S"), "10.0.0.1", flags="MF"), id="a fragment"),
        pytest.param(anne(Raw(bytes(19)), "10.0.0.1", proto=6), id="cut off"),
        pytest.param(anne(TCP(flags="S", dataofs=4), "10.0.0.1"), id="header too short"),
        pytest.param(anne(TCP(flags="S", dataofs=15), "10.0.0.1"), id="header too long"),
        pytest.param(anne(TCP(flags="S"), "10.0.0.3"), id="not to the router"),
    ],
)
def test_no_reset(frame: Packet) -> None:
    assert ask(Table.ROUTER_LOCAL, PRIVATE, frame).out == ()


def from_internet(ip: Packet, destination: str = GATEWAY_MAC) -> Packet:
    return Ether(src=NEXT_HOP_MAC, dst=destination) / ip


def test_traceroute_from_outside_sees_the_gateway() -> None:
    frame = from_internet(IP(src="192.0.2.9", dst="198.51.100.3", ttl=1) / PROBE)
    answer = ask(Table.GATEWAY, 0, frame, in_port=20)
    assert answer.out[0].actions == (Output(20),)
    packet = sent(answer)
    assert (packet.src, packet.dst) == (GATEWAY_MAC, NEXT_HOP_MAC)
    assert (packet[IP].src, packet[IP].dst) == ("203.0.113.2", "192.0.2.9")
    assert (packet[ICMP].type, packet[ICMP].code) == (11, 0)
    assert quoted(packet) == bytes(frame[IP])


@pytest.mark.parametrize("source", ["0.0.0.0", "0.1.2.3", "127.0.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255",
                                    "203.0.113.255", "203.0.113.0"])  # fmt: skip
def test_no_error_to_what_is_no_host(source: str) -> None:
    frame = from_internet(IP(src=source, dst="198.51.100.3", ttl=1) / PROBE)
    assert ask(Table.GATEWAY, 0, frame) == PacketInReply("from-no-host")


def test_gateway_with_a_prefix_of_32_bits_still_answers() -> None:
    gateway = replace(WORLD.appliance.gateway, address="203.0.113.2/32")
    world = replace(WORLD, appliance=replace(WORLD.appliance, gateway=gateway))
    frame = from_internet(IP(src="192.0.2.9", dst="203.0.113.2") / PROBE)
    assert sent(ask(Table.ROUTER_LOCAL, 0, frame, world))[ICMP].code == 3


def test_other_ethernet_types_are_malformed_everywhere() -> None:
    for table in Table:
        if table in (Table.GATEWAY, Table.STORAGE_IN) or not table.value.controller:
            continue
        assert ask(table, PRIVATE, Ether() / ARP()) == PacketInReply("malformed")
