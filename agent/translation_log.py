"""Translation log: which network used a port block or public address at a time (RFC 7422 section 2)."""

from __future__ import annotations

from bisect import bisect_right, insort
from dataclasses import dataclass
from typing import TypeVar

from state.model import PortBlock
from state.ovsdb import Row


@dataclass(frozen=True, slots=True, order=True)
class PortBlockUse:
    """A network had a port block from `allocated_at` until before `released_at` (ms; 0: it still has it)."""

    allocated_at: int
    released_at: int
    network: str
    tenant: str
    prefix: str
    first: int
    last: int
    address: str

    @property
    def block(self) -> PortBlock:
        """The block held."""
        return PortBlock(self.address, self.first, self.last)


def _holding(row: Row) -> PortBlockUse:
    address, _, ports = row["value"].partition(":")
    first, _, last = ports.partition("-")
    return PortBlockUse(
        row["allocated_at"],
        row["released_at"],
        row["network"],
        row["tenant"],
        row["prefix"],
        int(first),
        int(last),
        address,
    )


class TranslationLog:
    """Holdings by address and block; a look-up costs O(log n) in the holdings of one block, O(n) if nobody had it."""

    def __init__(self) -> None:
        self._blocks: dict[tuple[str, int, int], list[PortBlockUse]] = {}
        # Sizes differ only when the configuration changed; a block starts at a multiple of its size.
        self._sizes: dict[int, int] = {}

    def add(self, row: Row) -> None:
        """Take in an `Allocation` row of a port block."""
        held = _holding(row)
        size = held.last - held.first + 1
        self._sizes[size] = self._sizes.get(size, 0) + 1
        insort(self._blocks.setdefault((held.address, size, held.first), []), held)

    def remove(self, row: Row) -> None:
        """Forget an `Allocation` row taken in before."""
        held = _holding(row)
        size = held.last - held.first + 1
        key = (held.address, size, held.first)
        self._blocks[key].remove(held)
        if not self._blocks[key]:
            del self._blocks[key]
        self._sizes[size] -= 1
        if not self._sizes[size]:
            del self._sizes[size]

    def at(self, address: str, port: int, moment: int) -> PortBlockUse | None:
        """Who had `port` of `address` at `moment` (ms), if anybody."""
        for size in self._sizes:
            found = _holder(self._blocks.get((address, size, port - port % size), []), moment)
            if found is not None:
                return found
        return None


@dataclass(frozen=True, slots=True, order=True)
class PublicAddressUse:
    """A public address was that of `holder` from `allocated_at` until before `released_at` (ms; 0: it still is).

    `holder` is the name of the machine it stood for, or `vpnGateways/NAME`.
    """

    allocated_at: int
    released_at: int
    holder: str
    network: str
    tenant: str
    prefix: str


def assignment_value(address: str, holder: str, zone: int) -> str:
    """The value of an `Allocation` row of the pool `assignment`: unique, since zones rest after their release."""
    return f"{address} {holder} {zone}"


class PublicAddressLog:
    """Assignments by public address, without those that lasted no time; a look-up costs as in History."""

    def __init__(self) -> None:
        self._of: dict[str, list[PublicAddressUse]] = {}

    @staticmethod
    def _read(row: Row) -> tuple[str, PublicAddressUse]:
        address, holder, _ = row["value"].split(" ")
        times = row["allocated_at"], row["released_at"]
        return address, PublicAddressUse(*times, holder, row["network"], row["tenant"], row["prefix"])

    def add(self, row: Row) -> None:
        """Take in an `Allocation` row of an assignment."""
        address, held = self._read(row)
        if held.allocated_at != held.released_at:
            insort(self._of.setdefault(address, []), held)

    def remove(self, row: Row) -> None:
        """Forget an `Allocation` row taken in before."""
        address, held = self._read(row)
        if held.allocated_at == held.released_at:
            return
        self._of[address].remove(held)
        if not self._of[address]:
            del self._of[address]

    def at(self, address: str, moment: int) -> PublicAddressUse | None:
        """Who had `address` at `moment` (ms), if any."""
        return _holder(self._of.get(address, []), moment)


_H = TypeVar("_H", PortBlockUse, PublicAddressUse)


def _holder(held: list[_H], moment: int) -> _H | None:
    """Who had it at `moment`, of all who ever had.

    It is the last one before, unless the time of day was set back: then an
    earlier holder seems to have come later.
    """
    before = bisect_right(held, moment, key=lambda h: h.allocated_at)
    return next((one for one in reversed(held[:before]) if not 0 < one.released_at <= moment), None)
