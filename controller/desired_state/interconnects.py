"""Interconnects of desired state, from rows of three tables: by network, or as peerings.

Rows of one update come in any order, so that who is whose is looked up when all
of them are known. A change of routes costs what its part of them has, and the
sorting of those of its own interconnect.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from state import interconnect_rows, rows
from state.interconnect import Interconnect, Route, Session
from state.interconnect_rows import InterconnectStatus
from state.ovsdb import Row, RowChange

TABLES: Mapping[str, tuple[str, ...]] = {
    # Flows need no secrets: they never come here.
    "Interconnect": tuple(column for column in rows.COLUMNS["Interconnect"] if column != "password"),
    "Interconnect_Status": rows.COLUMNS["Interconnect_Status"],
    "Interconnect_Routes": rows.COLUMNS["Interconnect_Routes"],
}


class InterconnectRows:
    """Interconnects by the row of their network (None: peerings); one thread."""

    def __init__(self) -> None:
        self._rows: dict[str, Row] = {}
        self._of_network: dict[str | None, set[str]] = defaultdict(set)
        self._named: dict[str, str] = {}
        self._statuses: dict[str, tuple[str, InterconnectStatus]] = {}
        self._parts: dict[str, dict[int, tuple[str, tuple[Route, ...]]]] = defaultdict(dict)
        self._accepted: dict[str, tuple[Route, ...]] = {}
        self._sessions: dict[str, Session] = {}
        self._touched: set[str | None] = set()
        self._touched_sessions: set[str] = set()
        self._touched_routes: set[str] = set()

    def take(self, change: RowChange) -> None:
        """Take in a changed row of one of `TABLES`."""
        match change.table:
            case "Interconnect":
                self._interconnect_changed(change)
            case "Interconnect_Status":
                self._status_changed(change)
            case _:
                self._routes_changed(change)

    def touched(self) -> set[str | None]:
        """The rows of networks concerned (None: peerings) by what was taken in since the last call."""
        found = self._touched
        for name in self._touched_routes:
            self._sort_routes(name)
        for name in self._touched_sessions | self._touched_routes:
            told = self._statuses.get(name)
            routes = self._accepted.get(name, ())
            session = interconnect_rows.known_session(None if told is None else told[1], routes)
            if session != self._sessions.get(name, Session()) and name in self._named:
                found.add(interconnect_rows.network_of(self._rows[self._named[name]]))
            self._sessions[name] = session
            if told is None and name not in self._accepted:
                self._sessions.pop(name)
        self._touched, self._touched_sessions, self._touched_routes = set(), set(), set()
        return found

    def of(self, network: str | None) -> tuple[Interconnect, ...]:
        """The interconnects of the network with that row (None: peerings), in order of name."""
        found = (self._rows[uuid] for uuid in self._of_network.get(network, ()))
        mine = (interconnect_rows.interconnect(row, self._sessions.get(row["name"])) for row in found)
        return tuple(sorted(mine, key=lambda one: one.name))

    def _interconnect_changed(self, change: RowChange) -> None:
        before = self._rows.pop(change.uuid, None)
        if before is not None:
            network = interconnect_rows.network_of(before)
            self._of_network[network].discard(change.uuid)
            if not self._of_network[network]:
                del self._of_network[network]
            # The name may be another row's by now.
            if self._named.get(before["name"]) == change.uuid:
                del self._named[before["name"]]
            self._touched.add(network)
        if change.new is not None:
            network = interconnect_rows.network_of(change.new)
            self._rows[change.uuid] = change.new
            self._of_network[network].add(change.uuid)
            self._named[change.new["name"]] = change.uuid
            self._touched.add(network)

    def _status_changed(self, change: RowChange) -> None:
        for row in filter(None, (change.old, change.new)):
            self._touched_sessions.add(row["interconnect"])
        if change.old is not None:
            name = change.old["interconnect"]
            if name in self._statuses and self._statuses[name][0] == change.uuid:
                del self._statuses[name]
        if change.new is not None:
            self._statuses[change.new["interconnect"]] = change.uuid, interconnect_rows.status(change.new)

    def _sort_routes(self, name: str) -> None:
        if self._parts[name]:
            self._accepted[name] = interconnect_rows.accepted(routes for _, routes in self._parts[name].values())
        else:
            del self._parts[name]
            self._accepted.pop(name, None)

    def _routes_changed(self, change: RowChange) -> None:
        for row in filter(None, (change.old, change.new)):
            self._touched_routes.add(row["interconnect"])
        if change.old is not None:
            parts = self._parts[change.old["interconnect"]]
            part = change.old["part"]
            if part in parts and parts[part][0] == change.uuid:
                del parts[part]
        if change.new is not None:
            parts = self._parts[change.new["interconnect"]]
            parts[change.new["part"]] = change.uuid, interconnect_rows.routes(change.new)
