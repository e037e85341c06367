"""What comes and goes leaves nothing behind in memory: objects are counted before and after."""

from __future__ import annotations

import dataclasses
import uuid
from pathlib import Path

from examples import ALL_NETWORKS, SITE
from fake_switch import World
from footprint import kept

from agent.housekeeping import Housekeeping
from agent.requests import (
    AttachmentSpec,
    DriveSpec,
    Idempotency,
    InterconnectSpec,
    MachineSpec,
    NetworkSpec,
    PublicAddressSpec,
    VpnGatewaySpec,
)
from agent.store import Store
from controller.reconcile.events import CountFlows, PortsChanged, Verify
from resolver.directory import Directory
from state.model import Network
from tests.agents import MAC, Database, StoppedClock, opened

NONE, T = Idempotency(), 5.0
REST, DAY = 60, 86400


def come_and_go(store: Store, number: int) -> None:
    """One of each kind of object, of names and addresses of its own, from create to delete."""
    request = Idempotency(str(uuid.UUID(int=number)), "digest")
    of = f"networks/net{number}"
    store.create_network(NetworkSpec(f"net{number}", tenant=f"tenant{number}"), request, T)
    inside = [
        MachineSpec(f"{name}{number}", of, MAC.format(at), address, attachment=AttachmentSpec(f"{name}{number}"))
        for at, (name, address) in enumerate((("a", ""), ("b", f"10.0.{number}.9")), 1)
    ]
    store.create_machines(inside, NONE, T, batch=True)
    alone = MachineSpec(f"c{number}", "", MAC.format(3), attachment=AttachmentSpec(f"c{number}"))
    store.create_machines([alone], NONE, T, batch=False)
    store.create_public_address(PublicAddressSpec(f"address{number}", machine=f"machines/a{number}"), NONE, T)
    store.create_drive(DriveSpec(f"drive{number}", of, f"10.250.0.{10 + number}"), NONE, T)
    store.create_vpn_gateway(VpnGatewaySpec(f"gateway{number}", of), NONE, T)
    link = InterconnectSpec(f"link{number}", network=of, port="cross", vlan=number + 1, local_address="169.254.1.1/30",
                           peer_address="169.254.1.2", peer_as=65000, accept=("192.168.77.0/24",))  # fmt: skip
    store.create_interconnect(link, NONE, T)
    store.delete_interconnect(f"link{number}", T)
    store.delete_vpn_gateway(f"gateway{number}", T)
    store.delete_drive(f"drive{number}", T)
    store.delete_public_address(f"address{number}", T)
    for name in ("a", "b", "c"):
        store.delete_machine(f"{name}{number}", T)
    store.delete_network(f"net{number}", T)


def test_the_agent_keeps_nothing_of_what_was_deleted_once_its_records_have_expired(server: Database) -> None:
    """Until then it keeps who had which address (`history_days`), and the requests of a day."""
    clock = StoppedClock()
    with opened(server, clock, reuse_after_seconds=REST, history_days=2) as store:
        housekeeping = Housekeeping(store)

        def rounds(numbers: range) -> None:
            for number in numbers:
                come_and_go(store, number)
                clock.advance(REST + 1)
            clock.advance(3 * DAY)
            while housekeeping.once():
                pass
            housekeeping.once()

        def found() -> object:
            return kept(store.cache, store.hub, store.client._rows, store.client._pending)

        rounds(range(4))
        before = found()
        rounds(range(4, 16))
        assert found() == before


def renamed(network: Network, number: int) -> Network:
    """Another network of the same kind, none of whose names, numbers and ports are the first one's."""
    machines = tuple(
        dataclasses.replace(m, name=f"{m.name}-{number}", number=m.number + 1000 * (number + 1),
                            attachment=dataclasses.replace(m.attachment, port=f"{m.attachment.port}-{number}"))
        for m in network.machines
    )  # fmt: skip
    interconnects = tuple(dataclasses.replace(i, name=f"{i.name}-{number}") for i in network.interconnects)
    return dataclasses.replace(network, name=f"{network.name}-{number}", key=network.key + 100 * (number + 1),
                               machines=machines, interconnects=interconnects)  # fmt: skip


def test_the_controller_keeps_nothing_of_networks_that_are_gone() -> None:
    world = World()

    def come_and_go(number: int) -> None:
        networks = [renamed(network, number) for network in ALL_NETWORKS]
        ports = sorted({machine.attachment.port for network in networks for machine in network.machines})
        world.switch.port_numbers |= {port: 1000 + at for at, port in enumerate(ports)}
        world.reconciler.post(PortsChanged())
        world.change(*networks)
        for down in ({ports[0]}, set()):
            world.switch.down = down
            world.reconciler.post(PortsChanged())
            world.reconciler.post(CountFlows())
            world.settle()
        world.reconciler.post(Verify())
        world.settle()
        world.change(removed=tuple(network.key for network in networks))
        world.switch.port_numbers = dict(SITE.ports)
        world.reconciler.post(PortsChanged())
        world.settle()
        world.sent()
        world.statuses.clear()
        world.statuses.progress.clear()

    for number in range(3):
        come_and_go(number)
    before = kept(world.reconciler)
    for number in range(3, 9):
        come_and_go(number)
    assert kept(world.reconciler) == before


def test_the_resolver_keeps_nothing_of_networks_that_are_gone() -> None:
    directory = Directory()
    directory.replace(SITE.appliance, ALL_NETWORKS)

    def come_and_go(number: int) -> None:
        networks = [renamed(network, number) for network in ALL_NETWORKS]
        directory.update({network.key: network for network in networks})
        for address in list(directory._machines):
            assert directory.find(address) is not None
        directory.update(dict.fromkeys(network.key for network in networks))
        directory.update({network.key: network for network in ALL_NETWORKS})

    come_and_go(0)
    before = kept(directory)
    for number in range(1, 5):
        come_and_go(number)
    assert kept(directory) == before


def test_footprints_see_what_is_kept() -> None:
    """A test that finds nothing must be able to find something."""
    root: dict[str, object] = {"deep": [Path("a")]}
    before = kept(root)
    root["deep"].append(Path("b"))  # type: ignore[attr-defined]
    assert kept(root)["PosixPath"] == before["PosixPath"] + 1
