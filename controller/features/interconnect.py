"""Interconnects: what comes by their VLANs and goes there, and the link that BGP runs on.

The namespace with the BGP daemon sees what concerns the link alone: ARP, BGP
(RFC 4271), BFD (RFC 5881) and ICMP between the two link addresses. All else is
routed here: into the private network of a Direct Connect with sources the customer
may have, to machines and drives; or, by `peering`, to public addresses. Of packets
whose TTL ends the controller tells their sender, in the name of the link address.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Network

from controller.features import flow, to_controller
from controller.features.path_mtu import larger_than
from controller.pipeline.context import PipelineContext
from controller.pipeline.flow import (
    Action,
    ClearInPort,
    DecTtl,
    Flow,
    Goto,
    Meter,
    Output,
    PopVlan,
    PushVlan,
    SetField,
    WriteMetadata,
    set_mac,
)
from controller.pipeline.match import Field, Match, match
from controller.pipeline.registry import APPLIANCE_KEY, ATTACHMENT, Feature, MeterClass, Priority, Table, meter
from state.interconnect import INTERCONNECT_MAC, Interconnect, leg_port
from state.model import Network

feature = Feature.INTERCONNECT
tables = frozenset(
    {
        Table.CLASSIFY, Table.INTERCONNECT_LINK, Table.INTERCONNECT_LEG, Table.INTERCONNECT_SOURCE,
        Table.INTERCONNECT_TTL, Table.INTERCONNECT_OUT,
    }
)  # fmt: skip

TOLD = (3, 11)
"""ICMP errors the peer sends with its link address: destination unreachable and time exceeded."""

_BGP, _BFD = 179, 3784


def shared(site: PipelineContext) -> Iterator[Flow]:
    """What belongs to no interconnect; nothing here grows with them."""
    for table in (Table.INTERCONNECT_LINK, Table.INTERCONNECT_LEG, Table.INTERCONNECT_SOURCE, Table.INTERCONNECT_TTL):
        yield flow(feature, table, Priority.MISS, Match(), (), "no-network")
    yield flow(feature, Table.INTERCONNECT_OUT, Priority.MISS, Match(), (), "interconnect-down")


def flows(network: Network, site: PipelineContext) -> Iterator[Flow]:
    """15 of each interconnect and one a prefix it accepts; five of all, and one an own prefix within those accepted."""
    key, interconnects = network.key, present(network.interconnects, site)
    if not interconnects:
        return
    for one in interconnects:
        yield from link(feature, one, site, key)
        let_in = (Meter(meter(MeterClass.INTERCONNECT_IN, one.number)), Goto(Table.INTERCONNECT_TTL))
        for kind in TOLD:
            yield flow(feature, Table.INTERCONNECT_SOURCE, Priority.EXCEPTION,
                       match("icmp", metadata=key, reg2=one.number, ip_src=one.peer_address, icmp_type=kind),
                       let_in, "ICMP error of the peer", key)  # fmt: skip
        for prefix in one.accept:
            yield flow(feature, Table.INTERCONNECT_SOURCE, Priority.NORMAL,
                       match("ip", metadata=key, reg2=one.number, ip_src=prefix),
                       let_in, f"from {prefix}", key)  # fmt: skip
    for prefix in _never_remote(network, site):
        yield flow(feature, Table.INTERCONNECT_SOURCE, Priority.SPECIFIC, match("ip", metadata=key, ip_src=prefix),
                   (), "interconnect-source", key)  # fmt: skip
    yield flow(feature, Table.INTERCONNECT_SOURCE, Priority.DROP, match(metadata=key), (), "interconnect-source", key)
    yield flow(feature, Table.INTERCONNECT_LINK, Priority.DROP, match(metadata=key), (), "not-for-us", key)
    yield from _one_hop(network, site)


def _one_hop(network: Network, site: PipelineContext) -> Iterator[Flow]:
    key, table = network.key, Table.INTERCONNECT_TTL
    check = (larger_than(network.mtu),) if is_narrower(network, site) else ()
    go_on: tuple[Action, ...] = (DecTtl(), *check, SetField(ATTACHMENT, 0), Goto(Table.REMOTE_MACHINE))
    yield flow(feature, table, Priority.NORMAL, match("ip", metadata=key, ttl=0), (), "ttl", key)
    yield flow(feature, table, Priority.NORMAL, match("ip", metadata=key, ttl=1),
               to_controller(key), "time exceeded", key)  # fmt: skip
    yield flow(feature, table, Priority.DEFAULT, match("ip", metadata=key), go_on, "one hop", key)


def unplugged(interconnects: tuple[Interconnect, ...], site: PipelineContext) -> dict[str, str]:
    """Why interconnects are cut off now: `interconnects/NAME` → reason in words.

    It is empty while the leg is missing: the BGP daemon makes it, and says what keeps it from that.
    """
    found = {}
    for one in interconnects:
        if one.port not in site.ports:
            found[f"interconnects/{one.name}"] = f"port {one.port} is not on the bridge"
        elif leg_port(one.number) not in site.ports:
            found[f"interconnects/{one.name}"] = ""
    return found


def is_narrower(network: Network, site: PipelineContext) -> bool:
    """Whether packets may come that are too large for the network: links are taken to have the gateway's MTU."""
    return network.mtu < site.appliance.gateway.mtu


def present(interconnects: tuple[Interconnect, ...], site: PipelineContext) -> list[Interconnect]:
    """Those whose port and leg are on the bridge."""
    return [one for one in interconnects if one.port in site.ports and leg_port(one.number) in site.ports]


def link(owner: Feature, one: Interconnect, site: PipelineContext, key: int) -> Iterator[Flow]:
    """The link of an interconnect that is present: its VLAN, its leg, and the way out to its peer."""
    port, leg = site.ports[one.port], site.ports[leg_port(one.number)]
    yield from _arrival(owner, one, key, port, leg)
    yield from _to_leg(owner, one, key, leg)
    leave = (*(() if one.vlan is None else (PushVlan(one.vlan),)), Output(port))
    for what, matched in (
        ("ARP", match("arp", metadata=key, reg2=one.number)),
        ("from the link address", match("ip", metadata=key, reg2=one.number, ip_src=one.local_ip)),
    ):
        yield flow(owner, Table.INTERCONNECT_LEG, Priority.NORMAL, matched, leave, what, key)
    yield flow(owner, Table.INTERCONNECT_LEG, Priority.DROP, match(metadata=key, reg2=one.number),
               (), "link-address", key)  # fmt: skip
    if one.session.mac:
        actions = (
            Meter(meter(MeterClass.INTERCONNECT_OUT, one.number)),
            set_mac(Field.ETH_SRC, INTERCONNECT_MAC),
            set_mac(Field.ETH_DST, one.session.mac),
            # A machine may be on another VLAN of the same port.
            ClearInPort(),
            *leave,
        )
        # A peering is everybody's way out, a Direct Connect that of its own network.
        metadata = None if key == APPLIANCE_KEY else key
        yield flow(owner, Table.INTERCONNECT_OUT, Priority.NORMAL, match(metadata=metadata, reg2=one.number),
                   actions, f"to the peer of {one.name}", key)  # fmt: skip


def _arrival(owner: Feature, one: Interconnect, key: int, port: int, leg: int) -> Iterator[Flow]:
    found: tuple[Action, ...] = (SetField(ATTACHMENT, one.number), WriteMetadata(key))
    # Outside of tunnels tun_id is 0: a port alone never speaks for the VNIs of that port.
    arrival = match(in_port=port, tun_id=0, vlan=one.vlan, untagged=one.vlan is None)
    strip = () if one.vlan is None else (PopVlan(),)
    yield flow(owner, Table.CLASSIFY, Priority.EXCEPTION, arrival,
               (*strip, *found, Goto(Table.INTERCONNECT_LINK)), f"from the peer of {one.name}", key)  # fmt: skip
    yield flow(owner, Table.CLASSIFY, Priority.EXCEPTION, match(in_port=leg, untagged=True),
               (*found, Goto(Table.INTERCONNECT_LEG)), f"from the leg of {one.name}", key)  # fmt: skip


def _to_leg(owner: Feature, one: Interconnect, key: int, leg: int) -> Iterator[Flow]:
    table, number, ours, local = Table.INTERCONNECT_LINK, one.number, INTERCONNECT_MAC, one.local_ip
    deliver = (Meter(meter(MeterClass.INTERCONNECT_LINK, number)), Output(leg))

    def between_ends(
        kind: str, *, tcp_src: int | None = None, tcp_dst: int | None = None, udp_dst: int | None = None
    ) -> Match:
        return match(kind, metadata=key, reg2=number, eth_dst=ours, ip_src=one.peer_address, ip_dst=local,
                     tcp_src=tcp_src, tcp_dst=tcp_dst, udp_dst=udp_dst)  # fmt: skip

    for what, matched in (
        ("ARP", match("arp", metadata=key, reg2=number, arp_spa=one.peer_address)),
        ("BGP", between_ends("tcp", tcp_src=_BGP)),
        ("BGP", between_ends("tcp", tcp_dst=_BGP)),
        ("BFD", between_ends("udp", udp_dst=_BFD)),
        ("ICMP", between_ends("icmp")),
    ):
        yield flow(owner, table, Priority.SPECIFIC, matched, deliver, what, key)
    yield flow(owner, table, Priority.NORMAL, match("ip", metadata=key, reg2=number, ip_dst=local),
               (), "link-address", key)  # fmt: skip
    yield flow(owner, table, Priority.DEFAULT, match("ip", metadata=key, reg2=number, eth_dst=ours),
               (Goto(Table.INTERCONNECT_SOURCE),), "to be routed", key)  # fmt: skip


def _never_remote(network: Network, site: PipelineContext) -> list[str]:
    """Prefixes that are here, and within those an interconnect accepts: no source from there."""
    here = dict.fromkeys((network.prefix, *site.own_prefixes, *site.assignable_prefixes, *site.storage_prefixes))
    accepted = [IPv4Network(prefix) for one in network.interconnects for prefix in one.accept]
    return [prefix for prefix in here if any(IPv4Network(prefix).subnet_of(wide) for wide in accepted)]
