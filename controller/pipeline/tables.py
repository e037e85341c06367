"""Tables of the pipeline: numbers, and what each may match, write and go to."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from controller.pipeline.match import Field as F
from controller.pipeline.registers import ATTACHMENT, HOLDER, MARK, SCRATCH, SENDER, TOO_LARGE


@dataclass(frozen=True, slots=True)
class _Spec:
    number: int
    purpose: str
    matches: frozenset[F]
    writes: frozenset[F]
    goes_to: tuple[str, ...]
    controller: bool = False


def _spec(
    number: int,
    purpose: str,
    matches: set[F],
    writes: set[F] | None = None,
    goes_to: tuple[str, ...] = (),
    *,
    controller: bool = False,
) -> _Spec:
    return _Spec(number, purpose, frozenset(matches), frozenset(writes or ()), goes_to, controller)


class Table(enum.Enum):
    """The tables; a packet only ever goes to a higher number. `_` of a name is written `-`."""

    PRIORITY_TAG = _spec(0, "Frames with a priority and no VLAN (VID 0) are as untagged ones.", {F.VLAN_TCI},
                         {F.VLAN_TCI}, ("CLASSIFY",))  # fmt: skip
    CLASSIFY = _spec(
        1,
        "Which network a packet belongs to: port, VLAN or VNI, and the MAC of one of its machines.",
        {F.IN_PORT, F.VLAN_TCI, F.TUN_ID, F.ETH_SRC},
        {F.METADATA, ATTACHMENT, SENDER, F.VLAN_TCI},
        (
            "PORT_SECURITY",
            "GATEWAY",
            "RESOLVER_IN",
            "STORAGE_IN",
            "VPN_OUTSIDE",
            "VPN_INSIDE",
            "INTERCONNECT_LINK",
            "INTERCONNECT_LEG",
        ),
    )
    PORT_SECURITY = _spec(
        5,
        "IP and ARP senders must be the machine's own, or be listed by it; DHCP goes to the controller.",
        {F.METADATA, SENDER, F.ETH_SRC, F.ETH_TYPE, F.IP_SRC, F.IP_PROTO, F.UDP_SRC, F.UDP_DST, F.ICMP_TYPE, F.ARP_OP,
         F.ARP_SPA, F.ARP_SHA},
        {SENDER},
        ("ARP", "FORWARD", "ICMP_REDIRECT"),
        controller=True,
    )  # fmt: skip
    INTERCONNECT_LINK = _spec(
        6,
        "From an interconnect: what is for the link itself goes to its leg, such as BGP; the rest is routed.",
        {F.METADATA, ATTACHMENT, F.ETH_TYPE, F.ETH_DST, F.IP_SRC, F.IP_DST, F.IP_PROTO, F.TCP_SRC, F.TCP_DST, F.UDP_DST,
         F.ICMP_TYPE, F.ARP_SPA},
        set(),
        ("INTERCONNECT_SOURCE", "ICMP_REDIRECT"),
    )  # fmt: skip
    INTERCONNECT_LEG = _spec(7, "From an interconnect's leg: only with the appliance's address on the link.",
                             {F.METADATA, ATTACHMENT, F.ETH_TYPE, F.IP_SRC}, {F.VLAN_TCI})  # fmt: skip
    INTERCONNECT_SOURCE = _spec(
        8,
        "From an interconnect: may the peer send with this source?",
        {F.METADATA, ATTACHMENT, F.ETH_TYPE, F.IP_SRC, F.IP_PROTO, F.ICMP_TYPE},
        set(),
        ("INTERCONNECT_TTL", "PEERING_IN"),
    )
    PEERING_IN = _spec(9, "From a peering: only to public addresses of ours.", {F.ETH_TYPE, F.IP_DST, F.IP_TTL},
                       {F.IP_TTL, ATTACHMENT}, ("GATEWAY_LOCAL",), controller=True)  # fmt: skip
    ARP = _spec(
        10,
        "Which MAC answers an ARP request: the router's, or a neighbour's; for additional addresses their holder does.",
        {F.METADATA, ATTACHMENT, F.ETH_TYPE, F.ARP_OP, F.ARP_SPA, F.ARP_TPA},
        {F.ARP_THA, HOLDER},
        ("ARP_REPLY", "ANNOUNCE", "LISTERS"),
    )
    ANNOUNCE = _spec(
        11,
        "Gratuitous ARP and ARP replies for an additional address: their sender holds it from now on.",
        {F.METADATA, SENDER, F.ETH_SRC, F.ETH_TYPE, F.ARP_SPA, F.ARP_TPA},
        set(),
        ("HOLDERS", "SWITCH"),
    )
    INTERCONNECT_TTL = _spec(
        12,
        "From an interconnect: decrements the TTL; the controller answers for packets that end here.",
        {F.METADATA, F.ETH_TYPE, F.IP_TTL},
        {F.IP_TTL, ATTACHMENT, TOO_LARGE},
        ("REMOTE_MACHINE",),
        controller=True,
    )
    FORWARD = _spec(15, "To the router, or to a neighbour on the same network?", {F.ETH_TYPE, F.ETH_DST},
                    set(), ("ROUTER", "NEIGHBOR_IN"))  # fmt: skip
    ROUTER = _spec(20, "Is the router itself meant? Each machine has a rate for that.",
                   {F.METADATA, SENDER, F.ETH_TYPE, F.IP_SRC, F.IP_DST, F.IP_TTL}, {F.IP_TTL},
                   ("SERVICES", "TTL"))  # fmt: skip
    TTL = _spec(21, "Decrements the TTL; the controller answers for packets that end here.",
                {F.METADATA, F.ETH_TYPE, F.IP_TTL}, {F.IP_TTL}, ("ROUTE",), controller=True)  # fmt: skip
    SERVICES = _spec(
        22,
        "What the router offers: names, by the resolver's port.",
        {F.ETH_TYPE, F.IP_PROTO, F.IP_FRAG, F.UDP_SRC, F.UDP_DST, F.TCP_SRC, F.TCP_DST},
        {MARK},
        ("ROUTER_LOCAL", "TRANSIT"),
    )
    VPN_OUTSIDE = _spec(
        23,
        "From a VPN gateway's outside leg: only IKE and ESP, and only to its peers.",
        {F.METADATA, F.ETH_TYPE, F.IP_SRC, F.IP_DST, F.IP_PROTO, F.IP_FRAG, F.UDP_SRC},
        set(),
        ("GATEWAY_OUT",),
    )
    ROUTE = _spec(
        25,
        "Where to: the own network, its drives, beyond its tunnels and interconnects, the Internet, or nowhere.",
        {F.METADATA, F.ETH_TYPE, F.IP_DST},
        {TOO_LARGE, MARK},
        ("DELIVER", "UNROUTABLE", "STORAGE", "RATE_OUT", "REMOTE_ROUTE"),
    )
    UNROUTABLE = _spec(
        26,
        "Counts what has no way out, and has the controller say so; public addresses may answer shared ones.",
        {F.METADATA, F.ETH_TYPE, F.IP_SRC, MARK},
        set(),
        ("RATE_OUT",),
        controller=True,
    )
    STORAGE = _spec(
        27,
        "To a drive: machines get the address they have on the storage network.",
        {F.METADATA, SENDER, F.ETH_TYPE, F.IP_SRC, F.IP_PROTO, F.IP_FRAG, F.ICMP_TYPE, TOO_LARGE},
        {F.IP_SRC},
        ("STORAGE_OUT", "STORAGE_ERROR"),
    )
    RATE_OUT = _spec(28, "The machine's limit towards the Internet.", {F.METADATA, SENDER, F.ETH_TYPE, F.IP_SRC},
                     set(), ("NETWORK_RATE_OUT", "PATH_MTU"))  # fmt: skip
    NETWORK_RATE_OUT = _spec(29, "The limit of all machines of the network together.", {F.METADATA},
                             set(), ("PATH_MTU",))  # fmt: skip
    PATH_MTU = _spec(30, "Is the packet too large for the gateway?", {F.METADATA, F.ETH_TYPE},
                     {TOO_LARGE}, ("FRAGMENTATION", "PUBLIC_KIND"))  # fmt: skip
    FRAGMENTATION = _spec(31, "Has the controller say 'fragmentation needed'.", {F.METADATA, TOO_LARGE},
                          set(), ("PUBLIC_KIND",), controller=True)  # fmt: skip
    PUBLIC_KIND = _spec(32, "Whole packet, fragment or ICMP error? Each is translated in a way of its own.",
                        {F.ETH_TYPE, F.IP_PROTO, F.IP_FRAG, F.ICMP_TYPE}, {MARK},
                        ("PUBLIC_OUT", "FRAGMENTS_OUT"))  # fmt: skip
    FRAGMENTS_OUT = _spec(33, "Fragments, which conntrack puts together, within the network's rate.", {F.METADATA},
                          set(), ("PUBLIC_OUT",))  # fmt: skip
    PUBLIC_OUT = _spec(
        34,
        "Machines with a public address of their own leave with it.",
        {F.METADATA, F.ETH_TYPE, F.IP_SRC, MARK},
        {F.IP_SRC},
        ("TRANSIT", "PUBLIC_OUT_CHECK", "GATEWAY_OUT"),
        controller=True,
    )
    TRANSIT = _spec(
        35,
        "Machines of private networks get the address they have in the conntrack zone.",
        {F.METADATA, F.ETH_TYPE, F.IP_SRC, F.IP_PROTO, F.ICMP_TYPE},
        {F.IP_SRC},
        ("SNAT",),
        controller=True,
    )
    SNAT = _spec(36, "Source NAT: what is for the resolver has none, all else is looked up in conntrack.",
                 {F.ETH_TYPE, MARK}, set(), ("SNAT_PORTS", "RESOLVER_OUT"))  # fmt: skip
    SNAT_PORTS = _spec(
        37,
        "New connections get a port of the network's block, within its rate; known ones keep theirs.",
        {F.METADATA, F.ETH_TYPE, F.IP_PROTO, F.CT_STATE, F.CT_MARK},
        {F.CT_MARK},
        ("SNAT_CHECK", "GATEWAY_OUT"),
    )
    SNAT_CHECK = _spec(38, "Only translated packets go on, and errors about one's own.",
                       {F.METADATA, F.ETH_TYPE, F.IP_PROTO, F.CT_STATE, F.CT_MARK},
                       {F.CT_MARK}, ("SNAT_TRY_2", "GATEWAY_OUT", "NOT_TRANSLATED"))  # fmt: skip
    SNAT_TRY_2 = _spec(39, "The outcome of a second try for what has no ports.", {F.ETH_TYPE, F.IP_PROTO, F.CT_STATE},
                       {F.CT_MARK}, ("SNAT_TRY_3", "GATEWAY_OUT", "NOT_TRANSLATED"))  # fmt: skip
    SNAT_TRY_3 = _spec(40, "The outcome of a third try.", {F.ETH_TYPE, F.IP_PROTO, F.CT_STATE},
                       {F.CT_MARK}, ("SNAT_TRY_4", "GATEWAY_OUT", "NOT_TRANSLATED"))  # fmt: skip
    SNAT_TRY_4 = _spec(41, "The outcome of the last try.", {F.CT_STATE},
                       set(), ("GATEWAY_OUT", "NOT_TRANSLATED"))  # fmt: skip
    PUBLIC_OUT_CHECK = _spec(42, "Only fragments that were translated go on.", {F.CT_STATE},
                             set(), ("GATEWAY_OUT", "NOT_TRANSLATED"))  # fmt: skip
    GATEWAY_OUT = _spec(
        43,
        "To a peering or to the next hop by the gateway port; what is for an address of ours comes back in.",
        {F.ETH_TYPE, F.IP_DST, MARK},
        {F.ETH_SRC, F.ETH_DST, F.METADATA, ATTACHMENT, MARK},
        ("GATEWAY_LOCAL", "INTERCONNECT_OUT"),
    )
    VPN_INSIDE = _spec(
        44,
        "From a VPN gateway's inside leg: whose prefix is the source?",
        {F.METADATA, F.ETH_TYPE, F.IP_SRC, F.IP_PROTO, F.ICMP_TYPE},
        set(),
        ("REMOTE_MACHINE", "ICMP_REDIRECT"),
    )
    REMOTE_MACHINE = _spec(
        45,
        "From beyond: which machine or drive of the network is meant; drives see one address of the storage network.",
        {F.METADATA, F.ETH_TYPE, F.IP_DST, TOO_LARGE},
        {F.ETH_SRC, F.ETH_DST, HOLDER},
        ("SWITCH", "REMOTE_DRIVE_CHECK", "HOLDERS", "HOLDER_MAC"),
        controller=True,
    )
    REMOTE_DRIVE_CHECK = _spec(46, "Only what was translated goes on to drives.", {F.METADATA, F.CT_STATE},
                            set(), ("STORAGE_OUT",))  # fmt: skip
    STORAGE_OUT = _spec(47, "To a drive by the storage port.", {F.METADATA, F.ETH_TYPE, F.IP_DST},
                        {F.ETH_SRC, F.ETH_DST})  # fmt: skip
    RESOLVER_OUT = _spec(48, "To the resolver, with a source that Linux takes packets from.", {F.ETH_TYPE, F.IP_SRC},
                         {F.IP_SRC, F.ETH_SRC, F.ETH_DST})  # fmt: skip
    RESOLVER_IN = _spec(
        49,
        "From the resolver: answers, and questions to a network's own servers.",
        {F.ETH_TYPE, F.IP_DST, F.IP_PROTO, F.IP_FRAG, F.UDP_SRC, F.UDP_DST, F.TCP_SRC, F.TCP_DST},
        {MARK, F.IP_DST},
        ("INBOUND",),
    )
    STORAGE_IN = _spec(
        50,
        "From the storage port: ARP, and what drives send, each for its own network.",
        {F.ETH_TYPE, F.ETH_SRC, F.ETH_DST, F.ARP_OP, F.ARP_TPA, F.IP_SRC, F.IP_DST, F.IP_TTL, F.IP_FRAG},
        {F.METADATA, F.ARP_THA, F.IP_TTL, TOO_LARGE},
        ("ARP_REPLY", "STORAGE_MACHINE"),
        controller=True,
    )
    STORAGE_MACHINE = _spec(
        51,
        "Which machine of its network a drive means, or its VPN gateway: address and MAC.",
        {F.METADATA, F.ETH_TYPE, F.IP_DST, F.IP_PROTO, F.ICMP_TYPE, TOO_LARGE},
        {F.IP_DST, F.ETH_SRC, F.ETH_DST, HOLDER},
        ("SWITCH", "STORAGE_ERROR", "REMOTE_DRIVE_REPLY", "ICMP_REDIRECT", "HOLDERS", "HOLDER_MAC", "HOLDER_STORAGE"),
    )
    STORAGE_ERROR = _spec(52, "Drives: the controller tells of too large packets, and passes ICMP errors on.",
                          {F.METADATA}, controller=True)  # fmt: skip
    GATEWAY = _spec(
        53,
        "From the gateway port: ARP for our addresses, no bogons, no expired packets.",
        {F.ETH_TYPE, F.ETH_DST, F.ARP_OP, F.ARP_TPA, F.ARP_SPA, F.IP_SRC, F.IP_DST, F.IP_TTL, F.IP_PROTO, F.ICMP_TYPE},
        {F.ARP_THA, F.IP_TTL},
        ("ARP_REPLY", "GATEWAY_LOCAL", "ICMP_REDIRECT"),
        controller=True,
    )
    GATEWAY_LOCAL = _spec(
        54,
        "The gateway's own address answers echo; shared addresses go to conntrack, machines' own to the machines.",
        {F.ETH_TYPE, F.IP_DST, F.IP_PROTO, F.IP_FRAG, F.ICMP_TYPE, MARK},
        {MARK},
        ("ROUTER_LOCAL", "GATEWAY_TRACK", "PUBLIC_IN", "FRAGMENTS_IN"),
    )
    FRAGMENTS_IN = _spec(55, "Fragments for shared addresses: those of some senders within a rate.",
                         {F.ETH_TYPE, F.IP_SRC}, set(), ("FRAGMENTS_IN_ALL",))  # fmt: skip
    FRAGMENTS_IN_ALL = _spec(56, "Fragments for shared addresses: those of all senders within a rate.",
                             {F.ETH_TYPE}, set(), ("GATEWAY_TRACK",))  # fmt: skip
    GATEWAY_TRACK = _spec(
        57,
        "Only replies of known connections, and errors about them, come in.",
        {F.ETH_TYPE, F.CT_STATE, F.IP_TTL},
        {F.IP_TTL},
        ("INBOUND",),
    )
    PUBLIC_IN = _spec(
        58,
        "Which machine or VPN gateway has a public address of its own: its network, address and MAC.",
        {F.ETH_TYPE, F.IP_DST, MARK},
        {F.METADATA, F.IP_DST, F.ETH_SRC, F.ETH_DST},
        ("PUBLIC_IN_CHECK", "INBOUND_MTU", "VPN_GATEWAY"),
        controller=True,
    )
    PUBLIC_IN_CHECK = _spec(59, "Only fragments that were translated go on.", {F.CT_STATE},
                            set(), ("INBOUND_MTU",))  # fmt: skip
    INBOUND = _spec(
        60,
        "Which machine a reply is for: its network, address and MAC.",
        {F.ETH_TYPE, F.IP_DST},
        {F.METADATA, F.IP_DST, F.ETH_SRC, F.ETH_DST, HOLDER},
        ("INBOUND_MTU", "HOLDERS", "HOLDER_MAC"),
    )
    INBOUND_MTU = _spec(
        61,
        "Is the packet too large for the network? ICMP errors for private networks go to the controller.",
        {F.METADATA, F.ETH_TYPE, F.IP_PROTO, F.CT_STATE},
        {TOO_LARGE},
        ("INBOUND_FRAGMENTATION", "RATE_IN"),
        controller=True,
    )
    INBOUND_FRAGMENTATION = _spec(62, "Has the controller say 'fragmentation needed' to the sender.",
                                  {F.METADATA, TOO_LARGE}, set(), ("RATE_IN",), controller=True)  # fmt: skip
    RATE_IN = _spec(63, "The machine's limit from the Internet.", {F.METADATA, MARK, HOLDER, F.ETH_DST},
                    set(), ("NETWORK_RATE_IN", "SWITCH"))  # fmt: skip
    NETWORK_RATE_IN = _spec(64, "The limit of all machines of the network together.", {F.METADATA},
                            set(), ("SWITCH",))  # fmt: skip
    DELIVER = _spec(
        65,
        "From the router to a machine of the same network: its MAC.",
        {F.METADATA, F.ETH_TYPE, F.IP_DST},
        {F.ETH_SRC, F.ETH_DST, ATTACHMENT, HOLDER},
        ("NEIGHBOR_IN", "HOLDERS", "HOLDER_MAC"),
        controller=True,
    )
    ARP_REPLY = _spec(
        66,
        "Turns an ARP request into its reply.",
        {F.ETH_TYPE},
        {F.ETH_SRC, F.ETH_DST, F.ARP_OP, F.ARP_SHA, F.ARP_THA, F.ARP_SPA, F.ARP_TPA, SCRATCH, ATTACHMENT},
        ("SWITCH",),
    )
    ROUTER_LOCAL = _spec(
        67,
        "Answers for the router's own address: echo here, unreachable by the controller.",
        {F.METADATA, F.ETH_TYPE, F.IP_PROTO, F.ICMP_TYPE, F.ICMP_CODE, F.IP_FRAG},
        {F.ETH_SRC, F.ETH_DST, F.IP_SRC, F.IP_DST, F.IP_TTL, F.ICMP_TYPE, SCRATCH, ATTACHMENT},
        ("SWITCH",),
        controller=True,
    )
    NEIGHBOR_IN = _spec(68, "Counts what a machine gets from its neighbours.", {F.METADATA, HOLDER, F.ETH_DST},
                        set(), ("NEIGHBOR_OUT", "SWITCH"))  # fmt: skip
    NEIGHBOR_OUT = _spec(69, "Counts what a machine sends to its neighbours.",
                         {F.METADATA, SENDER, F.ETH_TYPE, F.IP_SRC}, set(), ("SWITCH",))  # fmt: skip
    SWITCH = _spec(
        70,
        "To the attachment of a MAC; broadcast and multicast to all attachments of the network.",
        {F.METADATA, F.ETH_TYPE, F.ETH_DST, ATTACHMENT},
        {F.VLAN_TCI, F.TUN_ID, F.IN_PORT, HOLDER},
        ("HOLDERS", "LISTERS"),
        controller=True,
    )
    REMOTE_DRIVE_REPLY = _spec(71, "From drives to beyond: only replies, and errors, of known connections.",
                               {F.METADATA, F.CT_STATE}, set(), ("REMOTE_ROUTE",))  # fmt: skip
    NOT_TRANSLATED = _spec(72, "Counts, by network, what could not be translated on its way out.", {F.METADATA})
    ICMP_REDIRECT = _spec(74, "Counts, by network, ICMP that would lead others astray.", {F.METADATA})
    HOLDERS = _spec(76, "Looked up: which machine holds an additional address; made by the flows of announce alone.",
                    {F.METADATA, HOLDER}, {HOLDER})  # fmt: skip
    HOLDER_MAC = _spec(77, "Looked up: the MAC of the machine that holds an additional address.",
                       {F.METADATA, HOLDER, F.ETH_TYPE, F.IP_DST}, {F.ETH_DST})  # fmt: skip
    HOLDER_STORAGE = _spec(78, "Looked up: the limit from drives of the machine that holds an additional address.",
                           {F.METADATA, HOLDER})  # fmt: skip
    LISTERS = _spec(79, "To the machine that holds a virtual MAC, or to all that may hold an additional address.",
                    {F.METADATA, ATTACHMENT, HOLDER}, {F.VLAN_TCI, F.TUN_ID, F.IN_PORT})  # fmt: skip
    VPN_LEG = _spec(80, "To a VPN gateway's inside leg, within the network's limit.", {F.METADATA},
                    {F.ETH_SRC, F.ETH_DST})  # fmt: skip
    VPN_GATEWAY = _spec(
        73,
        "To a VPN gateway's outside leg: only IKE and ESP of its peers, and ICMP errors.",
        {F.METADATA, F.ETH_TYPE, F.IP_SRC, F.IP_PROTO, F.IP_FRAG, F.UDP_DST, F.ICMP_TYPE},
        {F.ETH_SRC, F.ETH_DST},
    )
    REMOTE_ROUTE = _spec(
        75,
        "Which way to beyond: the longest prefix learned by an interconnect, or a tunnel.",
        {F.METADATA, F.ETH_TYPE, F.IP_DST},
        {ATTACHMENT},
        ("VPN_LEG", "INTERCONNECT_OUT"),
        controller=True,
    )
    INTERCONNECT_OUT = _spec(81, "To the peer of an interconnect, within its limit.", {F.METADATA, ATTACHMENT},
                             {F.ETH_SRC, F.ETH_DST, F.VLAN_TCI, F.IN_PORT})  # fmt: skip

    @property
    def number(self) -> int:
        """Number of the table on the switch."""
        return self.value.number

    def label(self, names: bool) -> str:
        """Name as the switch prints it, or number."""
        return self.name.lower().replace("_", "-") if names else str(self.value.number)

    @property
    def title(self) -> str:
        """Name as the switch prints it."""
        return self.label(True)

    @property
    def learned(self) -> bool:
        """Whether the switch makes the flows of the table by itself: they are no desired state, and left alone."""
        return self is Table.HOLDERS

    def may_go_to(self, other: Table) -> bool:
        """Whether a flow of this table may hand packets to `other`."""
        return other.name in self.value.goes_to
