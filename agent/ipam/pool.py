"""Pools of addresses, ports and numbers: lowest free first, released ones after a quarantine.

A pool is a function of the rows it was fed with, whatever their order, so two
agents on one database agree. Every operation costs O(log n) in the number of
gaps of the pool. Times are milliseconds on a clock that never steps, and always
passed in.
"""

from __future__ import annotations

import heapq
import ipaddress
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate

from sortedcontainers import SortedDict

PORTS = 65536
SYSTEM_PORTS = 1024


class FreeRanges:
    """The free ones of the integers 0..size-1, kept as disjoint ranges."""

    def __init__(self, size: int) -> None:
        self._ends: SortedDict[int, int] = SortedDict({0: size - 1} if size > 0 else {})
        self.count = max(size, 0)

    def _start_of(self, value: int) -> int | None:
        """The start of the free range that holds `value`."""
        at = self._ends.bisect_right(value) - 1
        if at < 0:
            return None
        start: int = self._ends.keys()[at]
        return start if self._ends[start] >= value else None

    def __contains__(self, value: int) -> bool:
        return self._start_of(value) is not None

    def __iter__(self) -> Iterator[int]:
        """Free values in ascending order; do not change the ranges meanwhile."""
        for start, end in self._ends.items():
            yield from range(start, end + 1)

    def take(self, value: int) -> bool:
        """Take `value` out; False when it was not free."""
        start = self._start_of(value)
        if start is None:
            return False
        end = self._ends.pop(start)
        if start < value:
            self._ends[start] = value - 1
        if value < end:
            self._ends[value + 1] = end
        self.count -= 1
        return True

    def take_range(self, first: int, last: int) -> None:
        """Take out all of `first`..`last` that are free."""
        inside = self._start_of(first)
        starts = [] if inside is None else [inside]
        starts += [start for start in self._ends.irange(first, last) if start != inside]
        for start in starts:
            end = self._ends.pop(start)
            self.count -= min(end, last) - max(start, first) + 1
            if start < first:
                self._ends[start] = first - 1
            if end > last:
                self._ends[last + 1] = end

    def give(self, value: int) -> bool:
        """Put `value` back; False when it was free already."""
        if value in self:
            return False
        start, end = value, value
        if value + 1 in self._ends:
            end = self._ends.pop(value + 1)
        before = self._start_of(value - 1)
        if before is not None:
            start = before
        self._ends[start] = end
        self.count += 1
        return True


class Pool:
    """Named values, each free, in use, or cooling down after its release.

    `text` names value number 0..size-1. `covered` answers the numbers a text
    stands for: one, none for what is no value of this pool, several for a
    value of an earlier configuration that overlaps them. A value in use twice
    (overlapping requested prefixes) is free after both.
    """

    def __init__(
        self,
        name: str,
        size: int,
        text: Callable[[int], str],
        covered: Callable[[str], range],
        *,
        cooldown: int = 0,
        without: Iterable[tuple[int, int]] = (),
    ) -> None:
        self.name, self.text, self.covered = name, text, covered
        self._cooldown = cooldown
        self._free = FreeRanges(size)
        self._excluded = tuple(without)
        for first, last in self._excluded:
            self._free.take_range(first, last)
        self.size = self._free.count
        self._uses: dict[int, int] = {}
        self._released: dict[int, int] = {}
        self._cooling: list[tuple[int, int]] = []

    def _numbers(self, value: str) -> Iterator[int]:
        for number in self.covered(value):
            if not any(first <= number <= last for first, last in self._excluded):
                yield number

    def use(self, value: str) -> None:
        """`value` is in use (once more)."""
        for number in self._numbers(value):
            self._uses[number] = self._uses.get(number, 0) + 1
            self._free.take(number)

    def unuse(self, value: str) -> None:
        """One use of `value` has ended: it is free unless `cool` says otherwise."""
        for number in self._numbers(value):
            self._uses[number] -= 1
            if not self._uses[number]:
                del self._uses[number]
                if number not in self._released:
                    self._free.give(number)

    def cool(self, value: str, released_at: int) -> None:
        """`value` was released at `released_at` and stays out until its cooldown is over."""
        for number in self._numbers(value):
            if self._released.get(number, -1) < released_at:
                self._released[number] = released_at
                self._free.take(number)
                heapq.heappush(self._cooling, (released_at + self._cooldown, number))

    def forget(self, value: str, released_at: int) -> None:
        """The record of the release of `value` at `released_at` is gone."""
        for number in self._numbers(value):
            if self._released.get(number) == released_at:
                self._cooled(number)

    def _cooled(self, number: int) -> None:
        del self._released[number]
        if number not in self._uses:
            self._free.give(number)

    def _expire(self, now: int) -> None:
        while self._cooling and self._cooling[0][0] <= now:
            until, number = heapq.heappop(self._cooling)
            if self._released.get(number) == until - self._cooldown:
                self._cooled(number)

    @property
    def idle(self) -> bool:
        """Whether no value is in use or rests."""
        return not self._uses and not self._released

    def free(self, now: int) -> Iterator[str]:
        """Free values, lowest first; do not change the pool while iterating."""
        self._expire(now)
        return map(self.text, self._free)

    def free_count(self, now: int) -> int:
        """How many values are free."""
        self._expire(now)
        return self._free.count

    def cooling_until(self, value: str, now: int) -> int | None:
        """When `value` is free again if it is cooling, else None."""
        self._expire(now)
        found = [self._released[number] for number in self._numbers(value) if number in self._released]
        return max(found) + self._cooldown if found else None

    def next_cooled(self, now: int) -> int | None:
        """When the next cooling value is free again, if there is one."""
        self._expire(now)
        while self._cooling and self._released.get(self._cooling[0][1]) != self._cooling[0][0] - self._cooldown:
            heapq.heappop(self._cooling)
        return self._cooling[0][0] if self._cooling else None


def _bounds(prefix: str) -> tuple[int, int]:
    network = ipaddress.IPv4Network(prefix)
    return int(network.network_address), int(network.broadcast_address)


def slots_of(
    ranges: Sequence[tuple[int, int]], step: int = 1
) -> tuple[int, Callable[[int], int], Callable[[int], int | None]]:
    """Number the slots of `step` values in sorted, disjoint `ranges` (first, last) from 0.

    Answers how many there are, the first value of a slot, and the slot of a
    value (None outside).
    """
    begins = [0, *accumulate((last - first + 1) // step for first, last in ranges)]
    firsts = [first for first, _ in ranges]

    def value(slot: int) -> int:
        at = bisect_right(begins, slot) - 1
        return firsts[at] + (slot - begins[at]) * step

    def slot(value: int) -> int | None:
        at = bisect_right(firsts, value) - 1
        return begins[at] + (value - firsts[at]) // step if at >= 0 and value <= ranges[at][1] else None

    return begins[-1], value, slot


def _one(slot: int | None) -> range:
    return range(0) if slot is None else range(slot, slot + 1)


def number_pool(name: str, last: int, first: int = 1, *, cooldown: int = 0) -> Pool:
    """The numbers `first`..`last`."""
    return Pool(
        name,
        last - first + 1,
        lambda index: str(index + first),
        lambda value: _one(int(value) - first if first <= int(value) <= last else None),
        cooldown=cooldown,
    )


def prefix_pool(
    name: str, prefixes: Sequence[str], length: int, *, cooldown: int = 0, without: Iterable[str] = ()
) -> Pool:
    """All prefixes of `length` bits in `prefixes` that do not overlap any of `without`.

    `prefixes` must not overlap one another and have at most `length` bits.
    """
    ranges = sorted(_bounds(prefix) for prefix in prefixes)
    size, first_of, slot = slots_of(ranges, 1 << (32 - length))

    def covered(value: str) -> range:
        address, _, bits = value.partition("/")
        return _one(slot(int(ipaddress.IPv4Address(address))) if bits == str(length) else None)

    return Pool(
        name,
        size,
        lambda number: f"{ipaddress.IPv4Address(first_of(number))}/{length}",
        covered,
        cooldown=cooldown,
        without=_without(ranges, slot, without),
    )


def host_pool(name: str, prefixes: Sequence[str], *, cooldown: int = 0) -> Pool:
    """Every address of `prefixes`, which do not overlap, the first and last ones too."""
    size, address_of, slot = slots_of(sorted(_bounds(prefix) for prefix in prefixes))
    return Pool(
        name,
        size,
        lambda number: str(ipaddress.IPv4Address(address_of(number))),
        lambda value: _one(slot(int(ipaddress.IPv4Address(value)))),
        cooldown=cooldown,
    )


def address_pool(name: str, prefix: str, *, cooldown: int = 0) -> Pool:
    """The addresses machines of `prefix` can have: the second usable one onwards, not the broadcast address."""
    low, high = _bounds(prefix)
    size, address_of, slot = slots_of([(low + 2, high - 1)])
    return Pool(
        name,
        size,
        lambda number: str(ipaddress.IPv4Address(address_of(number))),
        lambda value: _one(slot(int(ipaddress.IPv4Address(value)))),
        cooldown=cooldown,
    )


def _without(
    ranges: Sequence[tuple[int, int]], slot: Callable[[int], int | None], prefixes: Iterable[str]
) -> list[tuple[int, int]]:
    """The ranges of slots that overlap `prefixes`."""
    found = []
    for low, high in map(_bounds, prefixes):
        for first, last in ranges:
            if first <= high and low <= last:
                begin, end = slot(max(low, first)), slot(min(high, last))
                if begin is not None and end is not None:
                    found.append((begin, end))
    return found


def blocks_per_address(block_size: int) -> int:
    """How many port blocks one public address has: all but those with system ports (RFC 6335 section 6)."""
    return PORTS // block_size - -(-SYSTEM_PORTS // block_size)


def port_block_pool(name: str, addresses: Sequence[str], block_size: int, *, cooldown: int = 0) -> Pool:
    """The port blocks of `addresses` as text `ADDRESS:FIRST-LAST`; `block_size` is a power of two."""
    each = blocks_per_address(block_size)
    skipped = PORTS // block_size - each
    numbers = {address: at for at, address in enumerate(addresses)}

    def text(index: int) -> str:
        first = (index % each + skipped) * block_size
        return f"{addresses[index // each]}:{first}-{first + block_size - 1}"

    def covered(value: str) -> range:
        address, _, ports = value.partition(":")
        first, _, last = ports.partition("-")
        at = numbers.get(address)
        if at is None:
            return range(0)
        lowest, highest = int(first) // block_size - skipped, int(last) // block_size - skipped
        return range(at * each + max(lowest, 0), at * each + highest + 1)

    return Pool(name, each * len(addresses), text, covered, cooldown=cooldown)
