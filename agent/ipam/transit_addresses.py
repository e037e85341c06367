"""Transit addresses: for each machine of a private network one that is unique on the appliance.

It has the same ones' complement sum as the machine's own address (RFC 1071,
the idea of RFC 6296 section 3.4), so that putting one in place of the other changes no
checksum; `controller/features/transit.py` says why that matters. Of the 2**16
upper halves of an address those in the pool are free to choose, and the sum
then determines the lower half.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from weakref import WeakValueDictionary

from agent.ipam.pool import Pool, slots_of

ONES = 0xFFFF


def ones_sum(address: str) -> int:
    """Sum of the two halves of `address` in ones' complement, 0..0xfffe (0xffff counts as 0)."""
    value = int(ipaddress.IPv4Address(address))
    return ((value >> 16) + (value & ONES)) % ONES


class TransitPool:
    """A pool for each sum, there as long as something of it is in use or rests; speaks for all of them by address.

    `prefixes` have at most 16 bits and do not overlap. A pool serves as many
    machines with the same sum as the prefixes have /16s: 8,192 for the default
    224.0.0.0/3.
    """

    name = "transit"

    def __init__(self, prefixes: Sequence[str], *, cooldown: int = 0) -> None:
        halves = []
        for prefix in prefixes:
            network = ipaddress.IPv4Network(prefix)
            halves.append((int(network.network_address) >> 16, int(network.broadcast_address) >> 16))
        self._halves = sorted(halves)
        self._cooldown = cooldown
        # Those of commands that are being planned, and all that are in use besides: one has some kilobytes, and a
        # network has 65,533 addresses.
        self._pools: WeakValueDictionary[int, Pool] = WeakValueDictionary()
        self._used: dict[int, Pool] = {}

    def like(self, address: str) -> Pool:
        """The pool of all transit addresses with the sum of `address`."""
        total = ones_sum(address)
        pool = self._pools.get(total)
        if pool is None:
            pool = self._pools[total] = self._pool(total)
        return pool

    def _keep(self, value: str, pool: Pool) -> None:
        if pool.idle:
            self._used.pop(ones_sum(value), None)
        else:
            self._used[ones_sum(value)] = pool

    def _pool(self, total: int) -> Pool:
        size, text_of, index_of = slots_of(self._halves)

        def text(index: int) -> str:
            upper = text_of(index)
            return str(ipaddress.IPv4Address(upper << 16 | (total - upper) % ONES))

        def covered(value: str) -> range:
            found = index_of(int(ipaddress.IPv4Address(value)) >> 16)
            return range(0) if found is None or text(found) != value else range(found, found + 1)

        return Pool(self.name, size, text, covered, cooldown=self._cooldown)

    def use(self, value: str) -> None:
        """As `Pool.use`."""
        pool = self.like(value)
        pool.use(value)
        self._keep(value, pool)

    def unuse(self, value: str) -> None:
        """As `Pool.unuse`."""
        pool = self.like(value)
        pool.unuse(value)
        self._keep(value, pool)

    def cool(self, value: str, released_at: int) -> None:
        """As `Pool.cool`."""
        pool = self.like(value)
        pool.cool(value, released_at)
        self._keep(value, pool)

    def forget(self, value: str, released_at: int) -> None:
        """As `Pool.forget`."""
        pool = self.like(value)
        pool.forget(value, released_at)
        self._keep(value, pool)
