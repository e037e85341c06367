"""What to send: the difference between desired and installed, of one network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from controller.compile import Compiled
from controller.flow import Flow
from controller.meters import Rate

FlowId = tuple[int, int]
"""Table number and cookie: what recognises a flow on the switch."""


@dataclass(frozen=True, slots=True)
class Installed:
    """What the switch holds of one network: flows, and meters by id with their rates."""

    flows: frozenset[FlowId] = frozenset()
    meters: Mapping[int, Rate] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Difference:
    """What makes an `Installed` the desired one.

    `deletes` come before `adds` (cookie and flow); `meters` are new or have
    another rate and come before both, `stale_meters` go after both.
    """

    deletes: tuple[FlowId, ...] = ()
    adds: tuple[tuple[int, Flow], ...] = ()
    meters: Mapping[int, Rate] = field(default_factory=dict)
    stale_meters: tuple[int, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.deletes or self.adds or self.meters or self.stale_meters)


def installed(desired: Compiled) -> Installed:
    """What the switch holds once it holds all of `desired`."""
    flows = frozenset((flow.table.number, cookie) for cookie, flow in desired.flows.items())
    return Installed(flows, desired.meters)


def diff(desired: Compiled, present: Installed) -> Difference:
    """The difference that turns `present` into `desired`; empty when nothing is to do."""
    wanted = {(flow.table.number, cookie) for cookie, flow in desired.flows.items()}
    missing = wanted - present.flows
    return Difference(
        deletes=tuple(sorted(present.flows - wanted)),
        adds=tuple((cookie, desired.flows[cookie]) for _, cookie in sorted(missing)),
        meters={meter: rate for meter, rate in desired.meters.items() if present.meters.get(meter) != rate},
        stale_meters=tuple(sorted(present.meters.keys() - desired.meters.keys())),
    )


def apply(difference: Difference, present: Installed) -> Installed:
    """What the switch holds after `difference` was sent."""
    added = {(flow.table.number, cookie) for cookie, flow in difference.adds}
    meters = {id_: rate for id_, rate in present.meters.items() if id_ not in difference.stale_meters}
    return Installed(present.flows - set(difference.deletes) | added, {**meters, **difference.meters})
