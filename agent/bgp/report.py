"""What the daemon tells: status rows of interconnects, and their routes.

Written by a thread of its own, not durably: after a crash all of it is found again by looking.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence

from agent.bgp import metrics
from state import interconnect_rows
from state.interconnect import Route, SessionState
from state.interconnect_rows import InterconnectStatus
from state.ovsdb import Client, DatabaseError, Operation

log = logging.getLogger("sluice.bgp")

RETRY_SECONDS = 1.0

Parts = Mapping[int, str]


class Report:
    """Keeps the rows as last told; `statuses` and `parts` read what is in the database."""

    def __init__(
        self,
        client: Client,
        statuses: Callable[[], Mapping[str, InterconnectStatus]],
        parts: Callable[[], Mapping[str, Parts]],
    ) -> None:
        self._client, self._in_database, self._parts_in_database = client, statuses, parts
        self._statuses: dict[str, InterconnectStatus] = {}
        self._parts: dict[str, Parts] = {}
        self._names: frozenset[str] | None = None
        self._lock = threading.Lock()
        self._changed = threading.Event()
        self._stop = False
        self._thread = threading.Thread(target=self._run, name="report", daemon=True)

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def stop(self) -> None:
        """Write what is left to write, and end."""
        self._stop = True
        self._changed.set()
        self._thread.join()

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

    def _run(self) -> None:
        last = False
        while not last:
            last = self._stop
            # Also without a change: the database may be back, or be another.
            self._changed.wait(0 if last else RETRY_SECONDS)
            self._changed.clear()
            try:
                self._write()
            except DatabaseError as error:
                log.warning("status not written", extra={"error": str(error)})
            except Exception:
                metrics.FAULTS.inc()
                log.exception("writing status failed")

    def _write(self) -> None:
        """Sessions first: what is lost is to be known before its routes are taken away."""
        if not self._client.connected.is_set():
            return
        with self._lock:
            statuses, parts, names = dict(self._statuses), dict(self._parts), self._names
        _measure(statuses.values())
        known = self._in_database()
        operations: list[Operation] = []
        for name, status in statuses.items():
            if known.get(name) != status and (names is None or name in names):
                operations += _put("Interconnect_Status", {"interconnect": name},
                                   interconnect_rows.status_row(status), there=name in known)  # fmt: skip
        if names is not None:
            operations += [_delete("Interconnect_Status", {"interconnect": name}) for name in known.keys() - names]
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
                    operations += _put("Interconnect_Routes", {"interconnect": name, "part": part},
                                       interconnect_rows.part_row(name, part, text), there=part in have)  # fmt: skip
            operations += [
                _delete("Interconnect_Routes", {"interconnect": name, "part": part})
                for part in have.keys() - wanted.keys()
            ]
        if names is not None:
            operations += [_delete("Interconnect_Routes", {"interconnect": name}) for name in known.keys() - names]
        return operations


def _measure(statuses: Iterable[InterconnectStatus]) -> None:
    sessions = [status.session for status in statuses]
    states = [session.state for session in sessions]
    for state in SessionState:
        metrics.SESSIONS.labels(state.value).set(states.count(state))
    accepted = sum(session.accepted for session in sessions)
    metrics.PREFIXES.labels("accepted").set(accepted)
    metrics.PREFIXES.labels("refused").set(sum(session.received for session in sessions) - accepted)


def _put(table: str, key: Mapping[str, object], row: Mapping[str, object], *, there: bool) -> list[Operation]:
    if not there:
        return [{"op": "insert", "table": table, "row": dict(row)}]
    changed = {name: value for name, value in row.items() if name not in key}
    return [{"op": "update", "table": table, "where": _where(key), "row": changed}]


def _delete(table: str, key: Mapping[str, object]) -> Operation:
    return {"op": "delete", "table": table, "where": _where(key)}


def _where(key: Mapping[str, object]) -> list[list[object]]:
    return [[name, "==", value] for name, value in key.items()]
