"""Deep comparison of the switch with desired state: matches and actions, not only cookies."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from controller.openflow import wire
from controller.openflow.client import InstalledFlow
from controller.pipeline.registry import Table, split_cookie
from controller.reconcile.compile import Compiled
from controller.reconcile.diff import Difference, FlowId


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
    repair = Difference(deletes=tuple(sorted(wrong)), adds=adds, digests=desired.digests)
    return Drift(missing, stray, different, repair)


class Verification:
    """One comparison of everything, in steps between which changes go on: a table is read, then a network compared."""

    def __init__(self) -> None:
        self._unread: list[Table] = []
        self._found: dict[int, list[InstalledFlow]] = {}
        self._changed: set[int] = set()

    def __bool__(self) -> bool:
        """Whether it is under way."""
        return bool(self._unread or self._found)

    @property
    def reading(self) -> bool:
        """Whether tables are still to be read."""
        return bool(self._unread)

    def start(self, keys: Iterable[int]) -> None:
        """Begin to compare the networks `keys`, and whoever else has flows."""
        self._unread = [table for table in Table if not table.learned]
        self._found, self._changed = {key: [] for key in keys}, set()

    def stop(self) -> None:
        """Forget all."""
        self._unread, self._found = [], {}

    def leave_out(self, key: int) -> None:
        """A network that changes: what was read of it is no longer so."""
        self._found.pop(key, None)
        if self._unread:
            self._changed.add(key)

    def read(self, read_flows: Callable[[int], Iterable[InstalledFlow]]) -> None:
        """Read the next table."""
        for flow in read_flows(self._unread.pop().number):
            key = split_cookie(flow.cookie)[0]
            if key not in self._changed:
                self._found.setdefault(key, []).append(flow)

    def flows(self) -> tuple[set[FlowId], frozenset[int]]:
        """The flows that were found, and the keys of networks that were left out."""
        found = {(flow.table, flow.cookie) for flows in self._found.values() for flow in flows}
        return found, frozenset(self._changed)

    def next(self) -> tuple[int, list[InstalledFlow]]:
        """A network that was read, and its flows."""
        return self._found.popitem()
