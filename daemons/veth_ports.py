"""Keeps veth ports of namespaces on the bridge."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable, Iterable, Sequence

from daemons.bridge_ports import PortPlugger, unplug_operations
from state.ovsdb import DatabaseError, OvsdbClient, Row, RowChange

log = logging.getLogger("sluice.veth_ports")

LOOK_SECONDS = 0.5
_TABLES = {"Bridge": ("name",), "Port": ("name",)}


class VethPorts:
    """Keeps the legs on the bridge called `bridge` as last `set`, by the Open_vSwitch database at `path`.

    `names` matches the names of all legs of its kind, so that those of before are found; `on_fault` is called
    when something unforeseen happens.
    """

    def __init__(self, path: str, bridge: str, names: str, on_fault: Callable[[], None]) -> None:
        self._names, self._on_fault = re.compile(names), on_fault
        self._bridge = bridge
        self._rows: dict[str, dict[str, Row]] = {table: {} for table in _TABLES}
        self._wanted: frozenset[str] | None = None
        self._ready: set[str] = set()
        self._renewed: set[str] = set()
        self._lock = threading.Lock()
        self._changed = threading.Event()
        self._stop = False
        self._told = ""
        self._client = OvsdbClient(path, "Open_vSwitch")
        self._plugger = PortPlugger(self._client)
        self._client.monitor(_TABLES, self._apply)
        self._thread = threading.Thread(target=self._run, name="veth-ports", daemon=True)
        self._thread.start()

    def set(self, ports: Iterable[str]) -> None:
        """Have these legs on the bridge, as far as their devices exist, and no others."""
        self._wanted = frozenset(ports)
        self._changed.set()

    def ready(self, ports: Iterable[str], *, renewed: bool) -> None:
        """The devices of these legs are as they must be, and `renewed` since they were last plugged, by whomever."""
        with self._lock:
            self._ready |= set(ports)
            self._renewed |= set(ports) if renewed else set()
        self._changed.set()

    def stop(self) -> None:
        """Leave the bridge as it is and end."""
        self._stop = True
        self._changed.set()
        self._client.close()
        self._thread.join()

    def _apply(self, changes: Sequence[RowChange], _reset: bool) -> None:
        with self._lock:
            for change in changes:
                if change.new is None:
                    self._rows[change.table].pop(change.uuid, None)
                else:
                    self._rows[change.table][change.uuid] = change.new
                names = {row["name"] for row in (change.old, change.new) if row}
                if change.table == "Bridge" or any(map(self._names.fullmatch, names)):
                    self._changed.set()

    def _run(self) -> None:
        while not self._stop:
            # Also without a change: a device may have been made anew.
            self._changed.wait(LOOK_SECONDS)
            self._changed.clear()
            wanted = self._wanted
            if wanted is None or self._stop:
                continue
            try:
                problem = self._plug_all(wanted)
            except DatabaseError as error:
                problem = str(error)
            except Exception:
                self._on_fault()
                log.exception("plugging legs failed")
                problem = "internal fault"
            if problem != self._told:
                self._told = problem
                if problem:
                    log.warning("legs are not as they should be", extra={"bridge": self._bridge, "error": problem})

    def _plug_all(self, wanted: frozenset[str]) -> str:
        if not self._client.connected.is_set():
            return "the Open_vSwitch database cannot be reached"
        with self._lock:
            rows = {table: dict(found) for table, found in self._rows.items()}
            renewed, self._renewed = self._renewed, set()
            ready = self._ready = self._ready & wanted
        for port in renewed:
            self._plugger.renew(port)
        for port in sorted(row["name"] for row in rows["Port"].values() if self._names.fullmatch(row["name"])):
            if port not in wanted and (operations := unplug_operations(rows, self._bridge, port)):
                self._client.transact(operations, durable=False)
                log.info("port taken off", extra={"bridge": self._bridge, "port": port})
        problems = [self._plugger.plug(rows, self._bridge, port) for port in sorted(ready)]
        return "; ".join(filter(None, problems))
