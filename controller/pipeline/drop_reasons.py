"""Drop reasons: one word and one sentence for every drop flow.

A dump of the switch does not hold `Flow.why`, so the reason is found again from
what it does hold: table, feature, priority and, where those are not enough,
the protocol. A test holds this list to the drop flows of the golden files.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from controller.pipeline.registry import (
    FRAGMENTS_METER,
    NEXT_HOP_METER,
    SENDERS,
    STORAGE_METER,
    STORAGE_NEWS_METER,
    Feature,
    MeterClass,
    Priority,
    Table,
    sender_meter,
    split_meter,
)


@dataclass(frozen=True, slots=True)
class Reason:
    """A reason: the word of `Flow.why`, and what it means to an operator."""

    word: str
    sentence: str


_SENTENCES = {
    "no-network": "no machine and no gateway is attached where the packet came from",
    "source-mac": "the source MAC is not that of a machine of this attachment",
    "source-ip": "the source address is not the machine's own",
    "arp-sender": "the ARP sender is not the machine itself",
    "arp-probe": "an address probe (RFC 5227) for an address nobody has",
    "dhcp-server": "a machine answered DHCP; only the appliance may",
    "protocol": "neither IPv4 nor ARP, or not from a machine of the network",
    "arp-unknown": "ARP for an address nobody has, or an ARP reply nobody asked for",
    "not-arp": "not ARP where only ARP can be",
    "to-gateway": "to an address of the appliance, which answers nothing but echo",
    "ttl": "the TTL ended on arrival",
    "unroutable": "the destination is outside the network and not in the Internet",
    "no-machine": "no machine has the destination address",
    "unknown-mac": "no machine of the network has the destination MAC",
    "no-holder": "to an additional address, or its virtual MAC, that no machine with a port on the bridge lists",
    "same-segment": "the destination is on the attachment the packet came by and has it already",
    "not-ip": "not IPv4",
    "icmp-redirect": "ICMP redirect, router discovery or source quench (types 4, 5, 9, 10), which nobody may send",
    "not-translated": "no free port in the network's block, an invalid packet, or a foreign ICMP error",
    "bogon-source": "came from the Internet with a source address that cannot be there",
    "not-for-us": "came from the Internet or an interconnect for an address or MAC that is not ours",
    "unsolicited": "came from the Internet and belongs to no known connection",
    "not-names": "came from the resolver's port and is neither a question nor an answer of names",
    "fragment": "a fragment to or from a shared drive; NFS and SMB are TCP, which needs none",
    "not-a-drive": "came from the storage network, and not from a drive to a machine of its network",
    "vpn-source": "came out of a tunnel with a source that is in no remote prefix of the network's VPN connections",
    "vpn-down": "to a VPN gateway whose port is not on the bridge",
    "vpn-cleartext": "left a VPN gateway and is neither IKE nor ESP from its address to one of its peers",
    "vpn-peer": "to a VPN gateway and neither IKE nor ESP of one of its peers",
    "vpn-not-internet": "from a VPN gateway whose peer may have any address to one that is not in the Internet",
    "remote-unsolicited": "from a shared drive to beyond the network, and belongs to no connection opened from there",
    "interconnect-source": "came by an interconnect with a source its peer may not have: not accepted, or ours",
    "link-address": "to or from an interconnect's link address, and neither ARP, BGP, BFD nor ICMP of its two ends",
    "interconnect-down": "to an interconnect whose peer's MAC is not known",
    "drive-unknown": "to a drive whose MAC is not known any more",
    "next-hop-unknown": "the MAC of the next hop is not known yet, or the gateway port is missing",
}

_M = MeterClass
_METERS = {
    _M.NETWORK_ERRORS: Reason(
        "icmp-error-rate", "refused like the others, but over the network's rate and not answered"
    ),
    _M.NETWORK_CONNECTIONS: Reason(
        "connection-rate", "the first packet of a connection to the Internet, over the network's rate of new ones"
    ),
    _M.NETWORK_FRAGMENTS: Reason(
        "fragment-rate", "fragments to the Internet, or to a public address, over the network's rate"
    ),
    _M.MACHINE_DHCP: Reason("dhcp-rate", "DHCP over the machine's rate"),
    _M.MACHINE_ROUTER: Reason("router-rate", "to the router itself (names, echo), over the machine's rate"),
    _M.MACHINE_PUBLIC_OUT: Reason("public-rate-out", "to the Internet, over the machine's limit"),
    _M.MACHINE_PUBLIC_IN: Reason("public-rate-in", "from the Internet, over the machine's limit"),
    _M.NETWORK_PUBLIC_OUT: Reason("network-public-rate-out", "to the Internet, over the network's limit"),
    _M.NETWORK_PUBLIC_IN: Reason("network-public-rate-in", "from the Internet, over the network's limit"),
    _M.MACHINE_STORAGE_OUT: Reason("storage-rate-out", "to a shared drive, over the machine's limit"),
    _M.MACHINE_STORAGE_IN: Reason("storage-rate-in", "from a shared drive, over the machine's limit"),
    _M.NETWORK_STORAGE_OUT: Reason("network-storage-rate-out", "to shared drives, over the network's limit"),
    _M.NETWORK_STORAGE_IN: Reason("network-storage-rate-in", "from shared drives, over the network's limit"),
    _M.NETWORK_VPN_OUT: Reason("vpn-rate-out", "into the network's tunnels, over the network's limit"),
    _M.NETWORK_VPN_IN: Reason("vpn-rate-in", "out of the network's tunnels, over the network's limit"),
    _M.INTERCONNECT_OUT: Reason("interconnect-rate-out", "to an interconnect, over its limit"),
    _M.INTERCONNECT_IN: Reason("interconnect-rate-in", "from an interconnect, over its limit"),
    _M.INTERCONNECT_LINK: Reason("interconnect-link-rate", "from an interconnect for its BGP daemon, over its rate"),
    _M.MACHINE_PRIVATE_OUT: Reason("private-rate-out", "to neighbours; counted only, so that none should be here"),
    _M.MACHINE_PRIVATE_IN: Reason("private-rate-in", "from neighbours; counted only, so that none should be here"),
    _M.APPLIANCE: Reason("gateway-rate", "from the Internet for the controller, over the gateway's rate"),
}
_OF_APPLIANCE = {
    NEXT_HOP_METER: Reason("next-hop-rate", "ARP answers of the next hop, over their rate"),
    STORAGE_METER: Reason("storage-arp-rate", "ARP answers of the storage network, over their rate"),
    STORAGE_NEWS_METER: Reason("storage-arp-rate", "ARP broadcasts of the storage network, over their rate"),
    FRAGMENTS_METER: Reason(
        "outside-fragment-rate", "fragments from the Internet to shared addresses, over their rate"
    ),
    **{
        sender_meter(group): Reason(
            "sender-fragment-rate", "fragments from some senders in the Internet to shared addresses, over their rate"
        )
        for group in range(SENDERS)
    },
}

_REFUSALS = {
    Table.UNROUTABLE: Reason("unreachable", "outside the network and not in the Internet; answered by ICMP"),
    Table.DELIVER: Reason("host-unreachable", "no machine of the network has the address; answered by ICMP"),
    Table.ROUTER_LOCAL: Reason("port-unreachable", "to the router, which answers nothing but echo; answered by ICMP"),
    Table.REMOTE_ROUTE: Reason("remote-unreachable", "a remote prefix that no peer has announced; answered by ICMP"),
    **{
        table: Reason("time-exceeded", "the TTL ended at the router; answered by ICMP")
        for table in (Table.TTL, Table.INTERCONNECT_TTL, Table.PEERING_IN)
    },
    Table.SWITCH: Reason("no-holder-yet", "to an additional address that no machine has announced; it is asked for"),
    Table.FRAGMENTATION: Reason("too-large", "larger than the gateway's MTU; answered by ICMP where it may not be cut"),
    Table.STORAGE_ERROR: Reason(
        "storage-by-controller", "too large for the way, which its sender is told, or an ICMP error"
    ),
    Table.REMOTE_MACHINE: Reason("too-large", "from an interconnect, larger than the network's MTU; answered by ICMP"),
    Table.INBOUND_FRAGMENTATION: Reason("too-large", "larger than the network's MTU; answered by ICMP to its sender"),
}

_T, _F, _P = Table, Feature, Priority
_WORDS: dict[tuple[Table, Feature, Priority, str], str] = {
    (_T.CLASSIFY, _F.CLASSIFY, _P.NORMAL, ""): "source-mac",
    (_T.CLASSIFY, _F.CLASSIFY, _P.MISS, ""): "no-network",
    (_T.PORT_SECURITY, _F.DHCP, _P.EXCEPTION, ""): "dhcp-server",
    (_T.PORT_SECURITY, _F.PORT_SECURITY, _P.DROP, "ip"): "source-ip",
    (_T.PORT_SECURITY, _F.PORT_SECURITY, _P.DROP, "arp"): "arp-sender",
    (_T.PORT_SECURITY, _F.PORT_SECURITY, _P.REST, ""): "protocol",
    (_T.PORT_SECURITY, _F.PORT_SECURITY, _P.MISS, ""): "no-network",
    (_T.ARP, _F.ARP, _P.SPECIFIC, ""): "same-segment",
    (_T.ARP, _F.ARP, _P.DROP, ""): "arp-unknown",
    (_T.ARP, _F.ARP, _P.DEFAULT, ""): "arp-probe",
    (_T.ARP, _F.ARP, _P.MISS, ""): "arp-unknown",
    (_T.ANNOUNCE, _F.ADDITIONAL, _P.MISS, ""): "arp-unknown",
    (_T.ARP_REPLY, _F.ARP, _P.MISS, ""): "not-arp",
    (_T.ROUTER_LOCAL, _F.ROUTER, _P.MISS, ""): "to-gateway",
    (_T.TTL, _F.ROUTER, _P.MISS, ""): "not-ip",
    (_T.UNROUTABLE, _F.ROUTE, _P.MISS, ""): "unroutable",
    (_T.DELIVER, _F.ROUTE, _P.MISS, ""): "no-machine",
    (_T.RATE_OUT, _F.RATE, _P.MISS, ""): "no-network",
    (_T.NETWORK_RATE_OUT, _F.RATE, _P.MISS, ""): "no-network",
    (_T.RATE_IN, _F.RATE, _P.MISS, ""): "no-machine",
    (_T.NETWORK_RATE_IN, _F.RATE, _P.MISS, ""): "no-network",
    (_T.SNAT, _F.SNAT, _P.MISS, ""): "not-ip",
    (_T.SNAT_PORTS, _F.SNAT, _P.DROP, ""): "no-network",
    (_T.NOT_TRANSLATED, _F.SNAT, _P.DROP, ""): "not-translated",
    (_T.NOT_TRANSLATED, _F.SNAT, _P.MISS, ""): "not-translated",
    (_T.GATEWAY_OUT, _F.GATEWAY, _P.MISS, ""): "next-hop-unknown",
    (_T.GATEWAY, _F.GATEWAY, _P.EXCEPTION, ""): "bogon-source",
    (_T.GATEWAY, _F.GATEWAY, _P.NORMAL, ""): "ttl",
    (_T.GATEWAY, _F.GATEWAY, _P.MISS, ""): "not-for-us",
    (_T.GATEWAY_LOCAL, _F.GATEWAY, _P.MISS, ""): "not-for-us",
    (_T.FRAGMENTS_OUT, _F.FRAGMENTS, _P.MISS, ""): "no-network",
    (_T.FRAGMENTS_IN, _F.FRAGMENTS, _P.MISS, ""): "not-ip",
    (_T.FRAGMENTS_IN_ALL, _F.FRAGMENTS, _P.MISS, ""): "not-ip",
    (_T.GATEWAY_TRACK, _F.GATEWAY, _P.SPECIFIC, ""): "ttl",
    (_T.GATEWAY_TRACK, _F.GATEWAY, _P.MISS, ""): "unsolicited",
    (_T.STORAGE, _F.STORAGE, _P.EXCEPTION, ""): "fragment",
    (_T.STORAGE, _F.STORAGE, _P.MISS, ""): "no-machine",
    (_T.STORAGE_OUT, _F.STORAGE, _P.MISS, ""): "drive-unknown",
    (_T.STORAGE_IN, _F.STORAGE, _P.EXCEPTION, ""): "fragment",
    (_T.STORAGE_IN, _F.STORAGE, _P.SPECIFIC, ""): "ttl",
    (_T.STORAGE_IN, _F.STORAGE, _P.MISS, ""): "not-a-drive",
    (_T.STORAGE_MACHINE, _F.STORAGE, _P.MISS, ""): "no-machine",
    (_T.STORAGE_ERROR, _F.STORAGE, _P.MISS, ""): "drive-unknown",
    (_T.RESOLVER_OUT, _F.DNS, _P.MISS, ""): "not-ip",
    (_T.RESOLVER_IN, _F.DNS, _P.MISS, ""): "not-names",
    (_T.PUBLIC_IN, _F.PUBLIC, _P.MISS, ""): "not-for-us",
    (_T.PUBLIC_IN_CHECK, _F.PUBLIC, _P.MISS, ""): "not-translated",
    (_T.INBOUND, _F.TRANSIT, _P.MISS, ""): "no-machine",
    (_T.VPN_OUTSIDE, _F.VPN, _P.EXCEPTION, "ip"): "vpn-not-internet",
    (_T.VPN_OUTSIDE, _F.VPN, _P.DROP, ""): "vpn-cleartext",
    (_T.VPN_OUTSIDE, _F.VPN, _P.MISS, ""): "no-network",
    (_T.VPN_INSIDE, _F.VPN, _P.DROP, ""): "vpn-source",
    (_T.VPN_INSIDE, _F.VPN, _P.MISS, ""): "no-network",
    (_T.REMOTE_MACHINE, _F.REMOTE, _P.DROP, ""): "no-machine",
    (_T.REMOTE_MACHINE, _F.REMOTE, _P.MISS, ""): "no-network",
    (_T.REMOTE_DRIVE_CHECK, _F.REMOTE, _P.DROP, ""): "not-translated",
    (_T.REMOTE_DRIVE_CHECK, _F.REMOTE, _P.MISS, ""): "not-translated",
    (_T.REMOTE_DRIVE_REPLY, _F.REMOTE, _P.DROP, ""): "remote-unsolicited",
    (_T.REMOTE_DRIVE_REPLY, _F.REMOTE, _P.MISS, ""): "remote-unsolicited",
    (_T.VPN_LEG, _F.VPN, _P.NORMAL, ""): "vpn-down",
    (_T.VPN_LEG, _F.VPN, _P.MISS, ""): "no-network",
    (_T.VPN_GATEWAY, _F.VPN, _P.NORMAL, ""): "vpn-down",
    (_T.VPN_GATEWAY, _F.VPN, _P.DROP, ""): "vpn-peer",
    (_T.VPN_GATEWAY, _F.VPN, _P.MISS, ""): "no-network",
    (_T.INTERCONNECT_LINK, _F.INTERCONNECT, _P.NORMAL, ""): "link-address",
    (_T.INTERCONNECT_LINK, _F.PEERING, _P.NORMAL, ""): "link-address",
    (_T.INTERCONNECT_LINK, _F.INTERCONNECT, _P.DROP, ""): "not-for-us",
    (_T.INTERCONNECT_LINK, _F.PEERING, _P.DROP, ""): "not-for-us",
    (_T.INTERCONNECT_LINK, _F.INTERCONNECT, _P.MISS, ""): "no-network",
    (_T.INTERCONNECT_LEG, _F.INTERCONNECT, _P.DROP, ""): "link-address",
    (_T.INTERCONNECT_LEG, _F.PEERING, _P.DROP, ""): "link-address",
    (_T.INTERCONNECT_LEG, _F.INTERCONNECT, _P.MISS, ""): "no-network",
    (_T.INTERCONNECT_SOURCE, _F.INTERCONNECT, _P.SPECIFIC, ""): "interconnect-source",
    (_T.INTERCONNECT_SOURCE, _F.INTERCONNECT, _P.DROP, ""): "interconnect-source",
    (_T.INTERCONNECT_SOURCE, _F.INTERCONNECT, _P.MISS, ""): "no-network",
    (_T.INTERCONNECT_SOURCE, _F.PEERING, _P.SPECIFIC, ""): "bogon-source",
    (_T.INTERCONNECT_SOURCE, _F.PEERING, _P.DROP, ""): "interconnect-source",
    (_T.INTERCONNECT_TTL, _F.INTERCONNECT, _P.NORMAL, ""): "ttl",
    (_T.INTERCONNECT_TTL, _F.INTERCONNECT, _P.MISS, ""): "no-network",
    (_T.INTERCONNECT_OUT, _F.INTERCONNECT, _P.MISS, ""): "interconnect-down",
    (_T.PEERING_IN, _F.PEERING, _P.SPECIFIC, ""): "ttl",
    (_T.PEERING_IN, _F.PEERING, _P.MISS, ""): "not-for-us",
    (_T.ICMP_REDIRECT, _F.ICMP_REDIRECT, _P.DROP, ""): "icmp-redirect",
    (_T.ICMP_REDIRECT, _F.ICMP_REDIRECT, _P.MISS, ""): "icmp-redirect",
    (_T.SWITCH, _F.SWITCH, _P.SPECIFIC, ""): "same-segment",
    (_T.SWITCH, _F.SWITCH, _P.DROP, ""): "unknown-mac",
    (_T.SWITCH, _F.SWITCH, _P.MISS, ""): "unknown-mac",
    (_T.LISTERS, _F.ADDITIONAL, _P.SPECIFIC, ""): "same-segment",
    (_T.LISTERS, _F.ADDITIONAL, _P.MISS, ""): "no-holder",
}


_BY_PLACE = {
    (place, feature.label, int(level), protocol): word for (place, feature, level, protocol), word in _WORDS.items()
}


def sentences() -> Mapping[str, str]:
    """Every reason: word → sentence."""
    return _SENTENCES


def reason(table: Table | None, feature: str, priority: int, match: str) -> Reason:
    """The reason of the drop flow of `feature` (its label) at this place.

    A flow that is not of this version of the pipeline has the word `unknown`.
    """
    if table is not None:
        for protocol in (match.partition(",")[0], ""):
            word = _BY_PLACE.get((table, feature, priority, protocol))
            if word is not None:
                return Reason(word, _SENTENCES[word])
    return Reason("unknown", "a drop flow this version does not know")


def refusal(table: Table | None) -> Reason | None:
    """Why the controller refuses the packets it gets from `table`; None where it does something else with them."""
    return None if table is None else _REFUSALS.get(table)


def meter_reason(meter: int) -> Reason:
    """The reason of what a meter drops."""
    if meter in _OF_APPLIANCE:
        return _OF_APPLIANCE[meter]
    kind, _ = split_meter(meter)
    return Reason("unknown", "a meter this version does not know") if kind is None else _METERS[kind]
