"""Interconnects read from a real database: each change concerns whom it is about, and passwords stay there."""

from __future__ import annotations

import dataclasses
import queue
from collections.abc import Iterator

import examples
import pytest
from controllers import ControllerWorld, controller_world, insert_interconnect
from dummy_switch import wait_until

from controller.desired_state.source import DesiredStateChange, DesiredStateSource
from state import interconnect_rows
from state.interconnect import Interconnect, Route, Session
from state.model import Network
from state.ovsdb import Operation

CLINIC, STUDIO = NETWORKS = examples.INTERCONNECT_NETWORKS
PEERINGS = examples.PEERINGS
FIRST, SECOND = CLINIC.interconnects
TABLES = ("Interconnect_Routes", "Interconnect_Status", "Interconnect", "Vpn_Connection", "Vpn_Gateway", "Machine",
          "Drive", "Network")  # fmt: skip


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
    started.write(*started.insert(*NETWORKS), *(row for one in PEERINGS for row in insert_interconnect(one, None)))
    yield started
    started.write(*({"op": "delete", "table": table, "where": []} for table in TABLES))


@pytest.fixture
def watched(world: ControllerWorld) -> Iterator[Watched]:
    found = Watched(world.switch.database)
    assert found.next() == DesiredStateChange({n.key: n for n in NETWORKS}, appliance=True, reset=True, peerings=True)
    yield found
    found.source.close()


def told(one: Interconnect, **row: object) -> Operation:
    return {"op": "update", "table": "Interconnect_Status", "where": [["interconnect", "==", one.name]], "row": row}


def status(one: Interconnect) -> Operation:
    (row,) = (o["row"] for o in insert_interconnect(one, None) if o["table"] == "Interconnect_Status")
    return told(one, session=row["session"])


def part(one: Interconnect, *routes: Route) -> Operation:
    """The one part that all of `routes` are in."""
    ((number, text),) = interconnect_rows.parts(routes).items()
    where = [["interconnect", "==", one.name], ["part", "==", number]]
    return {"op": "update", "table": "Interconnect_Routes", "where": where, "row": {"routes": text}}


def with_session(one: Interconnect, session: Session) -> Network:
    other = SECOND if one is FIRST else FIRST
    found = sorted((dataclasses.replace(one, session=session), other), key=lambda i: i.name)
    return dataclasses.replace(CLINIC, interconnects=tuple(found))


def test_everything_is_read_at_first(watched: Watched) -> None:
    assert [watched.source.network(network.key) for network in NETWORKS] == list(NETWORKS)
    assert watched.source.peerings == PEERINGS


def test_routes_come_and_go_one_by_one(world: ControllerWorld, watched: Watched) -> None:
    before, kept = FIRST.session.routes[0], FIRST.session.routes[1:]
    changed = dataclasses.replace(before, med=7)
    world.write(part(FIRST, changed))
    session = Session(True, FIRST.session.mac, tuple(sorted((changed, *kept), key=interconnect_rows.order)))
    assert watched.next() == DesiredStateChange({CLINIC.key: with_session(FIRST, session)})
    refused = dataclasses.replace(before, refusal="not within the accepted prefixes")
    world.write(part(FIRST, refused))
    without = Session(True, FIRST.session.mac, tuple(sorted(kept, key=interconnect_rows.order)))
    assert watched.next() == DesiredStateChange({CLINIC.key: with_session(FIRST, without)})
    where = [["interconnect", "==", FIRST.name]]
    world.write({"op": "delete", "table": "Interconnect_Routes", "where": where})
    assert watched.next() == DesiredStateChange({CLINIC.key: with_session(FIRST, Session(True, FIRST.session.mac))})


def test_a_session_that_goes_down_says_so_with_its_routes_still_there(world: ControllerWorld, watched: Watched) -> None:
    down = dataclasses.replace(FIRST.session, up=False)
    world.write(status(dataclasses.replace(FIRST, session=down)))
    assert watched.next() == DesiredStateChange({CLINIC.key: with_session(FIRST, down)})


def test_what_flows_need_not_know_concerns_nobody(world: ControllerWorld, watched: Watched) -> None:
    world.write(told(FIRST, detail="looks well"))
    world.write({"op": "update", "table": "Interconnect", "where": [["name", "==", FIRST.name]],
                 "row": {"password": "sealed-words-of-nobody"}})  # fmt: skip
    world.write(status(dataclasses.replace(SECOND, session=dataclasses.replace(SECOND.session, up=False))))
    assert watched.next().networks.keys() == {CLINIC.key}
    assert watched.changes.empty()
    assert "sealed-words" not in repr(watched.source.networks())


def test_routes_of_a_peering_concern_no_network(world: ControllerWorld, watched: Watched) -> None:
    carrier, exchange = PEERINGS
    world.write({"op": "delete", "table": "Interconnect_Routes", "where": [["interconnect", "==", carrier.name]]})
    assert watched.next() == DesiredStateChange({}, peerings=True)
    bare = dataclasses.replace(carrier, session=dataclasses.replace(carrier.session, routes=()))
    assert watched.source.peerings == (bare, exchange)


def test_an_interconnect_goes_and_another_takes_its_name(world: ControllerWorld, watched: Watched) -> None:
    gone: list[Operation] = [
        {"op": "delete", "table": "Interconnect", "where": [["name", "==", "studio-a"]]},
        *({"op": "delete", "table": table, "where": [["interconnect", "==", "studio-a"]]}
          for table in ("Interconnect_Status", "Interconnect_Routes")),
    ]  # fmt: skip
    world.write(*gone)
    assert watched.next() == DesiredStateChange({STUDIO.key: dataclasses.replace(STUDIO, interconnects=())})
    answer = world.client.transact([{"op": "select", "table": "Network", "where": [["name", "==", "clinic"]]}])
    other = dataclasses.replace(
        STUDIO.interconnects[0], slot=3, session=examples.session(43, Route("192.168.7.0/24", "65001"))
    )
    world.write(*insert_interconnect(other, answer[0]["rows"][0]["_uuid"]))
    assert watched.next() == DesiredStateChange({
        CLINIC.key: dataclasses.replace(CLINIC, interconnects=(*CLINIC.interconnects, other))
    })  # fmt: skip


def test_what_was_learned_before_an_interconnect_is_known_counts_when_it_is(
    world: ControllerWorld, watched: Watched
) -> None:
    answer = world.client.transact([{"op": "select", "table": "Network", "where": [["name", "==", "studio"]]}])
    other = examples.direct_connect(
        "studio-b", 47, 2, ("192.168.0.0/16",), session=examples.session(47, Route("192.168.7.0/24", "65001"))
    )
    first, *rest = insert_interconnect(other, answer[0]["rows"][0]["_uuid"])
    world.write(*rest)
    world.write(first)
    wanted = dataclasses.replace(STUDIO, interconnects=(*STUDIO.interconnects, other))
    assert watched.next() == DesiredStateChange({STUDIO.key: wanted})


def test_after_a_restart_of_the_database_nothing_has_changed(world: ControllerWorld, watched: Watched) -> None:
    world.switch.stop("sluice-db")
    wait_until(lambda: not watched.source.connected, what="database gone")
    world.switch.start_database()
    found = watched.next()
    assert (found.networks, found.reset) == ({}, True)
    assert [watched.source.network(network.key) for network in NETWORKS] == list(NETWORKS)
    assert watched.source.peerings == PEERINGS
    world.client.wait_connected(5)
