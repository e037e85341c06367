"""Prefixes with a meaning of their own: never routed, not in the Internet, and the appliance's."""

from __future__ import annotations

import functools
import ipaddress

from state.model import Appliance
from state.public import own_addresses
from state.storage import storage_prefixes

# This host, loopback, link-local, multicast and reserved: RFC 6890 section 2.2.2.
NEVER_ROUTED = ("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "240.0.0.0/4")

# Of somebody's own network as well: RFC 1918, RFC 6598. The documentation prefixes are left out, since
# laboratories play the Internet with them.
NOT_INTERNET = (*NEVER_ROUTED, "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10")


@functools.lru_cache(maxsize=4)
def not_outside(appliance: Appliance) -> tuple[str, ...]:
    """Prefixes never beyond the gateway: not routed there, protected, the appliance's own, its pools and storage."""
    pools = (*appliance.isolated_pool, *appliance.private_pool, *appliance.transit_pool)
    own = (*own_addresses(appliance), *pools, *storage_prefixes(appliance.storage))
    return tuple(dict.fromkeys((*NOT_INTERNET, *appliance.protected, *own)))


def own_prefixes(appliance: Appliance) -> list[tuple[str, str]]:
    """Prefixes no private network may overlap, each with what it is."""
    protected = [(prefix, "a protected prefix of the appliance") for prefix in appliance.protected]
    return [*network_prefixes(appliance), *protected]


def network_prefixes(appliance: Appliance) -> list[tuple[str, str]]:
    """Prefixes that lead to the appliance itself, its networks or nowhere, each with what it is."""
    return [*((prefix, "which is never routed") for prefix in NEVER_ROUTED), *appliance_prefixes(appliance)]


def appliance_prefixes(appliance: Appliance) -> list[tuple[str, str]]:
    """Prefixes that lead to the appliance itself or its networks, each with what it is."""
    gateway = appliance.gateway
    return [
        (str(ipaddress.IPv4Interface(gateway.address).network), "the gateway's subnet"),
        *((prefix, "the pool of shared addresses") for prefix in appliance.nat_pool),
        *((prefix, "the pool of public addresses") for prefix in appliance.public_pool),
        *_of_storage(appliance),
        *((prefix, "the transit pool") for prefix in appliance.transit_pool),
    ]


def _of_storage(appliance: Appliance) -> list[tuple[str, str]]:
    named = ("the storage network", "the machines' addresses in the storage network")
    return list(zip(storage_prefixes(appliance.storage), named, strict=False))
