"""Additional addresses in what flows cannot do: who holds one is asked, and errors reach whoever does."""

from __future__ import annotations

from dataclasses import replace

import pytest
from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Packet, Raw
from services_world import ANNE, BOB, PRIVATE, ROUTER_MAC, SERVER, ask, from_machine, quoted, sent, with_network

from controller.features.additional_routed import UNRESOLVED, to_holder
from controller.features.switch import to_machine
from controller.packet_in import PacketInReply
from controller.pipeline.flow import Action, Resubmit, SetField
from controller.pipeline.match import Field
from controller.pipeline.registry import HOLDER, Table
from state.additional import AdditionalAddress, AllowedAddress

VIRTUAL, TRANSIT, MAC = "10.0.9.9", "100.64.9.9", "00:00:5e:00:01:33"
ADDRESS = AdditionalAddress(VIRTUAL, TRANSIT, 77)
LISTED = (AllowedAddress(VIRTUAL, MAC),)
NETWORK = replace(
    PRIVATE,
    machines=(replace(ANNE, allowed=LISTED), replace(BOB, allowed=LISTED), *PRIVATE.machines[2:]),
    additional=(ADDRESS,),
)
WORLD = with_network(NETWORK)
TO_HOLDER = (SetField(Field.METADATA, NETWORK.key), *to_holder(ADDRESS), Resubmit(Table.SWITCH))
BY_MAC = (SetField(Field.METADATA, NETWORK.key), Resubmit(Table.SWITCH))


def actions(reply: PacketInReply) -> tuple[Action, ...]:
    (out,) = reply.out
    return out.actions


def test_those_that_may_hold_an_address_are_asked_for_it() -> None:
    packet = Ether(src=ROUTER_MAC, dst=UNRESOLVED) / IP(src=SERVER, dst=VIRTUAL) / UDP()
    reply = ask(Table.SWITCH, NETWORK, packet, WORLD)
    (out,) = reply.out
    expected = Ether(src=ROUTER_MAC, dst="ff:ff:ff:ff:ff:ff") / ARP(
        op=1, hwsrc=ROUTER_MAC, psrc=NETWORK.router, hwdst=UNRESOLVED, pdst=VIRTUAL
    )
    assert (reply.what, out.frame) == ("holder-asked", bytes(expected))
    assert out.actions == (
        SetField(Field.METADATA, NETWORK.key), SetField(HOLDER, ADDRESS.number), Resubmit(Table.LISTERS),
    )  # fmt: skip


def test_nobody_is_asked_for_any_other_address() -> None:
    for target in ("10.0.9.10", ANNE.address, SERVER):
        packet = Ether(src=ROUTER_MAC, dst=UNRESOLVED) / IP(src=SERVER, dst=target) / UDP()
        assert ask(Table.SWITCH, NETWORK, packet, WORLD) == PacketInReply("unknown-address")
        assert ask(Table.SWITCH, PRIVATE, packet) == PacketInReply("unknown-address")
    assert ask(Table.SWITCH, NETWORK, bytes(20), WORLD) == PacketInReply("malformed")


@pytest.mark.parametrize(
    ("mac", "source", "way"),
    [
        (ANNE.mac, VIRTUAL, to_machine(ANNE, WORLD.site.ports)),
        (BOB.mac, VIRTUAL, to_machine(BOB, WORLD.site.ports)),
        (MAC, VIRTUAL, BY_MAC),
        (MAC, ANNE.address, BY_MAC),
    ],
)
def test_senders_are_answered_at_the_address_and_mac_they_have(mac: str, source: str, way: tuple[Action, ...]) -> None:
    packet = Ether(src=mac, dst=ROUTER_MAC) / IP(src=source, dst="10.0.77.77") / UDP()
    reply = ask(Table.DELIVER, NETWORK, packet, WORLD)
    told = sent(reply)
    assert (reply.what, told.dst, told[IP].dst) == ("host-unreachable", mac, source)
    assert actions(reply) == way


@pytest.mark.parametrize(
    ("mac", "source"),
    [(ANNE.mac, "10.0.9.10"), (MAC, "10.0.0.99"), ("02:00:00:00:99:99", VIRTUAL), (ANNE.mac, BOB.address)],
)
def test_nobody_else_is(mac: str, source: str) -> None:
    packet = Ether(src=mac, dst=ROUTER_MAC) / IP(src=source, dst="10.0.77.77") / UDP()
    assert ask(Table.DELIVER, NETWORK, packet, WORLD) == PacketInReply("unknown-sender")
    listed_by_none = Ether(src=ANNE.mac, dst=ROUTER_MAC) / IP(src=VIRTUAL, dst="10.0.77.77") / UDP()
    assert ask(Table.DELIVER, PRIVATE, listed_by_none) == PacketInReply("unknown-sender")


def test_an_error_for_an_address_reaches_its_holder() -> None:
    about = bytes(IP(src=TRANSIT, dst=SERVER) / UDP(sport=5, dport=6) / Raw(b"x"))
    message = IP(src=SERVER, dst=VIRTUAL) / ICMP(type=3, code=3) / Raw(about)
    error: Packet = Ether(src=ROUTER_MAC, dst=UNRESOLVED) / message
    reply = ask(Table.INBOUND_MTU, NETWORK, error, WORLD)
    told = sent(reply)
    assert (reply.what, told[IP].dst, told.src, told.dst) == ("icmp-error-in", VIRTUAL, ROUTER_MAC, UNRESOLVED)
    assert IP(quoted(told)).src == VIRTUAL
    assert actions(reply) == TO_HOLDER


def test_an_error_from_an_address_leaves_with_its_stand_in() -> None:
    error = IP(src=VIRTUAL, dst=SERVER) / ICMP(type=3, code=3) / IP(src=SERVER, dst=VIRTUAL) / UDP()
    reply = ask(Table.TRANSIT, NETWORK, from_machine(ANNE, error), WORLD)
    told = sent(reply)
    assert (reply.what, told[IP].src, IP(quoted(told)).dst) == ("icmp-error-out", TRANSIT, TRANSIT)


def test_a_packet_too_large_for_the_network_is_cut_for_the_holder_or_refused_in_its_name() -> None:
    large = Ether(src=ROUTER_MAC, dst=UNRESOLVED) / IP(src=SERVER, dst=VIRTUAL) / UDP() / Raw(bytes(1500))
    parts = ask(Table.INBOUND_FRAGMENTATION, NETWORK, large, WORLD)
    assert parts.what == "fragmented"
    assert {out.actions for out in parts.out} == {TO_HOLDER}
    large[IP].flags = "DF"
    told = sent(ask(Table.INBOUND_FRAGMENTATION, NETWORK, large, WORLD))
    assert (told[IP].src, told[IP].dst, IP(quoted(told)).dst) == (TRANSIT, SERVER, TRANSIT)
