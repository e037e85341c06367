"""Detects changes that others made to the switch's flows, by flow counts per table."""

from __future__ import annotations

import datetime
import logging
import time
from collections.abc import Mapping

from controller import metrics
from controller.pipeline.registry import LEARNED, Table
from controller.reconcile.installed_state import InstalledState

log = logging.getLogger("sluice.reconcile")

_MOST_SECONDS = 600.0
_REMARK_SECONDS = 3600.0
_MOST_NAMED = 3
_TITLES = {table.number: table.title for table in Table}


class FlowCounts:
    """Whether flows by table are as many as given, and when to look again where putting them right did not help."""

    def __init__(self) -> None:
        self._last: Mapping[int, int] = {}
        self._times = 0
        self._again = 0.0
        self._seen: tuple[float, str] = (0.0, "")

    @property
    def remark(self) -> str:
        """What was seen of that within the last hour, for a person; empty: nothing."""
        at, tables = self._seen
        if time.time() - at > _REMARK_SECONDS:
            return ""
        moment = datetime.datetime.fromtimestamp(at, datetime.UTC)
        return f"somebody else changed flows of the switch at {moment:%H:%M:%S} UTC ({tables}); they were put right"

    def due(self, now: float) -> bool:
        """Whether it is time to count."""
        return now >= self._again

    def differ(self, found: Mapping[int, int], given: Mapping[int, int], now: float) -> int:
        """How many times in a row the same flows too few or too many were found; 0: they are as given."""
        found = {table: count for table, count in found.items() if table not in LEARNED}
        if found == given:
            self._times = 0
            return 0
        self._times = self._times + 1 if self._times and found == self._last else 1
        self._last = found
        if self._times > 1:
            self._again = now + min(_MOST_SECONDS, 2.0**self._times)
        tables = sorted(number for number in found.keys() | given.keys() if found.get(number) != given.get(number))
        titles = [_TITLES.get(number, str(number)) for number in tables]
        more = f" and {len(titles) - _MOST_NAMED} more" if len(titles) > _MOST_NAMED else ""
        self._seen = time.time(), f"table {', '.join(titles[:_MOST_NAMED])}{more}"
        log.error("somebody else changed flows of the switch", extra={
            "found": sum(found.values()), "given": sum(given.values()),
            "tables": titles[:20],
        })  # fmt: skip
        metrics.FOREIGN_CHANGES.inc()
        return self._times


def count_drift(before: InstalledState, after: InstalledState) -> list[int]:
    """Keys of networks of which the switch does not hold what it was given; their flows are counted as drift."""
    changed = []
    for key in before.keys() | after.keys():
        given, found = before.installed(key), after.installed(key)
        if given != found:
            changed.append(key)
            metrics.DRIFT.labels("missing").inc(len(given.flows.keys() - found.flows.keys()))
            metrics.DRIFT.labels("stray").inc(len(found.flows.keys() - given.flows.keys()))
    return changed
