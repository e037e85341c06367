"""VPN gateways: two legs of a private network, one to its machines and one to its peers in the Internet.

What `remote-route` hands over goes to the inside leg or nowhere, whether port,
gateway and tunnel are there or not. The outside leg is
let out with IKE (RFC 7296) and ESP (RFC 4303) alone, so that nothing leaves in
cleartext even where the gateway itself is wrong; out of a tunnel comes only
what has a source beyond it, and only to machines and drives of the network.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network

from controller.features import flow
from controller.pipeline.context import PipelineContext
from controller.pipeline.flow import Action, Flow, Goto, Meter, Output, WriteMetadata, set_mac
from controller.pipeline.match import ICMP_ERRORS, Field, Match, match
from controller.pipeline.registry import Feature, MeterClass, Priority, Table, meter
from state.model import Network
from state.prefixes import not_outside
from state.remote import vpn_prefixes
from state.vpn import INSIDE_MAC, MOST_PEER_ADDRESSES, OUTSIDE_MAC, VpnGateway, inside_port, outside_port

feature = Feature.VPN
tables = frozenset(
    {
        Table.CLASSIFY, Table.VPN_OUTSIDE, Table.VPN_INSIDE, Table.VPN_LEG, Table.PUBLIC_IN, Table.VPN_GATEWAY,
    }
)  # fmt: skip

# RFC 7296 section 2.23: IKE, and IKE and ESP in UDP.
_IKE_PORTS = (500, 4500)
_ESP = 50
# Destination unreachable and time exceeded: what a path tells of its MTU and of a peer that is gone.
_TOLD = (3, 11)


def shared(site: PipelineContext) -> Iterator[Flow]:
    """What belongs to no gateway; nothing here grows with them."""
    for table in (Table.VPN_OUTSIDE, Table.VPN_INSIDE, Table.VPN_LEG, Table.VPN_GATEWAY):
        yield flow(feature, table, Priority.MISS, Match(), (), "no-network")


def flows(network: Network, site: PipelineContext) -> Iterator[Flow]:
    """Those of the network's gateway: 12, one a remote prefix, eight a peer."""
    gateway = network.vpn
    if gateway is None:
        return
    key, prefixes = network.key, vpn_prefixes(network)
    inside, outside = site.ports.get(inside_port(key)), site.ports.get(outside_port(key))
    yield from _to_leg(network, site, inside)
    if inside is not None:
        yield from _from_leg(network, prefixes, inside)
    yield from _from_peers(network, gateway, site, outside)
    if outside is not None:
        yield from _to_peers(network, gateway, site, outside)


def unplugged(network: Network, site: PipelineContext) -> dict[str, str]:
    """Why the gateway is cut off now: `vpnGateways/NAME` → reason in words."""
    gateway, key = network.vpn, network.key
    if gateway is None:
        return {}
    missing = [port for port in (inside_port(key), outside_port(key)) if port not in site.ports]
    return {f"vpnGateways/{gateway.name}": f"port {missing[0]} is not on the bridge"} if missing else {}


def _to_leg(network: Network, site: PipelineContext, inside: int | None) -> Iterator[Flow]:
    key = network.key
    if inside is None:
        yield flow(feature, Table.VPN_LEG, Priority.NORMAL, match(metadata=key), (), "vpn-down", key)
        return
    actions = (
        Meter(meter(MeterClass.NETWORK_VPN_OUT, key)),
        set_mac(Field.ETH_SRC, site.appliance.router_mac),
        set_mac(Field.ETH_DST, INSIDE_MAC),
        Output(inside),
    )
    yield flow(feature, Table.VPN_LEG, Priority.NORMAL, match(metadata=key), actions, "into the tunnels", key)


def _from_leg(network: Network, prefixes: tuple[str, ...], inside: int) -> Iterator[Flow]:
    key = network.key
    limited = (Meter(meter(MeterClass.NETWORK_VPN_IN, key)), Goto(Table.REMOTE_MACHINE))
    yield flow(feature, Table.CLASSIFY, Priority.EXCEPTION, match(in_port=inside, untagged=True),
               (WriteMetadata(key), Goto(Table.VPN_INSIDE)), "from the tunnels", key)  # fmt: skip
    for prefix in prefixes:
        yield flow(feature, Table.VPN_INSIDE, Priority.NORMAL, match("ip", metadata=key, ip_src=prefix),
                   limited, f"from {prefix}", key)  # fmt: skip
    # The gateway says 'fragmentation needed' and the like in the name of the router.
    for kind in ICMP_ERRORS:
        yield flow(feature, Table.VPN_INSIDE, Priority.SPECIFIC,
                   match("icmp", metadata=key, ip_src=network.router, icmp_type=kind),
                   limited, "ICMP error of the gateway", key)  # fmt: skip
    yield flow(feature, Table.VPN_INSIDE, Priority.DROP, match(metadata=key), (), "vpn-source", key)


def _to_peers(network: Network, gateway: VpnGateway, site: PipelineContext, outside: int) -> Iterator[Flow]:
    key, table = network.key, Table.VPN_OUTSIDE
    yield flow(feature, Table.CLASSIFY, Priority.EXCEPTION, match(in_port=outside, untagged=True),
               (WriteMetadata(key), Goto(table)), "from the VPN gateway", key)  # fmt: skip
    for peer in _peers(gateway, site):
        if peer is None:
            for prefix in _closed(site):
                yield flow(feature, table, Priority.EXCEPTION, match("ip", metadata=key, ip_dst=prefix),
                           (), "vpn-not-internet", key)  # fmt: skip
        for what, matched in _ipsec(key, gateway.address, peer, leaving=True):
            yield flow(feature, table, Priority.NORMAL, matched, (Goto(Table.GATEWAY_OUT),),
                       f"{what} to {peer or 'any peer'}", key)  # fmt: skip
    yield flow(feature, table, Priority.DROP, match(metadata=key), (), "vpn-cleartext", key)


def _from_peers(network: Network, gateway: VpnGateway, site: PipelineContext, outside: int | None) -> Iterator[Flow]:
    key, table = network.key, Table.VPN_GATEWAY
    yield flow(feature, Table.PUBLIC_IN, Priority.NORMAL, match("ip", ip_dst=gateway.address),
               (WriteMetadata(key), Goto(table)), f"{gateway.address} is {gateway.name}", key)  # fmt: skip
    if outside is None:
        yield flow(feature, table, Priority.NORMAL, match(metadata=key), (), "vpn-down", key)
        return
    leave: tuple[Action, ...] = (
        set_mac(Field.ETH_SRC, site.appliance.gateway.mac),
        set_mac(Field.ETH_DST, OUTSIDE_MAC),
        Output(outside),
    )
    for peer in _peers(gateway, site):
        for what, matched in _ipsec(key, peer, None, leaving=False):
            yield flow(feature, table, Priority.NORMAL, matched, leave, f"{what} from {peer or 'any peer'}", key)
    for kind in _TOLD:
        yield flow(feature, table, Priority.NORMAL, match("icmp", metadata=key, icmp_type=kind),
                   leave, "ICMP error of the path to a peer", key)  # fmt: skip
    yield flow(feature, table, Priority.DROP, match(metadata=key), (), "vpn-peer", key)


def _ipsec(key: int, source: str | None, destination: str | None, *, leaving: bool) -> Iterator[tuple[str, Match]]:
    for port in _IKE_PORTS:
        # The port of the other end is what a NAT on the way makes of it.
        ours = (port, None) if leaving else (None, port)
        yield "IKE", match("udp", metadata=key, ip_src=source, ip_dst=destination, udp_src=ours[0], udp_dst=ours[1])
    yield "ESP", match("ip", metadata=key, ip_src=source, ip_dst=destination, ip_proto=_ESP)
    yield (
        "rest of a fragmented IKE message",
        match("udp", metadata=key, ip_src=source, ip_dst=destination, frag="later"),
    )


def _peers(gateway: VpnGateway, site: PipelineContext) -> tuple[str | None, ...]:
    """The addresses of all peers; None alone where a peer may have any.

    A customer chooses them, by a name too, so that none may be where no
    machine may send to, and a name has its first MOST_PEER_ADDRESSES at most.
    """
    if any(not one.peer for one in gateway.connections):
        return (None,)
    closed = [IPv4Network(prefix) for prefix in _closed(site)]
    named = (address for one in gateway.connections for address in one.peer_addresses[:MOST_PEER_ADDRESSES])
    found = dict.fromkeys(named)
    return tuple(peer for peer in found if not any(IPv4Address(peer) in prefix for prefix in closed))


def _closed(site: PipelineContext) -> list[str]:
    """Prefixes that no peer is in. Behind a shared address there may be one: a machine of another network."""
    return [prefix for prefix in not_outside(site.appliance) if prefix not in site.shared_prefixes]
