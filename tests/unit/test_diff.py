"""What is sent is exactly what is missing: properties over any two states."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.openflow import wire
from controller.openflow.client import InstalledFlow
from controller.pipeline.flow import Flow, Output
from controller.pipeline.groups import group_id
from controller.pipeline.match import match
from controller.pipeline.meters import Rate, Unit, packets
from controller.pipeline.registry import (
    GATEWAY_METER,
    LAST_METER,
    NEXT_HOP_METER,
    Feature,
    MeterClass,
    Priority,
    Table,
    cookie,
    meter,
)
from controller.reconcile.compile import Compiled
from controller.reconcile.diff import Difference, Installed, apply, diff, installed
from controller.reconcile.installed_state import InstalledState, MeterOwners
from controller.reconcile.verify import drift

TABLES = (Table.CLASSIFY, Table.ROUTE, Table.SWITCH)


def compiled(key: int, choice: dict[int, tuple[Table, int]], meters: dict[int, Rate]) -> Compiled:
    flows = {
        cookie(key, Feature.SWITCH, fingerprint): Flow(
            table, Priority.NORMAL, match(metadata=key, in_port=fingerprint + 1), (Output(port),), Feature.SWITCH, key,
            "test",
        )
        for fingerprint, (table, port) in choice.items()
    }  # fmt: skip
    return Compiled(key, flows, meters, digests={value: hash(flow) for value, flow in flows.items()})


choices = st.dictionaries(st.integers(0, 12), st.tuples(st.sampled_from(TABLES), st.integers(1, 3)))
rates = st.dictionaries(st.integers(1, 5), st.builds(Rate, st.integers(1, 3), st.sampled_from(Unit), st.integers(1, 2)))
states = st.builds(compiled, st.just(7), choices, rates)


@given(states, states)
def test_applied_it_gives_the_desired_state(before: Compiled, after: Compiled) -> None:
    present = installed(before)
    assert apply(diff(after, present), present) == installed(after)


@given(states)
def test_nothing_to_do_when_all_is_there(state: Compiled) -> None:
    difference = diff(state, installed(state))
    assert not difference
    assert difference == Difference()


@given(states, states)
def test_it_deletes_and_adds_no_more_than_needed(before: Compiled, after: Compiled) -> None:
    difference = diff(after, installed(before))
    deletes, adds = set(difference.deletes), {(flow.table.number, c) for c, flow in difference.adds}
    assert deletes == {flow for flow, _ in installed(before).flows.items() - installed(after).flows.items()}
    assert adds == {flow for flow, _ in installed(after).flows.items() - installed(before).flows.items()}


def test_empty_desired_state_deletes_everything() -> None:
    before = compiled(7, {1: (Table.ROUTE, 1), 2: (Table.SWITCH, 1)}, {7: packets(10)})
    difference = diff(Compiled(7), installed(before))
    assert {c for _, c in difference.deletes} == set(before.flows)
    assert (difference.adds, difference.stale_meters) == ((), (7,))


def as_read(state: Compiled) -> list[InstalledFlow]:
    return [
        InstalledFlow(flow.table.number, flow.priority, c, 0, wire.match(flow.match) + wire.instructions(flow.actions))
        for c, flow in state.flows.items()
    ]


@given(states)
def test_verification_finds_nothing_where_nothing_is_wrong(state: Compiled) -> None:
    assert not drift(state, as_read(state))


@given(states, choices.flatmap(lambda chosen: st.just(compiled(7, chosen, {}))))
def test_repair_makes_it_right(desired: Compiled, other: Compiled) -> None:
    """Whatever flows of whatever contents and cookies are there."""
    present = as_read(other)
    found = drift(desired, present)
    deletes = set(found.repair.deletes)
    left = [flow for flow in present if (flow.table, flow.cookie) not in deletes]
    sent = Compiled(7, dict(found.repair.adds))
    assert sorted(left + as_read(sent), key=repr) == sorted(as_read(desired), key=repr)
    assert bool(found) == bool(found.repair)


def test_a_copied_cookie_is_noticed() -> None:
    desired = compiled(7, {1: (Table.ROUTE, 1)}, {})
    flow = as_read(desired)[0]
    forged = InstalledFlow(flow.table, flow.priority + 1, flow.cookie, 0, flow.detail)
    found = drift(desired, [flow, forged])
    assert found.different == 1
    assert found.repair.deletes == ((flow.table, flow.cookie),)
    assert [c for c, _ in found.repair.adds] == [flow.cookie]


def test_ledger_knows_what_was_read() -> None:
    one, other = compiled(7, {1: (Table.ROUTE, 1)}, {}), compiled(8, {1: (Table.ROUTE, 1)}, {})
    flows = {**installed(one).flows, **installed(other).flows}
    of_network = {meter(kind, 7): packets(5) for kind in MeterClass if kind.name.startswith("NETWORK_")}
    of_network |= {meter(kind, 3): packets(6) for kind in MeterClass if kind.of_machine}
    of_network |= {meter(kind, 9): packets(7) for kind in MeterClass if kind.of_interconnect}
    # Number 4 belongs to no machine or interconnect, and the last is nothing this version knows.
    orphans = {
        meter(MeterClass.MACHINE_DHCP, 4): packets(6),
        meter(MeterClass.INTERCONNECT_IN, 4): packets(2),
        LAST_METER + 1: packets(1),
    }
    of_appliance = {GATEWAY_METER: packets(100), NEXT_HOP_METER: Rate(9, Unit.KBPS, 4)}
    of_appliance[meter(MeterClass.INTERCONNECT_OUT, 10)] = packets(8)
    groups = {group_id(7, (1, 2), last_resort=True): b"x", group_id(0, (3,), last_resort=False): b"y"}
    installed_state = InstalledState.read(
        flows, of_network | of_appliance | orphans, groups, MeterOwners({3: 7}, {9: 7, 10: 0})
    )
    first, second = groups
    assert installed_state.installed(7) == Installed(installed(one).flows, of_network, {first: b"x"})
    assert installed_state.installed(0).groups == {second: b"y"}
    assert installed_state.installed(0).meters == of_appliance
    assert installed_state.keys() == {0, 7, 8}
    assert (installed_state.count(), installed_state.count(8)) == (2, 1)
    assert installed_state.remove_orphans() == [wire.meter_delete(meter) for meter in orphans]
    assert installed_state.remove_orphans() == []


def test_a_meter_that_goes_to_another_network_stays() -> None:
    meters = {meter(MeterClass.MACHINE_DHCP, 3): packets(6)}
    installed_state = InstalledState.read({}, meters, {}, MeterOwners({3: 7}, {}))
    taken = diff(Compiled(8, {}, meters), installed_state.installed(8))
    left = diff(Compiled(7), installed_state.installed(7))
    assert installed_state.meter_messages(taken) == []
    installed_state.flows_done(8, taken)
    assert installed_state.remove_stale(7, left) == []
    assert installed_state.installed(8).meters == meters
    assert installed_state.installed(7).meters == {}


@pytest.mark.parametrize("other", [packets(9), Rate(5, Unit.KBPS, 5), Rate(5, Unit.PPS, 9)])
def test_a_stale_meter_is_removed_and_another_rate_is_a_change(other: Rate) -> None:
    of_machine, of_network = meter(MeterClass.MACHINE_DHCP, 3), meter(MeterClass.NETWORK_ERRORS, 7)
    installed_state = InstalledState.read(
        {}, {of_machine: packets(6), of_network: packets(5)}, {}, MeterOwners({3: 7}, {})
    )
    difference = diff(Compiled(7, {}, {of_network: other}), installed_state.installed(7))
    assert [message for *_, message in installed_state.meter_messages(difference)] == [
        wire.meter_modify(of_network, other)
    ]
    installed_state.flows_done(7, difference)
    assert installed_state.remove_stale(7, difference) == [wire.meter_delete(of_machine)]
    assert installed_state.installed(7) == Installed({}, {of_network: other})


@given(st.lists(states, max_size=6))
def test_count_is_kept(history: list[Compiled]) -> None:
    installed_state = InstalledState()
    for state in history:
        installed_state.flows_done(7, diff(state, installed_state.installed(7)))
        assert installed_state.count() == len(installed_state.installed(7).flows) == len(state.flows)
