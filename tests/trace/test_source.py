"""Desired state read from a real database, and what the controller writes back."""

from __future__ import annotations

import dataclasses
import queue
from collections.abc import Iterator

import examples
import pytest
from controllers import ControllerWorld, controller_world
from dummy_switch import wait_until

from controller.desired_state.source import DesiredStateChange, DesiredStateSource
from controller.openflow.table_names import name_tables
from controller.pipeline.registry import Table
from controller.reconcile.status import Statuses
from controller.reconcile.work_queue import Progress
from state.model import NetworkStatus, State
from state.ovsdb import DatabaseError, DatabaseUnavailable

NETWORKS = examples.NETWORKS


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
    yield started
    tables = ("Machine", "Additional_Address", "Drive", "Network", "Network_Status", "Neighbor")
    started.write(*({"op": "delete", "table": table, "where": []} for table in tables))
    wait_until(lambda: not started.statuses, what="statuses gone")
    started.neighbors.clear()


@pytest.fixture
def watched(world: ControllerWorld) -> Iterator[Watched]:
    world.write(*world.insert(*NETWORKS))
    found = Watched(world.switch.database)
    yield found
    found.source.close()


def test_everything_is_read_at_first(watched: Watched) -> None:
    changed = watched.next()
    assert changed == DesiredStateChange({n.key: n for n in NETWORKS}, appliance=True, reset=True)
    assert sorted(watched.source.networks(), key=lambda n: n.key) == list(NETWORKS)
    assert watched.source.appliance == examples.APPLIANCE
    assert watched.source.network(NETWORKS[0].key) == NETWORKS[0]
    assert watched.source.network(999) is None
    assert watched.source.has_network(NETWORKS[0].name)
    assert not watched.source.has_network("other")


def test_one_transaction_is_one_change(world: ControllerWorld, watched: Watched) -> None:
    watched.next()
    one, other = examples.isolated(9, "web2"), examples.isolated(50, "web2", vlan=9)
    world.write(*world.insert(one, other), *world.remove(NETWORKS[0]))
    assert watched.next() == DesiredStateChange({one.key: one, other.key: other, NETWORKS[0].key: None})
    assert not watched.source.has_network(NETWORKS[0].name)


def test_a_machine_belongs_to_the_change_of_its_network(world: ControllerWorld, watched: Watched) -> None:
    watched.next()
    gone = examples.OFFICE.machines[1]
    where = [["name", "==", examples.OFFICE.name]]
    world.write(
        {"op": "delete", "table": "Machine", "where": [["name", "==", gone.name]]},
        {"op": "mutate", "table": "Network", "where": where, "mutations": [["revision", "+=", 1]]},
    )
    machines = tuple(machine for machine in examples.OFFICE.machines if machine != gone)
    after = dataclasses.replace(examples.OFFICE, machines=machines, revision=examples.OFFICE.revision + 1)
    assert watched.next() == DesiredStateChange({after.key: after})


def test_an_additional_address_belongs_to_the_change_of_its_network(world: ControllerWorld, watched: Watched) -> None:
    watched.next()
    cluster = dataclasses.replace(examples.CLUSTER, vpn=None)
    world.write(*world.insert(cluster))
    assert watched.next() == DesiredStateChange({cluster.key: cluster})
    gone = cluster.additional[0]
    world.write({"op": "delete", "table": "Additional_Address", "where": [["number", "==", gone.number]]})
    after = dataclasses.replace(cluster, additional=cluster.additional[1:])
    assert watched.next() == DesiredStateChange({cluster.key: after})


def test_a_key_that_goes_to_another_network_at_once(world: ControllerWorld, watched: Watched) -> None:
    watched.next()
    after = dataclasses.replace(NETWORKS[0], name="new", tenant="other")
    # The database checks its indexes when the transaction ends.
    world.write(*world.remove(NETWORKS[0]), *world.insert(after))
    assert watched.next() == DesiredStateChange({after.key: after})
    assert watched.source.has_network("new")
    assert not watched.source.has_network(NETWORKS[0].name)


def test_status_alone_is_no_change(world: ControllerWorld, watched: Watched) -> None:
    watched.next()
    watched.source.write_statuses({NETWORKS[0].name: NetworkStatus(1, State.LIVE)})
    watched.source.write_neighbor("203.0.113.1", "02:00:00:00:00:01")
    assert watched.next() == DesiredStateChange({}, neighbors=frozenset({"203.0.113.1"}))
    assert watched.changes.empty()


def test_the_revision_of_desired_state_is_reported_with_what_it_changed(
    world: ControllerWorld, watched: Watched
) -> None:
    watched.next()
    world.write({"op": "insert", "table": "Revision", "row": {"desired": 6}})
    try:
        assert watched.next() == DesiredStateChange({}, revision=6)
        following = {"op": "mutate", "table": "Revision", "where": [], "mutations": [["desired", "+=", 1]]}
        gone = NETWORKS[0]
        world.write(*world.remove(gone), following)
        assert watched.next() == DesiredStateChange({gone.key: None}, revision=7)
        watched.source.write_statuses({"one": NetworkStatus(1, State.LIVE)}, Progress(6, 2))
        (answer,) = world.client.transact([{"op": "select", "table": "Revision", "where": []}])
        (row,) = answer["rows"]
        assert (row["desired"], row["realized"], row["pending"]) == (7, 6, 2)
        assert watched.changes.empty(), "what it writes itself is no change"
    finally:
        world.write({"op": "delete", "table": "Revision", "where": []})


def test_statuses_are_inserted_updated_and_removed(world: ControllerWorld, watched: Watched) -> None:
    first = NetworkStatus(1, State.ERROR, "why", {"m": "no port"})
    second = NetworkStatus(2, State.LIVE)
    watched.source.write_statuses({"one": first, "other": first})
    wait_until(lambda: world.statuses == {"one": first, "other": first}, what="inserted")
    watched.source.write_statuses({"one": second, "other": None, "third": None})
    wait_until(lambda: world.statuses == {"one": second}, what="updated and removed")
    assert watched.source.forgotten_statuses() == ["one"]


def test_a_neighbor_may_change(world: ControllerWorld, watched: Watched) -> None:
    for mac in ("02:00:00:00:00:01", "02:00:00:00:00:01", "02:00:00:00:00:02"):
        watched.source.write_neighbor("203.0.113.1", mac)
    wait_until(lambda: world.neighbors == {"203.0.113.1": "02:00:00:00:00:02"}, what="written")
    wait_until(lambda: watched.source.neighbors == world.neighbors, what="read")


def test_a_neighbor_may_be_forgotten(world: ControllerWorld, watched: Watched) -> None:
    watched.next()
    watched.source.write_neighbor("10.250.0.10", "02:00:00:00:d0:10")
    assert watched.next().neighbors == {"10.250.0.10"}
    watched.source.forget_neighbors(["10.250.0.10", "10.250.0.11"])
    assert watched.next() == DesiredStateChange({}, neighbors=frozenset({"10.250.0.10"}))
    assert watched.source.neighbors == {}


def test_a_drive_belongs_to_its_network(world: ControllerWorld, watched: Watched) -> None:
    watched.next()
    shop, drive = examples.SHOP, examples.SHOP.drives[0]
    assert watched.source.drives[drive.address] == shop.key
    world.write({"op": "delete", "table": "Drive", "where": [["name", "==", drive.name]]})
    assert watched.next() == DesiredStateChange({shop.key: dataclasses.replace(shop, drives=())})
    assert drive.address not in watched.source.drives


def test_after_a_restart_only_differences_are_reported(world: ControllerWorld, watched: Watched) -> None:
    watched.next()
    world.switch.stop("sluice-db")
    with pytest.raises(DatabaseError):
        watched.source.write_statuses({"one": NetworkStatus(1, State.LIVE)})
    world.switch.start_database()
    assert watched.next() == DesiredStateChange({}, appliance=True, reset=True)
    assert watched.source.networks()
    world.client.wait_connected(5)


def test_statuses_wait_for_the_database(world: ControllerWorld, watched: Watched) -> None:
    statuses = Statuses(watched.source)
    world.switch.stop("sluice-db")
    wait_until(lambda: not watched.source.connected, what="database gone")
    statuses.put("one", NetworkStatus(1, State.LIVE))
    statuses.put("other", NetworkStatus(1, State.LIVE))
    statuses.put("one", NetworkStatus(2, State.LIVE))
    world.switch.start_database()
    wanted = {"one": NetworkStatus(2, State.LIVE), "other": NetworkStatus(1, State.LIVE)}
    wait_until(lambda: world.statuses == wanted, what="written after all")
    statuses.close(5)
    world.client.wait_connected(5)


def test_closing_writes_what_waits(world: ControllerWorld, watched: Watched) -> None:
    statuses = Statuses(watched.source)
    for number in range(1200):
        statuses.put(f"n{number}", NetworkStatus(1, State.LIVE))
    statuses.close(10)
    wait_until(lambda: len(world.statuses) == 1200, what="all written")


def test_a_database_that_is_not_there() -> None:
    source = DesiredStateSource("/nowhere/db.sock")
    source.watch(lambda changed: None)
    with pytest.raises(DatabaseUnavailable):
        source.wait_loaded(0.05)
    assert not source.connected
    assert (source.appliance, source.networks(), source.neighbors) == (None, [], {})
    source.close()


def test_tables_are_named_once(world: ControllerWorld) -> None:
    switch = world.switch
    assert name_tables(switch.ovsdb, switch.bridge)
    before = switch.vsctl("list", "Flow_Table")
    assert before.count("name ") == len(Table)
    assert name_tables(switch.ovsdb, switch.bridge)
    assert switch.vsctl("list", "Flow_Table") == before
    switch.vsctl("set", "Flow_Table", switch.vsctl("get", "Bridge", switch.bridge, "flow_tables:0").strip(), "name=old")
    assert name_tables(switch.ovsdb, switch.bridge)
    assert switch.vsctl("list", "Flow_Table") == before


def test_tables_of_others_keep_their_names(world: ControllerWorld) -> None:
    switch = world.switch
    switch.vsctl(
        "set", "Bridge", switch.bridge, "flow_tables:200=@t", "--", "--id=@t", "create", "Flow_Table", "name=mine"
    )
    assert name_tables(switch.ovsdb, switch.bridge)
    reference = switch.vsctl("get", "Bridge", switch.bridge, "flow_tables:200").strip()
    assert switch.vsctl("get", "Flow_Table", reference, "name").strip() == "mine"
    switch.vsctl("remove", "Bridge", switch.bridge, "flow_tables", "200")


def test_a_table_that_had_another_number_has_one_name(world: ControllerWorld) -> None:
    """As after an upgrade: Open vSwitch knows no table by a name that two have."""
    switch = world.switch
    switch.vsctl(
        "set", "Bridge", switch.bridge, "flow_tables:201=@t", "--", "--id=@t", "create", "Flow_Table", "name=route"
    )
    assert name_tables(switch.ovsdb, switch.bridge)
    named = switch.vsctl("get", "Bridge", switch.bridge, "flow_tables")
    assert "201=" not in named
    assert f"{Table.ROUTE.number}=" in named


@pytest.mark.parametrize("bridge", ["other"])
def test_tables_of_no_bridge(world: ControllerWorld, bridge: str) -> None:
    assert not name_tables(world.switch.ovsdb, bridge)
    assert not name_tables(str(world.switch.directory / "nowhere"), world.switch.bridge)
