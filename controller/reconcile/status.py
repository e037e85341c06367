"""Writes the status of networks and the realised revision, on a thread of its own."""

from __future__ import annotations

import logging
import threading

from controller import metrics
from controller.desired_state.source import DesiredStateSource
from controller.reconcile.work_queue import Progress
from state.model import NetworkStatus
from state.ovsdb import DatabaseError

log = logging.getLogger("sluice.status")

_BATCH = 500
_RETRY_SECONDS = 0.5


class Statuses:
    """Collects statuses and writes what has gathered in one transaction, in its own thread."""

    def __init__(self, source: DesiredStateSource) -> None:
        self._source = source
        self._waiting: dict[str, NetworkStatus | None] = {}
        self._progress: Progress | None = None
        self._condition = threading.Condition()
        self._closed = False
        self._writing = False
        self._thread = threading.Thread(target=self._run, name="status", daemon=True)
        self._thread.start()

    def put(self, name: str, status: NetworkStatus | None) -> None:
        """Write this status of network `name` soon; None removes it."""
        with self._condition:
            self._waiting[name] = status
            self._condition.notify_all()

    def put_progress(self, progress: Progress) -> None:
        """Write this soon, not before the statuses that were put before."""
        with self._condition:
            self._progress = progress
            self._condition.notify_all()

    def close(self, timeout: float) -> None:
        """Write what is waiting, at most for `timeout` seconds, and end."""
        with self._condition:
            self._condition.wait_for(lambda: not (self._waiting or self._progress or self._writing), timeout)
            self._closed = True
            self._condition.notify_all()

    def _run(self) -> None:
        while True:
            with self._condition:
                self._writing = False
                self._condition.notify_all()
                self._condition.wait_for(lambda: self._waiting or self._progress or self._closed)
                if self._closed:
                    return
                names = list(self._waiting)[:_BATCH]
                batch = {name: self._waiting.pop(name) for name in names}
                progress = None
                if not self._waiting:
                    progress, self._progress = self._progress, None
                self._writing = True
            if not self._write(batch, progress):
                with self._condition:
                    # What came meanwhile is newer.
                    self._waiting = batch | self._waiting
                    self._progress = self._progress or progress
                    self._condition.wait_for(lambda: self._closed, _RETRY_SECONDS)

    def _write(self, batch: dict[str, NetworkStatus | None], progress: Progress | None) -> bool:
        try:
            self._source.write_statuses(batch, progress)
        except DatabaseError as error:
            metrics.STATUS_ERRORS.inc()
            log.warning("status not written, will try again", extra={"networks": len(batch), "error": str(error)})
            return False
        return True
