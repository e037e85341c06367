"""DHCP (RFC 2131) from desired state: a machine's lease is what its row says.

Nothing is remembered between messages, so any controller can answer any of
them, and an answer never depends on what was answered before.
"""

from __future__ import annotations

import socket
import struct

from controller.packet_in import dhcp_message
from controller.packet_in.dhcp_message import HEADER, UNSPECIFIED, MessageType, Option, Request
from controller.packet_in.handler import MALFORMED, HandlerView, PacketIn, PacketInReply, PacketOut
from controller.packet_in.packet import BROADCAST_MAC, UDP, ethernet, ipv4, parse_ipv4, parse_udp, udp
from controller.packet_in.reply_path import deliver, machine_of_mac
from controller.pipeline.match import ip_to_int, prefix_mask
from state.model import Appliance, Machine, Network

CLIENT_PORT, SERVER_PORT = 68, 67
_EVERYBODY = "255.255.255.255"
_ETHERNET_MTU = 1500
_HEADERS = 28
_SMALLEST_LIMIT = 576


def answer(packet: PacketIn, view: HandlerView) -> PacketInReply:
    """Answer a machine's DHCP message, which a flow of PORT_SECURITY sent up.

    The machine is the one of the packet's network with the frame's source MAC,
    and the message must be about that MAC. Messages of relays are ignored.
    """
    ip = parse_ipv4(packet.frame)
    segment = parse_udp(ip) if ip else None
    if ip is None or segment is None or segment[:2] != (CLIENT_PORT, SERVER_PORT):
        return MALFORMED
    request = dhcp_message.decode(segment[2])
    if request is None:
        return MALFORMED
    network = view.network(packet.key)
    machine = machine_of_mac(network, ip.eth_src) if network else None
    if network is None or machine is None:
        return PacketInReply("dhcp-unknown-machine")
    if request.mac != machine.mac:
        return PacketInReply("dhcp-foreign-mac")
    if request.relay != UNSPECIFIED:
        return PacketInReply("dhcp-relay")
    kind, what = _decide(request, machine, network)
    actions = deliver(machine, view) if kind else None
    if kind is None or actions is None:
        return PacketInReply(what)
    return PacketInReply(what, (PacketOut(_frame(request, kind, machine, network, view.appliance), actions),))


def _decide(request: Request, machine: Machine, network: Network) -> tuple[MessageType | None, str]:
    """What to answer (RFC 2131 section 4.3), and how to call what happened."""
    match request.kind:
        case MessageType.DISCOVER:
            return MessageType.OFFER, "dhcp-offer"
        case MessageType.REQUEST:
            return _decide_request(request, machine, network)
        case MessageType.INFORM if request.client in (machine.address, UNSPECIFIED):
            return MessageType.ACK, "dhcp-inform"
        case MessageType.INFORM:
            return None, "dhcp-foreign-address"
        case MessageType.DECLINE:
            return None, "dhcp-decline"
        case MessageType.RELEASE:
            return None, "dhcp-release"
    return None, "dhcp-unexpected"


def _decide_request(request: Request, machine: Machine, network: Network) -> tuple[MessageType | None, str]:
    # SELECTING names a server and option 50, INIT-REBOOT only option 50,
    # RENEWING and REBINDING only ciaddr (RFC 2131 section 4.3.2).
    if request.address(Option.SERVER) not in (None, network.router):
        return None, "dhcp-other-server"
    wanted = request.address(Option.REQUESTED_ADDRESS) or request.client
    if wanted == UNSPECIFIED:
        return None, "malformed"
    return (MessageType.ACK, "dhcp-ack") if wanted == machine.address else (MessageType.NAK, "dhcp-nak")


def _frame(request: Request, kind: MessageType, machine: Machine, network: Network, appliance: Appliance) -> bytes:
    """The answer as a frame from the router to where RFC 2131 section 4.1 sends it."""
    inform = request.kind == MessageType.INFORM
    known = request.client == machine.address
    payload = dhcp_message.encode(
        request,
        client=request.client if kind is MessageType.ACK and known else UNSPECIFIED,
        yours=UNSPECIFIED if inform or kind is MessageType.NAK else machine.address,
        options=_options(request, kind, machine, network, appliance),
    )
    everybody = kind is MessageType.NAK or (not known and (inform or request.broadcast))
    mac, address = (BROADCAST_MAC, _EVERYBODY) if everybody else (machine.mac, machine.address)
    segment = udp(network.router, address, SERVER_PORT, CLIENT_PORT, payload)
    return ethernet(mac, appliance.router_mac, ipv4(network.router, address, UDP, segment))


def _options(
    request: Request, kind: MessageType, machine: Machine, network: Network, appliance: Appliance
) -> list[tuple[int, bytes]]:
    options = [(Option.KIND, bytes((kind,))), (Option.SERVER, socket.inet_aton(network.router))]
    if client_id := request.options.get(Option.CLIENT_ID):
        # RFC 6842: an answer carries the client identifier it was asked with.
        options.append((Option.CLIENT_ID, client_id[:255]))
    if kind is MessageType.NAK:
        options.append((Option.MESSAGE, f"the address of {machine.hostname} is {machine.address}".encode()))
        return list(options)
    if request.kind != MessageType.INFORM:
        lease = appliance.lease_seconds
        times = ((Option.LEASE_TIME, lease), (Option.RENEWAL_TIME, lease // 2), (Option.REBINDING_TIME, lease * 7 // 8))
        options += [(option, struct.pack("!I", seconds)) for option, seconds in times]
    used = sum(2 + len(value) for _, value in options) + 1
    room = _limit(request, network) - _HEADERS - HEADER - used
    wanted = request.options.get(Option.PARAMETERS)
    for option, value in _parameters(machine, network, appliance):
        needed = option in (Option.SUBNET_MASK, Option.ROUTER) or (
            option is Option.MTU and network.mtu != _ETHERNET_MTU
        )
        if value and 2 + len(value) <= room and (needed or wanted is None or option in wanted):
            options.append((option, value))
            room -= 2 + len(value)
    return list(options)


def _wire_name(domain: str) -> bytes:
    """A domain as RFC 3397 has it: labels with their lengths (RFC 1035 section 3.1)."""
    return b"".join(bytes((len(label),)) + label.encode() for label in domain.split(".")) + b"\0"


def _limit(request: Request, network: Network) -> int:
    """Bytes of the largest IP packet the client takes (RFC 2132 section 9.10)."""
    value = request.options.get(Option.LARGEST_MESSAGE, b"")
    asked = int.from_bytes(value, "big") if len(value) == 2 else 0
    return min(max(asked, _SMALLEST_LIMIT), network.mtu)


def _parameters(machine: Machine, network: Network, appliance: Appliance) -> list[tuple[Option, bytes]]:
    """All a client may ask for, the most useful first; the mask precedes the router (RFC 2132 section 3.3)."""
    mask = prefix_mask(int(network.prefix.partition("/")[2]))
    broadcast = ip_to_int(machine.address) | ~mask & 0xFFFFFFFF
    own = (network.router,) if appliance.resolver_port else ()
    servers = (network.dns_servers or appliance.dns_servers or own)[:63]
    domain = network.search_domain or f"{network.name}.{appliance.domain}"
    return [
        (Option.SUBNET_MASK, struct.pack("!I", mask)),
        (Option.ROUTER, socket.inet_aton(network.router)),
        (Option.MTU, struct.pack("!H", network.mtu)),
        (Option.DNS_SERVERS, b"".join(map(socket.inet_aton, servers))),
        (Option.BROADCAST, struct.pack("!I", broadcast)),
        (Option.HOSTNAME, machine.hostname.encode()[:255]),
        (Option.DOMAIN, domain.encode()[:255]),
        (Option.SEARCH, _wire_name(domain)),
    ]
