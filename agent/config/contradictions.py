"""Finds settings that contradict each other."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from state.model import Appliance
from state.prefixes import NEVER_ROUTED
from state.public import assignable_prefixes, public_addresses


def contradictions(appliance: Appliance, bridge: str) -> Iterator[str]:
    """What is wrong, one line each; `bridge` is the bridge's name."""
    yield from _overlaps(appliance)
    yield from _ports(appliance, bridge)
    gateway = appliance.gateway
    subnet = ipaddress.IPv4Interface(gateway.address).network
    if ipaddress.IPv4Address(gateway.next_hop) not in subnet or gateway.next_hop == gateway.ip:
        yield f"gateway.next_hop is {gateway.next_hop}; allowed: another address of {subnet} than {gateway.ip}"
    for setting, pool, usable in (
        ("nat", appliance.nat_pool, public_addresses(appliance)),
        ("public", appliance.public_pool, assignable_prefixes(appliance)),
    ):
        if pool and not usable:
            yield f"pools.{setting} {', '.join(pool)} has no address that the gateway's subnet does not need itself"


def _ports(appliance: Appliance, bridge: str) -> Iterator[str]:
    """Each port of the appliance's own is one by itself."""
    named = {bridge: "bridge.name", appliance.gateway.port: "gateway.port"}
    if bridge == appliance.gateway.port:
        yield f"gateway.port is {bridge}; allowed: another name than bridge.name"
    storage = "" if appliance.storage is None else appliance.storage.port
    for setting, port in (("storage.port", storage), ("dns.port", appliance.resolver_port)):
        if port in named:
            yield f"{setting} is {port}; allowed: another port than {named[port]}"
        elif port:
            named[port] = setting


def _overlaps(appliance: Appliance) -> Iterator[str]:
    pools = {
        "pools.nat": appliance.nat_pool,
        "pools.public": appliance.public_pool,
        "pools.isolated": appliance.isolated_pool,
        "pools.transit": appliance.transit_pool,
        "pools.private": appliance.private_pool,
    }
    subnet = ipaddress.IPv4Interface(appliance.gateway.address).network
    if appliance.storage is not None:
        network = ipaddress.IPv4Interface(appliance.storage.address).network
        pools |= {"storage.address": (str(network),), "storage.clients": (appliance.storage.clients,)}
    named = [(pool, ipaddress.IPv4Network(prefix)) for pool, prefixes in pools.items() for prefix in prefixes]
    for at, (pool, prefix) in enumerate(named):
        for other_pool, other in named[:at]:
            if prefix.overlaps(other) and not _may_overlap(pool, other_pool):
                yield f"{pool} {prefix} overlaps {other_pool} {other}"
        if pool.startswith("storage.") and prefix.overlaps(subnet):
            yield f"{pool} {prefix} overlaps gateway.address {subnet}"
        for never in NEVER_ROUTED if pool != "pools.transit" else ():
            if prefix.overlaps(ipaddress.IPv4Network(never)):
                yield f"{pool} {prefix} overlaps {never}, which is never routed"


def _may_overlap(one: str, other: str) -> bool:
    """Whether two pools may have addresses in common."""
    # A private network may have a prefix of the isolated pool: its machines have transit addresses. Neither pool
    # gives out a prefix that the storage network needs.
    given = {"pools.isolated", "pools.private"}
    return {one, other} == given or (one.startswith("storage.") and other in given)
