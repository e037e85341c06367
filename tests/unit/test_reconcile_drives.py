"""Drives and the storage port: only the networks concerned are worked on."""

from __future__ import annotations

import dataclasses

from examples import NETWORKS, OFFICE, SHOP
from fake_switch import World, watch_compiling

from controller.desired_state.source import DesiredStateChange
from controller.reconcile.events import NeighborsSilent, PortsChanged


def test_the_mac_of_a_drive_concerns_its_network_alone() -> None:
    world = World(NETWORKS)
    drive = OFFICE.drives[0].address
    compiled = watch_compiling(world)
    world.source.neighbors[drive] = "02:00:00:00:d0:99"
    world.reconciler.post(DesiredStateChange({}, neighbors=frozenset({drive})))
    world.settle()
    assert compiled == [OFFICE.key]
    assert world.ids() == world.desired()
    del world.source.neighbors[drive]
    world.reconciler.post(NeighborsSilent(frozenset({drive, "10.250.0.77"})))
    world.settle()
    assert compiled == [OFFICE.key] * 2
    status = world.statuses[OFFICE.name]
    assert status is not None
    assert status.machines == {"drives/files": f"nobody on the storage network answers ARP for {drive}"}


def test_the_storage_port_concerns_networks_with_drives() -> None:
    world = World(NETWORKS)
    compiled = watch_compiling(world)
    world.switch.port_numbers["storage"] = 77
    world.reconciler.post(PortsChanged())
    world.settle()
    assert sorted(compiled) == [0, OFFICE.key, SHOP.key]
    assert world.ids() == world.desired()


def test_a_drive_that_goes_to_another_network_is_the_new_ones() -> None:
    world = World(NETWORKS)
    drive = OFFICE.drives[0]
    for order in ((OFFICE, SHOP), (SHOP, OFFICE)):
        world.change(*NETWORKS)
        given = {
            OFFICE.key: dataclasses.replace(OFFICE, drives=()),
            SHOP.key: dataclasses.replace(SHOP, drives=(drive,)),
        }
        world.change(*(given[network.key] for network in order))
        assert world.ids() == world.desired()
        compiled = watch_compiling(world)
        world.source.neighbors[drive.address] = f"02:00:00:00:d0:{order[0].key:02x}"
        world.reconciler.post(DesiredStateChange({}, neighbors=frozenset({drive.address})))
        world.settle()
        assert compiled == [SHOP.key]
