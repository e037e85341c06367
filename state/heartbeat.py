"""Heartbeats of daemons: one database row each, once a second.

A frozen process keeps its locks, its sockets and its children; only what it
would have to do again tells that it is alive. The row's columns are ephemeral
(RFC 7047 section 3.2): nothing of them goes to the disk.
"""

from __future__ import annotations

import enum
import itertools
import logging
import os
import threading
import time
from collections.abc import Callable

from state.ovsdb import DatabaseError, Operation, OvsdbClient

log = logging.getLogger("sluice.heartbeat")

INTERVAL = 1.0
_TABLE = "Daemon"
_TIMEOUT = 5.0


class Name(enum.Enum):
    """The daemons that have one."""

    CONTROLLER = "controller"
    RESOLVER = "resolver"
    VPN = "vpn"
    BGP = "bgp"


class Heartbeat:
    """Tells of one daemon from `start` to `stop`, as long as whoever works calls `mark`.

    `problem` says what keeps the daemon from its work, `remark` what an operator
    should know besides; empty when there is nothing.
    """

    def __init__(
        self, client: OvsdbClient, name: Name, problem: Callable[[], str] = str, remark: Callable[[], str] = str
    ) -> None:
        self._client, self._name, self._problem, self._remark = client, name, problem, remark
        self._started_at = round(time.time() * 1000)
        self._marked = threading.Event()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def mark(self) -> None:
        """The daemon works: the next beat may be told."""
        self._marked.set()

    def start(self) -> None:
        """Begin to tell."""
        self._thread.start()

    def mark_until(self, stopped: threading.Event) -> None:
        """Mark, for a daemon whose main thread does nothing but wait until it is `stopped`."""
        while not stopped.wait(INTERVAL / 2):
            self.mark()

    def stop(self) -> None:
        """Say that the daemon ends in order."""
        self._stopped.set()
        self._thread.join(_TIMEOUT)
        self._tell([{"op": "delete", "table": _TABLE, "where": self._own()}])

    def _run(self) -> None:
        for beat in itertools.count(1):
            if self._stopped.wait(INTERVAL):
                return
            if self._marked.is_set():
                self._marked.clear()
                self._beat(beat)

    def _beat(self, beat: int) -> None:
        row = {
            "pid": os.getpid(), "started_at": self._started_at, "beats": beat,
            "problem": self._problem(), "remark": self._remark(),
        }  # fmt: skip
        found = self._tell([{"op": "update", "table": _TABLE, "where": self._own(), "row": row}])
        if found == 0:
            self._tell([{"op": "insert", "table": _TABLE, "row": row | {"name": self._name.value}}])

    def _own(self) -> list[list[str]]:
        return [["name", "==", self._name.value]]

    def _tell(self, operations: list[Operation]) -> int | None:
        """How many rows were there; None when the database did not take it, which the missing beat says."""
        try:
            (result,) = self._client.transact(operations, durable=False, timeout=_TIMEOUT)
        except DatabaseError as error:
            log.debug("heartbeat not told", extra={"daemon": self._name.value, "error": str(error)})
            return None
        count = result.get("count")
        return None if count is None else int(count)
