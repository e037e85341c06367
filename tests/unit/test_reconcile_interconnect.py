"""Interconnects: sessions and routes come and go, and only whom they concern is worked on."""

from __future__ import annotations

import dataclasses

import pytest
from examples import CLINIC, PEERINGS, SITE, STUDIO
from fake_switch import World, watch_compiling

from controller.desired_state.source import DesiredStateChange
from controller.openflow import group_messages
from controller.pipeline.registry import APPLIANCE_KEY
from controller.reconcile.compile import Compiled, compile_network, compile_shared
from controller.reconcile.events import PortsChanged, Verify
from state.interconnect import Interconnect, Route, Session
from state.model import Network, NetworkStatus, State

NETWORKS = (CLINIC, STUDIO)
FIRST, SECOND = CLINIC.interconnects


def with_session(session: Session) -> Network:
    return dataclasses.replace(CLINIC, interconnects=(dataclasses.replace(FIRST, session=session), SECOND))


def buckets(*compiled: Compiled) -> dict[int, bytes]:
    return {number: group_messages.buckets(group) for one in compiled for number, group in one.groups.items()}


def peer(world: World, *peerings: Interconnect) -> None:
    world.source.peerings = peerings
    world.reconciler.post(DesiredStateChange({}, peerings=True))
    world.settle()


def test_groups_are_there_before_the_flows_that_use_them() -> None:
    world = World(NETWORKS)
    assert world.ids() == world.desired()
    assert world.switch.groups == buckets(compile_shared(SITE), *(compile_network(n, SITE) for n in NETWORKS))


def test_a_restart_sends_nothing() -> None:
    world = World(NETWORKS)
    world.sent()
    world.start()
    assert world.sent() == {}


def test_a_lost_session_is_one_message_a_group_whatever_its_prefixes() -> None:
    world = World(NETWORKS)
    routes = tuple(Route(f"192.168.{n}.0/24", "65001") for n in range(200))
    up = Session(True, FIRST.session.mac, routes)
    world.change(with_session(up))
    world.sent()
    world.change(with_session(dataclasses.replace(up, up=False)))
    # By the first alone, and by both.
    assert world.sent() == {"group": 2}
    world.change(with_session(up))
    assert world.sent() == {"group": 2}


def test_withdrawn_routes_leave_no_flow_and_no_group() -> None:
    world = World(NETWORKS)
    world.sent()
    bare = tuple(dataclasses.replace(one, session=Session()) for one in CLINIC.interconnects)
    world.change(dataclasses.replace(CLINIC, interconnects=bare))
    assert world.ids() == world.desired()
    assert world.switch.groups == buckets(compile_shared(SITE))
    assert world.sent()["group"] == 4


def test_one_route_is_one_flow() -> None:
    world = World(NETWORKS)
    world.sent()
    session = FIRST.session
    world.change(
        with_session(dataclasses.replace(session, routes=(*session.routes, Route("192.168.77.0/24", "65001"))))
    )
    assert world.sent() == {"add": 1}


def test_an_interconnect_that_is_gone_leaves_nothing() -> None:
    world = World(NETWORKS)
    before = set(world.switch.meters)
    world.change(dataclasses.replace(STUDIO, interconnects=()))
    assert world.ids() == world.desired()
    assert len(before - set(world.switch.meters)) == 3
    world.change(removed=(CLINIC.key, STUDIO.key))
    assert world.switch.groups == buckets(compile_shared(SITE))
    assert world.of(CLINIC.key) == world.of(STUDIO.key) == set()
    assert set(world.switch.meters) == set(compile_shared(SITE).meters)


@pytest.mark.parametrize("port", ["cross3", "bgp43"])
def test_a_port_that_comes_or_goes_concerns_its_network_alone(port: str) -> None:
    world = World(NETWORKS)
    compiled = watch_compiling(world)
    number = world.switch.port_numbers.pop(port)
    world.reconciler.post(PortsChanged())
    world.settle()
    assert compiled == [STUDIO.key]
    assert world.ids() == world.desired()
    status = world.statuses[STUDIO.name]
    assert status is not None
    assert (status.state, set(status.machines)) == (State.LIVE, {"interconnects/studio-a"})
    compiled.clear()
    world.switch.port_numbers[port] = number
    world.reconciler.post(PortsChanged())
    world.settle()
    status = world.statuses[STUDIO.name]
    assert status is not None
    assert (compiled, status.machines) == ([STUDIO.key], {})


def test_peerings_concern_the_appliance_alone() -> None:
    world = World(NETWORKS)
    compiled = watch_compiling(world)
    carrier, exchange = PEERINGS
    peer(world, carrier)
    assert compiled == [APPLIANCE_KEY]
    site = dataclasses.replace(SITE, peerings=(carrier,))
    assert {(f.table.number, cookie) for cookie, f in compile_shared(site).flows.items()} == world.of(APPLIANCE_KEY)
    peer(world)
    assert world.switch.groups == buckets(*(compile_network(network, SITE) for network in NETWORKS))
    peer(world, carrier, exchange)
    assert world.ids() == world.desired()


def test_peerings_are_told_of_under_no_name() -> None:
    world = World(NETWORKS)
    carrier, exchange = (dataclasses.replace(one, revision=n) for n, one in enumerate(PEERINGS, 7))
    peer(world, carrier, exchange)
    status = world.statuses[""]
    assert status == NetworkStatus(8, State.LIVE)
    number = world.switch.port_numbers.pop("cross2")
    world.reconciler.post(PortsChanged())
    world.settle()
    status = world.statuses[""]
    assert status == NetworkStatus(8, State.LIVE, "", {"interconnects/exchange": "port cross2 is not on the bridge"})
    world.switch.port_numbers["cross2"] = number
    world.reconciler.post(PortsChanged())
    world.settle()
    assert world.statuses[""] == NetworkStatus(8, State.LIVE)
    peer(world)
    assert "" not in world.statuses


def test_a_group_somebody_changed_is_mended() -> None:
    world = World(NETWORKS)
    wanted = dict(world.switch.groups)
    first, second, *_ = wanted
    world.switch.groups[first] = b""
    del world.switch.groups[second]
    world.switch.groups[77] = b""
    world.reconciler.post(Verify())
    world.settle()
    assert world.switch.groups == wanted
    assert world.ids() == world.desired()
