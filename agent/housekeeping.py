"""Background work of the agent: publishes its settings, prunes expired rows, keeps gauges."""

from __future__ import annotations

import logging
import threading
from itertools import islice

from agent import metrics
from agent.store import Store
from agent.transaction import next_revision
from state.ovsdb import DatabaseError, Operation, by_uuid, mapping, to_map

log = logging.getLogger("sluice.housekeeping")

INTERVAL = 0.5
PRUNED_AT_ONCE = 200


class Housekeeping:
    """A thread with bounded work each `INTERVAL` s, so that no call has to do it."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._stop = threading.Event()
        self._published = False
        self._differs = False
        self._thread = threading.Thread(target=self._run, name="housekeeping", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        # The settings must be there at once: the controller needs them to begin.
        while not self._stop.is_set() and not self._store.client.connected.wait(INTERVAL):
            metrics.CONNECTED.set(0)
        while not self._stop.is_set():
            try:
                if self.once():
                    continue
            except DatabaseError as error:
                log.warning("housekeeping of the database has to wait", extra={"error": str(error)})
            except Exception:
                metrics.INTERNAL.inc()
                log.exception("housekeeping failed")
            self._stop.wait(INTERVAL)

    def once(self) -> bool:
        """One round; True when more is to be done at once. Raises DatabaseError."""
        connected = self._store.client.connected.is_set()
        metrics.CONNECTED.set(connected)
        if not connected:
            return False
        expired = self._expired()
        operations = [*self._settings(), *expired]
        if operations:
            self._store.client.transact(operations, durable=False)
        cache, now = self._store.cache, self._store.clock.steady()
        with cache.lock:
            for pool in cache.pools:
                metrics.FREE.labels(pool.name).set(pool.free_count(now))
                metrics.SIZE.labels(pool.name).set(pool.size)
        realization = self._store.realization()
        metrics.DESIRED.set(realization.desired)
        metrics.REALIZED.set(realization.realized)
        return len(expired) == PRUNED_AT_ONCE

    def _settings(self) -> list[Operation]:
        """Write the settings at the start and when they are gone; not against another agent, again and again."""
        wanted = self._store.config.appliance.to_settings()
        with self._store.cache.lock:
            present, revision = self._store.cache.appliance, next_revision(self._store.cache)
        if present is None:
            row = {"name": "appliance", "settings": to_map(wanted)}
            return [{"op": "insert", "table": "Appliance", "row": row}, revision]
        uuid, row = present
        if mapping(row["settings"]) == wanted:
            self._published = True
        elif not self._published:
            row = {"settings": to_map(wanted)}
            return [{"op": "update", "table": "Appliance", "where": by_uuid(uuid), "row": row}, revision]
        elif not self._differs:
            log.error("configuration conflict: another agent publishes different settings to this database")
        self._differs = mapping(row["settings"]) != wanted
        return []

    def _expired(self) -> list[Operation]:
        now = self._store.clock.steady()
        with self._store.cache.lock:
            due = list(islice(self._store.cache.allocations.expiring.irange(maximum=(now, "", "")), PRUNED_AT_ONCE))
        return [{"op": "delete", "table": table, "where": by_uuid(uuid)} for _, table, uuid in due]
