"""VPN gateways: their legs come and go, and only the network concerned is worked on."""

from __future__ import annotations

import dataclasses

from examples import BRANCH, BUREAU, DEPOT, VPN_NETWORKS
from fake_switch import World, watch_compiling

from controller.conntrack.flush import AddressAssignment
from controller.pipeline.registry import Table
from controller.reconcile.events import PortsChanged
from state.model import State
from state.vpn import inside_port, outside_port

LEGS = {inside_port(DEPOT.key): 91, outside_port(DEPOT.key): 92}


def test_a_leg_that_comes_or_goes_concerns_its_network_alone() -> None:
    world = World(VPN_NETWORKS)
    compiled = watch_compiling(world)
    for ports in ({inside_port(DEPOT.key): 91}, LEGS, {outside_port(DEPOT.key): 92}, {}, LEGS):
        for port in LEGS:
            world.switch.port_numbers.pop(port, None)
        world.switch.port_numbers |= ports
        world.reconciler.post(PortsChanged())
        world.settle()
        assert compiled == [DEPOT.key]
        assert world.ids() == world.desired()
        status = world.statuses[DEPOT.name]
        missing = [port for port in LEGS if port not in ports]
        reasons = {"vpnGateways/depot-vpn": f"port {missing[0]} is not on the bridge"} if missing else {}
        assert status is not None
        assert (status.state, status.machines) == (State.LIVE, reasons)
        compiled.clear()


def test_a_leg_that_was_just_plugged_in_is_not_called_missing() -> None:
    world = World((BRANCH,))
    world.switch.unannounced = dict(LEGS)
    world.change(DEPOT)
    status = world.statuses[DEPOT.name]
    assert status is not None
    assert status.machines == {}
    world.switch.port_numbers |= LEGS
    assert world.ids() == world.desired()


def test_a_leg_that_gets_another_number_is_used_by_that() -> None:
    world = World(VPN_NETWORKS)
    world.switch.port_numbers[inside_port(BRANCH.key)] = 99
    world.reconciler.post(PortsChanged())
    world.settle()
    assert world.ids() == world.desired()


def test_a_gateway_that_is_gone_leaves_no_flow_meter_or_assignment() -> None:
    world = World(VPN_NETWORKS)
    gone: list[AddressAssignment] = []
    zones: list[int] = []
    world.reconciler.committer.assignments.gone = gone.append
    world.reconciler.committer.drive_zones.gone = zones.append
    before = set(world.switch.meters)
    bare = dataclasses.replace(BRANCH, vpn=None, revision=2)
    world.change(bare)
    assert world.ids() == world.desired()
    assert len(before - set(world.switch.meters)) == 2
    assert gone == [AddressAssignment("203.0.113.132")]
    assert zones == [4]
    tables = {table for table, _ in world.of(BRANCH.key)}
    assert not {table.number for table in Table if table.name.startswith(("VPN_", "REMOTE"))} & tables
    # Its legs do not concern the network any more.
    compiled = watch_compiling(world)
    del world.switch.port_numbers[inside_port(BRANCH.key)]
    world.reconciler.post(PortsChanged())
    world.settle()
    assert compiled == []


def test_a_restarted_controller_finds_all_as_it_is_and_ends_what_ended_meanwhile() -> None:
    world = World(VPN_NETWORKS)
    world.sent()
    world.start()
    assert world.sent() == {}
    held = world.reconciler.committer.assignments.everything()
    assert sorted(held) == [AddressAssignment("203.0.113.132"), AddressAssignment("203.0.113.133")]
    world.source.by_key[BRANCH.key] = dataclasses.replace(BRANCH, vpn=None)
    world.start()
    assert world.reconciler.committer.assignments.everything() == [AddressAssignment("203.0.113.133")]
    assert world.ids() == world.desired()


def test_a_connection_of_one_network_changes_no_flow_of_another() -> None:
    world = World(VPN_NETWORKS)
    others = world.of(BRANCH.key) | world.of(DEPOT.key) | world.of(0)
    assert BUREAU.vpn is not None
    world.sent()
    world.change(dataclasses.replace(BUREAU, vpn=dataclasses.replace(BUREAU.vpn, connections=())))
    assert world.sent().keys() == {"delete"}
    assert world.of(BRANCH.key) | world.of(DEPOT.key) | world.of(0) == others
