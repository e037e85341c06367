"""The difference between desired and installed state of one network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from controller.openflow import group_messages
from controller.pipeline.flow import Flow
from controller.pipeline.meters import Rate
from controller.reconcile.compile import Compiled

FlowId = tuple[int, int]
"""Table number and cookie: what recognises a flow on the switch."""

UNKNOWN = 0
"""In place of a digest: of the flow only table and cookie were read."""


@dataclass(frozen=True, slots=True)
class Installed:
    """What the switch holds of one network.

    `flows`: the digest of each flow's text, or UNKNOWN; meters by id with
    their rates, groups by id with their buckets.
    """

    flows: Mapping[FlowId, int] = field(default_factory=dict)
    meters: Mapping[int, Rate] = field(default_factory=dict)
    groups: Mapping[int, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Difference:
    """What makes an `Installed` the desired one.

    `deletes` come before `adds` (cookie and flow); `meters` and `groups` are
    new or others than there are and come before both, `stale_meters` and
    `stale_groups` go after both; `digests` has those of `adds`, by cookie.
    """

    deletes: tuple[FlowId, ...] = ()
    adds: tuple[tuple[int, Flow], ...] = ()
    meters: Mapping[int, Rate] = field(default_factory=dict)
    stale_meters: tuple[int, ...] = ()
    groups: Mapping[int, bytes] = field(default_factory=dict)
    stale_groups: tuple[int, ...] = ()
    digests: Mapping[int, int] = field(default_factory=dict, compare=False)

    def __bool__(self) -> bool:
        return bool(self.deletes or self.adds or self.meters or self.stale_meters or self.groups or self.stale_groups)


def installed(desired: Compiled) -> Installed:
    """What the switch holds once it holds all of `desired`."""
    return Installed(_digests(desired), desired.meters, _buckets(desired))


def diff(desired: Compiled, present: Installed) -> Difference:
    """The difference that turns `present` into `desired`; empty when nothing is to do.

    A flow that has the cookie of another before it replaces that one: both
    digests are known, unless the other was read from the switch and not
    compared with what was desired then.
    """
    wanted = _digests(desired)
    kept = {
        flow for flow, digest in present.flows.items() if flow in wanted and digest in (UNKNOWN, wanted[flow])
    }  # fmt: skip
    groups = _buckets(desired)
    return Difference(
        deletes=tuple(sorted(present.flows.keys() - kept)),
        adds=tuple((cookie, desired.flows[cookie]) for _, cookie in sorted(wanted.keys() - kept)),
        meters={meter: rate for meter, rate in desired.meters.items() if present.meters.get(meter) != rate},
        stale_meters=tuple(sorted(present.meters.keys() - desired.meters.keys())),
        groups={number: body for number, body in groups.items() if present.groups.get(number) != body},
        stale_groups=tuple(sorted(present.groups.keys() - groups.keys())),
        digests=desired.digests,
    )


def apply(difference: Difference, present: Installed) -> Installed:
    """What the switch holds after `difference` was sent."""
    deleted = set(difference.deletes)
    flows = {flow: digest for flow, digest in present.flows.items() if flow not in deleted}
    flows |= {(flow.table.number, cookie): difference.digests[cookie] for cookie, flow in difference.adds}
    meters = {id_: rate for id_, rate in present.meters.items() if id_ not in difference.stale_meters}
    groups = {number: body for number, body in present.groups.items() if number not in difference.stale_groups}
    return Installed(flows, {**meters, **difference.meters}, {**groups, **difference.groups})


def _digests(desired: Compiled) -> dict[FlowId, int]:
    return {(flow.table.number, cookie): desired.digests[cookie] for cookie, flow in desired.flows.items()}


def _buckets(desired: Compiled) -> dict[int, bytes]:
    return {number: group_messages.buckets(group) for number, group in desired.groups.items()}
