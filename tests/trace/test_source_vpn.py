"""VPN gateways read from a real database: each change concerns the networks it is about, and secrets stay there."""

from __future__ import annotations

import dataclasses
import queue
from collections.abc import Iterator

import examples
import pytest
from controllers import ControllerWorld, controller_world, insert_gateway
from dummy_switch import wait_until

from controller.desired_state.source import DesiredStateChange, DesiredStateSource
from state import vpn_rows
from state.model import Network
from state.ovsdb import Operation
from state.vpn import VpnConnection

BRANCH, BUREAU, DEPOT = examples.VPN_NETWORKS
NETWORKS = examples.VPN_NETWORKS
SEALED = "sealed-words-of-nobody"


class Watched:
    """A source and the changes it reported, one after the other."""

    def __init__(self, path: str) -> None:
        self.changes: queue.Queue[DesiredStateChange] = queue.Queue()
        self.source = DesiredStateSource(path)
        self.source.watch(self.changes.put)
        self.source.wait_loaded(5)

    def next(self) -> DesiredStateChange:
        return self.changes.get(timeout=5)


@pytest.fixture(scope="module")
def started() -> Iterator[ControllerWorld]:
    with controller_world(ports=()) as world:
        yield world


@pytest.fixture
def world(started: ControllerWorld) -> Iterator[ControllerWorld]:
    started.write(*started.insert(*NETWORKS))
    yield started
    tables = ("Vpn_Peer", "Vpn_Connection", "Vpn_Gateway", "Machine", "Drive", "Network")
    started.write(*({"op": "delete", "table": table, "where": []} for table in tables))


@pytest.fixture
def watched(world: ControllerWorld) -> Iterator[Watched]:
    found = Watched(world.switch.database)
    assert found.next() == DesiredStateChange({n.key: n for n in NETWORKS}, appliance=True, reset=True)
    yield found
    found.source.close()


def update(table: str, name: str, **row: object) -> Operation:
    return {"op": "update", "table": table, "where": [["name", "==", name]], "row": row}


def delete(table: str, name: str) -> Operation:
    return {"op": "delete", "table": table, "where": [["name", "==", name]]}


def with_connections(network: Network, *connections: VpnConnection) -> Network:
    assert network.vpn is not None
    found = tuple(sorted(connections, key=lambda one: one.name))
    return dataclasses.replace(network, vpn=dataclasses.replace(network.vpn, connections=found))


def connections(network: Network) -> tuple[VpnConnection, ...]:
    assert network.vpn is not None
    return network.vpn.connections


def test_everything_is_read_at_first(watched: Watched) -> None:
    assert [watched.source.network(network.key) for network in NETWORKS] == list(NETWORKS)


def test_a_connection_concerns_its_network_alone(world: ControllerWorld, watched: Watched) -> None:
    hq, plant = connections(BRANCH)
    world.write(update("Vpn_Connection", "hq", remote_prefixes="192.168.7.0/24", revision=1))
    hq = dataclasses.replace(hq, remote_prefixes=("192.168.7.0/24",), revision=1)
    assert watched.next() == DesiredStateChange({BRANCH.key: with_connections(BRANCH, hq, plant)})
    world.write(delete("Vpn_Connection", "hq"))
    assert watched.next() == DesiredStateChange({BRANCH.key: with_connections(BRANCH, plant)})
    uuid = world.client.transact([{"op": "select", "table": "Vpn_Gateway", "where": [["name", "==", "bureau-vpn"]]}])
    reference = uuid[0]["rows"][0]["_uuid"]
    row = vpn_rows.connection_row(dataclasses.replace(hq, name="other"), reference)
    world.write({"op": "insert", "table": "Vpn_Connection", "row": row})
    moved = dataclasses.replace(hq, name="other")
    assert watched.next() == DesiredStateChange({BUREAU.key: with_connections(BUREAU, moved, *connections(BUREAU))})


def test_a_secret_that_changes_concerns_nobody_and_is_never_here(world: ControllerWorld, watched: Watched) -> None:
    world.write(update("Vpn_Connection", "hq", secret=SEALED))
    world.write(update("Vpn_Connection", "plant", dpd_seconds=9))
    assert watched.next().networks.keys() == {BRANCH.key}
    assert watched.changes.empty()
    assert SEALED not in repr(watched.source.networks())
    assert not any(one.secret for network in watched.source.networks() for one in connections(network))


def test_what_a_name_leads_to_concerns_the_networks_whose_peer_it_is(world: ControllerWorld, watched: Watched) -> None:
    hq, plant = connections(BRANCH)
    where = [["name", "==", plant.peer]]
    for addresses in (["198.51.100.77"], [], ["198.51.100.79", "198.51.100.78"]):
        row = {"addresses": ["set", addresses]}
        world.write({"op": "update", "table": "Vpn_Peer", "where": where, "row": row})
        known = dataclasses.replace(plant, peer_addresses=tuple(sorted(addresses)))
        assert watched.next() == DesiredStateChange({BRANCH.key: with_connections(BRANCH, hq, known)})
    # Gone and made anew at once, with the same addresses.
    row = vpn_rows.peer_row(plant.peer, ["198.51.100.78", "198.51.100.79"])
    world.write(
        {"op": "delete", "table": "Vpn_Peer", "where": where}, {"op": "insert", "table": "Vpn_Peer", "row": row}
    )
    world.write({"op": "delete", "table": "Vpn_Peer", "where": where})
    unknown = dataclasses.replace(plant, peer_addresses=())
    assert watched.next() == DesiredStateChange({BRANCH.key: with_connections(BRANCH, hq, unknown)})


def test_a_name_that_is_nobodys_peer_concerns_nobody(world: ControllerWorld, watched: Watched) -> None:
    row = vpn_rows.peer_row("other.example", ["198.51.100.77"])
    world.write({"op": "insert", "table": "Vpn_Peer", "row": row})
    world.write(update("Vpn_Connection", "home", peer="other.example"))
    (home,) = connections(DEPOT)
    known = dataclasses.replace(home, peer="other.example", peer_addresses=("198.51.100.77",))
    assert watched.next() == DesiredStateChange({DEPOT.key: with_connections(DEPOT, known)})
    assert watched.changes.empty()


def test_a_gateway_goes_and_another_takes_its_place(world: ControllerWorld, watched: Watched) -> None:
    assert BUREAU.vpn is not None
    gone = [delete("Vpn_Connection", "travellers"), delete("Vpn_Gateway", "bureau-vpn")]
    world.write(*gone)
    assert watched.next() == DesiredStateChange({BUREAU.key: dataclasses.replace(BUREAU, vpn=None)})
    answer = world.client.transact([{"op": "select", "table": "Network", "where": [["name", "==", "bureau"]]}])
    reference = answer[0]["rows"][0]["_uuid"]
    world.write(*insert_gateway(BUREAU.vpn, reference))
    assert watched.next() == DesiredStateChange({BUREAU.key: BUREAU})
    other = dataclasses.replace(BUREAU.vpn, name="new-vpn", number=58, zone=9, connections=())
    world.write(*gone, *insert_gateway(other, reference))
    assert watched.next() == DesiredStateChange({BUREAU.key: dataclasses.replace(BUREAU, vpn=other)})


def test_a_network_goes_with_its_gateway(world: ControllerWorld, watched: Watched) -> None:
    world.write(*world.remove(BRANCH, BUREAU))
    assert watched.next() == DesiredStateChange({BRANCH.key: None, BUREAU.key: None})
    assert watched.source.network(BRANCH.key) is None


def test_after_a_restart_of_the_database_nothing_has_changed(world: ControllerWorld, watched: Watched) -> None:
    world.switch.stop("sluice-db")
    wait_until(lambda: not watched.source.connected, what="database gone")
    world.switch.start_database()
    assert watched.next() == DesiredStateChange({}, appliance=True, reset=True)
    assert [watched.source.network(network.key) for network in NETWORKS] == list(NETWORKS)
    world.client.wait_connected(5)
