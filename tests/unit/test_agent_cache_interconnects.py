"""Interconnects of the cache, on updates as the server may deliver them."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from agent.cache.desired_state import MONITORED, DesiredStateCache
from agent.cache.records import InterconnectView, View
from agent.clock import Clock
from agent.ipam.appliance_pools import Pools
from state import interconnect_rows, rows
from state.interconnect import BgpSession, Interconnect, InterconnectKind, Route, SessionState
from state.interconnect_rows import InterconnectStatus
from state.model import Appliance, Gateway, Kind, Network, NetworkStatus, PortBlock, State
from state.ovsdb import Row, RowChange

APPLIANCE = Appliance(Gateway("up", "203.0.113.2/24", "203.0.113.1"), ("198.51.100.1",), block_size=1024)
DIRECT = Interconnect(
    "dc", InterconnectKind.DIRECT_CONNECT, 1, 1, "xc1", 101, "169.254.1.1/30", "169.254.1.2", 64512, 65001,
    client=1, zone=2, accept=("192.168.0.0/16",), password="sealed", revision=5, created_at=5,
)  # fmt: skip
PEERING = replace(
    DIRECT, name="ix", kind=InterconnectKind.PEERING, number=2, vlan=None, client=0, zone=0, accept=(), password=""
)
LIVE = NetworkStatus(99, State.LIVE)
ROUTES = (Route("10.9.0.0/16", "65001"), Route("10.0.0.0/8", "65001"))


class Heard:
    """A cache, and the changes it told of interconnects, as text."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.cache = DesiredStateCache(
            Pools(APPLIANCE, 1000), self._hear, Clock(), keep_blocks=1000, keep_released=1000
        )

    def _hear(self, before: View | None, after: View | None) -> None:
        view = after or before
        if isinstance(view, InterconnectView):
            sign = "+" if before is None else "-" if after is None else "~"
            self.events.append(f"{sign}{view.interconnect.name} {view.status.state.value}")

    def apply(self, *changes: RowChange) -> list[str]:
        """Apply one update and answer what was heard of it."""
        self.events.clear()
        self.cache.apply(changes)
        return self.events[:]

    def view(self, name: str) -> InterconnectView:
        """An interconnect as clients see it."""
        return self.cache.interconnects.by_name[name].view

    def prefixes(self, name: str) -> list[str]:
        """What its peer announces."""
        of = self.cache.interconnects
        return [route.prefix for route in of.routes(of.by_name[name]).page((-1, -1), 9, refused=False)]


def network(uuid: str = "n", name: str = "office", key: int = 1, *, gone: bool = False) -> RowChange:
    block = PortBlock("198.51.100.1", 1024 * key, 1024 * key + 1023)
    value = Network(name, Kind.PRIVATE, "t", key, f"10.{key}.0.0/16", f"10.{key}.0.1", block, revision=10)
    return change("Network", uuid, rows.network_row(value), gone=gone)


def row(value: Interconnect, of: str = "n") -> Row:
    direct = value.kind is InterconnectKind.DIRECT_CONNECT
    made = interconnect_rows.interconnect_row(value, ["uuid", of] if direct else None)
    # As the server writes a set of one.
    return made | {
        "vlan": made["vlan"] if value.vlan is None else value.vlan,
        "network": ["uuid", of] if direct else made["network"],
    }


def interconnect(uuid: str, value: Interconnect, of: str = "n", *, gone: bool = False) -> RowChange:
    return change("Interconnect", uuid, row(value, of), gone=gone)


def moved(uuid: str, before: Interconnect, after: Interconnect) -> RowChange:
    return RowChange("Interconnect", uuid, row(before), row(after))


def said(
    uuid: str, name: str, revision: int = 5, session: BgpSession | None = None, *, gone: bool = False
) -> RowChange:
    status = InterconnectStatus(name, revision, State.LIVE, "", session or BgpSession())
    return change("Interconnect_Status", uuid, interconnect_rows.status_row(status), gone=gone)


def parts(uuid: str, name: str, routes: tuple[Route, ...] = ROUTES, *, gone: bool = False) -> list[RowChange]:
    return [
        change("Interconnect_Routes", f"{uuid}{part}", interconnect_rows.part_row(name, part, text), gone=gone)
        for part, text in interconnect_rows.parts(routes).items()
    ]


def told(name: str, status: NetworkStatus = LIVE) -> RowChange:
    return change("Network_Status", f"s-{name}", rows.status_row(name, status))


def change(table: str, uuid: str, row: Row, *, gone: bool = False) -> RowChange:
    return RowChange(table, uuid, row if gone else None, None if gone else row)


def test_what_is_monitored() -> None:
    assert {"Interconnect", "Interconnect_Status", "Interconnect_Routes"} <= MONITORED.keys()


@given(st.permutations(range(9)))
@settings(max_examples=100)
def test_one_update_in_any_order(order: list[int]) -> None:
    heard = Heard()
    update = [
        network(), interconnect("d", DIRECT), interconnect("p", PEERING), said("1", "dc"), said("2", "ix"),
        told("office"), told(""), *parts("r", "dc"),
    ]  # fmt: skip
    heard.apply(*(update[at] for at in order))
    assert (heard.view("dc").status.state, heard.view("ix").status.state) == (State.LIVE, State.LIVE)
    assert (heard.view("dc").network, heard.view("dc").tenant, heard.view("ix").network) == ("office", "t", "")
    assert list(heard.cache.networks["office"].interconnects) == ["dc"]
    assert list(heard.cache.interconnects.peerings.interconnects) == ["ix"]
    assert (heard.prefixes("dc"), heard.prefixes("ix")) == (["10.0.0.0/8", "10.9.0.0/16"], [])
    assert next(heard.cache.pools.number.free(0)) == "2"
    assert next(heard.cache.pools.interconnect.free(0)) == "3"


@given(st.permutations(range(6)))
@settings(max_examples=100)
def test_all_that_changes_hands_within_one_update(order: list[int]) -> None:
    heard = Heard()
    heard.apply(network(), interconnect("d", DIRECT), interconnect("p", PEERING))
    update = [
        network(gone=True), interconnect("d", DIRECT, gone=True), interconnect("p", PEERING, gone=True),
        network("n2", key=2), interconnect("d2", DIRECT, "n2"), interconnect("p2", PEERING),
    ]  # fmt: skip
    events = heard.apply(*(update[at] for at in order))
    assert sorted(events[:2]) == ["-dc pending", "-ix pending"]
    assert sorted(events[2:]) == ["+dc pending", "+ix pending"]
    of = heard.cache.interconnects
    assert of.by_name["dc"].owner is heard.cache.networks["office"]
    assert of.by_place.keys() == {"xc1/vlan=101", "xc1"}
    heard.apply(
        interconnect("d2", DIRECT, "n2", gone=True), interconnect("p2", PEERING, gone=True),
        network("n2", key=2, gone=True),
    )  # fmt: skip
    assert not [*of.by_name, *of.by_place, *of.peerings.interconnects]
    assert next(heard.cache.pools.number.free(0)) == next(heard.cache.pools.interconnect.free(0)) == "1"


@given(st.booleans())
@settings(max_examples=2)
def test_two_change_places_within_one_update(turned: bool) -> None:
    heard = Heard()
    heard.apply(network(), interconnect("d", DIRECT), interconnect("p", PEERING))
    update = [
        moved("d", DIRECT, replace(DIRECT, vlan=None, revision=6)),
        moved("p", PEERING, replace(PEERING, vlan=101, revision=6)),
    ]
    heard.apply(*(reversed(update) if turned else update))
    places = heard.cache.interconnects.by_place
    assert {place: record.interconnect.name for place, record in places.items()} == {"xc1": "dc", "xc1/vlan=101": "ix"}


def test_statuses_and_routes_that_are_replaced_within_one_update() -> None:
    heard = Heard()
    heard.apply(network(), interconnect("d", DIRECT), told("office"), said("1", "dc", 4), *parts("r", "dc"))
    # Of an earlier one of that name.
    assert (heard.view("dc").status.state, heard.view("dc").session, heard.prefixes("dc")) == (State.PENDING, None, [])
    update = [said("2", "dc"), said("1", "dc", 4, gone=True)]
    assert heard.apply(*update) == ["~dc live"]
    assert heard.prefixes("dc") == ["10.0.0.0/8", "10.9.0.0/16"]
    newer = parts("t", "dc", (replace(ROUTES[0], med=7),))
    assert heard.apply(*newer, *parts("r", "dc", gone=True)) == []
    assert heard.prefixes("dc") == ["10.9.0.0/16"]
    assert heard.apply(said("2", "dc", gone=True)) == ["~dc pending"]
    assert heard.apply(*parts("t", "dc", gone=True)) == []


def test_what_is_said_of_nothing() -> None:
    heard = Heard()
    assert heard.apply(said("1", "dc"), *parts("r", "dc"), told("")) == []
    heard.apply(network(), interconnect("d", DIRECT), told("office"))
    assert heard.view("dc").status.state is State.LIVE


def test_routes_are_no_event_and_their_number_is_one() -> None:
    heard = Heard()
    session = BgpSession(SessionState.ESTABLISHED, received=2)
    heard.apply(network(), interconnect("d", DIRECT), told("office"))
    assert heard.apply(said("1", "dc", session=session)) == ["~dc live"]
    assert heard.apply(*parts("r", "dc")) == []
    assert heard.apply(said("1", "dc", session=session)) == []
    more = replace(session, received=3)
    assert heard.apply(said("1", "dc", session=more)) == ["~dc live"]


def test_no_view_has_a_password() -> None:
    heard = Heard()
    heard.apply(network(), interconnect("d", DIRECT), interconnect("p", PEERING))
    assert heard.cache.interconnects.by_name["dc"].interconnect.password == "sealed"
    assert (heard.view("dc").interconnect.password, heard.view("dc").has_password) == ("", True)
    assert not heard.view("ix").has_password
