"""Addresses of machines in the resolver's network namespace.

There a machine has its transit address. Linux takes no packets from 224.0.0.0/4,
which transit addresses may be of (the default pool begins with it): those have
other four highest bits there, which flows put in their place.
"""

from __future__ import annotations

import functools
from ipaddress import IPv4Address, IPv4Network

from state.model import Appliance

MAC = "02:00:00:00:ff:04"
"""Ethernet address of the resolver behind its port of the bridge."""

MULTICAST = IPv4Network("224.0.0.0/4")
TOP_BITS, TOP_SHIFT = 4, 28
# Not those of 0.0.0.0/8, of loopback, and of what Linux has its own thoughts about.
_CANDIDATES = (1, 2, 3, 4, 5, 6, 8, 9, 11, 13)


@functools.lru_cache(maxsize=4)
def stand_in(appliance: Appliance) -> IPv4Network | None:
    """The prefix of four bits that stands for 224.0.0.0/4; None where no transit address is of it.

    Also None where pools that cover most of all addresses leave none free: then
    machines with such a transit address get no answers.
    """
    transit = [IPv4Network(prefix) for prefix in appliance.transit_pool]
    if not any(prefix.overlaps(MULTICAST) for prefix in transit):
        return None
    taken = [*transit, *map(IPv4Network, appliance.isolated_pool)]
    candidates = (IPv4Network((bits << TOP_SHIFT, TOP_BITS)) for bits in _CANDIDATES)
    return next((prefix for prefix in candidates if not any(prefix.overlaps(other) for other in taken)), None)


def seen_as(transit: str, prefix: IPv4Network | None) -> str:
    """The address a machine has in the namespace; `prefix` is that of `stand_in`."""
    address = IPv4Address(transit)
    if prefix is None or address not in MULTICAST:
        return transit
    return str(IPv4Address(int(address) & ~int(MULTICAST.netmask) & 0xFFFFFFFF | int(prefix.network_address)))
