"""The reconciler against a switch in memory: what is sent, to whom, and what is said of it."""

from __future__ import annotations

import dataclasses

import pytest
from examples import APPLIANCE, ISOLATED, ISOLATED_VLAN, OFFICE, SHOP, SITE
from fake_switch import World
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.desired_state.source import DesiredStateChange
from controller.openflow import wire
from controller.openflow.client import SwitchError
from controller.pipeline.meters import packets
from controller.pipeline.registry import MeterClass, meter
from controller.reconcile.compile import compile_network, compile_shared
from controller.reconcile.diff import installed
from controller.reconcile.events import PortsChanged, Stop, SwitchDown, SwitchUp, Verify
from controller.reconcile.work_queue import Progress
from state.model import Network, NetworkStatus, PortBlock, State

NETWORKS = (ISOLATED, ISOLATED_VLAN, OFFICE, SHOP)


def live(network: Network, machines: dict[str, str] | None = None) -> NetworkStatus:
    return NetworkStatus(network.revision, State.LIVE, "", machines or {})


def test_an_empty_switch_gets_everything() -> None:
    world = World(NETWORKS)
    assert world.ids() == world.desired()
    assert world.statuses == {network.name: live(network) for network in NETWORKS}


def test_progress_is_told_when_the_flows_are_there() -> None:
    world = World(NETWORKS)
    told = world.statuses.progress
    assert (told[0].revision, told[-1]) == (0, Progress(0, 0))
    told.clear()
    world.switch.connected = False
    world.reconciler.post(SwitchDown())
    world.change(dataclasses.replace(SHOP, revision=9), revision=4)
    assert told[-1] == Progress(0, len(NETWORKS)), "nobody knows what the switch has"
    world.switch.connected = True
    world.reconciler.post(SwitchUp())
    world.settle()
    assert told[-1] == Progress(4, 0)
    told.clear()
    world.change(revision=5)
    assert told == [Progress(5, 0)], "a change without flows"
    world.reconciler.post(DesiredStateChange({SHOP.key: SHOP}, revision=6))
    world.switch.lost = True
    with pytest.raises(SwitchError):
        world.reconciler.turn()
    assert told == [Progress(5, 0)]


def test_progress_is_told_again_when_the_database_was_away() -> None:
    world = World(NETWORKS)
    world.statuses.progress.clear()
    world.reconciler.post(DesiredStateChange(dict(world.source.by_key), reset=True))
    world.settle()
    assert world.statuses.progress[-1] == Progress(0, 0)


def test_a_restart_sends_nothing() -> None:
    world = World(NETWORKS)
    world.sent()
    world.statuses.clear()
    world.start()
    assert world.sent() == {}
    assert world.switch.bundles == []
    assert world.statuses == {network.name: live(network) for network in NETWORKS}


def test_a_change_of_one_network_sends_only_that() -> None:
    world = World(NETWORKS)
    before, others = world.ids(), world.of(OFFICE.key) | world.of(SHOP.key)
    world.sent()
    moved = dataclasses.replace(ISOLATED.machines[0], mac="02:00:00:00:00:77")
    world.change(dataclasses.replace(ISOLATED, machines=(moved,), revision=2))
    assert world.ids() == world.desired() != before
    assert others <= world.ids()
    assert len(world.switch.bundles) == 1
    assert world.statuses[ISOLATED.name] == NetworkStatus(2, State.LIVE)


def test_a_revision_without_flows_is_live_at_once() -> None:
    world = World(NETWORKS)
    world.sent()
    world.change(dataclasses.replace(SHOP, revision=9))
    assert world.sent() == {}
    assert world.statuses[SHOP.name] == NetworkStatus(9, State.LIVE)


def test_a_removed_network_leaves_nothing() -> None:
    world = World(NETWORKS)
    world.change(removed=(OFFICE.key,))
    assert world.of(OFFICE.key) == set()
    assert world.ids() == world.desired()
    assert world.statuses[OFFICE.name] is None
    assert set(world.switch.meters) == {*compile_shared(SITE).meters} | {m for n in (ISOLATED, ISOLATED_VLAN, SHOP)
                                                   for m in compile_network(n, SITE).meters}  # fmt: skip


def test_what_was_removed_while_the_controller_was_away_goes() -> None:
    world = World(NETWORKS)
    del world.source.by_key[OFFICE.key]
    world.source.forgotten = [OFFICE.name]
    world.start()
    assert world.of(OFFICE.key) == set()
    assert world.ids() == world.desired()
    assert world.statuses[OFFICE.name] is None
    assert meter(MeterClass.MACHINE_DHCP, OFFICE.machines[0].number) not in world.switch.meters


def test_a_key_and_a_machine_number_may_go_to_another_network_at_once() -> None:
    world = World((ISOLATED,))
    after = dataclasses.replace(ISOLATED, name="new", tenant="other", revision=5)
    world.change(after)
    assert world.ids() == world.desired()
    assert world.statuses == {ISOLATED.name: None, "new": live(after)}


def test_a_refused_network_is_in_error_and_others_are_live() -> None:
    world = World()
    world.switch.refuse = wire.match(next(iter(compile_network(OFFICE, SITE).flows.values())).match)
    world.change(*NETWORKS)
    status = world.statuses[OFFICE.name]
    assert status is not None
    assert status.state is State.ERROR
    assert "OFPBAC_BAD_OUT_PORT" in status.detail
    assert "table=classify" in status.detail
    assert world.of(OFFICE.key) == set()
    for network in (ISOLATED, ISOLATED_VLAN, SHOP):
        assert world.statuses[network.name] == live(network)
        assert world.of(network.key) == installed(compile_network(network, SITE)).flows.keys()


def test_a_refused_network_is_tried_again_when_it_changes() -> None:
    world = World()
    world.switch.refuse = wire.match(next(iter(compile_network(OFFICE, SITE).flows.values())).match)
    world.change(OFFICE)
    world.switch.refuse = None
    world.change(dataclasses.replace(OFFICE, revision=1))
    assert world.ids() == world.desired()
    assert world.statuses[OFFICE.name] == NetworkStatus(1, State.LIVE)


def test_a_network_that_cannot_be_compiled_is_in_error_and_keeps_its_flows() -> None:
    world = World(NETWORKS)
    before = world.ids()
    broken = dataclasses.replace(ISOLATED, machines=(dataclasses.replace(ISOLATED.machines[0], mac="nonsense"),))
    world.change(broken, SHOP)
    status = world.statuses[ISOLATED.name]
    assert status is not None
    assert status.state is State.ERROR
    assert world.ids() == before


def test_a_network_with_impossible_numbers_is_in_error_and_others_are_live() -> None:
    world = World()
    block = PortBlock("203.0.113.64", 65536, 66559)
    world.change(dataclasses.replace(ISOLATED, block=block), SHOP)
    status = world.statuses[ISOLATED.name]
    assert status is not None
    assert status.state is State.ERROR
    assert world.of(ISOLATED.key) == set()
    assert world.statuses[SHOP.name] == live(SHOP)


def test_a_missing_port_is_a_status_until_it_comes() -> None:
    world = World(NETWORKS)
    del world.switch.port_numbers["web1"]
    world.sent()
    world.reconciler.post(PortsChanged())
    world.settle()
    reason = {ISOLATED.machines[0].name: "port web1 is not on the bridge"}
    assert world.statuses[ISOLATED.name] == live(ISOLATED, reason)
    assert world.ids() == world.desired()
    world.switch.port_numbers["web1"] = 99
    world.reconciler.post(PortsChanged())
    world.settle()
    assert world.statuses[ISOLATED.name] == live(ISOLATED)
    assert world.ids() == world.desired()
    assert len(world.switch.bundles) == 2


def test_a_port_the_switch_has_not_told_of_yet_is_not_missing() -> None:
    world = World(NETWORKS)
    port = world.switch.port_numbers.pop("web1")
    world.reconciler.post(PortsChanged())
    world.settle()
    world.statuses.clear()
    world.switch.unannounced["web1"] = port
    world.change(dataclasses.replace(ISOLATED, revision=2))
    assert world.statuses[ISOLATED.name] == NetworkStatus(2, State.LIVE)
    # Told of it at last, nothing is left to do.
    world.sent()
    world.switch.port_numbers |= world.switch.unannounced
    world.reconciler.post(PortsChanged())
    world.settle()
    assert world.sent() == {}
    assert world.ids() == world.desired()


def test_a_port_not_told_of_yet_helps_every_network_on_it() -> None:
    world = World(NETWORKS)
    port = world.switch.port_numbers.pop("trunk")
    world.reconciler.post(PortsChanged())
    world.settle()
    world.switch.unannounced["trunk"] = port
    world.change(dataclasses.replace(SHOP, revision=2))
    assert not any(status.machines for status in world.statuses.values() if status)
    world.switch.port_numbers |= world.switch.unannounced
    assert world.ids() == world.desired()


def test_other_changes_of_ports_send_nothing() -> None:
    world = World(NETWORKS)
    world.switch.port_numbers["unused"] = 50
    world.sent()
    world.reconciler.post(PortsChanged())
    world.settle()
    assert world.sent() == {}


def test_the_gateway_port_and_the_next_hop_are_the_appliances_own() -> None:
    world = World(NETWORKS)
    networks = {flow for network in NETWORKS for flow in world.of(network.key)}
    del world.switch.port_numbers["uplink"]
    world.reconciler.post(PortsChanged())
    world.settle()
    assert world.ids() == world.desired()
    world.source.neighbors["203.0.113.1"] = "02:00:00:00:00:aa"
    world.switch.port_numbers["uplink"] = 1
    world.reconciler.post(DesiredStateChange({}, neighbors=frozenset({"203.0.113.1"})))
    world.settle()
    assert world.ids() == world.desired()
    assert networks <= world.ids()


def test_a_change_of_settings_reaches_every_network() -> None:
    world = World(NETWORKS)
    world.source.appliance = dataclasses.replace(APPLIANCE, router_mac="02:00:00:00:aa:01", dhcp_rate=3)
    world.reconciler.post(DesiredStateChange({}, appliance=True))
    world.settle()
    assert world.ids() == world.desired()
    assert world.switch.meters[meter(MeterClass.MACHINE_DHCP, 1)] == packets(3)


def test_nothing_is_sent_before_the_settings_are_known() -> None:
    world = World()
    world.switch.table.clear()
    world.source.appliance = None
    world.reconciler.post(SwitchUp())
    world.change(ISOLATED)
    assert world.ids() == set()
    world.source.appliance = APPLIANCE
    world.reconciler.post(DesiredStateChange({}, appliance=True))
    world.settle()
    assert world.ids() == world.desired()


def test_changes_while_the_switch_is_away_are_sent_when_it_is_back() -> None:
    world = World(NETWORKS)
    world.switch.connected = False
    world.reconciler.post(SwitchDown())
    before = world.ids()
    world.change(removed=(SHOP.key,))
    assert world.ids() == before
    world.switch.connected = True
    world.reconciler.post(SwitchUp())
    world.settle()
    assert world.ids() == world.desired()


def test_a_switch_that_lost_its_flows_gets_them_again() -> None:
    world = World(NETWORKS)
    world.switch.table.clear()
    world.switch.meters.clear()
    world.reconciler.post(SwitchDown())
    world.reconciler.post(SwitchUp())
    world.settle()
    assert world.ids() == world.desired()


def test_a_switch_lost_in_the_middle_is_read_again() -> None:
    world = World(NETWORKS)
    world.switch.lost = True
    world.source.by_key[ISOLATED.key] = dataclasses.replace(ISOLATED, revision=3, machines=())
    world.reconciler.post(DesiredStateChange({ISOLATED.key: world.source.by_key[ISOLATED.key]}))
    with pytest.raises(SwitchError):
        world.settle()
    world.switch.lost = False
    world.reconciler.post(SwitchUp())
    world.settle()
    assert world.ids() == world.desired()
    assert world.statuses[ISOLATED.name] == NetworkStatus(3, State.LIVE)


def test_verification_repairs_whatever_was_done_to_the_switch() -> None:
    world = World(NETWORKS)
    right, meters = dict(world.switch.table), dict(world.switch.meters)
    identities = sorted(right, key=repr)
    del world.switch.table[identities[0]]
    cookie, _ = right[identities[1]]
    world.switch.table[identities[1]] = (cookie, b"")
    world.switch.table[25, 5, identities[0][2]] = (0xABC, b"")
    del world.switch.meters[meter(MeterClass.MACHINE_DHCP, 1)]
    world.sent()
    world.reconciler.post(Verify())
    world.settle()
    assert world.switch.table == right
    assert world.switch.meters == meters
    assert world.sent()["add"] < 10


def test_verification_of_a_switch_in_order_sends_nothing() -> None:
    world = World(NETWORKS)
    world.sent()
    world.reconciler.post(Verify())
    world.settle()
    assert world.sent() == {}


def test_stop_leaves_the_flows() -> None:
    world = World(NETWORKS)
    before = world.ids()
    world.reconciler.post(Stop())
    world.reconciler.run()
    assert world.ids() == before


def test_a_fault_does_not_end_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(NETWORKS)
    calls = []

    def broken() -> dict[str, int]:
        calls.append(1)
        raise RuntimeError("bug")

    monkeypatch.setattr(world.switch, "ports", broken)
    world.reconciler.post(PortsChanged())
    world.reconciler.post(Stop())
    world.reconciler.run()
    assert calls


commands = st.lists(
    st.tuples(st.sampled_from(NETWORKS), st.sampled_from(["set", "remove", "shrink"])), min_size=1, max_size=12
)


@settings(max_examples=40, deadline=None)
@given(commands, st.lists(st.booleans(), min_size=12, max_size=12))
def test_any_order_and_batching_gives_the_same_flows(history: list[tuple[Network, str]], settled: list[bool]) -> None:
    world = World()
    for (network, what), now in zip(history, settled, strict=False):
        if what == "remove":
            if world.source.by_key.pop(network.key, None) is None:
                continue
            world.reconciler.post(DesiredStateChange({network.key: None}))
        else:
            value = network if what == "set" else dataclasses.replace(network, machines=network.machines[:1])
            world.source.by_key[network.key] = value
            world.reconciler.post(DesiredStateChange({network.key: value}))
        if now:
            world.settle()
    world.settle()
    assert world.ids() == world.desired()
    fresh = World(tuple(world.source.networks()))
    assert world.switch.table == fresh.switch.table
    assert world.switch.meters == fresh.switch.meters
