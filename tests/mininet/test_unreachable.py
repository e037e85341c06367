"""Where no machine may go: it is told so, and nothing of it arrives anywhere."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from frames import (
    GATEWAY,
    answers_for,
    carries,
    counted,
    datagram,
    heard_so_far,
    internet_heard_so_far,
    is_error,
    new_mark,
    question,
    routed,
)
from machines import MANAGEMENT, SERVERS, Machine
from packets import Wire
from sandbox import Sandbox
from sandboxes import Tenants
from scapy.layers.inet import ICMP, IP, UDP, IPerror
from scapy.layers.l2 import Ether
from scapy.packet import Raw
from supervisor import await_condition

from agent.config.sections import DEFAULTS

SERVER = SERVERS[0]
NETWORK, HOST, PROHIBITED = 0, 1, 13


@dataclass(frozen=True)
class World:
    """A machine alone and one with a neighbour, and somebody else's machines."""

    lone: Machine
    pc: Machine
    neighbour: Machine
    others: tuple[Machine, ...]


@pytest.fixture(scope="module")
def world(sandbox: Sandbox) -> Iterator[World]:
    maker = Tenants(sandbox)
    try:
        pc, neighbour = maker.private(2)
        yield World(maker.isolated(), pc, neighbour, (maker.isolated(), *maker.private(1)))
    finally:
        maker.close()


# The storage network, and what machines are there.
STORAGE = ("10.250.0.1", "10.250.0.2", "100.64.0.1")
BEYOND_THE_INTERNET = [
    *("10.251.0.1", "127.0.0.1", "169.254.169.254", "172.31.0.1", "192.168.1.1", "0.1.2.3"),
]


def refused(sandbox: Sandbox, machine: Machine, to: str, code: int) -> None:
    """The machine is told `code`, in the router's name, and nothing reaches the Internet."""
    assert machine.lease is not None
    mark = new_mark()
    with Wire(machine.pid) as wire, Wire(sandbox.internet.pid) as outside:
        told = wire.exchange(datagram(machine, to, mark), is_error(3, code, to))
        assert told is not None, f"nobody told that {to} is unreachable with code {code}"
        assert (told[IP].src, told[IP].dst) == (machine.lease.router, machine.address)
        assert (told[IPerror].src, told[IPerror].dst) == (machine.address, to)
        assert not [frame for frame in internet_heard_so_far(outside) if mark in bytes(frame)]


def test_the_internet_is_reachable(sandbox: Sandbox, world: World) -> None:
    for machine in (world.lone, world.pc):
        mark = new_mark()
        with Wire(machine.pid) as wire, Wire(sandbox.internet.pid) as outside:
            wire.send(datagram(machine, SERVER, mark))
            assert outside.receive(carries(mark)) is not None


@pytest.mark.parametrize("to", BEYOND_THE_INTERNET)
def test_addresses_that_are_not_in_the_internet(sandbox: Sandbox, world: World, to: str) -> None:
    for machine in (world.lone, world.pc):
        refused(sandbox, machine, to, NETWORK if not _inside(machine, to) else HOST)


def test_other_networks_addresses(sandbox: Sandbox, world: World) -> None:
    for machine in (world.lone, world.pc):
        for other in world.others:
            assert other.lease is not None
            for to in (other.address, other.lease.router):
                with Wire(other.pid) as wire:
                    mark = new_mark()
                    refused(sandbox, machine, to, NETWORK)
                    with Wire(machine.pid) as ours:
                        ours.send(datagram(machine, to, mark, port=7))
                    assert not [frame for frame in heard_so_far(wire, other) if mark in bytes(frame)]


@pytest.mark.parametrize("to", [MANAGEMENT, "192.0.2.77", GATEWAY, "203.0.113.64", "203.0.113.79", *STORAGE])
def test_the_appliances_own_and_protected_addresses(sandbox: Sandbox, world: World, to: str) -> None:
    for machine in (world.lone, world.pc):
        refused(sandbox, machine, to, PROHIBITED)


def test_a_host_that_is_not_in_the_own_prefix(sandbox: Sandbox, world: World) -> None:
    nobody = world.pc.address.rsplit(".", 2)[0] + ".200.200"
    refused(sandbox, world.pc, nobody, HOST)
    # ARP for it finds nobody either, and the neighbour is not asked.
    with Wire(world.pc.pid) as wire, Wire(world.neighbour.pid) as theirs:
        with counted(sandbox, Tenants(sandbox).network_of(world.pc).key, "arp-unknown", 3):
            for _ in range(3):
                wire.send(question(world.pc.mac, world.pc.address, nobody))
        assert not [frame for frame in heard_so_far(wire, world.pc) if answers_for(nobody)(frame)]
        assert not [frame for frame in heard_so_far(theirs, world.neighbour) if frame.src == world.pc.mac]


@pytest.mark.parametrize("to", ["224.0.0.9", "239.1.2.3", "255.255.255.255", "240.0.0.1"])
def test_groups_and_reserved_addresses_go_nowhere_in_silence_or_not(sandbox: Sandbox, world: World, to: str) -> None:
    for machine in (world.lone, world.pc):
        mark = new_mark()
        with Wire(machine.pid) as wire, Wire(sandbox.internet.pid) as outside:
            wire.send(datagram(machine, to, mark))
            # A host beyond the pools is told about, so errors up to here have come when that one has.
            last = wire.exchange(datagram(machine, "192.168.9.9", new_mark()), lambda _: True)
            assert last is not None
            told = is_error(3, NETWORK, to)(last)
            assert told == (to == "240.0.0.1")
            assert not [frame for frame in internet_heard_so_far(outside) if mark in bytes(frame)]


def test_no_error_about_an_error(sandbox: Sandbox, world: World) -> None:
    machine, mark = world.lone, new_mark()
    about = IP(src="192.168.1.1", dst=machine.address) / UDP(sport=1, dport=2) / Raw(mark)
    with Wire(machine.pid) as wire:
        wire.send(routed(machine, "192.168.1.1") / ICMP(type=3, code=3) / about)
        last = new_mark()
        wire.send(datagram(machine, "192.168.1.2", last))
        heard: list[bytes] = []
        assert wire.receive(lambda frame: heard.append(bytes(frame)) or carries(last)(frame)) is not None
    assert not [one for one in heard if mark in one]


def test_what_is_refused_is_counted_even_when_nobody_is_told_any_more(sandbox: Sandbox, tenants: Tenants) -> None:
    machine, sent = tenants.isolated(), 60
    with Wire(machine.pid) as wire:
        for _ in range(sent):
            wire.send(datagram(machine, "192.168.1.1", new_mark()))
        answers = 0
        while wire.receive(is_error(3, NETWORK), 0.3) is not None:
            answers += 1
    assert 20 <= answers < sent
    await_condition(lambda: tenants.drops(machine)["icmp-error-rate"] == sent - answers, "the rest is counted", 5)


def _inside(machine: Machine, to: str) -> bool:
    return (
        machine.lease is not None
        and machine.lease.prefix_length == 16
        and to.startswith(machine.address.rsplit(".", 2)[0] + ".")
    )


def sent_up(sandbox: Sandbox) -> float:
    """How many packets the controller has been given so far; next hops are asked all the time."""
    found = sandbox.appliance.metrics("controller")
    return sum(
        value for name, value in found.items() if name.startswith("sluice_packet_ins_total") and "gateway" not in name
    )


@pytest.mark.alone
def test_a_scan_reaches_the_controller_at_a_rate(sandbox: Sandbox, tenants: Tenants) -> None:
    """Probes, questions, MACs and destinations that nobody has, a second's worth of a thousand."""
    pc, _ = tenants.private(2)
    assert pc.lease is not None
    key = tenants.network_of(pc).key
    nobody = [f"10.{pc.address.split('.')[1]}.200.{last}" for last in range(1, 101)]
    frames = [routed(pc, address) / UDP(dport=9) for address in nobody]
    frames += [routed(pc, address, ttl=ttl) / UDP(dport=9) for address in nobody for ttl in (0, 1)]
    frames += [question(pc.mac, pc.address, address) for address in nobody]
    frames += [question(pc.mac, "0.0.0.0", address) for address in nobody]
    frames += [Ether(src=pc.mac, dst=f"02:00:00:99:00:{n:02x}") / IP(src=pc.address, dst=nobody[n]) for n in range(100)]
    before, refused, began = sent_up(sandbox), sandbox.drops(key), time.monotonic()
    with Wire(pc.pid) as wire:
        for frame in frames:
            wire.send(frame)
        heard_so_far(wire, pc)
    await_condition(lambda: sandbox.drops(key)["arp-unknown"] - refused.get("arp-unknown", 0) >= 100, "counted", 5)
    rate = DEFAULTS.icmp_error_rate
    assert 0 < sent_up(sandbox) - before <= rate + rate * (time.monotonic() - began) + 1
    assert sandbox.drops(key)["unknown-mac"] - refused.get("unknown-mac", 0) == 100
    assert sandbox.drops(key)["icmp-error-rate"] > refused.get("icmp-error-rate", 0)
