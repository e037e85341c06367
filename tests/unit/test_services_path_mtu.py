"""Too large packets and ICMP errors across the transit rewrite."""

from __future__ import annotations

from typing import Any

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP, defragment
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw
from services_world import (
    ALONE,
    ANNE,
    BOB,
    ISOLATED,
    PRIVATE,
    ROUTER_MAC,
    SERVER,
    UNPLUGGED,
    ask,
    from_machine,
    proved,
    quoted,
    rebuilt,
    sent,
)

from controller.packet_in import PacketInReply
from controller.pipeline.flow import Output, PushVlan, Resubmit, SetField
from controller.pipeline.match import Field
from controller.pipeline.registry import Table
from state.interconnect import INTERCONNECT_MAC


def reply(payload: Packet, dst: str = ANNE.address, mac: str = ANNE.mac, **fields: Any) -> Packet:
    """A packet of the Internet as INBOUND leaves it."""
    return Ether(src=ROUTER_MAC, dst=mac) / IP(src=SERVER, dst=dst, **fields) / payload


def test_machine_is_told_the_gateways_mtu() -> None:
    frame = from_machine(ANNE, IP(src=ANNE.address, dst=SERVER, flags="DF") / TCP() / Raw(bytes(1340)))
    answer = ask(Table.FRAGMENTATION, PRIVATE, frame)
    assert answer.what == "fragmentation-needed"
    packet = sent(answer)
    assert (packet[ICMP].type, packet[ICMP].code, packet[ICMP].nexthopmtu) == (3, 4, 1300)
    assert (packet[IP].src, packet[IP].dst) == ("10.0.0.1", ANNE.address)
    assert quoted(packet) == bytes(frame[IP])[:548]


def from_remote(**fields: Any) -> Packet:
    """A packet of a customer, as an interconnect brings it."""
    ip = IP(src="192.168.50.9", dst=ANNE.address, id=5, **fields)
    return Ether(src="02:00:00:00:cc:01", dst=INTERCONNECT_MAC) / ip / UDP() / Raw(bytes(1450))


def test_a_customer_is_told_the_networks_mtu() -> None:
    frame = from_remote(flags="DF")
    answer = ask(Table.REMOTE_MACHINE, PRIVATE, frame)
    assert answer.what == "fragmentation-needed"
    assert {out.actions for out in answer.out} == {(SetField(Field.METADATA, 6), Resubmit(Table.REMOTE_ROUTE))}
    packet = sent(answer)
    assert (packet[ICMP].type, packet[ICMP].code, packet[ICMP].nexthopmtu) == (3, 4, 1400)
    assert (packet[IP].src, packet[IP].dst, packet.src) == ("10.0.0.1", "192.168.50.9", ROUTER_MAC)
    assert quoted(packet) == bytes(frame[IP])[:548]
    assert ask(Table.REMOTE_MACHINE, 99, frame).out == ()


def test_a_customers_packet_without_df_goes_on_in_fragments() -> None:
    frame = from_remote()
    answer = ask(Table.REMOTE_MACHINE, PRIVATE, frame)
    assert answer.what == "fragmented"
    assert {out.actions for out in answer.out} == {(SetField(Field.METADATA, 6), Resubmit(Table.REMOTE_MACHINE))}
    packets = [proved_fragment(out.frame) for out in answer.out]
    assert [len(packet[IP]) for packet in packets] == [1396, 102]
    (whole,) = defragment([packet[IP] for packet in packets])
    assert bytes(whole[UDP]) == bytes(frame[UDP])


def test_without_df_the_packet_goes_on_in_fragments() -> None:
    frame = from_machine(ANNE, IP(src=ANNE.address, dst=SERVER, id=5) / UDP() / Raw(bytes(1372)))
    answer = ask(Table.FRAGMENTATION, PRIVATE, frame)
    assert answer.what == "fragmented"
    assert {out.actions for out in answer.out} == {(SetField(Field.METADATA, 6), Resubmit(Table.PUBLIC_KIND))}
    packets = [proved_fragment(out.frame) for out in answer.out]
    assert [len(packet[IP]) for packet in packets] == [1300, 120]
    assert {(packet.src, packet.dst) for packet in packets} == {(ANNE.mac, ROUTER_MAC)}
    (whole,) = defragment([packet[IP] for packet in packets])
    assert bytes(whole[UDP]) == bytes(frame[UDP])


def proved_fragment(frame: bytes) -> Packet:
    """A fragment whose IP header is right; the checksum of its UDP header is that of the whole."""
    packet = Ether(frame)
    header = packet[IP].copy()
    del header.chksum, header.len
    header.remove_payload()
    assert bytes(header / Raw(frame[34:])) == frame[14:]
    return packet


def test_network_that_is_gone_sends_no_fragments() -> None:
    frame = from_machine(ANNE, IP(src=ANNE.address, dst=SERVER) / UDP() / Raw(bytes(1372)))
    assert ask(Table.FRAGMENTATION, 77, frame) == PacketInReply("unknown-network")


def test_internet_is_told_the_networks_mtu_as_conntrack_expects() -> None:
    payload = TCP(sport=80, dport=4000, flags="PA") / Raw(b"d" * 1440)
    answer = ask(Table.INBOUND_FRAGMENTATION, PRIVATE, reply(payload, flags="DF"))
    assert answer.what == "fragmentation-needed"
    (out,) = answer.out
    assert out.actions == (SetField(Field.METADATA, 6), Resubmit(Table.SNAT))
    packet = sent(answer)
    assert (packet[IP].src, packet[IP].dst) == (ANNE.transit, SERVER)
    assert (packet[ICMP].type, packet[ICMP].code, packet[ICMP].nexthopmtu) == (3, 4, 1400)
    # What conntrack has seen go by: the packet with the transit address, checksums and all.
    assert quoted(packet) == bytes(IP(src=SERVER, dst=ANNE.transit, flags="DF") / payload)[:548]


def test_isolated_machine_is_quoted_as_it_is() -> None:
    frame = reply(UDP() / Raw(bytes(1500)), ALONE.address, ALONE.mac, flags="DF")
    packet = sent(ask(Table.INBOUND_FRAGMENTATION, ISOLATED, frame))
    assert (packet[IP].src, quoted(packet)) == (ALONE.address, bytes(frame[IP])[:548])


def test_reply_without_df_reaches_the_machine_in_fragments() -> None:
    frame = reply(UDP(sport=53, dport=4000) / Raw(bytes(range(250)) * 6), id=5)
    answer = ask(Table.INBOUND_FRAGMENTATION, PRIVATE, frame)
    assert {out.actions for out in answer.out} == {(PushVlan(7), Output(12))}
    packets = [proved_fragment(out.frame) for out in answer.out]
    assert all(len(packet[IP]) <= 1400 and packet.dst == ANNE.mac for packet in packets)
    (whole,) = defragment([packet[IP] for packet in packets])
    assert bytes(whole[UDP]) == bytes(frame[UDP])


@pytest.mark.parametrize("machine", [UNPLUGGED, ALONE])
@pytest.mark.parametrize("flags", ["DF", ""])
def test_reply_to_nobody_is_dropped(machine: Any, flags: str) -> None:
    frame = reply(UDP() / Raw(bytes(1500)), machine.address, machine.mac, flags=flags)
    assert ask(Table.INBOUND_FRAGMENTATION, PRIVATE, frame) == PacketInReply("unknown-machine")


def test_no_error_about_an_error_that_is_too_large() -> None:
    frame = reply(ICMP(type=3) / Raw(bytes(1500)), flags="DF")
    assert ask(Table.INBOUND_FRAGMENTATION, PRIVATE, frame) == PacketInReply("about-an-error")


QUOTES = [
    pytest.param(UDP(sport=4000, dport=53) / Raw(b"q" * 30), None, id="udp"),
    pytest.param(UDP(sport=4000, dport=53, chksum=0) / Raw(b"q" * 30), None, id="udp without checksum"),
    pytest.param(TCP(sport=4000, dport=80, seq=9, flags="S"), None, id="tcp"),
    pytest.param(TCP(sport=4000, dport=80, seq=9, flags="S"), 28, id="tcp, eight bytes of it"),
    pytest.param(ICMP() / Raw(b"q" * 31), None, id="icmp, odd length"),
    pytest.param(UDP(sport=4000, dport=53) / Raw(b"q" * 30), 20, id="header alone"),
]


@pytest.mark.parametrize("kind", [3, 11, 12])
@pytest.mark.parametrize(("payload", "cut"), QUOTES)
def test_error_of_the_internet_quotes_the_machine_again(kind: int, payload: Packet, cut: int | None) -> None:
    seen = bytes(IP(src=ANNE.transit, dst=SERVER, id=3, ttl=9) / payload)[:cut]
    own = bytes(IP(src=ANNE.address, dst=SERVER, id=3, ttl=9) / payload)[:cut]
    frame = Ether(src=ROUTER_MAC, dst=ANNE.mac) / IP(src="192.0.2.33", dst=ANNE.address) / ICMP(type=kind) / Raw(seen)
    answer = ask(Table.INBOUND_MTU, PRIVATE, frame)
    assert answer.what == "icmp-error-in"
    assert answer.out[0].actions == (PushVlan(7), Output(12))
    packet = sent(answer)
    assert (packet.src, packet.dst, packet[IP].src, packet[IP].dst) == (
        ROUTER_MAC, ANNE.mac, "192.0.2.33", ANNE.address,
    )  # fmt: skip
    assert quoted(packet) == own


@pytest.mark.parametrize("kind", [3, 11, 12])
@pytest.mark.parametrize(("payload", "cut"), QUOTES)
def test_error_of_a_machine_leaves_with_its_transit_address(kind: int, payload: Packet, cut: int | None) -> None:
    seen = bytes(IP(src=SERVER, dst=ANNE.address, id=3, ttl=9) / payload)[:cut]
    outside = bytes(IP(src=SERVER, dst=ANNE.transit, id=3, ttl=9) / payload)[:cut]
    frame = from_machine(ANNE, IP(src=ANNE.address, dst=SERVER, ttl=63) / ICMP(type=kind, code=3) / Raw(seen))
    answer = ask(Table.TRANSIT, PRIVATE, frame)
    assert answer.what == "icmp-error-out"
    assert answer.out[0].actions == (SetField(Field.METADATA, 6), Resubmit(Table.SNAT))
    packet = sent(answer)
    assert (packet[IP].src, packet[IP].dst, packet[IP].ttl) == (ANNE.transit, SERVER, 63)
    assert (packet[ICMP].type, packet[ICMP].code) == (kind, 3)
    assert quoted(packet) == outside


def test_wrong_checksum_stays_wrong() -> None:
    seen = IP(src=ANNE.transit, dst=SERVER) / UDP()
    frame = reply(ICMP(type=3, chksum=0x1234) / seen)
    (out,) = ask(Table.INBOUND_MTU, PRIVATE, frame).out
    assert rebuilt(Ether(out.frame)) != out.frame


def to_anne(quote: bytes, kind: int = 3, **fields: Any) -> Packet:
    return reply(ICMP(type=kind) / Raw(quote), **fields)


ABOUT_ANNE = bytes(IP(src=ANNE.transit, dst=SERVER) / UDP())


@pytest.mark.parametrize(
    ("frame", "what"),
    [
        (to_anne(bytes(IP(src=BOB.transit, dst=SERVER) / UDP())), "foreign-quote"),
        (to_anne(bytes(IP(src=ANNE.address, dst=SERVER) / UDP())), "foreign-quote"),
        (to_anne(ABOUT_ANNE, kind=4), "foreign-quote"),
        (to_anne(ABOUT_ANNE, kind=5), "foreign-quote"),
        (to_anne(ABOUT_ANNE[:19]), "foreign-quote"),
        (to_anne(b""), "foreign-quote"),
        (to_anne(ABOUT_ANNE, flags="MF"), "malformed"),
        (to_anne(ABOUT_ANNE, frag=9), "malformed"),
        (to_anne(ABOUT_ANNE, dst="10.0.0.99"), "unknown-machine"),
        (to_anne(ABOUT_ANNE, dst=UNPLUGGED.address), "unknown-machine"),
        (reply(Raw(b""), proto=1), "malformed"),
    ],
)
def test_what_is_no_error_about_the_machine_is_dropped(frame: Packet, what: str) -> None:
    assert ask(Table.INBOUND_MTU, PRIVATE, frame) == PacketInReply(what)


def test_machine_sends_errors_about_its_own_packets_only() -> None:
    error = ICMP(type=3, code=3)
    about_bob = from_machine(ANNE, IP(src=ANNE.address, dst=SERVER) / error / IP(src=SERVER, dst=BOB.address) / UDP())
    assert ask(Table.TRANSIT, PRIVATE, about_bob) == PacketInReply("foreign-quote")
    as_bob = from_machine(ANNE, IP(src=BOB.address, dst=SERVER) / error / IP(src=SERVER, dst=BOB.address) / UDP())
    assert ask(Table.TRANSIT, PRIVATE, as_bob) == PacketInReply("unknown-machine")


def test_injected_error_is_whole() -> None:
    frame = from_machine(
        ANNE, IP(src=ANNE.address, dst=SERVER) / ICMP(type=3) / IP(src=SERVER, dst=ANNE.address) / UDP()
    )
    (out,) = ask(Table.TRANSIT, PRIVATE, frame).out
    assert (proved(out.frame).src, proved(out.frame).dst) == (ANNE.mac, ROUTER_MAC)
