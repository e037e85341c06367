"""Reads meters of the switch and writes usage, in a thread with its own connections.

Meters are read at intervals, and just before they end or get another rate.
What was read is taken in one after the other, and stays until it is written;
a transaction is refused when somebody else has written meanwhile.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from controller import metrics
from controller.openflow.client import OpenFlowClient, SwitchError
from controller.usage.readings import Owner, Owners, Reading, advance, counted
from state import rows
from state.interconnect_rows import network_of
from state.model import Kind
from state.ovsdb import DatabaseError, Operation, OvsdbClient, Row, RowChange, TransactionRefused
from state.usage import Usage, usage, usage_row

log = logging.getLogger("sluice.usage")

_TABLES = {
    "Network": ("name", "kind", "key"),
    "Machine": ("name", "network", "number"),
    "Interconnect": ("network", "number"),
    "Usage": rows.COLUMNS["Usage"],
}
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_RETRY_SECONDS = 0.5
_WAITING = 64


@dataclass(frozen=True, slots=True)
class _Batch:
    readings: Mapping[int, Reading]
    complete: bool
    began: float


class UsageCollector:
    """Counts usage every `interval` seconds. `changing` is for the thread that changes meters."""

    def __init__(self, database: str, mgmt: str, interval: float) -> None:
        self._mgmt, self._interval = mgmt, interval
        self._boot = _BOOT_ID.read_text()[:8]
        self._rows: dict[str, dict[str, Row]] = {"Network": {}, "Machine": {}, "Interconnect": {}}
        self._usages: dict[str, Usage] = {}
        self._gone: dict[int, tuple[Owner, float]] = {}
        self._rows_lock = threading.Lock()
        # Reentrant: what the switch refuses in one bundle is sent in several.
        self._switch_lock = threading.RLock()
        self._batches: deque[_Batch] = deque(maxlen=_WAITING)
        self._wake = threading.Condition()
        self._closed = False
        self._client = OvsdbClient(database)
        self._client.monitor(_TABLES, self._changed)
        self._thread = threading.Thread(target=self._run, name="usage", daemon=True)

    def start(self) -> None:
        """Begin to count."""
        self._thread.start()

    def close(self, timeout: float) -> None:
        """Count once more, write it, at most for `timeout` seconds, and end."""
        with self._wake:
            self._closed = True
            self._wake.notify_all()
        self._thread.join(timeout)
        self._client.close()

    @contextlib.contextmanager
    def changing(self, meters: Collection[int]) -> Iterator[None]:
        """Read `meters` for the last time before they change, and no others until they have."""
        ending = counted(meters)
        if not ending:
            yield
            return
        with self._switch_lock:
            self._read(ending)
            yield
        with self._wake:
            self._wake.notify_all()

    def _run(self) -> None:
        due = time.monotonic()
        while True:
            with self._wake:
                self._wake.wait_for(lambda: self._closed or bool(self._batches), max(0.0, due - time.monotonic()))
                closed = self._closed
            try:
                if closed or time.monotonic() >= due:
                    with self._switch_lock:
                        self._read(None)
                    due = time.monotonic() + self._interval
                written = self._write()
            except Exception:
                metrics.FAULTS.labels("usage").inc()
                log.exception("fault while counting usage")
                written = False
            if closed:
                return
            if not written:
                time.sleep(_RETRY_SECONDS)

    def _read(self, meters: Collection[int] | None) -> None:
        """Read these meters, or all, and put them in line. Who calls holds the lock."""
        try:
            began = time.monotonic()
            with OpenFlowClient(self._mgmt) as bridge:
                readings: dict[int, Reading] = {}
                for one in [None] if meters is None else meters:
                    readings |= self._readings(bridge, one)
        except SwitchError as error:
            log.warning("meters not read", extra={"error": str(error)})
            return
        self._batches.append(_Batch(readings, meters is None, began))

    def _readings(self, bridge: OpenFlowClient, meter: int | None) -> dict[int, Reading]:
        rates = bridge.meters(meter)
        before = round(time.monotonic() * 1000)
        counts = bridge.meter_counts(meter)
        after = round(time.monotonic() * 1000)
        return {
            number: Reading(
                self._boot,
                f"{rates[number].value}/{rates[number].burst}",
                before - counts[number].age,
                after - counts[number].age,
                before,
                counts[number].packets,
                counts[number].bytes,
            )
            for number in counted(counts)
            if number in rates
        }

    def _write(self) -> bool:
        """Take in what was read; False when it is to be tried again."""
        while self._batches:
            batch = self._batches[0]
            if not self._client.connected.is_set():
                return False
            with self._rows_lock:
                usages, owners = self._state()
            changes = advance(usages, owners, batch.readings, round(time.time() * 1000), complete=batch.complete)
            operations = [one for uuid, after in changes.items() for one in _operations(usages.get(uuid), after, uuid)]
            try:
                if operations:
                    self._client.transact(operations)
            except TransactionRefused as error:
                # Somebody else counts too: what he wrote is newer, and the next reading goes on from there.
                log.warning("usage not written", extra={"error": str(error)})
            except DatabaseError as error:
                log.warning("usage not written, will try again", extra={"error": str(error)})
                return False
            self._batches.popleft()
            if batch.complete:
                metrics.COUNTED.set_to_current_time()
                with self._rows_lock:
                    self._gone = {n: one for n, one in self._gone.items() if one[1] >= batch.began}
        return True

    def _state(self) -> tuple[dict[str, Usage], Owners]:
        networks = {
            uuid: Owner(uuid, uuid, f"networks/{row['name']}", _SUMMED[Kind(row["kind"])])
            for uuid, row in self._rows["Network"].items()
        }
        machines = {row["number"]: _machine(uuid, row) for uuid, row in self._rows["Machine"].items()}
        keys = {row["key"]: networks[uuid] for uuid, row in self._rows["Network"].items()}
        owning = ((row["number"], network_of(row)) for row in self._rows["Interconnect"].values())
        # A peering is nobody's: what machines send by it is public.
        interconnects = {number: networks[network] for number, network in owning if network in networks}
        gone = {number: owner for number, (owner, _) in self._gone.items() if number not in machines}
        usages = {one.owner: one for one in self._usages.values()}
        return usages, Owners(machines | gone, keys, frozenset(owner.uuid for owner in gone.values()), interconnects)

    def _changed(self, changes: Sequence[RowChange], reset: bool) -> None:
        with self._rows_lock:
            for change in changes:
                if change.table == "Usage":
                    # Taken apart when it comes, since every batch looks at all of them.
                    if change.new is None:
                        self._usages.pop(change.uuid, None)
                    else:
                        self._usages[change.uuid] = usage(change.new)
                elif change.new is None:
                    before = self._rows[change.table].pop(change.uuid, None)
                    # Its meters are read once more after this.
                    if change.table == "Machine" and before is not None:
                        self._gone[before["number"]] = _machine(change.uuid, before), time.monotonic()
                else:
                    self._rows[change.table][change.uuid] = change.new


_SUMMED = {Kind.ISOLATED: frozenset({"public", "private", "storage"}), Kind.PRIVATE: frozenset({"private"})}


def _machine(uuid: str, row: Row) -> Owner:
    return Owner(uuid, row["network"][1], f"machines/{row['name']}")


def _operations(before: Usage | None, after: Usage | None, uuid: str) -> list[Operation]:
    """What makes `before` to `after`, as long as nobody else has changed it."""
    if before is None:
        return [{"op": "insert", "table": "Usage", "row": usage_row(after)}] if after is not None else []
    where = [["owner", "==", uuid]]
    row: dict[str, Any] = usage_row(before)
    unchanged: Operation = {
        "op": "wait", "table": "Usage", "where": where, "columns": ["baselines", "counts"], "until": "==",
        "rows": [{"baselines": row["baselines"], "counts": row["counts"]}], "timeout": 0,
    }  # fmt: skip
    if after is None:
        return [unchanged, {"op": "delete", "table": "Usage", "where": where}]
    row = {name: value for name, value in usage_row(after).items() if name in ("counts", "baselines", "updated_at")}
    return [unchanged, {"op": "update", "table": "Usage", "where": where, "row": row}]
