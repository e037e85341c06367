"""The only writer of desired state: one command is one durable transaction.

A command is planned on the cache and sent with guards (unique indexes, and
`wait` on the revision of a network it changes). When another agent was
faster the server refuses it whole; by then the cache knows why, and the
command is planned again.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from heapq import merge
from itertools import islice
from typing import Any, TypeVar

from sortedcontainers import SortedDict

from agent import metrics
from agent.cache.desired_state import MONITORED, DesiredStateCache
from agent.cache.records import (
    DriveRecord,
    InterconnectRecord,
    MachineRecord,
    NetworkRecord,
    Peerings,
    PublicAddressRecord,
    VpnConnectionRecord,
    VpnGatewayRecord,
)
from agent.cache.watch import Hub
from agent.clock import Clock
from agent.config import Config, own_macs
from agent.errors import Aborted, InvalidArgument, NotFound, Unavailable, Violation
from agent.ipam.allocations import RequestRecord
from agent.ipam.appliance_pools import Pools
from agent.requests import Idempotency
from agent.transaction import TransactionBuilder, next_revision
from state.model import State
from state.ovsdb import DatabaseUnavailable, OutcomeUnknown, OvsdbClient, RowChange, TransactionRefused
from state.prefixes import own_prefixes

log = logging.getLogger("sluice.store")

T = TypeVar("T")
R = TypeVar(
    "R",
    NetworkRecord,
    MachineRecord,
    PublicAddressRecord,
    DriveRecord,
    VpnGatewayRecord,
    VpnConnectionRecord,
    InterconnectRecord,
)

Index = SortedDict[str, Any]

ATTEMPTS = 30
# Refusals that mean another writer was faster (RFC 7047 sections 3 and 5.2.6).
CONFLICTS = ("constraint violation", "timed out", "referential integrity violation")


class DesiredState:
    """The cache, and the way of a command to the database; all safe to call from any thread.

    `timeout` is in seconds and bounds waiting for the database; what needs it
    raises Unavailable.
    """

    def __init__(self, client: OvsdbClient, config: Config, clock: Clock | None = None) -> None:
        self.config = config
        self.client = client
        self.clock = clock or Clock()
        self.hub = Hub()
        cooldown = config.reuse_after_seconds * 1000
        self.cache = DesiredStateCache(
            Pools(config.appliance, cooldown),
            self.hub.publish,
            self.clock,
            keep_blocks=max(config.history_days * 86_400_000, cooldown),
            keep_released=cooldown,
        )
        self.own_prefixes = own_prefixes(config.appliance)
        self.own_ports = (*config.appliance.own_ports, config.bridge.name)
        self.own_macs = own_macs(config.appliance)
        self._commands = threading.Lock()
        self.stopping = False
        self._unsound = ""
        client.monitor(MONITORED, self._apply)

    @property
    def serving(self) -> bool:
        """Whether commands and questions can be answered now."""
        return self.client.connected.is_set() and not self._unsound

    def _apply(self, changes: Sequence[RowChange], reset: bool) -> None:
        """Take in changes; what cannot be understood ends the service, since nothing may be given out on a guess."""
        try:
            self.cache.apply(changes, reset)
        except Exception as error:
            metrics.INTERNAL.inc()
            log.exception("cannot parse the database contents; fix the rows and restart the agent")
            self._unsound = f"the agent cannot understand the database's contents ({error!r}); its log has more"

    def made_before(self, request: Idempotency) -> RequestRecord | None:
        """What `request` made when it was sent before. Raises InvalidArgument when it was another request."""
        made = self.cache.allocations.requests.get(request.request_id) if request.request_id else None
        if made is not None and made.digest != request.digest:
            description = f"request_id {request.request_id} was used for another request; send a new one"
            raise InvalidArgument([Violation("request_id", description)])
        return made

    def run(self, plan: Callable[[TransactionBuilder], T], timeout: float, *, repeatable: bool = False) -> T:
        """Plan and send until nobody else was faster.

        `repeatable`: the plan finds what an earlier sending of it made, so it
        is sent again when the answer was lost.
        """
        until = time.monotonic() + timeout
        for attempt in range(ATTEMPTS):
            self.wait_connected(until - time.monotonic())
            if not self._commands.acquire(timeout=max(0.0, until - time.monotonic())):
                raise Unavailable("other commands are still waiting for the database; try again")
            try:
                with self.cache.lock:
                    transaction = TransactionBuilder(self.cache, self.config.appliance, self.clock)
                    answer = plan(transaction)
                    operations = [*transaction.operations, next_revision(self.cache)] if transaction.operations else []
                if operations:
                    self.client.transact(operations, timeout=max(0.1, until - time.monotonic()))
                return answer
            except TransactionRefused as refusal:
                if refusal.error not in CONFLICTS:
                    log.error("the database refused a transaction", extra={"error": str(refusal)})
                    raise Unavailable(f"the database refused the transaction ({refusal.error}); try again") from refusal
                metrics.CONFLICTS.inc()
                log.info("another writer was faster", extra={"error": str(refusal), "attempt": attempt})
            except DatabaseUnavailable as error:
                log.info("the database went away before a transaction", extra={"error": str(error)})
            except OutcomeUnknown as error:
                if not repeatable:
                    raise Unavailable(
                        f"{error}: whether it was done is unknown; "
                        "look, or send a create with a request_id, which can be repeated safely"
                    ) from error
                if time.monotonic() >= until:
                    raise Unavailable(
                        f"{error}: whether it was done is unknown; send it again with the same request_id"
                    ) from error
            finally:
                self._commands.release()
            if attempt > 2:
                time.sleep(random.uniform(0, 0.002 * attempt))
        raise Aborted(f"too many conflicting writes ({ATTEMPTS} attempts); retry the request")

    def wait_connected(self, timeout: float) -> None:
        """Wait for the database. Raises Unavailable."""
        if self._unsound:
            raise Unavailable(self._unsound)
        try:
            self.client.wait_connected(max(0.0, min(timeout, 5.0)))
        except DatabaseUnavailable as error:
            raise Unavailable(str(error)) from error

    def await_settled(self, record: NetworkRecord | Peerings, settled: Callable[[], bool], timeout: float) -> None:
        """Wait, under the lock, until `settled` as the network or what is in it changes, at most `timeout` s."""
        if record.waiting is None:
            record.waiting = threading.Condition(self.cache.lock)
        record.waiting.wait_for(lambda: self.stopping or settled(), max(0.0, timeout))

    def await_object(
        self,
        record: NetworkRecord
        | MachineRecord
        | DriveRecord
        | VpnGatewayRecord
        | VpnConnectionRecord
        | InterconnectRecord,
        network: NetworkRecord | Peerings,
        resource: str,
        timeout: float,
    ) -> None:
        """Wait, under the lock, until an object of `network` is no longer pending, at most `timeout` s.

        Raises NotFound when it was deleted meanwhile.
        """
        self.await_settled(network, lambda: record.gone or record.view.status.state is not State.PENDING, timeout)
        if record.gone:
            raise NotFound(resource, f"{resource} was deleted meanwhile")

    def of_tenant(
        self, tenant: str, every: Index, within: Callable[[NetworkRecord], Index | None]
    ) -> list[Index | None]:
        """The indexes of objects `within` each network of a tenant; without a tenant `every` object."""
        return [within(record) for record in self.cache.tenants.get(tenant, {}).values()] if tenant else [every]

    def of_network(
        self, network: str, tenant: str, every: Index, within: Callable[[NetworkRecord], Index | None]
    ) -> list[Index | None]:
        """As `of_tenant`, of one network where it is named. Raises NotFound."""
        if not network:
            return self.of_tenant(tenant, every, within)
        record = find(self.cache.networks, f"networks/{network}")
        return [within(record)] if tenant in ("", record.network.tenant) else []

    def release_waiting(self) -> None:
        """The agent stops: answer waiting calls with objects as they are, end watch streams."""
        with self.cache.lock:
            self.stopping = True
            owners: list[NetworkRecord | Peerings] = [*self.cache.networks.values()]
            for owner in (*owners, self.cache.interconnects.peerings):
                if owner.waiting is not None:
                    owner.waiting.notify_all()
        self.hub.close()


def following(indexes: Iterable[Index | None], after: str, count: int) -> list[str]:
    """At most `count` names of the `indexes` above `after`, in order."""
    ranges = [index.irange(after, inclusive=(False, True)) for index in indexes if index]
    return list(islice(merge(*ranges), count))


def check(violations: Sequence[Violation]) -> None:
    """Raises InvalidArgument if there are violations."""
    if violations:
        raise InvalidArgument(violations)


def find(records: Mapping[str, R], resource: str) -> R:
    """The record of an object. Raises NotFound."""
    record = records.get(resource.partition("/")[2])
    if record is None:
        raise NotFound(resource, f"{resource} does not exist")
    return record


def remade(records: Mapping[str, R], resource: str, created_at: int) -> R:
    """The object made at `created_at`, not a later one of its name."""
    record = records.get(resource.partition("/")[2])
    if record is None or record.created_at != created_at:
        raise NotFound(resource, f"{resource} was made by this request and has been deleted since")
    return record
