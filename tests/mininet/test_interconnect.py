"""Interconnects: who reaches whom through them, two tenants at once with all prefixes and links the same, who not."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from echoes import echoes
from fileserver import SHARE, FileServer
from frames import EVERYBODY, carries, counted, is_error, new_mark, routed
from gateway_watch import watched
from interconnect_world import (
    INNER,
    SITE_PREFIX,
    Tenancy,
    World,
    arriving,
    from_peer,
    interconnect_world,
)
from machines import SERVERS
from namespaces import open_socket
from packets import Wire
from probes import ask_tcp, ping
from responders import ECHO_PORT
from sandbox import Sandbox
from scapy.layers.inet import UDP
from scapy.packet import Raw
from supervisor import await_condition
from throughput import Flow, Run

from sluice.v1.usage_pb2 import Usage

__all__ = ["interconnect_world"]

# BFD of 3 x 100 ms misses its time when others need the cores.
pytestmark = pytest.mark.alone

CLIENTS = "100.64."


def test_office_and_machines_reach_each_other(sandbox: Sandbox, interconnect_world: World) -> None:
    one, two = interconnect_world.both
    assert [m.address for m in one.machines] == [m.address for m in two.machines]
    assert one.pc_address == two.pc_address
    with watched(sandbox, INNER) as watch:
        for tenancy in interconnect_world.both:
            for machine in tenancy.machines:
                assert echoes(tenancy.pc, machine.address) == {machine.name, "ping"}
                assert echoes(machine, tenancy.pc_address) == {tenancy.pc.name, "ping"}
        watch.nothing()


def test_addresses_are_not_translated(interconnect_world: World) -> None:
    for tenancy in interconnect_world.both:
        machine = tenancy.machines[1]
        seen = ask_tcp(tenancy.pc.pid, [machine.address], port=4711)[machine.address]
        assert (seen.address, seen.port) == (tenancy.pc_address, 4711)
        seen = ask_tcp(machine.pid, [tenancy.pc_address], port=4712)[tenancy.pc_address]
        assert (seen.address, seen.port) == (machine.address, 4712)


def test_drives_from_the_office(interconnect_world: World) -> None:
    clients = set()
    for tenancy in interconnect_world.both:
        drive = tenancy.drive
        assert echoes(tenancy.pc, drive.address) == {drive.name, "ping"}
        clients.add(ask_tcp(tenancy.pc.pid, [drive.address])[drive.address].address)
    # To the storage network the site of each network is a client of its own.
    assert len(clients) == 2
    assert all(client.startswith(CLIENTS) for client in clients)
    one = interconnect_world.one
    with FileServer(one.drive) as server:
        (server.directory / "readme").write_text("for the whole company")
        url = f"nfs://{one.drive.address}/{SHARE}/readme?version=4"
        assert one.pc.run("nfs-cat", url).strip() == "for the whole company"
        one.pc.run("smbclient", "-N", f"//{one.drive.address}/{SHARE}", "-c", "put /etc/hostname from-office")
        assert (server.directory / "from-office").exists()


def test_drives_do_not_open_connections_to_the_office(interconnect_world: World) -> None:
    one = interconnect_world.one
    client = ask_tcp(one.pc.pid, [one.drive.address])[one.drive.address].address
    one.drive.run("ip", "route", "add", SITE_PREFIX, "via", "10.250.0.2")
    try:
        for target in (client, one.pc_address):
            assert echoes(one.drive, target, 0.3) == set()
    finally:
        one.drive.run("ip", "route", "del", SITE_PREFIX)


@pytest.fixture
def everything_by_the_link(interconnect_world: World) -> Iterator[None]:
    """The router of the first tenant sends all that its LAN says to the appliance."""
    router, link = interconnect_world.one.router, interconnect_world.one.links["files-1"]
    router.run("ip", "route", "replace", "table", "219", "default", "via", link.peer, "dev", link.interface)
    router.run("ip", "rule", "add", "iif", "lan", "lookup", "219", "priority", "10")
    yield
    router.run("ip", "rule", "del", "priority", "10")


@pytest.mark.usefixtures("everything_by_the_link")
def test_what_the_office_does_not_reach(sandbox: Sandbox, interconnect_world: World) -> None:
    one, two = interconnect_world.both
    strangers = [interconnect_world.alone.address, two.drive.address, "10.250.0.2", "203.0.113.2", "203.0.113.64",
                 "172.16.0.1", SERVERS[0], interconnect_world.peer.address]  # fmt: skip
    links = [link.peer for link in (*one.links.values(), interconnect_world.peer_link)]
    for target in (*strangers, *links):
        assert echoes(one.pc, target, 0.3) == set(), target
    assert echoes(one.pc, one.machine.address) == {one.machine.name, "ping"}


def test_who_does_not_reach_the_office(interconnect_world: World) -> None:
    alone, target = interconnect_world.alone, interconnect_world.one.pc_address
    mark = new_mark()
    with Wire(alone.pid) as wire:
        told = wire.exchange(routed(alone, target) / UDP(sport=700, dport=ECHO_PORT) / Raw(mark), carries(mark))
    assert told is not None
    assert is_error(3, 0, target)(told)
    assert echoes(alone, target, 0.3) == set()


def test_the_routers_address_offers_the_office_nothing(interconnect_world: World) -> None:
    pc, router = interconnect_world.one.pc, "10.9.0.1"
    assert ping(pc.pid, [router], 0.3) == set()
    for port in (53, 179, 22):
        with open_socket(pc.pid, socket.AF_INET, socket.SOCK_STREAM) as client:
            client.settimeout(0.2)
            assert client.connect_ex((router, port)) != 0


def test_a_peer_reaches_only_its_own_network_and_only_with_its_own_sources(
    sandbox: Sandbox, interconnect_world: World
) -> None:
    one, two = interconnect_world.both
    bad, good = new_mark(), new_mark()
    machine = one.machine.address
    link = one.links["files-1"]
    with Wire(one.machine.pid) as wire, Wire(two.machine.pid) as foreign, Wire(interconnect_world.alone.pid) as alone:
        for source in ("192.168.128.1", SERVERS[0], "10.9.0.3", machine, "172.16.0.2", "10.250.0.10", "10.9.0.1",
                       link.peer, "203.0.113.64", "127.0.0.1", "0.0.0.0", "255.255.255.255"):  # fmt: skip
            from_peer(one, arriving(source, machine, bad), "files-1")
        for target in (interconnect_world.alone.address, SERVERS[0], "203.0.113.2", two.drive.address, "10.9.0.99",
                       "255.255.255.255", "224.0.0.5"):  # fmt: skip
            from_peer(one, arriving("192.168.50.10", target, bad), "files-1")
        for destination in (EVERYBODY, "01:00:5e:00:00:05", one.machine.mac, "02:00:00:00:ff:01"):
            from_peer(one, arriving("192.168.50.10", machine, bad, destination), "files-1")
        from_peer(one, arriving("192.168.50.10", machine, good), "files-1")
        first = wire.receive(lambda frame: bad in bytes(frame) or good in bytes(frame), 2.0)
        assert first is not None
        assert good in bytes(first)
        for stranger in (foreign, alone):
            assert stranger.receive(carries(bad), 0.05) is None


def test_sources_that_are_not_the_peers_are_counted(sandbox: Sandbox, interconnect_world: World) -> None:
    one = interconnect_world.one
    with counted(sandbox, one.key, "interconnect-source", 3):
        for _ in range(3):
            from_peer(one, arriving("192.168.128.1", one.machine.address, b"x"), "files-1")


def test_where_packets_end_on_the_way(interconnect_world: World) -> None:
    one = interconnect_world.one
    trace = ("traceroute", "-n", "-q", "2", "-w", "1", "-m", "6")
    hops = [line.split()[1] for line in one.pc.run(*trace, one.machine.address).splitlines()[1:]]
    links = {link.peer for link in one.links.values()}
    assert hops[0] == one.customer.site.router_address
    assert hops[1] in links
    assert hops[2:] == [one.machine.address]
    hops = [line.split()[1] for line in one.machine.run(*trace, one.pc_address).splitlines()[1:]]
    assert hops[0] == "10.9.0.1"
    assert hops[-1] == one.pc_address
    assert len(hops) == 3


@pytest.mark.parametrize("name", ["one", "two"])
def test_usage_is_counted(sandbox: Sandbox, interconnect_world: World, name: str) -> None:
    tenancy: Tenancy = getattr(interconnect_world, name)
    before = sandbox.usage(f"networks/{tenancy.network}")
    tenancy.machine.run("ping", "-n", "-q", "-c", "30", "-i", "0.02", tenancy.pc_address)
    await_condition(lambda: min(_used(sandbox, tenancy, before)) >= 30, "counted", 15)
    after = sandbox.usage(f"networks/{tenancy.network}")
    assert after.public == before.public


def _used(sandbox: Sandbox, tenancy: Tenancy, before: Usage) -> tuple[int, int]:
    now, then = sandbox.usage(f"networks/{tenancy.network}").interconnect, before.interconnect
    return now.packets_out - then.packets_out, now.packets_in - then.packets_in


@pytest.mark.parametrize("back", [False, True], ids=["out", "in"])
def test_an_interconnect_is_held_to_its_rate(interconnect_world: World, back: bool) -> None:
    two, calls = interconnect_world.two, interconnect_world.interconnects
    flow = Flow(back=back, seconds=2)
    calls.change("till-1", {"rate_kbps": 10_000})
    try:
        held = Run(two.machine, two.pc, two.pc_address, flow).rate()
    finally:
        calls.change("till-1", {"rate_kbps": 0})
    assert held == pytest.approx(10, rel=0.2)
    await_condition(lambda: Run(two.machine, two.pc, two.pc_address, flow).rate() > 30, "limited no more", 20)
