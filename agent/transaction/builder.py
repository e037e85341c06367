"""Builds the operations of one command as one transaction, from the cache; writes nothing.

Operations name rows by uuid: the server finds those by hash, while any other
condition makes it look at every row of the table.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Container, Iterator

from agent.cache.desired_state import DesiredStateCache
from agent.cache.records import MachineRecord, NetworkRecord
from agent.clock import Clock
from agent.errors import NotFound, ResourceExhausted
from agent.ipam.pool import Pool
from agent.requests import Idempotency
from state.model import Appliance, Network
from state.ovsdb import Operation, Row, by_uuid, to_set

log = logging.getLogger("sluice.transaction")

NAMED_USERS = 5
"""How many of those that use an object a refusal names."""


def fresh(what: str, present: Container[str]) -> str:
    """A name for an object whose client gave none."""
    while (name := f"{what}-{secrets.token_hex(5)}") in present:
        pass
    return name


def clock_text(moment: int, now: int) -> str:
    """How long it is until `moment` (both ms), in words."""
    return f"in {-(-(moment - now) // 1000)} s"


def next_revision(cache: DesiredStateCache) -> Operation:
    """What makes the next revision of desired state, in a transaction that changes it; under the cache's lock."""
    if cache.revision_row is None:
        # There is one row at most: of two who insert it, one is refused.
        return {"op": "insert", "table": "Revision", "row": {"desired": 1}}
    mutations = [["desired", "+=", 1]]
    return {"op": "mutate", "table": "Revision", "where": by_uuid(cache.revision_row[0]), "mutations": mutations}


class BaseTransaction:
    """The operations of one command, with their guards and what they take out of pools.

    `now` is the time of day (ms), which rows tell; `steady` that of the clock
    that never steps, by which values rest; `revision` that of a new object.

    It is made under the cache's lock. When the command cannot be done the
    methods that plan it raise RequestError; then it is thrown away and nothing has
    changed.
    """

    def __init__(self, cache: DesiredStateCache, appliance: Appliance, clock: Clock) -> None:
        self.operations: list[Operation] = []
        self.now, self.steady, self.revision = clock.now(), clock.steady(), clock.revision()
        self._appliance = appliance
        self._cache = cache
        self._free: dict[Pool, Iterator[str]] = {}
        self._guarded: set[str] = set()
        self._pools_changed = False
        self._claimed: dict[str, str] = {}
        self._names: set[str] = set()
        self._taken: dict[tuple[str, str, str], str] = {}

    def answered(self, request: Idempotency, names: list[str]) -> None:
        """Remember that `request` made `names`, in the same transaction."""
        if request.request_id:
            numbered = [f"{at:04d} {name}" for at, name in enumerate(names)]
            row = {"request_id": request.request_id, "digest": request.digest, "created_at": self.now}
            self._insert("Request", {**row, "names": to_set(numbered)})

    def _network_named(self, name: str) -> NetworkRecord:
        record = self._cache.networks.get(name)
        if record is None:
            raise NotFound(f"networks/{name}", f"networks/{name} does not exist")
        return record

    def _machine_named(self, name: str) -> MachineRecord:
        record = self._cache.machines.get(name)
        if record is None:
            raise NotFound(f"machines/{name}", f"machines/{name} does not exist")
        return record

    def _next(self, pool: Pool) -> str:
        """The lowest free value of `pool` that this transaction has not taken."""
        self._guard_pools()
        values = self._free.get(pool)
        if values is None:
            values = self._free[pool] = pool.free(self.steady)
        value = next(values, None)
        if value is None:
            cooled = pool.next_cooled(self.steady)
            later = "" if cooled is None else f"; the next released one is free {clock_text(cooled, self.steady)}"
            raise ResourceExhausted(
                pool.name,
                f"pool {pool.name} is empty: none of its {pool.size} is free{later}",
                {"size": str(pool.size)},
            )
        return value

    def _wait(self, record: NetworkRecord) -> None:
        """Have the transaction refused if somebody changed the network meanwhile."""
        self._guard("Network", record.uuid, record.network.revision)

    def _change(self, record: NetworkRecord) -> None:
        """Guard the network and give it its next revision, once a draft."""
        if self._guard("Network", record.uuid, record.network.revision):
            self._bump("Network", record.uuid)

    def _guard_pools(self, *, changed: bool = False) -> None:
        """Have the transaction refused if somebody `changed` pools meanwhile in a way that no index shows.

        A value that was given and taken back has to rest, and VPN gateways and interconnects have numbers as machines
        have: indexes know neither.
        """
        if self._cache.pools_row is None:
            if not self._pools_changed:
                self._pools_changed = True
                # There is one row at most: of two who insert it, one is refused.
                self._insert("Pools", {"revision": 1})
            return
        uuid, revision = self._cache.pools_row
        self._guard("Pools", uuid, revision)
        if changed and not self._pools_changed:
            self._pools_changed = True
            self._bump("Pools", uuid)

    def _unused_by_machines(self, number: int) -> None:
        """Have the transaction refused if a machine has this number, which no index of other objects knows.

        The server looks at every machine for it (1 ms for some thousands): once in the life of such an object.
        """
        self.operations.append(
            {
                "op": "wait",
                "table": "Machine",
                "where": [["number", "==", number]],
                "columns": ["number"],
                "until": "==",
                "rows": [],
                "timeout": 0,
            }
        )

    def _guard(self, table: str, uuid: str, revision: int) -> bool:
        """Have the transaction refused unless the row has this revision; False when it is guarded already."""
        if uuid in self._guarded:
            return False
        self._guarded.add(uuid)
        self.operations.append(
            {
                "op": "wait",
                "table": table,
                "where": by_uuid(uuid),
                "columns": ["revision"],
                "until": "==",
                "rows": [{"revision": revision}],
                "timeout": 0,
            }
        )
        return True

    def _bump(self, table: str, uuid: str) -> None:
        mutations = [["revision", "+=", 1]]
        self.operations.append({"op": "mutate", "table": table, "where": by_uuid(uuid), "mutations": mutations})

    def _allocation(self, pool: str, value: str, network: Network, allocated_at: int) -> Row:
        row = self._allocation_of(pool, value, network.tenant)
        return {**row, "network": network.name, "prefix": network.prefix, "allocated_at": allocated_at}

    def _allocation_of(self, pool: str, value: str, tenant: str) -> Row:
        """The row of a value that belongs to no network."""
        return {
            "pool": pool,
            "value": value,
            "network": "",
            "tenant": tenant,
            "prefix": "",
            "allocated_at": self.now,
            "released_at": 0,
        }

    def _allocate(self, pool: str, value: str, network: Network) -> None:
        self._insert("Allocation", self._allocation(pool, value, network, self.now))

    def _release(self, pool: str, value: str) -> None:
        uuid = self._claim(pool, value)
        if uuid:
            self._guard_pools(changed=True)
            self._update("Allocation", uuid, {"released_at": self.now})

    def _unclaim(self, pool: str, value: str) -> None:
        uuid = self._claim(pool, value)
        if uuid:
            self._delete("Allocation", uuid)

    def _claim(self, pool: str, value: str) -> str:
        uuid = self._cache.allocations.claims.get((pool, value), ("", ""))[0]
        if not uuid:
            log.error("an allocation has no row in the database", extra={"pool": pool, "value": value})
        return uuid

    def _insert(self, table: str, row: Row, handle: str = "") -> None:
        named = {"uuid-name": handle} if handle else {}
        self.operations.append({"op": "insert", "table": table, "row": row, **named})

    def _update(self, table: str, uuid: str, row: Row) -> None:
        self.operations.append({"op": "update", "table": table, "where": by_uuid(uuid), "row": row})

    def _delete(self, table: str, uuid: str) -> None:
        self.operations.append({"op": "delete", "table": table, "where": by_uuid(uuid)})
