"""Compiles changed networks, commits their flow changes and reports the result."""

from __future__ import annotations

import dataclasses
import functools
import logging
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

from controller import metrics
from controller.conntrack.flush import (
    AddressAssignment,
    AddressTracker,
    assignment,
    assignments,
    conntrack_zone,
    destination,
    drive_zones,
    transit_addresses,
)
from controller.openflow import wire
from controller.pipeline.registry import APPLIANCE_KEY, Feature, split_cookie
from controller.reconcile import links
from controller.reconcile.compile import Compiled, PipelineContext, compile_network, compile_shared
from controller.reconcile.diff import UNKNOWN, Difference, FlowId, diff
from controller.reconcile.events import DesiredStateReader, FlowSwitch, StatusSink
from controller.reconcile.installed_state import InstalledState, MeterOwners
from state.model import NetworkStatus, State

log = logging.getLogger("sluice.commit")

PEERINGS = ""
"""The name under which the status table has what peerings and own ports have come to; no row: nothing to say."""

_Ahead = tuple[bytes, Callable[[], None]]
"""A message that comes before flows, and what to do once the switch has taken it."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do for one network, and what to say when it is done.

    `name` is empty for the appliance itself, `revision` None when the network
    is gone; `since` is when the change was heard of (`time.monotonic`);
    `deletes` and `adds` are the messages of `difference`; `addresses` are
    those its machines have in the conntrack zone, `assignments` the public
    ones of those whose flows are on the switch, `drive_zones` the zone of what
    comes from beyond to drives. `peerings` is the latest revision of those,
    where the plan is the appliance's; `degraded` is as in NetworkStatus.
    """

    key: int
    name: str
    revision: int | None
    compiled: Compiled
    since: float
    difference: Difference
    deletes: list[bytes]
    adds: list[bytes]
    addresses: frozenset[str] = frozenset()
    assignments: frozenset[AddressAssignment] = frozenset()
    drive_zones: frozenset[int] = frozenset()
    peerings: int = 0
    degraded: Mapping[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.deletes) + len(self.adds)


class Committer:
    """Plans and commits; one thread. What it holds besides names and drops is read anew when a switch is adopted.

    Meters are changed within `changing`, which may read them for the last time.
    `down` are the ports that have no link, as last looked at.
    """

    def __init__(self, source: DesiredStateReader, switch: FlowSwitch, statuses: StatusSink) -> None:
        self._source, self._switch, self._statuses = source, switch, statuses
        self.installed_state = InstalledState()
        self.changing: Callable[[Collection[int]], AbstractContextManager[None]] = lambda meters: nullcontext()
        self.addresses = AddressTracker(destination)
        self.assignments = AddressTracker(assignment)
        self.drive_zones = AddressTracker(conntrack_zone)
        self._names: dict[int, str] = {}
        self._drops: dict[int, dict[int, str]] = {}
        self.down: frozenset[str] = frozenset()
        # What was last said of networks that are live, and of the appliance.
        self._told: dict[int, NetworkStatus] = {}

    def drops(self, key: int) -> Mapping[int, str]:
        """The cookies of the drop flows of one network, with their reasons; for any thread."""
        return self._drops.get(key, {})

    def read_switch(self, flows: Iterable[FlowId], before: InstalledState | None = None) -> InstalledState:
        """Reads the installed state: these flows, with the digests that `before` knows, meters and groups.

        Raises SwitchError.
        """
        networks = self._source.networks()
        owners = MeterOwners(
            {machine.number: network.key for network in networks for machine in network.machines},
            {one.number: network.key for network in networks for one in network.interconnects}
            | {one.number: APPLIANCE_KEY for one in self._source.peerings},
        )
        known = {flow: UNKNOWN if before is None else before.digest(flow) for flow in flows}
        self.installed_state = InstalledState.read(
            known, self._switch.read_meters(), self._switch.read_groups(), owners
        )
        return self.installed_state

    def shared_flows_change(self, site: PipelineContext) -> bool:
        """Whether flows that serve every network will be replaced, learned routes of peerings aside.

        They and those of networks are of one version of the pipeline then,
        and must change in one bundle.
        """
        plan = self.plan(APPLIANCE_KEY, site, time.monotonic())
        deletes = () if plan is None else plan.difference.deletes
        return any(split_cookie(cookie)[1] != Feature.PEERING for _, cookie in deletes)

    def cut_off(self) -> tuple[int, int]:
        """How many objects have no port on the bridge, and how many a port without a link; for any thread."""
        told = list(self._told.values())
        return sum(len(one.machines) for one in told), sum(len(one.degraded) for one in told)

    def links_changed(self, keys: Iterable[int], site: PipelineContext) -> None:
        """Say anew what of these networks is cut off, now that other ports are `down`; their flows stay."""
        for key in keys:
            told = self._told.get(key)
            if told is not None:
                self._tell(key, dataclasses.replace(told, degraded=self._degraded(key, site)))

    def _degraded(self, key: int, site: PipelineContext) -> Mapping[str, str]:
        if key == APPLIANCE_KEY:
            return links.degraded(None, site, self.down) | links.own_ports(site, self.down)
        network = self._source.network(key)
        if network is None or not links.degraded(network, site, self.down):
            return {}
        # Who was plugged just now need not wait for the next look.
        return links.degraded(network, site, self.down & self._switch.ports_down())

    def plan(self, key: int, site: PipelineContext, since: float) -> Plan | None:
        """Compile a network as it is now; None, and an error as its status, when that fails."""
        network = self._source.network(key)
        try:
            if key == APPLIANCE_KEY:
                compiled = compile_shared(site)
            else:
                compiled = Compiled(key) if network is None else compile_network(network, site)
            messages = _encoded(difference := diff(compiled, self.installed_state.installed(key)))
        except Exception as error:
            metrics.FAULTS.labels("compile").inc()
            log.exception("a network cannot be compiled", extra={"key": key, "network": network and network.name})
            if network is not None:
                self._fail(key, network.name, network.revision, f"internal fault: {error}")
            return None
        before = self._names.get(key, "")
        name = before if network is None else network.name
        if before and before != name:
            self._forget(before)
        self._names[key] = name
        self._drops[key] = {cookie: flow.why for cookie, flow in compiled.flows.items() if not flow.actions}
        revision = None if network is None else network.revision
        return Plan(
            key, name, revision, compiled, since, difference, *messages,
            transit_addresses(network), assignments(network, compiled.unplugged), drive_zones(network),
            max((one.revision for one in site.peerings), default=0) if key == APPLIANCE_KEY else 0,
            self._degraded(key, site),
        )  # fmt: skip

    def repair(self, plan: Plan, difference: Difference) -> None:
        """Commit another difference for what was planned."""
        deletes, adds = _encoded(difference)
        self.commit([dataclasses.replace(plan, difference=difference, deletes=deletes, adds=adds)])

    def commit(self, plans: list[Plan]) -> None:
        """Bring `plans` to the switch in one bundle; when it is refused, each in its own.

        Deletes come first: a flow that goes from one network to another is
        never deleted after it was added. Raises SwitchError when the switch
        is lost; what it holds is unknown then.
        """
        changing = [plan for plan in plans if plan.difference]
        for plan in plans:
            if not plan.difference:
                self._done(plan)
        if not changing:
            return
        ahead = [one for plan in changing for one in self._ahead(plan)]
        mods = [message for plan in changing for message in plan.deletes]
        mods += [message for plan in changing for message in plan.adds]
        ending = [one for plan in changing for one in self.installed_state.meters_that_end(plan.difference)]
        with self.changing(ending):
            done = self._send(changing, ahead, mods)
        if not done:
            return
        for plan in changing:
            metrics.CHANGES.labels("added").inc(len(plan.adds))
            metrics.CHANGES.labels("deleted").inc(len(plan.deletes))
            self._done(plan)

    def _ahead(self, plan: Plan) -> Iterator[_Ahead]:
        """The meters and groups that flows of `plan` need."""
        for meter, rate, message in self.installed_state.meter_messages(plan.difference):
            yield message, functools.partial(self.installed_state.meter_done, plan.key, meter, rate)
        for number, body, message in self.installed_state.group_messages(plan.key, plan.difference):
            yield message, functools.partial(self.installed_state.group_done, plan.key, number, body)

    def _send(self, changing: list[Plan], ahead: list[_Ahead], mods: list[bytes]) -> bool:
        errors = self._switch.commit([message for message, _ in ahead], mods)
        for index, (_, done) in enumerate(ahead):
            if index not in errors:
                done()
        if errors:
            metrics.BUNDLES.labels("refused").inc()
            self._refused(changing, errors, len(ahead))
            return False
        metrics.BUNDLES.labels("committed").inc()
        for plan in changing:
            self.installed_state.flows_done(plan.key, plan.difference)
        self._switch.send(
            [m for plan in changing for m in self.installed_state.remove_stale(plan.key, plan.difference)]
        )
        return True

    def _refused(self, plans: list[Plan], errors: Mapping[int, str], ahead: int) -> None:
        if len(plans) > 1:
            for plan in plans:
                self.commit([plan])
            return
        plan = plans[0]
        index, error = min(errors.items())
        place, adds = index - ahead - len(plan.deletes), plan.difference.adds
        flow = adds[place][1].text(names=True) if 0 <= place < len(adds) else ""
        log.error("the switch refused flows", extra={"key": plan.key, "network": plan.name, "error": error,
                                                     "flow": flow})  # fmt: skip
        if plan.revision is not None:
            detail = f"the switch refused a flow: {error}" + (f" ({flow})" if flow else "")
            self._fail(plan.key, plan.name, plan.revision, detail)

    def _fail(self, key: int, name: str, revision: int, detail: str) -> None:
        metrics.NETWORK_ERRORS.inc()
        self._told.pop(key, None)
        self._statuses.put(name, NetworkStatus(revision, State.ERROR, detail))

    def _done(self, plan: Plan) -> None:
        metrics.RECONCILE.observe(time.monotonic() - plan.since)
        self.addresses.hold(plan.key, plan.addresses)
        self.assignments.hold(plan.key, plan.assignments)
        self.drive_zones.hold(plan.key, plan.drive_zones)
        unplugged = dict(plan.compiled.unplugged)
        if plan.revision is not None:
            self._tell(plan.key, NetworkStatus(plan.revision, State.LIVE, "", unplugged, plan.degraded))
        elif plan.key != APPLIANCE_KEY:
            self._told.pop(plan.key, None)
            self._drops.pop(plan.key, None)
            self._names.pop(plan.key, None)
            self._forget(plan.name)
        else:
            self._tell(plan.key, NetworkStatus(plan.peerings, State.LIVE, "", unplugged, plan.degraded))

    def _tell(self, key: int, status: NetworkStatus) -> None:
        self._told[key] = status
        if key == APPLIANCE_KEY:
            self._statuses.put(PEERINGS, status if status.revision or status.degraded else None)
        else:
            self._statuses.put(self._names[key], status)

    def _forget(self, name: str) -> None:
        # Another network may have the name by now; its own status follows.
        if name and not self._source.has_network(name):
            self._statuses.put(name, None)


def _encoded(difference: Difference) -> tuple[list[bytes], list[bytes]]:
    deletes = [wire.flow_delete(*flow) for flow in difference.deletes]
    return deletes, [wire.flow_add(flow, cookie) for cookie, flow in difference.adds]
