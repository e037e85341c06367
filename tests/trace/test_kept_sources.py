"""What the daemons read from the database leaves nothing behind in them when its rows are gone."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator

import examples
import pytest
from controllers import ControllerWorld, controller_world
from dummy_switch import wait_until
from footprint import kept

from bgp.desired_state import InterconnectSource
from controller.desired_state.source import DesiredStateSource
from state.model import Network
from state.ovsdb import OvsdbClient
from vpn.desired_state import GatewaySource

NETWORKS = (examples.OFFICE, examples.BRANCH, examples.CLINIC, examples.CLUSTER)


@pytest.fixture(scope="module")
def world() -> Iterator[ControllerWorld]:
    with controller_world(ports=()) as started:
        yield started


def renamed(network: Network, number: int) -> Network:
    """Another network, no object of which has a name of the first one's."""
    machines = tuple(dataclasses.replace(one, name=f"{one.name}-{number}") for one in network.machines)
    drives = tuple(dataclasses.replace(one, name=f"{one.name}-{number}") for one in network.drives)
    links = tuple(dataclasses.replace(one, name=f"{one.name}-{number}") for one in network.interconnects)
    gateway = network.vpn
    if gateway is not None:
        connections = tuple(
            dataclasses.replace(one, name=f"{one.name}-{number}", peer=f"peer{number}-{network.key}.example.com")
            for one in gateway.connections[:1]
        )
        gateway = dataclasses.replace(gateway, name=f"{gateway.name}-{number}", connections=connections)
    return dataclasses.replace(network, name=f"{network.name}-{number}", machines=machines, drives=drives,
                               interconnects=links, vpn=gateway)  # fmt: skip


def test_sources_keep_nothing_of_rows_that_are_gone(world: ControllerWorld) -> None:
    clients = [OvsdbClient(world.switch.database) for _ in range(2)]
    vpn, bgp = GatewaySource(clients[0]), InterconnectSource(clients[1])
    heard: Counter[str] = Counter()
    vpn.watch(lambda desired: heard.update(["vpn"]))
    bgp.watch(lambda desired: heard.update(["bgp"]))
    flows = DesiredStateSource(world.switch.database)
    flows.watch(lambda changed: heard.update(["controller"]))
    sources = {"vpn": vpn, "bgp": bgp, "controller": flows}

    def come_and_go(number: int) -> None:
        networks = [renamed(network, number) for network in NETWORKS]
        heard.clear()
        world.write(*world.insert(*networks))
        wait_until(lambda: heard.keys() == sources.keys(), what="rows heard of")
        heard.clear()
        names = {"op": "delete", "table": "Vpn_Peer", "where": []}
        world.write(*world.remove(*networks), names)
        wait_until(lambda: heard.keys() == sources.keys(), what="their end heard of")

    def found(name: str) -> Counter[str]:
        """What a source keeps, and its client of rows."""
        client = {"vpn": clients[0], "bgp": clients[1], "controller": flows.client}[name]
        state = {key: value for key, value in vars(sources[name]).items() if value is not client}
        return kept(state, client._rows, client._pending)

    try:
        for client in clients:
            client.wait_connected(5)
        flows.wait_loaded(5)
        for number in range(2):
            come_and_go(number)
        before = {name: found(name) for name in sources}
        for number in range(2, 6):
            come_and_go(number)
        for name in sources:
            assert found(name) == before[name], name
    finally:
        for client in clients:
            client.close()
        flows.close()
