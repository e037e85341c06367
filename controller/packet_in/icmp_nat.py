"""ICMP errors across the rewrites of machines' addresses: to transit and public ones.

Flows change a machine's address in the outer header only. An ICMP error quotes
the packet it is about, whose address must change with it, or neither the
machine nor conntrack knows what the error is about (RFC 5508 section 4.2).
"""

from __future__ import annotations

import socket
from collections.abc import Callable

from controller.packet_in.handler import MALFORMED, HandlerView, PacketIn, PacketInReply, PacketOut
from controller.packet_in.host import Host, host_of_address, host_of_public, sender_of
from controller.packet_in.packet import ETHERNET, ICMP, Ipv4, adjusted, ethernet, parse_ipv4
from controller.packet_in.reply_path import inject
from controller.packet_in.rewrite import DESTINATION, SOURCE, header_length, readdressed
from controller.pipeline.match import ICMP_ERRORS
from controller.pipeline.registry import Table
from state.model import Network

_ERROR_TYPES = tuple(bytes((kind,)) for kind in ICMP_ERRORS)
_ICMP_HEADER = 8


def from_internet(packet: PacketIn, view: HandlerView) -> PacketInReply:
    """For INBOUND_MTU: an error conntrack let in for a machine, to whose address the quoted source goes back."""
    return _arriving(packet, view, host_of_address, lambda host: host.transit)


def to_public(packet: PacketIn, view: HandlerView) -> PacketInReply:
    """For PUBLIC_IN: an error for a public address, which becomes the machine's outside and in the quote."""
    return _arriving(packet, view, host_of_public, lambda host: host.public)


def _arriving(
    packet: PacketIn,
    view: HandlerView,
    find: Callable[[Network, str, HandlerView], Host | None],
    outside: Callable[[Host], str],
) -> PacketInReply:
    ip = _icmp(packet.frame)
    if ip is None:
        return MALFORMED
    network = view.network(packet.key)
    host = find(network, ip.destination, view) if network else None
    if host is None:
        return PacketInReply("unknown-machine")
    message = requoted(ip, SOURCE, outside(host), host.address)
    if message is None:
        return PacketInReply("foreign-quote")
    header = readdressed(ip.header, DESTINATION, host.address)
    frame = ethernet(host.mac, view.appliance.router_mac, header + message)
    return PacketInReply("icmp-error-in", (PacketOut(frame, host.actions),))


def from_machine(packet: PacketIn, view: HandlerView) -> PacketInReply:
    """For TRANSIT: an error of a machine, whose address becomes its transit address outside and in the quote."""
    return _leaving(packet, view, lambda host: host.transit, Table.SNAT)


def from_public(packet: PacketIn, view: HandlerView) -> PacketInReply:
    """For PUBLIC_OUT: an error of a machine, whose address becomes its public one outside and in the quote."""
    return _leaving(packet, view, lambda host: host.public, Table.GATEWAY_OUT)


def _leaving(packet: PacketIn, view: HandlerView, outside: Callable[[Host], str], table: Table) -> PacketInReply:
    ip = _icmp(packet.frame)
    if ip is None:
        return MALFORMED
    network = view.network(packet.key)
    host = sender_of(network, ip, view) if network else None
    if host is None or not outside(host):
        return PacketInReply("unknown-machine")
    message = requoted(ip, DESTINATION, host.address, outside(host))
    if message is None:
        return PacketInReply("foreign-quote")
    header = readdressed(ip.header, SOURCE, outside(host))
    out = PacketOut(packet.frame[:ETHERNET] + header + message, inject(packet.key, table))
    return PacketInReply("icmp-error-out", (out,))


def _icmp(frame: bytes) -> Ipv4 | None:
    """The ICMP packet in `frame`, None where there is none or not all of it."""
    ip = parse_ipv4(frame)
    return ip if ip is not None and ip.protocol == ICMP and not ip.is_fragment and ip.payload else None


def is_error(ip: Ipv4) -> bool:
    """Whether this is an ICMP error, which quotes the packet it is about."""
    return ip.protocol == ICMP and not ip.is_fragment and ip.payload[:1] in _ERROR_TYPES


def requoted(ip: Ipv4, at: int, old: str, new: str) -> bytes | None:
    """The ICMP message with the quoted address `old` made `new`, None where it quotes another."""
    message, quote = ip.payload, ip.payload[_ICMP_HEADER:]
    if message[:1] not in _ERROR_TYPES or header_length(quote) is None or quote[at : at + 4] != socket.inet_aton(old):
        return None
    changed = readdressed(quote, at, new)
    total = adjusted(int.from_bytes(message[2:4], "big"), quote, changed)
    return message[:2] + total.to_bytes(2, "big") + message[4:_ICMP_HEADER] + changed
