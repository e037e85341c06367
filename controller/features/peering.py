"""Peerings: a better way to a peer's public prefixes than the gateway, after translation, and the way in from there.

What comes by a peering is treated as what comes by the gateway port: no
sources that cannot be there, and only to public addresses of ours. The gateway
is the last resort of every prefix learned.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from controller.features import flow, interconnect, next_hops
from controller.features.route import bogons
from controller.pipeline.context import PipelineContext
from controller.pipeline.flow import (
    CONTROLLER,
    Action,
    DecTtl,
    Flow,
    Goto,
    Meter,
    Output,
    SetField,
    ToGroup,
    set_mac,
)
from controller.pipeline.groups import Bucket, Group
from controller.pipeline.match import Field, Match, match
from controller.pipeline.registry import (
    APPLIANCE_KEY,
    ATTACHMENT,
    GATEWAY_METER,
    Feature,
    MeterClass,
    Priority,
    Table,
    longest,
    meter,
)
from state.model import Network

feature = Feature.PEERING
tables = interconnect.tables - {Table.INTERCONNECT_TTL} | {Table.PEERING_IN, Table.GATEWAY_OUT}

_EVERYWHERE = ("0.0.0.0/0",)


def shared(site: PipelineContext) -> Iterator[Flow]:
    """All of it: 14 of each peering and one a prefix it accepts, one a prefix learned; none without peerings."""
    if not site.peerings:
        return
    yield from _inward(site)
    for prefix, choice in next_hops.chosen(APPLIANCE_KEY, site.peerings, _EVERYWHERE).items():
        yield flow(feature, Table.GATEWAY_OUT, longest(prefix), match("ip", ip_dst=prefix),
                   (ToGroup(choice.number),), choice.why)  # fmt: skip


def flows(network: Network, site: PipelineContext) -> Iterator[Flow]:
    """Networks have none of their own."""
    yield from ()


def groups(site: PipelineContext) -> Mapping[int, Group]:
    """The groups of the prefixes learned by peerings, by id."""
    gateway = site.appliance.gateway
    next_hop = site.neighbors.get(gateway.next_hop)
    found = {}
    for choice in next_hops.distinct(next_hops.chosen(APPLIANCE_KEY, site.peerings, _EVERYWHERE)):
        buckets = next_hops.buckets(choice.interconnects, site)
        if next_hop is not None and site.gateway_port is not None:
            actions = (set_mac(Field.ETH_SRC, gateway.mac), set_mac(Field.ETH_DST, next_hop), Output(site.gateway_port))
            buckets.append(Bucket(site.gateway_port, actions))
        found[choice.number] = Group(Table.GATEWAY_OUT, tuple(buckets), choice.why)
    return found


def _inward(site: PipelineContext) -> Iterator[Flow]:
    table = Table.INTERCONNECT_SOURCE
    for bogon in bogons(site):
        yield flow(feature, table, Priority.SPECIFIC, match("ip", metadata=APPLIANCE_KEY, ip_src=bogon),
                   (), "bogon-source")  # fmt: skip
    for one in interconnect.present(site.peerings, site):
        yield from interconnect.link(feature, one, site, APPLIANCE_KEY)
        let_in = (Meter(meter(MeterClass.INTERCONNECT_IN, one.number)), Goto(Table.PEERING_IN))
        for kind in interconnect.TOLD:
            yield flow(feature, table, Priority.EXCEPTION,
                       match("icmp", metadata=APPLIANCE_KEY, reg2=one.number, ip_src=one.peer_address, icmp_type=kind),
                       let_in, "ICMP error of the peer")  # fmt: skip
        for prefix in one.accept or (None,):
            yield flow(feature, table, Priority.NORMAL,
                       match("ip", metadata=APPLIANCE_KEY, reg2=one.number, ip_src=prefix),
                       let_in, f"from {prefix or 'anywhere'}")  # fmt: skip
    yield flow(feature, table, Priority.DROP, match(metadata=APPLIANCE_KEY), (), "interconnect-source")
    yield flow(feature, Table.INTERCONNECT_LINK, Priority.DROP, match(metadata=APPLIANCE_KEY), (), "not-for-us")
    yield flow(feature, Table.PEERING_IN, Priority.SPECIFIC, match("ip", ttl=0), (), "ttl")
    yield flow(feature, Table.PEERING_IN, Priority.SPECIFIC, match("ip", ttl=1),
               (Meter(GATEWAY_METER), Output(CONTROLLER)), "time exceeded")  # fmt: skip
    here: tuple[Action, ...] = (SetField(ATTACHMENT, 0), Goto(Table.GATEWAY_LOCAL))
    for prefix in site.assignable_prefixes:
        # Of shared addresses conntrack counts the hop.
        yield flow(feature, Table.PEERING_IN, Priority.NORMAL, match("ip", ip_dst=prefix),
                   (DecTtl(), *here), f"to {prefix}")  # fmt: skip
    for prefix in site.shared_prefixes:
        yield flow(feature, Table.PEERING_IN, Priority.NORMAL, match("ip", ip_dst=prefix), here, f"to {prefix}")
    yield flow(feature, Table.PEERING_IN, Priority.MISS, Match(), (), "not-for-us")
