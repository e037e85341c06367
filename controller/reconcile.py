"""Keep the switch at the desired state: a change of one network costs one network's work.

One thread, fed by a queue of events. Networks that changed wait in one of two
lines, those of a single change before those of a change of everything; each
turn takes some hundreds of flows' worth of networks, compiles them, and sends
the difference to what the switch holds in one bundle.
"""

from __future__ import annotations

import logging
import queue
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from controller import metrics, wire
from controller.compile import Compiled, Site, compile_network, compile_shared
from controller.diff import Difference, diff
from controller.ledger import Ledger
from controller.mgmt import InstalledFlow, SwitchError
from controller.pipeline import APPLIANCE_KEY, Table, split_cookie
from controller.source import Changed
from controller.verify import drift
from state.model import Appliance, Network, NetworkStatus, State

log = logging.getLogger("sluice.reconcile")

_BUNDLE_FLOWS = 500
_FEW = 64
_RETRY_SECONDS = 1.0
_REFUSE_FLOWS = 1000
_REFUSE_SHARE = 0.5


class DesiredState(Protocol):
    """What the reconciler reads; see `source.Source`."""

    @property
    def appliance(self) -> Appliance | None: ...

    @property
    def neighbors(self) -> Mapping[str, str]: ...

    def network(self, key: int) -> Network | None: ...

    def networks(self) -> list[Network]: ...

    def has_network(self, name: str) -> bool: ...

    def forgotten_statuses(self) -> list[str]: ...


class FlowSwitch(Protocol):
    """What the reconciler does with the switch; see `switch.Switch`."""

    @property
    def connected(self) -> bool: ...

    def ports(self) -> dict[str, int]: ...

    def read_flow_ids(self) -> set[tuple[int, int]]: ...

    def read_flows(self, table: int) -> list[InstalledFlow]: ...

    def read_meters(self) -> dict[int, int]: ...

    def commit(self, before: list[bytes], mods: list[bytes]) -> Mapping[int, str]: ...

    def send(self, messages: list[bytes]) -> None: ...


class StatusSink(Protocol):
    """Where statuses go; see `status.Statuses`."""

    def put(self, name: str, status: NetworkStatus | None) -> None: ...


@dataclass(frozen=True, slots=True)
class SwitchUp:
    """The switch connected."""


@dataclass(frozen=True, slots=True)
class SwitchDown:
    """The switch is gone."""


@dataclass(frozen=True, slots=True)
class PortsChanged:
    """A port came, went or got another number."""


@dataclass(frozen=True, slots=True)
class Verify:
    """Compare everything deeply when there is nothing else to do."""


@dataclass(frozen=True, slots=True)
class Stop:
    """End, and leave the flows as they are."""


Event = Changed | SwitchUp | SwitchDown | PortsChanged | Verify | Stop


@dataclass(frozen=True, slots=True)
class _Plan:
    """What to do for one network, and what to say when it is done."""

    key: int
    name: str
    revision: int
    compiled: Compiled
    difference: Difference
    since: float


class Reconciler:
    """See the module; `post` may be called by any thread, `run` is the worker's."""

    def __init__(self, source: DesiredState, switch: FlowSwitch, statuses: StatusSink, *, force: bool = False) -> None:
        self._source, self._switch, self._statuses, self._force = source, switch, statuses, force
        self._events: queue.SimpleQueue[tuple[float, Event]] = queue.SimpleQueue()
        self._ledger = Ledger()
        self._adopted = False
        self._stopped = False
        self._urgent: dict[int, float] = {}
        self._bulk: dict[int, float] = {}
        self._names: dict[int, str] = {}
        self._ports_of: dict[int, frozenset[str]] = {}
        self._networks_at: dict[str, set[int]] = {}
        self._ports: dict[str, int] = {}
        self._site: Site | None = None
        self._unverified: dict[int, list[InstalledFlow]] = {}
        self._drops: dict[int, dict[int, str]] = {}

    def post(self, event: Event) -> None:
        """Hand an event to the worker."""
        self._events.put((time.monotonic(), event))

    @property
    def site(self) -> Site | None:
        """What flows depend on besides networks; None while the appliance's settings are missing."""
        return self._site

    def drops(self, key: int) -> Mapping[int, str]:
        """The cookies of the drop flows of one network, with their reasons."""
        return self._drops.get(key, {})

    def run(self) -> None:
        """Work until `Stop`. No fault ends it: each is logged and counted."""
        while not self._stopped:
            try:
                self._turn()
            except SwitchError as error:
                self._lost(error)
            except Exception:
                metrics.FAULTS.labels("reconcile").inc()
                log.exception("fault while reconciling")

    def _turn(self) -> None:
        self._receive()
        if self._stopped:
            return
        if self._switch.connected and not self._adopted:
            self._adopt()
        if not self._adopted:
            return
        if self._urgent or self._bulk:
            self._commit(self._plans())
            metrics.PENDING.set(len(self._urgent) + len(self._bulk))
            metrics.FLOWS.set(self._ledger.count())
            if not self._bulk:
                self._switch.send(self._ledger.remove_orphans())
        elif self._unverified:
            self._verify_one()

    def _receive(self) -> None:
        ready = self._adopted and (self._urgent or self._bulk or self._unverified)
        try:
            if ready:
                when, event = self._events.get_nowait()
            else:
                waiting = self._switch.connected and not self._adopted
                when, event = self._events.get(timeout=_RETRY_SECONDS if waiting else None)
            while True:
                self._take(event, when)
                when, event = self._events.get_nowait()
        except queue.Empty:
            pass

    def _take(self, event: Event, when: float) -> None:
        match event:
            case Changed():
                self._changed(event, when)
            case PortsChanged():
                self._ports_changed(when)
            case SwitchUp() | SwitchDown():
                self._adopted = False
                metrics.CONNECTED.set(self._switch.connected)
            case Verify():
                self._start_verification()
            case Stop():
                self._stopped = True

    # What changed.

    def _changed(self, event: Changed, when: float) -> None:
        for key, network in event.networks.items():
            self._index(key, network)
        metrics.NETWORKS.set(len(self._ports_of))
        if event.reset:
            for name in self._source.forgotten_statuses():
                self._statuses.put(name, None)
            if self._adopted and self._refused():
                self._adopted = False
                return
        self._mark(event.networks, when)
        if event.appliance or event.neighbors:
            self._observe_site()
            self._mark((APPLIANCE_KEY,), when)
        if event.appliance:
            self._mark(self._ports_of, when)

    def _ports_changed(self, when: float) -> None:
        before, after = self._ports, self._switch.ports()
        moved = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
        if not moved or not self._switch.connected:
            return
        self._observe_site()
        log.info("ports changed", extra={"ports": sorted(moved)[:20], "count": len(moved)})
        if self._site is not None and self._site.appliance.gateway.port in moved:
            self._mark((APPLIANCE_KEY,), when)
        self._mark({key for name in moved for key in self._networks_at.get(name, ())}, when)

    def _observe_site(self) -> None:
        self._ports = self._switch.ports()
        appliance = self._source.appliance
        self._site = None if appliance is None else Site(appliance, self._ports, self._source.neighbors)

    def _mark(self, keys: Iterable[int], when: float) -> None:
        keys = tuple(keys)
        line = self._urgent if len(keys) <= _FEW else self._bulk
        for key in keys:
            if key not in self._urgent:
                line.setdefault(key, when)

    def _index(self, key: int, network: Network | None) -> None:
        after = frozenset(machine.attachment.port for machine in network.machines) if network else frozenset()
        for port in self._ports_of.pop(key, frozenset()) - after:
            self._networks_at[port].discard(key)
        for port in after:
            self._networks_at.setdefault(port, set()).add(key)
        if network is not None:
            self._ports_of[key] = after

    # The switch as it was found.

    def _adopt(self) -> None:
        self._observe_site()
        if self._site is None:
            log.warning("the appliance's settings are not in the database yet")
            return
        networks = self._source.networks()
        owners = {machine.number: network.key for network in networks for machine in network.machines}
        started = time.monotonic()
        self._ledger = Ledger.read(self._switch.read_flow_ids(), self._switch.read_meters(), owners)
        if self._refused():
            return
        log.info("flows of the switch read", extra={
            "flows": self._ledger.count(), "networks": len(networks), "seconds": round(time.monotonic() - started, 3),
        })  # fmt: skip
        self._unverified = {}
        self._urgent = {APPLIANCE_KEY: started}
        self._bulk = dict.fromkeys(sorted(self._ledger.keys() - {APPLIANCE_KEY} | self._ports_of.keys()), started)
        self._adopted = True

    def _refused(self) -> bool:
        total = self._ledger.count()
        doomed = total - self._ledger.count(APPLIANCE_KEY)
        empty = not self._source.networks() or self._source.appliance is None
        refused = empty and not self._force and doomed > max(_REFUSE_FLOWS, total * _REFUSE_SHARE)
        if refused:
            log.error(
                "desired state is empty but the switch has flows; nothing is deleted (--force deletes)",
                extra={"flows": doomed},
            )
        metrics.REFUSED.set(refused)
        return refused

    def _lost(self, error: SwitchError) -> None:
        log.warning("switch lost", extra={"error": str(error)})
        self._adopted = False

    # What to send.

    def _plans(self) -> list[_Plan]:
        plans, size = [], 0
        line = self._urgent or self._bulk
        while line and size < _BUNDLE_FLOWS:
            key, since = next(iter(line.items()))
            del line[key]
            if line is self._urgent:
                self._bulk.pop(key, None)
            self._unverified.pop(key, None)
            plan = self._plan(key, since)
            if plan is not None:
                plans.append(plan)
                size += len(plan.difference) + 1
        return plans

    def _plan(self, key: int, since: float) -> _Plan | None:
        network = self._source.network(key)
        try:
            compiled = self._compile(key, network)
        except Exception as error:
            metrics.FAULTS.labels("compile").inc()
            log.exception("a network cannot be compiled", extra={"key": key, "network": network and network.name})
            if network is not None:
                self._fail(network.name, network.revision, f"internal fault: {error}")
            return None
        self._drops[key] = {cookie: flow.why for cookie, flow in compiled.flows.items() if not flow.actions}
        before = self._names.get(key, "")
        name = before if network is None else network.name
        if before and before != name and not self._source.has_network(before):
            self._statuses.put(before, None)
        self._names[key] = name
        difference = diff(compiled, self._ledger.installed(key))
        return _Plan(key, name, -1 if network is None else network.revision, compiled, difference, since)

    def _compile(self, key: int, network: Network | None) -> Compiled:
        assert self._site is not None
        if key == APPLIANCE_KEY:
            return compile_shared(self._site)
        return Compiled(key) if network is None else compile_network(network, self._site)

    def _commit(self, plans: list[_Plan]) -> None:
        changing = [plan for plan in plans if plan.difference]
        for plan in plans:
            if not plan.difference:
                self._done(plan)
        if not changing:
            return
        meters = [(plan.key, *message) for plan in changing for message in self._ledger.meter_messages(plan.difference)]
        mods = [wire.flow_delete(*flow) for plan in changing for flow in plan.difference.deletes]
        mods += [wire.flow_add(flow, cookie) for plan in changing for cookie, flow in plan.difference.adds]
        errors = self._switch.commit([message for *_, message in meters], mods)
        for index, (key, meter, rate, _) in enumerate(meters):
            if index not in errors:
                self._ledger.meter_done(key, meter, rate)
        if errors:
            self._refuse(changing, errors, len(meters))
            return
        metrics.BUNDLES.labels("committed").inc()
        for plan in changing:
            self._ledger.flows_done(plan.key, plan.difference)
        stale = [message for plan in changing for message in self._ledger.remove_stale(plan.key, plan.difference)]
        self._switch.send(stale)
        for plan in changing:
            metrics.CHANGES.labels("added").inc(len(plan.difference.adds))
            metrics.CHANGES.labels("deleted").inc(len(plan.difference.deletes))
            self._done(plan)

    def _refuse(self, plans: list[_Plan], errors: Mapping[int, str], meters: int) -> None:
        metrics.BUNDLES.labels("refused").inc()
        if len(plans) > 1:
            for plan in plans:
                self._commit([plan])
            return
        plan = plans[0]
        index, error = min(errors.items())
        place = index - meters - len(plan.difference.deletes)
        adds = plan.difference.adds
        flow = adds[place][1].text(names=True) if 0 <= place < len(adds) else ""
        log.error("the switch refused a network's flows", extra={"network": plan.name, "error": error, "flow": flow})
        if plan.name:
            self._fail(plan.name, plan.revision, f"the switch refused a flow: {error}" + (f" ({flow})" if flow else ""))

    def _fail(self, name: str, revision: int, detail: str) -> None:
        metrics.NETWORK_ERRORS.inc()
        self._statuses.put(name, NetworkStatus(revision, State.ERROR, detail))

    def _done(self, plan: _Plan) -> None:
        metrics.RECONCILE.observe(time.monotonic() - plan.since)
        if plan.revision >= 0:
            self._statuses.put(plan.name, NetworkStatus(plan.revision, State.LIVE, "", dict(plan.compiled.unplugged)))
        elif plan.key != APPLIANCE_KEY:
            self._drops.pop(plan.key, None)
            self._names.pop(plan.key, None)
            if plan.name and not self._source.has_network(plan.name):
                self._statuses.put(plan.name, None)

    # The slow comparison.

    def _start_verification(self) -> None:
        if not self._adopted or self._unverified:
            return
        found: dict[int, list[InstalledFlow]] = {key: [] for key in (APPLIANCE_KEY, *self._ports_of)}
        for table in Table:
            for flow in self._switch.read_flows(table.number):
                found.setdefault(split_cookie(flow.cookie)[0], []).append(flow)
        self._unverified = found

    def _verify_one(self) -> None:
        key, present = self._unverified.popitem()
        since = time.monotonic()
        plan = self._plan(key, since)
        if plan is not None:
            found = drift(plan.compiled, present)
            if found:
                log.error("flows on the switch differ from desired state", extra={
                    "key": key, "network": plan.name, "missing": found.missing, "stray": found.stray,
                    "different": found.different,
                })  # fmt: skip
                for kind in ("missing", "stray", "different"):
                    metrics.DRIFT.labels(kind).inc(getattr(found, kind))
                self._commit([_Plan(key, plan.name, plan.revision, plan.compiled, found.repair, since)])
        if not self._unverified:
            metrics.VERIFIED.set_to_current_time()
            log.info("verified")
