"""Deep comparison of the switch with desired state: matches and actions, not only cookies."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass

from controller import wire
from controller.compile import Compiled
from controller.diff import Difference, FlowId
from controller.mgmt import InstalledFlow


@dataclass(frozen=True, slots=True)
class Drift:
    """How the flows of one network differ from desired: how many of each kind, and the repair."""

    missing: int
    stray: int
    different: int
    repair: Difference

    def __bool__(self) -> bool:
        return bool(self.missing or self.stray or self.different)


def canonical(detail: bytes) -> tuple[tuple[bytes, ...], bytes]:
    """Match terms in one order, and instructions, of a flow as bytes.

    The switch gives match terms back in an order of its own.
    """
    end = struct.unpack_from("!H", detail, 2)[0]
    at, terms = 4, []
    while at < end:
        size = 4 + detail[at + 3]
        terms.append(detail[at : at + size])
        at += size
    return tuple(sorted(terms)), detail[end + -end % 8 :]


def drift(desired: Compiled, present: Iterable[InstalledFlow]) -> Drift:
    """Compare all that is on the switch of one network with what should be there.

    The repair deletes every flow found that is not right, and sends what is
    missing after it, in one bundle.
    """
    wanted: dict[FlowId, tuple[object, ...]] = {}
    for cookie, flow in desired.flows.items():
        detail = wire.match(flow.match) + wire.instructions(flow.actions)
        wanted[flow.table.number, cookie] = (flow.priority, *canonical(detail))
    stray = different = 0
    right: set[FlowId] = set()
    wrong: set[FlowId] = set()
    for found in present:
        identity = (found.table, found.cookie)
        if identity not in wanted:
            stray += 1
        elif wanted[identity] != (found.priority, *canonical(found.detail)):
            different += 1
        else:
            right.add(identity)
            continue
        wrong.add(identity)
    # A wrong flow may carry the cookie of a right one, which the delete takes along.
    absent = wanted.keys() - (right - wrong)
    adds = tuple((cookie, desired.flows[cookie]) for _, cookie in sorted(absent))
    missing = len(wanted.keys() - right - wrong)
    return Drift(missing, stray, different, Difference(deletes=tuple(sorted(wrong)), adds=adds))
