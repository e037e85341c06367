"""Health of the daemons beside the agent, from their heartbeats."""

from __future__ import annotations

import enum
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from state.heartbeat import Name
from state.ovsdb import OvsdbClient, RowChange

SILENCE = 5.0
"""Seconds without a heartbeat after which a daemon is taken to be dead or stuck."""

_COLUMNS = ("name", "pid", "started_at", "beats", "problem", "remark")


class Condition(enum.Enum):
    """How a daemon is."""

    RUNNING = "running"
    HINDERED = "hindered"
    SILENT = "silent"
    STOPPED = "stopped"
    UNUSED = "unused"

    @property
    def well(self) -> bool:
        """Whether there is nothing to do for anybody."""
        return self in (Condition.RUNNING, Condition.UNUSED)


@dataclass(frozen=True, slots=True)
class Daemon:
    """One daemon; `silence` in seconds since its last heartbeat, `started_at` in ms of Unix time, 0: not known."""

    name: Name
    condition: Condition
    pid: int = 0
    started_at: int = 0
    silence: float = 0.0
    problem: str = ""
    remark: str = ""


def judge(name: Name, row: Mapping[str, Any] | None, silence: float, *, wanted: bool) -> Daemon:
    """How a daemon is, from its row and the seconds since that last changed; without work it need not run."""
    # The name alone outlives a restart of the database.
    if row is None or not row["beats"]:
        return Daemon(name, Condition.STOPPED if wanted else Condition.UNUSED)
    problem = str(row["problem"])
    facts = (int(row["pid"]), int(row["started_at"]), silence, problem, str(row["remark"]))
    if silence > SILENCE:
        return Daemon(name, Condition.SILENT if wanted else Condition.UNUSED, *facts)
    return Daemon(name, Condition.HINDERED if problem else Condition.RUNNING, *facts)


class Daemons:
    """Listens to heartbeats over a connection of its own. Their age is by this process's clock, which never jumps."""

    def __init__(self, path: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._rows: dict[str, Mapping[str, Any]] = {}
        self._heard: dict[str, float] = {}
        self._client = OvsdbClient(path)
        self._client.monitor({"Daemon": _COLUMNS}, self.apply)

    def close(self) -> None:
        """End the connection."""
        self._client.close()

    def apply(self, changes: Sequence[RowChange], reset: bool) -> None:
        """Take in rows of heartbeats."""
        with self._lock:
            if reset:
                self._rows.clear()
            for change in changes:
                row = change.new or change.old or {}
                name = str(row["name"])
                if change.new is None:
                    self._rows.pop(name, None)
                    continue
                self._rows[name] = change.new
                self._heard[name] = self._clock()

    def all(self, wanted: Callable[[Name], bool]) -> list[Daemon]:
        """Every daemon; `wanted` says whether there is work for one."""
        with self._lock:
            now = self._clock()
            return [
                judge(name, self._rows.get(name.value), now - self._heard.get(name.value, now), wanted=wanted(name))
                for name in Name
            ]
