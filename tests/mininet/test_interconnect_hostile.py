"""Peers that do harm: floods, flaps, routes that are not theirs. They are held off and it is said; others go on."""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from echoes import echoes
from frames import counted, is_error, new_mark
from interconnect_world import (
    ACCEPT,
    LINK,
    PREFIX,
    SITE_PREFIX,
    World,
    from_peer,
    interconnect_world,
    link_of,
    reaches,
    remote_flows,
)
from machines import SERVERS
from packets import Wire
from pinging import pinging
from sandbox import Sandbox
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw
from supervisor import await_condition

from sluice.v1.interconnect_pb2 import InterconnectSession
from state.interconnect import INTERCONNECT_MAC

__all__ = ["interconnect_world"]

# BFD of 3 x 100 ms misses its time when others need the cores.
pytestmark = pytest.mark.alone

SAID_SECONDS = 10.0
FLOOD_SECONDS = 2.0
NAME = "till-1"


@pytest.fixture(autouse=True)
def unharmed(interconnect_world: World) -> Iterator[None]:
    """While the second tenant's site does harm, the first one's pings go on, and all other sessions."""
    one, calls = interconnect_world.one, interconnect_world.interconnects
    others = [name for name in interconnect_world.names if name != NAME]
    flaps = [calls.session(name).flaps for name in others]
    with pinging(one.machine, one.pc_address) as going:
        yield
    calls.seconds_until_established(*others)
    assert [calls.session(name).flaps for name in others] == flaps
    assert going()[0] == 0


@pytest.fixture
def renewed(interconnect_world: World) -> Iterator[None]:
    """The second tenant's interconnect is made anew afterwards: whatever was held against its peer is forgotten."""
    yield
    interconnect_world.renew(NAME)
    interconnect_world.await_whole()


def many(count: int, first: str = "192.168.64.0", length: int = 30) -> list[str]:
    """`count` neighbouring prefixes."""
    start, step = int(ipaddress.IPv4Address(first)), 1 << 32 - length
    return [f"{ipaddress.IPv4Address(start + step * number)}/{length}" for number in range(count)]


@contextmanager
def announced(world: World, *prefixes: str) -> Iterator[None]:
    """The second tenant's site announces more prefixes while the block runs."""
    world.two.customer.announce(*prefixes)
    try:
        yield
    finally:
        world.two.customer.withdraw(*prefixes)


def await_held(world: World, words: str) -> InterconnectSession:
    """Wait until the session is held, for a reason with `words` in it; what is said of it."""
    calls = world.interconnects
    await_condition(lambda: calls.session(NAME).state == InterconnectSession.SESSION_HELD, "held", SAID_SECONDS)
    session = calls.session(NAME)
    assert words in session.detail
    return session


def test_who_is_told_of_a_ttl_that_ended(sandbox: Sandbox, interconnect_world: World) -> None:
    two = interconnect_world.two
    link, mark = two.links[NAME], new_mark()

    def expiring(source: str) -> Packet:
        return Ether(dst=INTERCONNECT_MAC) / IP(src=source, dst=two.machine.address, ttl=1) / UDP(dport=9) / Raw(mark)

    with Wire(two.router.pid, "link1") as wire:
        with counted(sandbox, two.key, "time-exceeded", 1):
            from_peer(two, expiring(two.pc_address), NAME)
        told = wire.receive(is_error(11, 0, two.machine.address), 2.0)
        assert told is not None
        assert (told[IP].src, told[IP].dst) == (link.peer, two.pc_address)
        # Nobody is told in the name of somebody else.
        with counted(sandbox, two.key, "interconnect-source", 3):
            for source in (SERVERS[0], two.machine.address, "192.168.128.1"):
                from_peer(two, expiring(source), NAME)
        assert wire.receive(is_error(11, 0), 0.2) is None
    # A flood is answered at the network's rate, and is its own matter.
    before = sandbox.drops(two.key).get("icmp-error-rate", 0)
    for _ in range(200):
        from_peer(two, expiring(two.pc_address), NAME)
    await_condition(lambda: sandbox.drops(two.key).get("icmp-error-rate", 0) > before, "over the rate", 5)


@pytest.mark.usefixtures("renewed")
def test_a_flood_of_prefixes_closes_the_session_and_is_said(sandbox: Sandbox, interconnect_world: World) -> None:
    world, two = interconnect_world, interconnect_world.two
    world.interconnects.change(NAME, {"maximum_prefixes": 50})
    world.interconnects.seconds_until_established(NAME)
    with announced(world, *many(2000)):
        session = await_held(world, "50")
        assert session.accepted_prefixes == 0
        await_condition(lambda: SITE_PREFIX not in remote_flows(sandbox, two.key), "no flows", 5)
        assert len(remote_flows(sandbox, two.key)) <= 2
        # It is not tried again at once.
        time.sleep(2)
        assert world.interconnects.session(NAME).state == InterconnectSession.SESSION_HELD


def test_as_many_prefixes_as_are_allowed_are_no_flood(sandbox: Sandbox, interconnect_world: World) -> None:
    world = interconnect_world
    with announced(world, *many(99)):
        await_condition(lambda: world.interconnects.session(NAME).accepted_prefixes == 100, "accepted", SAID_SECONDS)
        assert world.interconnects.established(NAME)
        assert reaches(world.two)
    await_condition(lambda: world.interconnects.session(NAME).received_prefixes == 1, "withdrawn", SAID_SECONDS)


@pytest.mark.usefixtures("renewed")
def test_a_session_that_flaps_is_held(interconnect_world: World) -> None:
    world, customer = interconnect_world, interconnect_world.two.customer
    before = world.interconnects.session(NAME).flaps
    for _ in range(5):
        customer.shut("link1")
        await_condition(lambda: not world.interconnects.established(NAME), "down", SAID_SECONDS)
        customer.shut("link1", shut=False)
        if world.interconnects.session(NAME).state == InterconnectSession.SESSION_HELD:
            break
        await_condition(
            lambda: (
                world.interconnects.session(NAME).state
                in (InterconnectSession.SESSION_ESTABLISHED, InterconnectSession.SESSION_HELD)
            ),
            "up again",
            SAID_SECONDS,
        )
    session = await_held(world, "")
    assert session.detail
    assert session.flaps > before
    time.sleep(2)
    assert world.interconnects.session(NAME).state == InterconnectSession.SESSION_HELD


@pytest.mark.usefixtures("renewed")
def test_a_prefix_that_flaps_is_damped_and_the_others_are_not(sandbox: Sandbox, interconnect_world: World) -> None:
    world, two = interconnect_world, interconnect_world.two
    flapping = "192.168.70.0/24"

    def has_flow() -> bool:
        return flapping in remote_flows(sandbox, two.key)

    def damped() -> bool:
        return "damped" in world.interconnects.refusals(NAME).get(flapping, "")

    for _ in range(16):
        with announced(world, flapping):
            await_condition(lambda: has_flow() or damped(), "seen", SAID_SECONDS)
            if damped():
                break
        await_condition(lambda: not has_flow(), "gone", SAID_SECONDS)
    with announced(world, flapping):
        await_condition(damped, "damped", SAID_SECONDS)
        assert not has_flow()
        assert reaches(two)
        assert world.interconnects.accepted(NAME) == [SITE_PREFIX]


def test_what_is_not_the_peers_is_refused_with_a_reason_each(sandbox: Sandbox, interconnect_world: World) -> None:
    world, two = interconnect_world, interconnect_world.two
    world.interconnects.change(NAME, {"accept_prefixes": [ACCEPT, "10.0.0.0/8"]})
    own = {PREFIX, "10.9.0.0/24", f"{two.machine.address}/32"}
    appliance = {"10.250.0.0/24", "10.250.0.10/32", "203.0.113.64/28", "203.0.113.2/32"}
    bogons = {"127.0.0.0/8", "169.254.0.0/16", LINK, "198.51.100.0/24", "0.0.0.0/0", "0.0.0.0/1", "128.0.0.0/1"}
    fine = "10.77.0.0/16"
    try:
        with announced(world, *own, *appliance, *bogons, fine):
            await_condition(lambda: fine in remote_flows(sandbox, two.key), "learned", SAID_SECONDS)
            refusals = world.interconnects.refusals(NAME)
            assert set(refusals) == own | appliance | bogons
            assert all(refusals.values()), refusals
            assert "default" in refusals["0.0.0.0/0"]
            assert sorted(world.interconnects.accepted(NAME)) == sorted([fine, SITE_PREFIX])
            assert set(remote_flows(sandbox, two.key)) <= {fine, SITE_PREFIX}
            session = world.interconnects.session(NAME)
            assert (session.received_prefixes, session.accepted_prefixes) == (len(refusals) + 2, 2)
            # Its own router believes itself; what is for its site still goes there, and what is for neighbours to them.
            assert link_of(two) == NAME
            neighbour = two.machines[1]
            assert echoes(two.machine, neighbour.address) == {neighbour.name, "ping"}
            assert echoes(two.machine, two.drive.address) == {two.drive.name, "ping"}
    finally:
        world.interconnects.change(NAME, {"accept_prefixes": [ACCEPT]})
    await_condition(lambda: world.interconnects.session(NAME).received_prefixes == 1, "withdrawn", SAID_SECONDS)
