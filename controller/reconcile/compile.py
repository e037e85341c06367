"""Compiles a network to flows, meters and groups, and checks them against the registry."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from controller.features import (
    FeatureFlows,
    additional,
    arp,
    classify,
    dhcp,
    dns,
    fragments,
    gateway,
    icmp_redirect,
    interconnect,
    path_mtu,
    peering,
    port_security,
    public,
    rate,
    remote,
    route,
    router,
    snat,
    storage,
    switch,
    transit,
    usage,
    vpn,
)
from controller.pipeline.context import PipelineContext
from controller.pipeline.cookies import identify
from controller.pipeline.flow import (
    CheckPacketLarger,
    ClearInPort,
    Ct,
    DecTtl,
    Flow,
    Goto,
    Learn,
    LoadBits,
    Move,
    Output,
    PopVlan,
    PushVlan,
    Resubmit,
    SetField,
    WriteMetadata,
)
from controller.pipeline.groups import Group
from controller.pipeline.match import Field
from controller.pipeline.meters import Rate, appliance_meters, interconnect_meters, network_meters
from controller.pipeline.registry import APPLIANCE_KEY, Table
from state.model import Network

__all__ = ["FEATURES", "Compiled", "PipelineContext", "RegistryError", "compile_network", "compile_shared"]

FEATURES: tuple[FeatureFlows, ...] = (
    classify,
    port_security,
    dhcp,
    arp,
    additional,
    router,
    dns,
    route,
    storage,
    rate,
    path_mtu,
    public,
    transit,
    snat,
    gateway,
    fragments,
    usage,
    vpn,
    remote,
    interconnect,
    peering,
    icmp_redirect,
    switch,
)


class RegistryError(Exception):
    """A feature wrote a flow that its table does not allow."""


@dataclass(frozen=True, slots=True)
class Compiled:
    """What one network, or the appliance itself (key 0), wants on the switch.

    `flows` and the digests of their texts by cookie; `meters` and `groups` by id; `unplugged` maps machines
    without flows, `drives/NAME` of such drives, `vpnGateways/NAME` and
    `interconnects/NAME` to the reason.
    """

    key: int
    flows: Mapping[int, Flow] = field(default_factory=dict)
    meters: Mapping[int, Rate] = field(default_factory=dict)
    unplugged: Mapping[str, str] = field(default_factory=dict)
    groups: Mapping[int, Group] = field(default_factory=dict)
    digests: Mapping[int, int] = field(default_factory=dict)


def compile_shared(site: PipelineContext) -> Compiled:
    """The flows that serve every network."""
    flows = identify(flow for feature in FEATURES for flow in _held(feature, feature.shared(site), APPLIANCE_KEY))
    meters = {**appliance_meters(site.appliance), **interconnect_meters(site.peerings)}
    unplugged = interconnect.unplugged(site.peerings, site)
    groups = _held_groups(peering.groups(site))
    return Compiled(APPLIANCE_KEY, flows.flows, meters, unplugged, groups, flows.digests)


def compile_network(network: Network, site: PipelineContext) -> Compiled:
    """The flows of one network; machines whose port is missing, and drives out of reach, are left out and named."""
    unplugged = {
        machine.name: f"port {machine.attachment.port} is not on the bridge"
        for machine in network.machines
        if machine.attachment.port not in site.ports
    }
    if unplugged:
        present = tuple(machine for machine in network.machines if machine.name not in unplugged)
        network = dataclasses.replace(network, machines=present)
    held = (flow for feature in FEATURES for flow in _held(feature, feature.flows(network, site), network.key))
    flows = identify(held)
    unplugged |= storage.unreachable(network, site) | vpn.unplugged(network, site)
    unplugged |= interconnect.unplugged(network.interconnects, site)
    meters = network_meters(network, site.appliance)
    groups = _held_groups(remote.groups(network, site))
    return Compiled(network.key, flows.flows, meters, unplugged, groups, flows.digests)


def _held(feature: FeatureFlows, flows: Iterable[Flow], key: int) -> Iterable[Flow]:
    for flow in flows:
        if flow.key != key or flow.feature is not feature.feature or flow.table not in feature.tables:
            raise RegistryError(f"{feature.feature.label} may not write this flow: {flow.text(names=True)}")
        writes, targets = _effects(flow)
        problem = _problem(flow.table, flow.match.fields(), writes, targets)
        if problem is not None:
            raise RegistryError(f"{problem}: {flow.text(names=True)}")
        yield flow


def _held_groups(groups: Mapping[int, Group]) -> Mapping[int, Group]:
    for group in groups.values():
        for action in (action for bucket in group.buckets for action in bucket.actions):
            if isinstance(action, Resubmit) and not group.table.may_go_to(action.table):
                raise RegistryError(f"{group.table.title} does not go to {action.table.title}: group {group.why}")
            if isinstance(action, SetField) and action.field not in group.table.value.writes:
                raise RegistryError(f"{group.table.title} does not write {action.field.text}: group {group.why}")
    return groups


def _effects(flow: Flow) -> tuple[frozenset[Field], frozenset[Table | int]]:
    writes: set[Field] = set()
    targets: set[Table | int] = set()
    for action in flow.actions:
        match action:
            case SetField(written, _) | LoadBits(written) | Move(_, written) | CheckPacketLarger(_, written):
                writes.add(written)
            case ClearInPort():
                writes.add(Field.IN_PORT)
            case DecTtl():
                writes.add(Field.IP_TTL)
            case PopVlan() | PushVlan():
                writes.add(Field.VLAN_TCI)
            case WriteMetadata():
                writes.add(Field.METADATA)
            case Ct(table, mark=mark):
                targets.add(table)
                writes |= {Field.CT_MARK} if mark else set()
            case Goto(table) | Resubmit(table) | Learn(table):
                targets.add(table)
            case Output(port):
                targets.add(port)
            case _:
                pass
    return frozenset(writes), frozenset(targets)


@functools.lru_cache(maxsize=4096)
def _problem(
    table: Table, matched: frozenset[Field], writes: frozenset[Field], targets: frozenset[Table | int]
) -> str | None:
    spec = table.value
    if not matched <= spec.matches:
        return f"{table.title} does not match {sorted(f.text for f in matched - spec.matches)}"
    if not writes <= spec.writes:
        return f"{table.title} does not write {sorted(f.text for f in writes - spec.writes)}"
    for target in targets:
        if isinstance(target, Table) and not table.may_go_to(target):
            return f"{table.title} does not go to {target.title}"
    return None
