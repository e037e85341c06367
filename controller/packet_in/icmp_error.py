"""ICMP errors as a router sends them (RFC 792, RFC 1812 section 4.3), and TCP resets of its own address."""

from __future__ import annotations

import functools

from controller.packet_in.back import back
from controller.packet_in.handler import MALFORMED, HandlerView, PacketIn, PacketInReply, PacketOut
from controller.packet_in.packet import ICMP, TCP, UDP, Ipv4, ethernet, ipv4, is_group, parse_ipv4, with_checksum
from controller.packet_in.tcp_reset import reset
from controller.pipeline.match import ip_to_int, prefix_mask

UNREACHABLE, TIME_EXCEEDED = 3, 11
NETWORK, HOST, PROTOCOL, PORT, TOO_LARGE, PROHIBITED = 0, 1, 2, 3, 4, 13
"""Codes of UNREACHABLE."""

_ERRORS = frozenset({3, 4, 5, 11, 12})
_LARGEST_QUOTE = 576 - 20 - 8
_NOT_A_HOST = ("0.0.0.0/8", "127.0.0.0/8", "224.0.0.0/3")
_GROUPS = ("224.0.0.0/4", "255.255.255.255/32")


def expired(packet: PacketIn, view: HandlerView) -> PacketInReply:
    """For TTL, GATEWAY and what comes by interconnects: time exceeded (11/0)."""
    return report(packet, view, TIME_EXCEEDED, 0, "time-exceeded")


def no_host(packet: PacketIn, view: HandlerView) -> PacketInReply:
    """For DELIVER: host unreachable (3/1), no machine of the network has the address."""
    return report(packet, view, UNREACHABLE, HOST, "host-unreachable")


def no_route(packet: PacketIn, view: HandlerView) -> PacketInReply:
    """For UNROUTABLE: unreachable, and in which way.

    The network's own drive that nobody answers for is an unreachable host;
    what is the appliance's, protected or of the storage network is prohibited
    (3/13); all else is an unreachable network.
    """
    ip = parse_ipv4(packet.frame)
    if ip is None:
        return MALFORMED
    if view.drives.get(ip.destination) == packet.key:
        return report(packet, view, UNREACHABLE, HOST, "host-unreachable")
    forbidden = (*view.site.own_prefixes, *view.appliance.protected, *view.site.storage_prefixes)
    if any(_within(ip.destination, prefix) for prefix in forbidden):
        return report(packet, view, UNREACHABLE, PROHIBITED, "prohibited")
    return report(packet, view, UNREACHABLE, NETWORK, "network-unreachable")


def not_learned(packet: PacketIn, view: HandlerView) -> PacketInReply:
    """For BEYOND: network unreachable (3/0), no peer has announced the destination."""
    return report(packet, view, UNREACHABLE, NETWORK, "network-unreachable")


def no_service(packet: PacketIn, view: HandlerView) -> PacketInReply:
    """For ROUTER_LOCAL: UDP port and protocol unreachable, TCP reset.

    ICMP stays unanswered: what there is to answer of it flows do.
    """
    ip = parse_ipv4(packet.frame)
    if ip is None:
        return MALFORMED
    if ip.protocol == ICMP:
        return PacketInReply("icmp-ignored")
    if ip.protocol == TCP:
        return _refuse(packet, ip, view)
    if ip.protocol == UDP:
        return report(packet, view, UNREACHABLE, PORT, "port-unreachable")
    return report(packet, view, UNREACHABLE, PROTOCOL, "protocol-unreachable")


def _refuse(packet: PacketIn, ip: Ipv4, view: HandlerView) -> PacketInReply:
    way = back(packet, ip, view)
    if way is None or way.address != ip.destination:
        return PacketInReply("unknown-sender")
    if reason := silence(ip, way.prefix):
        return PacketInReply(reason)
    segment = None if ip.is_fragment else reset(ip)
    if segment is None:
        return PacketInReply("tcp-ignored")
    datagram = ipv4(way.address, ip.source, TCP, segment)
    return PacketInReply("tcp-reset", (PacketOut(ethernet(way.sender_mac, way.mac, datagram), way.actions),))


def report(packet: PacketIn, view: HandlerView, kind: int, code: int, what: str, mtu: int = 0) -> PacketInReply:
    """An error about `packet` back to its sender, from the router's address there.

    Nothing where RFC 1812 section 4.3.2.7 forbids one; `mtu` is the next
    hop's, for TOO_LARGE (RFC 1191).
    """
    ip = parse_ipv4(packet.frame)
    if ip is None:
        return MALFORMED
    way = back(packet, ip, view)
    if way is None:
        return PacketInReply("unknown-sender")
    if reason := silence(ip, way.prefix):
        return PacketInReply(reason)
    datagram = error(way.address, ip, ip.datagram, kind, code, mtu)
    return PacketInReply(what, (PacketOut(ethernet(way.sender_mac, way.mac, datagram), way.actions),))


def error(source: str, about: Ipv4, quoted: bytes, kind: int, code: int, mtu: int = 0) -> bytes:
    """A datagram with an ICMP error to the sender of `about`, which it quotes as `quoted`.

    As much is quoted as 576 bytes hold (RFC 1812 section 4.3.2.3); the
    precedence is 6, internetwork control (section 4.3.2.5).
    """
    header = bytes((kind, code, 0, 0, 0, 0)) + mtu.to_bytes(2, "big")
    message = with_checksum(header + quoted[:_LARGEST_QUOTE], 2)
    return ipv4(source, about.source, ICMP, message, tos=0xC0 | about.tos & 0x1E)


def silence(about: Ipv4, prefix: str) -> str | None:
    """Why no error may be sent about a packet (RFC 1812 section 4.3.2.7), None where one may.

    `prefix` is that of the link it came by.
    """
    if about.offset > 0:
        return "later-fragment"
    if about.protocol == ICMP and (not about.payload or about.payload[0] in _ERRORS):
        return "about-an-error"
    to_all = _is_broadcast(about.destination, prefix) or any(_within(about.destination, group) for group in _GROUPS)
    if to_all or is_group(about.eth_dst):
        return "to-a-group"
    if _is_broadcast(about.source, prefix) or any(_within(about.source, other) for other in _NOT_A_HOST):
        return "from-no-host"
    return None


@functools.lru_cache(maxsize=4096)
def _prefix(text: str) -> tuple[int, int]:
    address, _, length = text.partition("/")
    mask = prefix_mask(int(length or 32))
    return ip_to_int(address) & mask, mask


def _within(address: str, prefix: str) -> bool:
    network, mask = _prefix(prefix)
    return ip_to_int(address) & mask == network


def _is_broadcast(address: str, prefix: str) -> bool:
    """Whether `address` is all zeros or all ones after `prefix`; 31 and 32 bits have no broadcast (RFC 3021)."""
    network, mask = _prefix(prefix)
    host = ~mask & 0xFFFFFFFF
    return host > 1 and ip_to_int(address) in (network, network | host)
