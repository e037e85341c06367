"""No bytes at all make a service raise, or send anything but whole frames."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scapy.layers.dhcp import BOOTP, DHCP
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.l2 import Ether
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
    WORLD,
    arp_reply,
    from_machine,
)

from controller.packet_in import PacketIn, answer
from controller.packet_in.dhcp_message import decode
from controller.packet_in.packet import parse_ipv4
from controller.pipeline.registry import Table

TABLES = [table for table in Table if table.value.controller]
KEYS = st.sampled_from([0, ISOLATED.key, PRIVATE.key, 77])


def _dhcp(kind: str) -> Packet:
    options = [("message-type", kind), ("requested_addr", "10.0.0.2"), ("param_req_list", [1, 3, 6, 26]), "end"]
    message = BOOTP(chaddr=bytes.fromhex(ANNE.mac.replace(":", ""))) / DHCP(options=options)
    return from_machine(ANNE, IP(src="0.0.0.0", dst="255.255.255.255") / UDP(sport=68, dport=67) / message)


QUOTE = UDP(sport=1, dport=2) / Raw(bytes(20))
SEEDS = [
    bytes(packet)
    for packet in (
        *(_dhcp(kind) for kind in ("discover", "request", "inform")),
        arp_reply(),
        from_machine(ANNE, IP(src=ANNE.address, dst="10.0.0.1") / TCP(flags="S") / Raw(bytes(40))),
        from_machine(ANNE, IP(src=ANNE.address, dst=SERVER, flags="DF") / UDP() / Raw(bytes(1372))),
        from_machine(ANNE, IP(src=ANNE.address, dst=SERVER) / UDP() / Raw(bytes(1372))),
        from_machine(ANNE, IP(src=ANNE.address, dst=SERVER) / ICMP(type=3) / IP(src=SERVER, dst=ANNE.address) / QUOTE),
        from_machine(ALONE, IP(src=ALONE.address, dst="172.16.0.1") / UDP() / Raw(bytes(9))),
        Ether(src=ROUTER_MAC, dst=ANNE.mac) / IP(src=SERVER, dst=ANNE.address) / ICMP(type=11)
        / IP(src=ANNE.transit, dst=SERVER) / QUOTE,
        Ether(src=ROUTER_MAC, dst=ANNE.mac) / IP(src=SERVER, dst=ANNE.address, flags="DF") / UDP() / Raw(bytes(1500)),
        Ether(src=NEXT_HOP_MAC, dst=GATEWAY_MAC) / IP(src=SERVER, dst="198.51.100.1", ttl=1) / UDP(),
    )
]  # fmt: skip


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A good frame with some bytes changed and perhaps its end cut off or continued."""
    frame = bytearray(draw(st.sampled_from(SEEDS)))
    # The headers are where it matters; a change anywhere in 1,400 zeros would rarely meet them.
    for _ in range(draw(st.integers(0, 4))):
        frame[draw(st.integers(0, min(len(frame), 120) - 1))] = draw(st.integers(0, 255))
    return bytes(frame[: draw(st.integers(0, len(frame)))] if draw(st.booleans()) else frame) + draw(
        st.binary(max_size=8)
    )


def check(table: Table, key: int, frame: bytes) -> None:
    reply = answer(PacketIn(table, key, 20, frame), WORLD)
    assert reply.what
    for out in reply.out:
        parsed = parse_ipv4(out.frame)
        assert parsed is not None
        assert len(parsed.datagram) == len(out.frame) - 14
        assert out.actions


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.title)
@given(key=KEYS, frame=st.binary(max_size=700))
@settings(max_examples=100, deadline=None)
@example(key=0, frame=b"")
def test_any_bytes(table: Table, key: int, frame: bytes) -> None:
    check(table, key, frame)


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.title)
@given(key=KEYS, frame=damaged())
@settings(max_examples=300, deadline=None)
def test_damaged_packets(table: Table, key: int, frame: bytes) -> None:
    check(table, key, frame)


@given(st.binary(max_size=400).map(lambda options: bytes(_dhcp("discover")[BOOTP])[:240] + options))
@settings(max_examples=500, deadline=None)
def test_any_dhcp_options(payload: bytes) -> None:
    message = decode(payload)
    assert message is None or message.mac == ANNE.mac
