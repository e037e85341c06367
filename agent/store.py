"""The only writer of desired state: one command is one durable transaction.

A command is planned on the replica and sent with guards (unique indexes, and
`wait` on the revision of a network it changes). When another agent was
faster the server refuses it whole; by then the replica knows why, and the
command is planned again.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import TypeVar

from agent import metrics
from agent.config import Config
from agent.draft import Draft
from agent.faults import Contended, Fault, Invalid, Missing, Unreachable, Violation, within
from agent.history import Holding
from agent.intent import Idempotency, MachineChange, NewMachine, NewNetwork
from agent.pools import Pools, own_prefixes
from agent.replica import (
    MONITORED,
    WAITING,
    MachineRecord,
    MachineView,
    NetworkRecord,
    NetworkView,
    Replica,
    RequestRecord,
)
from agent.validation import MAX_BATCH, machine_change, new_machine, new_network, request_id
from agent.watch import Hub, Watcher
from state.model import State
from state.ovsdb import Change, Client, OutcomeUnknown, Refused, Unavailable

log = logging.getLogger("sluice.store")

T = TypeVar("T")
R = TypeVar("R", NetworkRecord, MachineRecord)

ATTEMPTS = 30
# Refusals that mean another writer was faster (RFC 7047 sections 3 and 5.2.6).
CONFLICTS = ("constraint violation", "timed out", "referential integrity violation")


def _now() -> int:
    return time.time_ns() // 1_000_000


class Store:
    """Desired state behind commands and questions, all safe to call from any thread.

    `timeout` is in seconds and bounds waiting for the database; what needs it
    raises Unreachable. `clock` answers ms since the epoch.
    """

    def __init__(self, client: Client, config: Config, clock: Callable[[], int] = _now) -> None:
        self.config = config
        self.client = client
        self.clock = clock
        self.hub = Hub()
        cooldown = config.reuse_after_seconds * 1000
        self.replica = Replica(
            Pools(config.appliance, cooldown),
            self.hub.publish,
            keep_blocks=max(config.history_days * 86_400_000, cooldown),
            keep_released=cooldown,
        )
        self._own = own_prefixes(config.appliance)
        self._own_ports = (config.appliance.gateway.port, config.bridge.name)
        self._router_mac = config.appliance.router_mac
        self._commands = threading.Lock()
        self._stopping = False
        self._unsound = ""
        client.monitor(MONITORED, self._apply)

    @property
    def serving(self) -> bool:
        """Whether commands and questions can be answered now."""
        return self.client.connected.is_set() and not self._unsound

    def _apply(self, changes: Sequence[Change], reset: bool) -> None:
        """Take in changes; what cannot be understood ends the service, since nothing may be given out on a guess."""
        try:
            self.replica.apply(changes, reset)
        except Exception as error:
            metrics.INTERNAL.inc()
            log.exception("rows of the database cannot be understood; mend them and restart the agent")
            self._unsound = f"the agent cannot understand the database's contents ({error!r}); its log has more"

    def create_network(self, new: NewNetwork, request: Idempotency, timeout: float) -> NetworkView:
        """Create a network. Raises Invalid, Taken, Exhausted, Contended, Unreachable."""
        _check([*request_id("request_id", request.request_id), *new_network(new, self._own)])

        def plan(draft: Draft) -> NetworkView:
            made = self._made_before(request)
            if made is not None:
                return _remade(self.replica.networks, f"networks/{made.names[0]}", made.created_at).view
            network = draft.create_network(new)
            draft.answered(request, [network.name])
            return NetworkView(network, WAITING)

        view = self._run(plan, timeout, repeatable=bool(request.request_id))
        with self.replica.lock:
            record = self.replica.networks.get(view.network.name)
            return view if record is None else record.view

    def delete_network(self, name: str, timeout: float) -> None:
        """Delete a network. Raises Missing, InUse, Contended, Unreachable."""
        self._run(lambda draft: draft.delete_network(name), timeout)

    def create_machines(
        self, requests: Sequence[NewMachine], request: Idempotency, timeout: float, *, batch: bool
    ) -> list[MachineView]:
        """Create machines, all or none, and answer in the order of `requests`.

        Raises Invalid, Missing, Taken, InUse, Exhausted, Contended,
        Unreachable; of a batch they name the index of the request at fault.
        """
        found = list(request_id("request_id", request.request_id))
        if batch and not 1 <= len(requests) <= MAX_BATCH:
            found.append(Violation("requests", f"requests holds {len(requests)}; allowed: 1 to {MAX_BATCH}"))
        for at, new in enumerate(requests[:MAX_BATCH]):
            violations = new_machine(new, self._own_ports, self._router_mac)
            found += within(violations, f"requests[{at}]") if batch else violations
        _check(found)
        # Those that ask for an address come first, so that no other of the batch is given it.
        order = sorted(range(len(requests)), key=lambda at: not requests[at].address)

        def plan(draft: Draft) -> list[MachineView]:
            made = self._made_before(request)
            if made is not None:
                return [_remade(self.replica.machines, f"machines/{n}", made.created_at).view for n in made.names]
            planned: dict[int, MachineView] = {}
            for at in order:
                try:
                    machine, network = draft.create_machine(requests[at])
                except Fault as fault:
                    raise fault.in_request(at) if batch else fault from None
                planned[at] = MachineView(machine, network.name, network.tenant, draft.now, WAITING)
            views = [planned[at] for at in range(len(requests))]
            draft.answered(request, [view.machine.name for view in views])
            return views

        views = self._run(plan, timeout, repeatable=bool(request.request_id))
        with self.replica.lock:
            records = [self.replica.machines.get(view.machine.name) for view in views]
            return [view if record is None else record.view for view, record in zip(views, records, strict=True)]

    def update_machine(self, name: str, change: MachineChange, timeout: float) -> MachineView:
        """Change a machine. Raises Invalid, Missing, Taken, Contended, Unreachable."""
        _check(machine_change(change, self._own_ports, self._router_mac))
        self._run(lambda draft: draft.update_machine(name, change), timeout)
        return self.machine(name)

    def delete_machine(self, name: str, timeout: float) -> None:
        """Delete a machine and the network made with it. Raises Missing, Contended, Unreachable."""
        self._run(lambda draft: draft.delete_machine(name), timeout)

    def _made_before(self, request: Idempotency) -> RequestRecord | None:
        """What `request` made when it was sent before. Raises Invalid when it was another request."""
        made = self.replica.requests.get(request.request_id) if request.request_id else None
        if made is not None and made.digest != request.digest:
            description = f"request_id {request.request_id} was used for another request; send a new one"
            raise Invalid([Violation("request_id", description)])
        return made

    def _run(self, plan: Callable[[Draft], T], timeout: float, *, repeatable: bool = False) -> T:
        """Plan and send until nobody else was faster.

        `repeatable`: the plan finds what an earlier sending of it made, so it
        is sent again when the answer was lost.
        """
        until = time.monotonic() + timeout
        for attempt in range(ATTEMPTS):
            self.wait_connected(until - time.monotonic())
            if not self._commands.acquire(timeout=max(0.0, until - time.monotonic())):
                raise Unreachable("other commands are still waiting for the database; try again")
            try:
                with self.replica.lock:
                    draft = Draft(self.replica, self.clock())
                    answer = plan(draft)
                if draft.operations:
                    self.client.transact(draft.operations, timeout=max(0.1, until - time.monotonic()))
                return answer
            except Refused as refusal:
                if refusal.error not in CONFLICTS:
                    log.error("the database refused a transaction", extra={"error": str(refusal)})
                    raise Unreachable(f"the database refused the transaction ({refusal.error}); try again") from refusal
                metrics.CONFLICTS.inc()
                log.info("another writer was faster", extra={"error": str(refusal), "attempt": attempt})
            except Unavailable as error:
                log.info("the database went away before a transaction", extra={"error": str(error)})
            except OutcomeUnknown as error:
                if not repeatable:
                    raise Unreachable(
                        f"{error}: whether it was done is unknown; "
                        "look, or send a create with a request_id, which can be repeated safely"
                    ) from error
                if time.monotonic() >= until:
                    raise Unreachable(
                        f"{error}: whether it was done is unknown; send it again with the same request_id"
                    ) from error
            finally:
                self._commands.release()
            if attempt > 2:
                time.sleep(random.uniform(0, 0.002 * attempt))
        raise Contended(f"other writers were faster {ATTEMPTS} times; send the same request again")

    def wait_connected(self, timeout: float) -> None:
        """Wait for the database. Raises Unreachable."""
        if self._unsound:
            raise Unreachable(self._unsound)
        try:
            self.client.wait_connected(max(0.0, min(timeout, 5.0)))
        except Unavailable as error:
            raise Unreachable(str(error)) from error

    def network(self, name: str) -> NetworkView:
        """One network. Raises Missing."""
        with self.replica.lock:
            return _find(self.replica.networks, f"networks/{name}").view

    def machine(self, name: str) -> MachineView:
        """One machine. Raises Missing."""
        with self.replica.lock:
            return _find(self.replica.machines, f"machines/{name}").view

    def list_networks(self, tenant: str, after: str, count: int) -> list[NetworkView]:
        """At most `count` networks with names above `after`, in order; of one tenant unless it is empty."""
        with self.replica.lock:
            index = self.replica.tenants.get(tenant) if tenant else self.replica.networks
            names = () if index is None else islice(index.irange(after, inclusive=(False, True)), count)
            return [self.replica.networks[name].view for name in names]

    def list_machines(self, network: str, after: str, count: int) -> list[MachineView]:
        """At most `count` machines with names above `after`, in order; of one network unless it is empty."""
        with self.replica.lock:
            of = self.replica.networks.get(network)
            index = self.replica.machines if not network else None if of is None else of.machines
            names = () if index is None else islice(index.irange(after, inclusive=(False, True)), count)
            return [self.replica.machines[name].view for name in names]

    def translation(self, address: str, port: int, moment: int | None) -> Holding | None:
        """Who had `port` of public `address` at `moment` (ms; None means now)."""
        with self.replica.lock:
            return self.replica.history.at(address, port, self.clock() if moment is None else moment)

    def wait_network(self, view: NetworkView, timeout: float) -> NetworkView:
        """The network once it is no longer pending, or as it is after `timeout`. Raises Missing."""
        with self.replica.lock:
            record = _remade(self.replica.networks, f"networks/{view.network.name}", view.network.created_at)
            self._await(record, lambda: record.gone or record.view.status.state is not State.PENDING, timeout)
            if record.gone:
                raise Missing(f"networks/{view.network.name}", f"networks/{view.network.name} was deleted meanwhile")
            return record.view

    def wait_machines(self, views: Sequence[MachineView], timeout: float) -> list[MachineView]:
        """The machines once none is pending, or as they are after `timeout`. Raises Missing."""
        until = time.monotonic() + timeout
        settled = []
        with self.replica.lock:
            for view in views:
                name = f"machines/{view.machine.name}"
                record = _remade(self.replica.machines, name, view.created_at)
                self._await_machine(record, until - time.monotonic())
                if record.gone:
                    raise Missing(name, f"{name} was deleted meanwhile")
                settled.append(record)
            return [record.view for record in settled]

    def _await_machine(self, record: MachineRecord, timeout: float) -> None:
        self._await(record.network, lambda: record.gone or record.view.status.state is not State.PENDING, timeout)

    def _await(self, record: NetworkRecord, settled: Callable[[], bool], timeout: float) -> None:
        if record.waiting is None:
            record.waiting = threading.Condition(self.replica.lock)
        record.waiting.wait_for(lambda: self._stopping or settled(), max(0.0, timeout))

    def release_waiting(self) -> None:
        """The agent stops: answer waiting calls with objects as they are, end watch streams."""
        with self.replica.lock:
            self._stopping = True
            for record in self.replica.networks.values():
                if record.waiting is not None:
                    record.waiting.notify_all()
        self.hub.close()

    def watch_networks(self, name: str) -> tuple[list[NetworkView], Watcher[NetworkView]]:
        """The networks there are (only `name` unless it is empty) and a stream of changes after them."""

        with self.replica.lock:
            records = self.replica.networks.values() if not name else [self.replica.networks.get(name)]
            watcher = self.hub.add(NetworkView, lambda view: name in ("", view.network.name))
            return [record.view for record in records if record is not None], watcher

    def watch_machines(self, network: str) -> tuple[list[MachineView], Watcher[MachineView]]:
        """The machines there are (only those of `network` unless it is empty) and a stream of changes after them."""

        with self.replica.lock:
            record = self.replica.networks.get(network)
            machines = record.machines if record is not None else {} if network else self.replica.machines
            watcher = self.hub.add(MachineView, lambda view: network in ("", view.network))
            return [machine.view for machine in machines.values()], watcher


def _check(violations: Sequence[Violation]) -> None:
    if violations:
        raise Invalid(violations)


def _find(records: Mapping[str, R], resource: str) -> R:
    record = records.get(resource.partition("/")[2])
    if record is None:
        raise Missing(resource, f"{resource} does not exist")
    return record


def _remade(records: Mapping[str, R], resource: str, created_at: int) -> R:
    """The object made at `created_at`, not a later one of its name."""
    record = records.get(resource.partition("/")[2])
    if record is None or record.created_at != created_at:
        raise Missing(resource, f"{resource} was made by this request and has been deleted since")
    return record
