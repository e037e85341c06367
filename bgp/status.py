"""Writes status rows of interconnects, and their routes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence

from bgp import metrics
from daemons import status_writer
from daemons.status_writer import delete, put
from state import interconnect_rows
from state.interconnect import Route, SessionState
from state.interconnect_rows import InterconnectStatus
from state.ovsdb import Operation, OvsdbClient

log = logging.getLogger("sluice.bgp")

Parts = Mapping[int, str]


class InterconnectReport(status_writer.StatusWriter):
    """Keeps the rows as last told; `statuses` and `parts` read what is in the database."""

    def __init__(
        self,
        client: OvsdbClient,
        statuses: Callable[[], Mapping[str, InterconnectStatus]],
        parts: Callable[[], Mapping[str, Parts]],
    ) -> None:
        super().__init__(client, log, metrics.FAULTS.inc)
        self._in_database, self._parts_in_database = statuses, parts
        self._statuses: dict[str, InterconnectStatus] = {}
        self._parts: dict[str, Parts] = {}
        self._names: frozenset[str] | None = None

    def last(self, name: str) -> InterconnectStatus | None:
        """What was last told of an interconnect, also by a daemon before this one."""
        with self._lock:
            told = self._statuses.get(name)
        return told or self._in_database().get(name)

    def tell(self, status: InterconnectStatus) -> None:
        """Have the row of an interconnect say this."""
        with self._lock:
            if self._statuses.get(status.name) == status:
                return
            self._statuses[status.name] = status
        self._changed.set()

    def tell_routes(self, name: str, routes: Sequence[Route]) -> None:
        """Have the rows of an interconnect's routes say these, after what was told of its session."""
        parts = interconnect_rows.parts(routes)
        with self._lock:
            self._parts[name] = parts
        self._changed.set()

    def only(self, names: Iterable[str]) -> None:
        """Have no rows of other interconnects."""
        with self._lock:
            self._names = frozenset(names)
            self._statuses = {name: told for name, told in self._statuses.items() if name in self._names}
            self._parts = {name: parts for name, parts in self._parts.items() if name in self._names}
        self._changed.set()

    def write(self) -> None:
        """Have the rows be as told, sessions first: a loss is known before its routes go. Raises DatabaseError."""
        with self._lock:
            statuses, parts, names = dict(self._statuses), dict(self._parts), self._names
        _measure(statuses.values())
        known = self._in_database()
        operations: list[Operation] = []
        for name, status in statuses.items():
            if known.get(name) != status and (names is None or name in names):
                row = interconnect_rows.status_row(status)
                operations.append(put("Interconnect_Status", {"interconnect": name}, row, there=name in known))
        if names is not None:
            operations += [delete("Interconnect_Status", {"interconnect": name}) for name in known.keys() - names]
        if operations:
            self._client.transact(operations, durable=False)
        operations = self._of_routes(parts, names)
        if operations:
            self._client.transact(operations, durable=False)

    def _of_routes(self, parts: Mapping[str, Parts], names: frozenset[str] | None) -> list[Operation]:
        operations: list[Operation] = []
        known = self._parts_in_database()
        for name, wanted in parts.items():
            if names is not None and name not in names:
                continue
            have = known.get(name, {})
            for part, text in wanted.items():
                if have.get(part) != text:
                    key, row = {"interconnect": name, "part": part}, interconnect_rows.part_row(name, part, text)
                    operations.append(put("Interconnect_Routes", key, row, there=part in have))
            operations += [
                delete("Interconnect_Routes", {"interconnect": name, "part": part})
                for part in have.keys() - wanted.keys()
            ]
        if names is not None:
            operations += [delete("Interconnect_Routes", {"interconnect": name}) for name in known.keys() - names]
        return operations


def _measure(statuses: Iterable[InterconnectStatus]) -> None:
    sessions = [status.session for status in statuses]
    states = [session.state for session in sessions]
    for state in SessionState:
        metrics.SESSIONS.labels(state.value).set(states.count(state))
    accepted = sum(session.accepted for session in sessions)
    metrics.PREFIXES.labels("accepted").set(accepted)
    metrics.PREFIXES.labels("refused").set(sum(session.received for session in sessions) - accepted)
