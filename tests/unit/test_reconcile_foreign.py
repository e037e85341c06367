"""Flows that somebody else changes on the switch are noticed and put right."""

from __future__ import annotations

import dataclasses
import re

from examples import ISOLATED, ISOLATED_VLAN, OFFICE, SHOP
from fake_switch import World, watch_compiling

from controller.desired_state.source import DesiredStateChange
from controller.openflow.client import InstalledFlow
from controller.pipeline.registry import Table, split_cookie
from controller.reconcile.events import CountFlows, Verify

NETWORKS = (ISOLATED, ISOLATED_VLAN, OFFICE, SHOP)


def test_flows_that_somebody_takes_are_back_at_the_next_count() -> None:
    world = World(NETWORKS)
    right = dict(world.switch.table)
    read = watch_reading(world)
    world.sent()
    world.reconciler.post(CountFlows())
    world.settle()
    assert (world.sent(), read, world.reconciler.remark) == ({}, [], "")
    for identity in [one for one in right if one[0] == Table.CLASSIFY.number]:
        del world.switch.table[identity]
    compiled = watch_compiling(world)
    world.reconciler.post(CountFlows())
    world.settle()
    assert world.switch.table == right
    # Whoever asks is told for an hour.
    assert re.fullmatch(
        r"somebody else changed flows of the switch at \d\d:\d\d:\d\d UTC \(table classify\); they were put right",
        world.reconciler.remark,
    )
    # Only what lost flows is compiled, and no table is read whole.
    assert set(compiled) == {
        split_cookie(cookie)[0] for one, (cookie, _) in right.items() if one[0] == Table.CLASSIFY.number
    }
    assert read == []


def test_flows_that_somebody_adds_go_at_the_next_count() -> None:
    world = World(NETWORKS)
    right = dict(world.switch.table)
    world.switch.table[25, 5, b"x"] = (0xABC, b"")
    world.reconciler.post(CountFlows())
    world.settle()
    assert world.switch.table == right


def test_a_second_flow_with_a_cookie_of_ours_is_found_by_the_comparison_of_everything() -> None:
    world = World(NETWORKS)
    right = dict(world.switch.table)
    (table, _, match), (cookie, rest) = next(iter(right.items()))
    world.switch.table[table, 7, match] = (cookie, rest)
    for _ in range(2):
        world.reconciler.post(CountFlows())
        world.settle()
    assert world.switch.table == right


def test_actions_that_somebody_changed_are_mended_by_the_next_start() -> None:
    world = World(NETWORKS)
    right = dict(world.switch.table)
    identity = sorted(right, key=repr)[1]
    world.switch.table[identity] = (right[identity][0], b"")
    world.start()
    assert world.switch.table == right


def test_changes_go_on_while_everything_is_compared() -> None:
    world = World(NETWORKS)
    world.reconciler.post(Verify())
    for _ in range(10):
        world.reconciler.turn()
    other = dataclasses.replace(OFFICE, revision=OFFICE.revision + 1, machines=OFFICE.machines[:1])
    world.source.by_key[other.key] = other
    world.reconciler.post(DesiredStateChange({other.key: other}))
    world.settle()
    assert world.ids() == world.desired()
    world.sent()
    world.reconciler.post(CountFlows())
    world.settle()
    assert world.sent() == {}


def watch_reading(world: World) -> list[int]:
    """The tables that are read from now on."""
    tables: list[int] = []
    read = world.switch.read_flows

    def reading(table: int) -> list[InstalledFlow]:
        tables.append(table)
        return read(table)

    world.switch.read_flows = reading  # type: ignore[method-assign]
    return tables
