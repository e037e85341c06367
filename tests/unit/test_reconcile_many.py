"""The reconciler with many networks: what it refuses to delete, how large its bundles are, who comes first."""

from __future__ import annotations

import dataclasses

from examples import APPLIANCE, ISOLATED, SHOP, SITE, isolated
from fake_switch import World

from controller.desired_state.source import DesiredStateChange
from controller.pipeline.registry import split_cookie
from controller.reconcile.compile import compile_network
from controller.reconcile.diff import installed
from state.model import Network, PortBlock


def many(count: int) -> tuple[Network, ...]:
    """Isolated networks on a trunk, one a VLAN."""
    found = []
    for key in range(1, count + 1):
        network = isolated(key % 60, "trunk", vlan=key)
        address = f"172.17.{key // 256}.{key % 256}"
        machine = dataclasses.replace(network.machines[0], name=f"m{key}", number=key, address=address, transit=address)
        block = PortBlock("203.0.113.64", key % 60 * 1024, key % 60 * 1024 + 1023)
        found.append(dataclasses.replace(network, key=key, block=block, name=f"n{key}", machines=(machine,)))
    return tuple(found)


def test_an_empty_database_deletes_nothing() -> None:
    world = World(many(80))
    before = world.ids()
    assert len(before) > 1000
    world.source.by_key.clear()
    world.sent()
    world.start()
    assert world.ids() == before
    assert world.sent() == {}


def test_an_empty_database_that_is_read_anew_deletes_nothing() -> None:
    world = World(many(80))
    before = world.ids()
    gone = dict.fromkeys(world.source.by_key)
    world.source.by_key.clear()
    world.reconciler.post(DesiredStateChange(gone, reset=True))
    world.settle()
    assert world.ids() == before


def test_an_empty_database_that_fills_again_is_obeyed_once_most_networks_are_back() -> None:
    networks = many(80)
    world = World(networks)
    before = world.ids()
    world.source.by_key.clear()
    world.start()
    world.change(SHOP)
    assert world.ids() == before
    world.change(*networks[:60])
    assert world.ids() == world.desired()


def without(world: World, count: int) -> set[tuple[int, int]]:
    """A controller that starts when desired state has lost `count` networks; the flows from before."""
    before = world.ids()
    for key in list(world.source.by_key)[:count]:
        del world.source.by_key[key]
    world.start()
    return before


def test_a_database_that_lost_most_networks_deletes_nothing_until_they_are_back() -> None:
    world = World(many(120))
    networks = dict(world.source.by_key)
    before = without(world, 80)
    assert world.ids() == before
    world.source.by_key |= networks
    world.start()
    assert world.ids() == world.desired() == before


def test_a_database_that_lost_few_networks_is_obeyed() -> None:
    world = World(many(120))
    before = without(world, 40)
    assert world.ids() == world.desired() < before


def test_force_deletes() -> None:
    world = World(many(80))
    world.source.by_key.clear()
    world.force = True
    world.start()
    assert world.ids() == world.desired() == world.of(0)


def test_tenants_who_remove_everything_are_obeyed() -> None:
    world = World(many(80))
    world.change(removed=tuple(world.source.by_key))
    assert world.ids() == world.desired() == world.of(0)


def test_bundles_stay_small() -> None:
    world = World(many(300))
    assert max(world.switch.bundles) < 600
    assert world.ids() == world.desired()


def old_layout(cookie: int) -> int:
    """The cookie as versions up to 0.1.0 wrote it: 24 bits of key, 8 of feature, 32 of a checksum."""
    key, feature, digest = split_cookie(cookie)
    return key << 40 | feature << 32 | digest & 0xFFFFFFFF


def test_flows_of_another_version_of_the_pipeline_are_replaced_in_one_bundle() -> None:
    """Some of one version and some of the other would forward nothing, or to the wrong table."""
    world = World(many(300))
    world.switch.table = {key: (old_layout(cookie), rest) for key, (cookie, rest) in world.switch.table.items()}
    world.sent()
    world.start()
    assert len([size for size in world.switch.bundles if size]) == 1
    assert world.ids() == world.desired()


def test_a_controller_that_starts_with_flows_of_its_own_version_keeps_its_bundles_small() -> None:
    world = World(many(300))
    of_networks = {flow for flow, (cookie, _) in world.switch.table.items() if split_cookie(cookie)[0]}
    for flow in of_networks:
        del world.switch.table[flow]
    world.sent()
    world.start()
    assert len(world.switch.bundles) > 5
    assert max(world.switch.bundles) < 600
    assert world.ids() == world.desired()


def test_a_single_change_does_not_wait_for_a_change_of_everything() -> None:
    world = World(many(300))
    world.source.appliance = dataclasses.replace(APPLIANCE, router_mac="02:00:00:00:aa:01")
    world.reconciler.post(DesiredStateChange({}, appliance=True))
    late = dataclasses.replace(ISOLATED, key=5000)
    world.source.by_key[late.key] = late
    world.reconciler.post(DesiredStateChange({late.key: late}))
    world.sent()
    world.reconciler.turn()
    assert world.of(late.key) == installed(compile_network(late, world.reconciler.site or SITE)).flows.keys()
    assert not world.reconciler.idle
    world.settle()
    assert world.ids() == world.desired()
