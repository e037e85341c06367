"""Writes status rows of a daemon, on a thread of its own.

Not durably: after a crash all of it is found again by looking.
"""

from __future__ import annotations

import logging
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping

from state.ovsdb import DatabaseError, Operation, OvsdbClient

RETRY_SECONDS = 1.0


class StatusWriter(ABC):
    """Keeps rows as last told, also when the database was away or is another; `on_fault` is called for each fault."""

    def __init__(self, client: OvsdbClient, log: logging.Logger, on_fault: Callable[[], None]) -> None:
        self._client, self._log, self._on_fault = client, log, on_fault
        self._lock = threading.Lock()
        self._changed = threading.Event()
        self._stop = False
        self._thread = threading.Thread(target=self._run, name="report", daemon=True)

    @abstractmethod
    def write(self) -> None:
        """Have the rows be as told. Raises DatabaseError."""

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def stop(self) -> None:
        """Write what is left to write, and end."""
        self._stop = True
        self._changed.set()
        self._thread.join()

    def _run(self) -> None:
        last = False
        while not last:
            last = self._stop
            # Also without a change: the database may be back, or be another.
            self._changed.wait(0 if last else RETRY_SECONDS)
            self._changed.clear()
            try:
                if self._client.connected.is_set():
                    self.write()
            except DatabaseError as error:
                self._log.warning("status not written", extra={"error": str(error)})
            except Exception:
                self._on_fault()
                self._log.exception("writing status failed")


def put(table: str, key: Mapping[str, object], row: Mapping[str, object], *, there: bool) -> Operation:
    """Have the row of a key, which is `there` or is not, be so."""
    if not there:
        return {"op": "insert", "table": table, "row": dict(row)}
    changed = {name: value for name, value in row.items() if name not in key}
    return {"op": "update", "table": table, "where": _where(key), "row": changed}


def delete(table: str, key: Mapping[str, object]) -> Operation:
    """Have no rows of a key."""
    return {"op": "delete", "table": table, "where": _where(key)}


def _where(key: Mapping[str, object]) -> list[list[object]]:
    return [[name, "==", value] for name, value in key.items()]
