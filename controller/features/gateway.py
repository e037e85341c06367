"""The gateway port: ARP for our addresses, the next hop, and what may come in."""

from __future__ import annotations

from collections.abc import Iterator

from controller.features import flow
from controller.features.route import bogons
from controller.pipeline.context import PipelineContext
from controller.pipeline.flow import CONTROLLER, Ct, DecTtl, Flow, Goto, Meter, Output, set_mac
from controller.pipeline.match import Field, Match, match
from controller.pipeline.registry import GATEWAY_METER, NEXT_HOP_METER, ZONE, Feature, Priority, Table
from state.model import Network
from state.public import public_prefixes

feature = Feature.GATEWAY
tables = frozenset({Table.GATEWAY, Table.GATEWAY_LOCAL, Table.GATEWAY_TRACK, Table.GATEWAY_OUT})


def shared(site: PipelineContext) -> Iterator[Flow]:
    """All of it is shared: nothing here grows with the number of networks."""
    yield from _inbound(site)
    yield from _conntrack(site)
    yield from _outbound(site)


def _inbound(site: PipelineContext) -> Iterator[Flow]:
    gateway = site.appliance.gateway
    to_controller = (Meter(GATEWAY_METER), Output(CONTROLLER))
    table = Table.GATEWAY
    for owned in (*site.own_prefixes, *site.assignable_prefixes):
        yield flow(feature, table, Priority.NORMAL, match("arp", arp_op=1, arp_tpa=owned),
                   (set_mac(Field.ARP_THA, gateway.mac), Goto(Table.ARP_REPLY)), f"ARP for {owned}")  # fmt: skip
    yield flow(feature, table, Priority.NORMAL,
               match("arp", eth_dst=gateway.mac, arp_op=2, arp_spa=gateway.next_hop),
               (Meter(NEXT_HOP_METER), Output(CONTROLLER)), "MAC of the next hop")  # fmt: skip
    for bogon in bogons(site):
        yield flow(feature, table, Priority.EXCEPTION, match("ip", ip_src=bogon), (), "bogon-source")
    yield flow(feature, table, Priority.SPECIFIC, match("ip", eth_dst=gateway.mac, ip_dst=gateway.ip),
               (Goto(Table.GATEWAY_LOCAL),), "to the gateway address")  # fmt: skip
    yield flow(feature, table, Priority.NORMAL, match("ip", eth_dst=gateway.mac, ttl=1),
               to_controller, "time exceeded")  # fmt: skip
    yield flow(feature, table, Priority.NORMAL, match("ip", ttl=0), (), "ttl")
    yield flow(feature, table, Priority.REST, match("ip", eth_dst=gateway.mac),
               (Goto(Table.GATEWAY_LOCAL),), "from the Internet")  # fmt: skip
    yield flow(feature, table, Priority.MISS, Match(), (), "not-for-us")


def _conntrack(site: PipelineContext) -> Iterator[Flow]:
    yield flow(feature, Table.GATEWAY_LOCAL, Priority.SPECIFIC, match("ip", ip_dst=site.appliance.gateway.ip),
               (Goto(Table.ROUTER_LOCAL),), "to the gateway address")  # fmt: skip
    for prefix in public_prefixes(site.appliance):
        yield flow(feature, Table.GATEWAY_LOCAL, Priority.NORMAL, match("ip", ip_dst=prefix),
                   (Ct(Table.GATEWAY_TRACK, ZONE),), "to a shared address")  # fmt: skip
    yield flow(feature, Table.GATEWAY_LOCAL, Priority.MISS, Match(), (), "not-for-us")
    for state in ("+trk+est+dnat-inv", "+trk+rel+dnat-inv"):
        yield flow(feature, Table.GATEWAY_TRACK, Priority.NORMAL, match("ip", ct_state=state),
                   (DecTtl(), Goto(Table.INBOUND)), "reply or ICMP error of a known connection")  # fmt: skip
    # What a machine sends to a shared address has had a hop. Decremented to 0, a packet would go to ovs-vswitchd, one
    # by one and without a rate (OFPR_INVALID_TTL).
    yield flow(feature, Table.GATEWAY_TRACK, Priority.SPECIFIC, match("ip", ttl=1), (), "ttl")
    yield flow(feature, Table.GATEWAY_TRACK, Priority.MISS, Match(), (), "unsolicited")


def _outbound(site: PipelineContext) -> Iterator[Flow]:
    gateway = site.appliance.gateway
    next_hop = site.neighbors.get(gateway.next_hop)
    if next_hop is not None and site.gateway_port is not None:
        actions = (set_mac(Field.ETH_SRC, gateway.mac), set_mac(Field.ETH_DST, next_hop), Output(site.gateway_port))
        yield flow(feature, Table.GATEWAY_OUT, Priority.NORMAL, Match(), actions, f"to {gateway.next_hop}")
    yield flow(feature, Table.GATEWAY_OUT, Priority.MISS, Match(), (), "next-hop-unknown")


def flows(network: Network, site: PipelineContext) -> Iterator[Flow]:
    """Networks have none of their own."""
    yield from ()
