"""Public addresses of the appliance, without those of the gateway's subnet.

Those of the NAT pool are shared by networks' port blocks; those of the pool of
public addresses are assignable, each to one machine.
"""

from __future__ import annotations

import functools

from netaddr import IPNetwork, IPSet

from state.model import Appliance


@functools.lru_cache(maxsize=4)
def _reserved(appliance: Appliance) -> IPSet:
    gateway = appliance.gateway
    subnet = IPNetwork(gateway.address)
    reserved = [gateway.ip, gateway.next_hop]
    if subnet.prefixlen < 31:
        reserved += [str(subnet.network), str(subnet.broadcast)]
    return IPSet(reserved)


@functools.lru_cache(maxsize=4)
def _usable(appliance: Appliance) -> IPSet:
    return IPSet(appliance.nat_pool) - _reserved(appliance)


@functools.lru_cache(maxsize=4)
def assignable_prefixes(appliance: Appliance) -> tuple[str, ...]:
    """As few prefixes as hold exactly the addresses that can stand for a machine, in order."""
    usable = IPSet(appliance.public_pool) - _reserved(appliance)
    return tuple(str(prefix) for prefix in usable.iter_cidrs())


def own_addresses(appliance: Appliance) -> tuple[str, ...]:
    """The appliance's own addresses: its gateway address and shared public addresses."""
    return (appliance.gateway.ip, *public_prefixes(appliance))


@functools.lru_cache(maxsize=4)
def public_prefixes(appliance: Appliance) -> tuple[str, ...]:
    """As few prefixes as hold exactly the shared addresses, in order."""
    return tuple(str(prefix) for prefix in _usable(appliance).iter_cidrs())


@functools.lru_cache(maxsize=4)
def public_addresses(appliance: Appliance) -> tuple[str, ...]:
    """The shared addresses, in order."""
    return tuple(str(address) for prefix in _usable(appliance).iter_cidrs() for address in prefix)


@functools.lru_cache(maxsize=4)
def largest_public_range(appliance: Appliance) -> tuple[str, str]:
    """First and last address of the longest run of shared addresses.

    Raises ValueError when there is none.
    """
    ranges = _usable(appliance).iter_ipranges()
    longest = max(ranges, key=lambda run: (run.size, -run.first), default=None)
    if longest is None:
        raise ValueError(f"the NAT pool {', '.join(appliance.nat_pool)} has no usable address")
    first, last = str(longest[0]), str(longest[-1])
    return first, last
