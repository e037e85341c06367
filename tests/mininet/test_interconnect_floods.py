"""A link that is flooded: packets for its leg, as many as somebody can send; others go on."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest
from frames import EVERYBODY
from interconnect_world import World, interconnect_world, reaches
from packets import Wire
from pinging import pinging
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Packet, Raw
from supervisor import await_condition

from state.interconnect import INTERCONNECT_MAC

__all__ = ["interconnect_world"]

# BFD of 3 x 100 ms misses its time when others need the cores.
pytestmark = pytest.mark.alone

SAID_SECONDS = 10.0
FLOOD_SECONDS = 2.0
NAME = "till-1"


@pytest.fixture(autouse=True)
def others_go_on(interconnect_world: World) -> Iterator[None]:
    """While the second tenant's site floods its link, others go on.

    Sender, daemons and the one thread of the datapath share two cores here: BFD
    of 3 x 100 ms may miss its time, and the other interconnect takes over.
    """
    interconnect_world.await_whole()
    one, calls = interconnect_world.one, interconnect_world.interconnects
    with pinging(one.machine, one.pc_address) as going:
        yield
    calls.seconds_until_established(*(name for name in interconnect_world.names if name != NAME))
    assert going()[1] < 1


def flood(wire: Wire, frames: list[bytes], seconds: float) -> int:
    """Send frames, over and over, as fast as this process can; how many."""
    sent, deadline = 0, time.monotonic() + seconds
    while time.monotonic() < deadline:
        for frame in frames:
            wire.send(frame)
        sent += len(frames)
    return sent


def arp_flood(world: World) -> list[bytes]:
    """Questions of ever new neighbours for the link address."""
    link = world.two.links[NAME]
    frames = []
    for number in range(250):
        mac = f"02:00:00:77:00:{number:02x}"
        question = ARP(op=1, hwsrc=mac, psrc=f"169.254.101.{number + 4}", pdst=link.peer)
        frames.append(bytes(Ether(src=mac, dst=EVERYBODY) / question))
    return frames


def datagram_flood(world: World, port: int) -> list[bytes]:
    link = world.two.links[NAME]
    mac = world.two.router.intf(link.interface).MAC()
    header: Packet = Ether(src=mac, dst=INTERCONNECT_MAC) / IP(src=link.ip, dst=link.peer, ttl=255)
    return [bytes(header / UDP(sport=49152 + number, dport=port) / Raw(bytes(400))) for number in range(100)]


@pytest.mark.parametrize(
    "make",
    [arp_flood, lambda world: datagram_flood(world, 9), lambda world: datagram_flood(world, 3784)],
    ids=["arp", "udp", "bfd"],
)
def test_floods_of_the_link_harm_nobody_else(interconnect_world: World, make: Callable[[World], list[bytes]]) -> None:
    """Its own session may suffer; it is back afterwards."""
    world = interconnect_world
    link = world.two.links[NAME]
    with Wire(world.two.router.pid, link.interface) as wire:
        assert flood(wire, make(world), FLOOD_SECONDS) > 1000
    world.interconnects.seconds_until_established(NAME)
    await_condition(lambda: reaches(world.two), "reached", SAID_SECONDS)
