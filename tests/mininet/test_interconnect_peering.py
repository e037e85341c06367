"""Peering: another network of the Internet reaches what has a public address, by the interconnect, and nothing else."""

from __future__ import annotations

import pytest
from echoes import echoes
from frames import carries, new_mark, routed
from gateway_watch import watched
from interconnect_world import (
    PREFIX,
    SITE_PREFIX,
    World,
    arriving,
    interconnect_world,
)
from packets import Wire
from probes import ask_tcp, ask_udp
from responders import ECHO_PORT
from sandbox import Sandbox
from sandboxes import Tenants
from scapy.layers.inet import UDP
from scapy.layers.l2 import Ether
from scapy.packet import Raw

__all__ = ["interconnect_world"]

# BFD of 3 x 100 ms misses its time when others need the cores.
pytestmark = pytest.mark.alone


def test_peering_reaches_what_has_a_public_address_and_nothing_else(
    sandbox: Sandbox, interconnect_world: World, tenants: Tenants
) -> None:
    peer = interconnect_world.peer
    machine, other = tenants.isolated(), tenants.isolated()
    address = tenants.public_address(machine).address
    assert echoes(peer.host, address) == {machine.name, "ping"}
    seen = ask_tcp(machine.pid, [peer.address], port=4711)[peer.address]
    assert (seen.name, seen.address, seen.port) == ("peer", address, 4711)
    # Who has none is seen as one of the shared addresses, and not reached.
    shared = ask_udp(other.pid, [peer.address])[peer.address]
    assert shared.address == "203.0.113.64"
    strangers = [shared.address, "203.0.113.111", other.address, "10.250.0.10", interconnect_world.peer_link.peer]
    for target in strangers[:-1]:
        assert echoes(peer.host, target, 0.3) == set(), target
    assert ask_udp(peer.host.pid, [strangers[-1]], 0.3) == {}


def test_peering_goes_by_the_interconnect_and_not_by_the_gateway(
    sandbox: Sandbox, interconnect_world: World, tenants: Tenants
) -> None:
    peer = interconnect_world.peer
    machine = tenants.isolated()
    with watched(sandbox, f"ip and net {peer.prefix}") as watch, Wire(peer.router.pid, "link1") as wire:
        mark = new_mark()
        with Wire(machine.pid) as out:
            out.send(routed(machine, peer.address) / UDP(sport=700, dport=ECHO_PORT) / Raw(mark))
        assert wire.receive(carries(mark), 2.0) is not None
        assert ask_tcp(machine.pid, [peer.address])
        watch.nothing()


def test_peering_lets_only_public_sources_in(sandbox: Sandbox, interconnect_world: World, tenants: Tenants) -> None:
    peer = interconnect_world.peer
    machine = tenants.isolated()
    address = tenants.public_address(machine).address
    bad, good = new_mark(), new_mark()
    mac = peer.router.intf("link1").MAC()
    with Wire(machine.pid) as wire, Wire(peer.router.pid, "link1") as out:
        for source in ("10.9.0.2", "192.168.50.10", "172.16.0.1", "100.64.0.1", "203.0.113.64", "203.0.113.97",
                       "127.0.0.1", "169.254.103.2", "224.0.0.1", machine.address):  # fmt: skip
            frame = arriving(source, address, bad)
            frame[Ether].src = mac
            out.send(frame)
        frame = arriving(peer.address, address, good)
        frame[Ether].src = mac
        out.send(frame)
        first = wire.receive(lambda frame: bad in bytes(frame) or good in bytes(frame), 2.0)
    assert first is not None
    assert good in bytes(first)


def test_offices_do_not_reach_each_other_by_a_peering(interconnect_world: World) -> None:
    """Not even where their addresses are told to be beyond the other link."""
    peer = interconnect_world.peer
    for target in (SITE_PREFIX, PREFIX):
        peer.router.run("ip", "route", "replace", target, "via", interconnect_world.peer_link.peer)
    try:
        for target in (interconnect_world.one.machine.address, interconnect_world.one.pc_address):
            assert echoes(peer.host, target, 0.3) == set()
    finally:
        for target in (SITE_PREFIX, PREFIX):
            peer.router.run("ip", "route", "del", target)
