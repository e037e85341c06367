"""Checksums and fragments against scapy and against their definitions."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption_LSRR, IPOption_NOP, IPOption_RR, defragment
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw
from scapy.utils import checksum as scapy_checksum
from services_world import rebuilt

from controller.packet_in.fragment import fragments
from controller.packet_in.packet import Ipv4, adjusted, checksum, parse_ipv4, parse_udp, udp
from controller.packet_in.rewrite import DESTINATION, SOURCE, readdressed


def parsed(packet: Packet) -> Ipv4:
    found = parse_ipv4(bytes(Ether() / packet))
    assert found is not None
    return found


def oracle(data: bytes) -> int:
    """RFC 1071 word by word."""
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


@given(st.binary(max_size=2000))
def test_checksum_is_that_of_rfc_1071(data: bytes) -> None:
    assert checksum(data) == oracle(data) == scapy_checksum(data)


@pytest.mark.parametrize("data", [b"", b"\0\0", b"\xff\xff", b"\xff\xff\xff\xff", b"\0\1\xff\xfe", b"\1"])
def test_checksum_at_its_edges(data: bytes) -> None:
    assert checksum(data) == oracle(data)


@given(st.binary(min_size=2, max_size=64), st.binary(min_size=4, max_size=4), st.binary(min_size=4, max_size=4))
def test_adjusted_checksum_is_the_new_one(rest: bytes, old: bytes, new: bytes) -> None:
    found = adjusted(checksum(old + rest), old, new)
    # Both stand for zero in one's complement; RFC 1624 section 3.
    assert found == checksum(new + rest) or {found, checksum(new + rest)} == {0, 0xFFFF}


def test_adjusting_keeps_a_wrong_checksum_wrong() -> None:
    right = checksum(b"abcdefgh")
    assert adjusted(right ^ 0x0101, b"abcd", b"wxyz") != checksum(b"wxyzefgh")


PAYLOADS = [
    pytest.param(TCP(sport=1, dport=2, seq=3, flags="S") / Raw(b"x" * 9), id="tcp"),
    pytest.param(UDP(sport=1, dport=2) / Raw(b"x" * 9), id="udp"),
    pytest.param(ICMP() / Raw(b"x" * 9), id="icmp"),
]


@pytest.mark.parametrize("payload", PAYLOADS)
@pytest.mark.parametrize("at", [SOURCE, DESTINATION])
@pytest.mark.parametrize("options", [[], [IPOption_NOP()] * 4], ids=["plain", "options"])
def test_readdressed_packet_has_right_checksums(payload: Packet, at: int, options: list[Packet]) -> None:
    addresses = {"src": "10.0.0.2", "dst": "192.0.2.80"}
    expected = addresses | {"src" if at == SOURCE else "dst": "100.64.0.1"}
    found = readdressed(bytes(IP(options=options, **addresses) / payload), at, "100.64.0.1")
    assert found == bytes(IP(options=options, **expected) / payload)


def test_readdressing_leaves_a_missing_udp_checksum_missing() -> None:
    found = readdressed(bytes(IP(src="10.0.0.2", dst="192.0.2.1") / UDP(chksum=0) / b"x"), SOURCE, "100.64.0.1")
    assert IP(found)[UDP].chksum == 0


def data_that_sums_to_zero(source: str) -> bytes:
    """Two bytes of payload with which the UDP checksum comes out as zero, which is sent as 0xffff (RFC 768)."""
    zeros = IP(bytes(IP(src=source, dst="192.0.2.1") / UDP(sport=1, dport=2) / bytes(2)))
    return int(zeros[UDP].chksum).to_bytes(2, "big")


def test_readdressing_never_makes_a_udp_checksum_look_missing() -> None:
    data = data_that_sums_to_zero("100.64.0.1")
    packet = IP(src="10.0.0.2", dst="192.0.2.1") / UDP(sport=1, dport=2) / data
    assert IP(readdressed(bytes(packet), SOURCE, "100.64.0.1"))[UDP].chksum == 0xFFFF


def test_udp_checksum_is_never_sent_as_missing() -> None:
    data = data_that_sums_to_zero("10.0.0.2")
    expected = IP(src="10.0.0.2", dst="192.0.2.1") / UDP(sport=1, dport=2) / data
    assert udp("10.0.0.2", "192.0.2.1", 1, 2, data) == bytes(expected)[20:]
    assert udp("10.0.0.2", "192.0.2.1", 1, 2, data)[6:8] == b"\xff\xff"


def test_readdressing_a_later_fragment_leaves_its_data_alone() -> None:
    packet = IP(src="10.0.0.2", dst="192.0.2.1", frag=5, proto=17) / Raw(bytes(range(40)))
    found = readdressed(bytes(packet), SOURCE, "100.64.0.1")
    assert found[20:] == bytes(packet)[20:]
    assert found == bytes(IP(src="100.64.0.1", dst="192.0.2.1", frag=5, proto=17) / Raw(bytes(range(40))))


@pytest.mark.parametrize("length", [0, 1, 19, 20, 23])
def test_readdressing_needs_a_whole_header(length: int) -> None:
    whole = bytes(IP(options=[IPOption_NOP()] * 4) / b"payload")
    with pytest.raises(ValueError, match="IPv4 header"):
        readdressed(whole[:length], SOURCE, "100.64.0.1")


@given(st.integers(68, 1500), st.binary(min_size=0, max_size=4000), st.booleans())
def test_fragments_fit_and_make_the_packet_again(mtu: int, data: bytes, more: bool) -> None:
    packet = IP(src="10.0.0.2", dst="192.0.2.1", id=77, tos=4, proto=99, flags="MF" if more else 0) / Raw(data)
    source = parsed(packet)
    parts = [IP(part) for part in fragments(source, mtu)]
    assert all(len(part) <= mtu and len(part) == part.len for part in parts)
    assert all(rebuilt(Ether() / part) == bytes(Ether() / part) for part in parts)
    assert all(part.len - 20 > 0 and (part.len - 20) % 8 == 0 for part in parts[:-1])
    assert [part.frag * 8 for part in parts] == [sum(p.len - 20 for p in parts[:n]) for n in range(len(parts))]
    assert [bool(part.flags.MF) for part in parts] == [True] * (len(parts) - 1) + [more]
    assert b"".join(bytes(part.payload) for part in parts) == data
    assert {(part.id, part.tos, part.src, part.dst, part.ttl) for part in parts} == {
        (77, 4, "10.0.0.2", "192.0.2.1", 64)
    }


def test_scapy_puts_the_fragments_together() -> None:
    packet = IP(src="10.0.0.2", dst="192.0.2.1", id=9) / UDP(sport=5, dport=6) / Raw(bytes(range(256)) * 10)
    (whole,) = defragment([IP(part) for part in fragments(parsed(packet), 576)])
    assert bytes(whole[UDP]) == bytes(IP(bytes(packet))[UDP])


def test_fragment_of_a_fragment_keeps_its_place() -> None:
    middle = parsed(IP(src="10.0.0.2", dst="192.0.2.1", id=9, frag=100, flags="MF") / Raw(bytes(1000)))
    parts = [IP(part) for part in fragments(middle, 500)]
    assert [part.frag for part in parts] == [100, 160, 220]
    assert all(part.flags.MF for part in parts)


def test_only_copied_options_are_in_later_fragments() -> None:
    options = [IPOption_RR(routers=["1.2.3.4"]), IPOption_LSRR(routers=["5.6.7.8"])]
    first, *later = (IP(p) for p in fragments(parsed(IP(options=options) / Raw(bytes(300))), 200))
    assert [type(option) for option in first.options[:2]] == [IPOption_RR, IPOption_LSRR]
    for part in later:
        assert [type(option) for option in part.options] == [IPOption_LSRR] + [type(o) for o in part.options[1:]]
        assert IPOption_RR not in [type(option) for option in part.options]
        assert rebuilt(Ether() / part) == bytes(Ether() / part)
    assert sum(len(part.payload) for part in (first, *later)) == 300


def test_packet_that_fits_stays_as_it_is() -> None:
    packet = parsed(IP(flags="DF") / Raw(bytes(80)))
    assert fragments(packet, 100) == [packet.datagram]


def test_nothing_comes_of_an_mtu_without_room() -> None:
    assert fragments(parsed(IP() / Raw(bytes(80))), 27) == []


def test_ethernet_padding_is_not_payload() -> None:
    frame = bytes(Ether() / IP() / UDP(sport=1, dport=2) / b"hi").ljust(60, b"\0")
    found = parse_ipv4(frame)
    assert found is not None
    assert parse_udp(found) == (1, 2, b"hi")


@pytest.mark.parametrize(
    "frame",
    [
        pytest.param(bytes(Ether() / IP() / b"payload")[:-1], id="cut off"),
        pytest.param(bytes(Ether() / IP(version=6)), id="version 6"),
        pytest.param(bytes(Ether() / IP(ihl=4)), id="header too short"),
        pytest.param(bytes(Ether() / IP(len=19)), id="length below the header's"),
        pytest.param(bytes(Ether(type=0x86DD) / IP()), id="another type"),
        pytest.param(bytes(Ether() / IP())[:33], id="header cut off"),
    ],
)
def test_malformed_packets_are_none(frame: bytes) -> None:
    assert parse_ipv4(frame) is None
