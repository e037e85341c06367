"""The routes of a peer in order, for paged lists."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

from state import interconnect_rows
from state.interconnect import Route
from state.ovsdb import Row

Position = tuple[int, int]
"""Where a route stands: address, then length of its prefix."""


class LearnedRoutes:
    """The routes of one interconnect, in parts as rows hold them.

    A row is read when somebody first asks for routes after it changed; routes
    are sorted anew only after a change.
    """

    def __init__(self) -> None:
        self._rows: dict[int, Row] = {}
        self._read: dict[int, list[tuple[Position, Route]]] = {}
        self._sorted: dict[bool, tuple[list[Position], list[Route]]] = {}

    def put(self, part: int, row: Row | None) -> None:
        """Take in one part; None: it is gone."""
        self._read.pop(part, None)
        self._sorted.clear()
        if row is None:
            self._rows.pop(part, None)
        else:
            self._rows[part] = row

    def __bool__(self) -> bool:
        return bool(self._rows)

    def page(self, after: Position, count: int, *, refused: bool) -> Sequence[Route]:
        """At most `count` routes above `after`, in order; only those that are not accepted if `refused`."""
        positions, routes = self._in_order(refused)
        begin = bisect_right(positions, after)
        return routes[begin : begin + count]

    def _in_order(self, refused: bool) -> tuple[list[Position], list[Route]]:
        if refused not in self._sorted:
            for part, row in self._rows.items():
                if part not in self._read:
                    read = interconnect_rows.routes(row)
                    self._read[part] = [(interconnect_rows.order(route), route) for route in read]
            found = [pair for part in self._read.values() for pair in part if pair[1].refusal or not refused]
            # Parts are in order already, which this makes use of.
            found.sort(key=lambda pair: pair[0])
            self._sorted[refused] = [position for position, _ in found], [route for _, route in found]
        return self._sorted[refused]
