"""Keeps the switch at desired state: a change of one network costs one network's work.

One thread, fed by a queue of events. Networks that changed wait in the work
queue, those of a single change before those of a change of everything; each
turn takes some hundreds of flows' worth of networks and sends the difference
between them and what the switch holds in one bundle.
"""

from __future__ import annotations

import dataclasses
import gc
import logging
import math
import queue
import time
from collections.abc import Callable

from controller import metrics
from controller.conntrack.flush import AddressAssignment, gateway_assignments
from controller.desired_state.source import DesiredStateChange
from controller.openflow.client import SwitchError
from controller.pipeline.context import interconnect_ports
from controller.pipeline.registry import APPLIANCE_KEY, Table
from controller.reconcile.commit import Committer, Plan
from controller.reconcile.compile import PipelineContext
from controller.reconcile.diff import installed
from controller.reconcile.events import (
    CountFlows,
    DesiredStateReader,
    Event,
    FlowSwitch,
    NeighborsSilent,
    PortsChanged,
    StatusSink,
    Stop,
    SwitchDown,
    SwitchUp,
    Verify,
)
from controller.reconcile.foreign_changes import FlowCounts, count_drift
from controller.reconcile.port_users import PortUsers
from controller.reconcile.verify import Verification, drift
from controller.reconcile.work_queue import Progress, WorkQueue

log = logging.getLogger("sluice.reconcile")

_BUNDLE_FLOWS = 500
_RETRY_SECONDS = 1.0
_REFUSE_FLOWS = 1000
_REFUSE_SHARE = 0.5


class Reconciler:
    """See the module; `post` and `site` are for any thread, `run` is the worker's.

    `gateway_up` is given the public addresses there are when the gateway port
    comes, or a switch is found.
    """

    def __init__(
        self, source: DesiredStateReader, switch: FlowSwitch, statuses: StatusSink, *, force: bool = False
    ) -> None:
        self._source, self._switch, self._statuses, self._force = source, switch, statuses, force
        self.committer = Committer(source, switch, statuses)
        self.turning: Callable[[], None] = lambda: None
        self.gateway_up: Callable[[list[AddressAssignment]], None] = lambda assignments: None
        self._events: queue.SimpleQueue[tuple[float, Event]] = queue.SimpleQueue()
        self._adopted = False
        self._at_once = False
        self._stopped = False
        self._queue = WorkQueue()
        self._told: Progress | None = None
        self._links_stale = False
        self._users = PortUsers()
        self._silent: frozenset[str] = frozenset()
        self._ports: dict[str, int] = {}
        self._site: PipelineContext | None = None
        self._verification = Verification()
        self._flow_counts = FlowCounts()

    def post(self, event: Event) -> None:
        """Hand an event to the worker."""
        self._events.put((time.monotonic(), event))

    @property
    def site(self) -> PipelineContext | None:
        """What flows depend on besides networks; None while the appliance's settings are missing."""
        return self._site

    @property
    def remark(self) -> str:
        """What an operator should know of that does not hinder it; empty: nothing."""
        return self._flow_counts.remark

    def run(self) -> None:
        """Work until `Stop`. No fault ends it: each is logged and counted."""
        while not self._stopped:
            try:
                self.turn()
            except SwitchError as error:
                log.warning("switch lost", extra={"error": str(error)})
                self._adopted = False
            except Exception:
                metrics.FAULTS.labels("reconcile").inc()
                log.exception("fault while reconciling; the switch will be read again")
                self._adopted = False

    def turn(self) -> None:
        """Take the events that wait, or wait for one, then do one bundle's worth of work.

        Raises SwitchError when the switch is lost.
        """
        self._receive()
        if self._stopped:
            return
        self.turning()
        self._advance()
        self._tell_progress()

    def _advance(self) -> None:
        if self._switch.connected and not self._adopted:
            self._adopt()
        if self._site is None or not self._adopted:
            return
        if self._queue:
            self._work(self._site)
        elif self._verification.reading:
            self._read_table()
        elif self._verification:
            self._verify_one(self._site)

    @property
    def idle(self) -> bool:
        """Whether nothing is left to do until the next event."""
        return self._events.empty() and not (self._adopted and (self._queue or self._verification))

    def _receive(self) -> None:
        try:
            if self._adopted and (self._queue or self._verification):
                when, event = self._events.get_nowait()
            else:
                retry = self._switch.connected and not self._adopted
                when, event = self._events.get(timeout=_RETRY_SECONDS if retry else None)
            while True:
                self._take(event, when)
                when, event = self._events.get_nowait()
        except queue.Empty:
            pass

    def _take(self, event: Event, when: float) -> None:
        match event:
            case DesiredStateChange():
                self._changed(event, when)
            case PortsChanged():
                self._links_stale = True
                self._ports_changed(self._switch.ports(), when)
            case NeighborsSilent(addresses):
                changed = self._silent ^ addresses
                self._silent = addresses
                self._observe_site(self._ports)
                self._queue.mark(self._users.owners(changed), when)
            case SwitchUp() | SwitchDown():
                self._adopted = False
                metrics.CONNECTED.set(self._switch.connected)
            case Verify():
                self._start_verification()
            case CountFlows():
                self._look_at_links()
                self._count_flows()
            case Stop():
                self._stopped = True

    # What changed.

    def _changed(self, event: DesiredStateChange, when: float) -> None:
        for key, network in event.networks.items():
            self._users.put(key, network)
        metrics.NETWORKS.set(len(self._users))
        self._queue.revision = event.revision
        if event.reset:
            self._told = None
            for name in self._source.forgotten_statuses():
                self._statuses.put(name, None)
            if self._adopted and self._refused():
                self._adopted = False
        self._queue.mark(event.networks, when)
        if event.appliance or event.neighbors or event.peerings:
            self._observe_site()
        next_hop = self._site is not None and self._site.appliance.gateway.next_hop in event.neighbors
        if event.appliance or event.peerings or next_hop:
            self._queue.mark((APPLIANCE_KEY,), when)
        self._queue.mark(self._users.owners(event.neighbors), when)
        if event.appliance:
            self._queue.mark(self._users.keys(), when)

    def _ports_changed(self, after: dict[str, int], when: float) -> None:
        before = self._ports
        moved = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
        if not moved or not self._switch.connected:
            return
        self._observe_site(after)
        log.info("ports changed", extra={"ports": sorted(moved)[:20], "count": len(moved)})
        if self._site is not None:
            self._own_ports_changed(self._site, moved, when)
        self._queue.mark(self._users.at(moved), when)

    def _look_at_links(self) -> None:
        """Take in which ports have a link; once a second, so that one that goes up and down costs little."""
        if not self._links_stale or not self._adopted or self._site is None:
            return
        self._links_stale = False
        down = self._switch.ports_down()
        changed, self.committer.down = down ^ self.committer.down, down
        if not changed:
            return
        log.info("links changed", extra={"ports": sorted(changed)[:20], "count": len(changed), "down": len(down)})
        storage = self._site.appliance.storage
        drives = self._users.drives.values() if storage is not None and storage.port in changed else ()
        self.committer.links_changed({APPLIANCE_KEY, *drives, *self._users.at(changed)}, self._site)

    def _own_ports_changed(self, site: PipelineContext, moved: set[str], when: float) -> None:
        appliance = site.appliance
        if not moved.isdisjoint((*appliance.own_ports, *interconnect_ports(site.peerings))):
            self._queue.mark((APPLIANCE_KEY,), when)
        if appliance.gateway.port in moved:
            self.gateway_up(self.committer.assignments.everything())
        if appliance.storage is not None and appliance.storage.port in moved:
            self._queue.mark(set(self._users.drives.values()), when)

    def _observe_site(self, ports: dict[str, int] | None = None) -> None:
        appliance = self._source.appliance
        self._ports = self._switch.ports() if ports is None else ports
        known = self._source.neighbors
        self._site = (
            None
            if appliance is None
            else PipelineContext(appliance, self._ports, known, self._silent, self._source.peerings)
        )

    # The switch as it was found.

    def _adopt(self) -> None:
        self._observe_site()
        started = time.monotonic()
        installed_state = self.committer.read_switch(self._switch.read_flow_ids())
        self._at_once = self._site is not None and self.committer.shared_flows_change(self._site)
        if self._refused():
            return
        if self._site is None:
            log.warning("the appliance's settings are not in the database yet")
            return
        log.info("flows of the switch read", extra={
            "flows": installed_state.count(), "networks": len(self._users),
            "seconds": round(time.monotonic() - started, 3),
        })  # fmt: skip
        self.committer.addresses.adopt(self._switch.read_flows(Table.INBOUND.number))
        public = self._switch.read_flows(Table.PUBLIC_IN.number)
        self.committer.assignments.adopt(public, gateway_assignments(public))
        self.committer.drive_zones.adopt(self._switch.read_flows(Table.REMOTE_MACHINE.number))
        self.gateway_up(self.committer.assignments.everything())
        self._verification.stop()
        others = sorted((installed_state.keys() | self._users.keys()) - {APPLIANCE_KEY})
        self._queue.restart(APPLIANCE_KEY, others, started)
        self.committer.down = self._switch.ports_down()
        self._adopted = True

    def _refused(self) -> bool:
        installed_state = self.committer.installed_state
        desired = set() if self._source.appliance is None else {network.key for network in self._source.networks()}
        # Flows of another version of the pipeline name no network that can be compared.
        of_ours = not self._at_once or not desired
        doomed = (
            sum(installed_state.count(key) for key in installed_state.keys() - desired - {APPLIANCE_KEY})
            if of_ours
            else 0
        )
        refused = not self._force and doomed > max(_REFUSE_FLOWS, installed_state.count() * _REFUSE_SHARE)
        if refused:
            log.error(
                "most flows of the switch are of networks that desired state does not have; nothing is deleted"
                " (--force deletes)",
                extra={"flows": doomed, "of": installed_state.count()},
            )
        metrics.REFUSED.set(refused)
        return refused

    # What to send.

    def _work(self, site: PipelineContext) -> None:
        plans: list[Plan] = []
        size = 0
        most: float = _BUNDLE_FLOWS
        if self._at_once:
            self._queue.join()
            self._at_once, most = False, math.inf
        many = not self._queue.urgent
        taken = []
        for key, since in self._queue.take():
            taken.append(key)
            self._verification.leave_out(key)
            plan = self.committer.plan(key, site, since)
            if plan is not None:
                plans.append(plan)
                size += len(plan) + 1
            if size >= most:
                break
        self.committer.commit(self._with_ports(plans))
        self._queue.done(taken)
        metrics.FLOWS.set(self.committer.installed_state.count())
        if not self._queue.bulk:
            self._switch.send(self.committer.installed_state.remove_orphans())
            if many:
                # What was just built stays; looking at it again would hold up single changes.
                gc.freeze()
                # Cookies say which flows there are, and not whether somebody changed their actions.
                self._start_verification()

    def _with_ports(self, plans: list[Plan]) -> list[Plan]:
        """The plans that hold when the switch itself is asked for the ports that are missing.

        Word of a new port may come later than that of the machine on it, and
        nobody should be told that a port they plugged in is not there. What
        does not hold is planned again.
        """
        if not any(plan.compiled.unplugged for plan in plans):
            return plans
        self._ports_changed(self._switch.read_ports(), time.monotonic())
        return [plan for plan in plans if plan.key not in self._queue]

    def _tell_progress(self) -> None:
        # Without the switch nobody knows what it has.
        progress = self._queue.progress if self._adopted else Progress(0, len(self._users))
        if progress != self._told:
            self._told = progress
            self._statuses.put_progress(progress)
            metrics.PENDING.set(progress.pending)
            metrics.REALIZED.set(progress.revision)
        metrics.DESIRED.set(self._queue.revision)

    # Whether the switch still holds what it was given.

    def _count_flows(self) -> None:
        """Notice within a second that somebody else took flows away, or added some, and put that right.

        What a second look does not find is searched for by the slow
        comparison, less and less often if that does not help either.
        """
        now = time.monotonic()
        busy = self._queue or self._verification
        if not self._adopted or self._site is None or busy or not self._flow_counts.due(now):
            return
        before = self.committer.installed_state
        times = self._flow_counts.differ(self._switch.read_flow_counts(), before.counts(), now)
        if times > 1:
            self._start_verification()
        elif times:
            after = self.committer.read_switch(self._switch.read_flow_ids(), before)
            self._queue.mark(count_drift(before, after), now)

    # The slow comparison.

    def _start_verification(self) -> None:
        if self._adopted and not self._verification:
            self._verification.start((APPLIANCE_KEY, *self._users.keys()))

    def _read_table(self) -> None:
        self._verification.read(self._switch.read_flows)
        if self._verification.reading:
            return
        flows, left_out = self._verification.flows()
        for key in left_out:
            flows |= self.committer.installed_state.installed(key).flows.keys()
        self.committer.read_switch(flows, self.committer.installed_state)

    def _verify_one(self, site: PipelineContext) -> None:
        key, present = self._verification.next()
        plan = self.committer.plan(key, site, time.monotonic())
        if plan is not None:
            found = drift(plan.compiled, present)
            ahead = dataclasses.replace(plan.difference, deletes=(), adds=())
            if found or ahead:
                log.error("the switch differs from desired state", extra={
                    "key": key, "network": plan.name, "missing": found.missing, "stray": found.stray,
                    "different": found.different, "meters": len(ahead.meters) + len(ahead.stale_meters),
                    "groups": len(ahead.groups) + len(ahead.stale_groups),
                })  # fmt: skip
                for kind in ("missing", "stray", "different"):
                    metrics.DRIFT.labels(kind).inc(getattr(found, kind))
                metrics.DRIFT.labels("meter").inc(len(ahead.meters) + len(ahead.stale_meters))
                metrics.DRIFT.labels("group").inc(len(ahead.groups) + len(ahead.stale_groups))
                repair = dataclasses.replace(ahead, deletes=found.repair.deletes, adds=found.repair.adds)
                self.committer.repair(plan, repair)
            if not found:
                self.committer.installed_state.flows_verified(key, installed(plan.compiled).flows)
        if not self._verification:
            metrics.VERIFIED.set_to_current_time()
            log.info("verified")
