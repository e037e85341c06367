"""Allocations, quarantined releases and idempotency records."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from sortedcontainers import SortedSet

from agent.clock import Clock
from agent.ipam.appliance_pools import Pools
from agent.ipam.pool import Pool
from agent.ipam.transit_addresses import TransitPool
from agent.translation_log import PublicAddressLog, TranslationLog
from state.ovsdb import Row, RowChange, atoms

KEEP_REQUESTS = 86_400_000
"""How long, in ms, a request id is remembered."""


@dataclass(frozen=True, slots=True)
class RequestRecord:
    """A request that was answered, so that its repetition gets the same answer."""

    digest: str
    names: tuple[str, ...]
    created_at: int


class Allocations:
    """The allocations and requests of one database, and the pools they fill.

    Rows of released values expire `keep[pool]` ms after the release, those of
    other pools `keep_others`, on the clock that never steps, as values rest.
    `addresses_of` answers the pool of machine addresses of a network, if it
    was made already.
    """

    def __init__(
        self,
        pools: Pools,
        addresses_of: Callable[[str], Pool | None],
        clock: Clock,
        *,
        keep: Mapping[str, int],
        keep_others: int,
    ) -> None:
        self._pools, self._addresses_of, self._clock = pools, addresses_of, clock
        self._keep, self._keep_others = dict(keep), keep_others
        self.claims: dict[tuple[str, str], tuple[str, str]] = {}
        self.released: dict[str, dict[str, tuple[str, int]]] = {}
        self.requests: dict[str, RequestRecord] = {}
        self.expiring: SortedSet[tuple[int, str, str]] = SortedSet()
        # When what a row tells of happened, by row, on the clock that never steps.
        self._happened: dict[str, int] = {}
        self.history = TranslationLog()
        self.assignments = PublicAddressLog()

    def allocation(self, change: RowChange) -> None:
        """Take in a change of an `Allocation` row."""
        for row, present in ((change.old, False), (change.new, True)):
            if row is not None:
                self._allocation_row(change.uuid, row, present)

    def _allocation_row(self, uuid: str, row: Row, present: bool) -> None:
        name, value, released_at = row["pool"], row["value"], row["released_at"]
        if name == "port-block":
            (self.history.add if present else self.history.remove)(row)
        elif name == "assignment":
            (self.assignments.add if present else self.assignments.remove)(row)
        pool: Pool | TransitPool | None = self._pools.by_allocation.get(name)
        released = self._moment(uuid, released_at, present) if released_at else 0
        if name.startswith("address/"):
            pool = self._addresses_of(row["network"])
            markers = self.released.setdefault(row["network"], {})
            if present:
                markers[uuid] = (value, released)
            else:
                markers.pop(uuid, None)
                if not markers:
                    del self.released[row["network"]]
        if released_at == 0:
            if present:
                self.claims[name, value] = (uuid, row["network"])
            else:
                self.claims.pop((name, value), None)
            if pool is not None:
                (pool.use if present else pool.unuse)(value)
        else:
            self._expiry("Allocation", uuid, released + self._keep.get(name, self._keep_others), present)
            if pool is not None:
                (pool.cool if present else pool.forget)(value, released)

    def _moment(self, uuid: str, moment: int, present: bool) -> int:
        """`moment` of a row on the clock that never steps: the same as long as the row is there."""
        if not present:
            return self._happened.pop(uuid)
        return self._happened.setdefault(uuid, self._clock.steady_at(moment))

    def _expiry(self, table: str, uuid: str, due: int, present: bool) -> None:
        (self.expiring.add if present else self.expiring.discard)((due, table, uuid))

    def request(self, change: RowChange) -> None:
        """Take in a change of a `Request` row."""
        for row, present in ((change.old, False), (change.new, True)):
            if row is not None:
                created = self._moment(change.uuid, row["created_at"], present)
                self._expiry("Request", change.uuid, created + KEEP_REQUESTS, present)
        if change.old is not None:
            self.requests.pop(change.old["request_id"], None)
        if change.new is not None:
            names = tuple(name.split(" ", 1)[1] for name in sorted(atoms(change.new["names"])))
            record = RequestRecord(change.new["digest"], names, change.new["created_at"])
            self.requests[change.new["request_id"]] = record
