"""Packets too large for their way out: the sender is told, or without DF they are fragmented (RFC 1191, RFC 1812)."""

from __future__ import annotations

from controller.packet_in.fragment import fragments
from controller.packet_in.handler import MALFORMED, HandlerView, PacketIn, PacketInReply, PacketOut
from controller.packet_in.host import host_of_address
from controller.packet_in.icmp_error import TOO_LARGE, UNREACHABLE, error, report, silence
from controller.packet_in.packet import ETHERNET, ethernet, parse_ipv4
from controller.packet_in.reply_path import inject
from controller.packet_in.rewrite import DESTINATION, readdressed
from controller.pipeline.registry import Mark, Table


def outbound(packet: PacketIn, view: HandlerView) -> PacketInReply:
    """For FRAGMENTATION: a packet of a machine larger than the gateway's MTU."""
    ip = parse_ipv4(packet.frame)
    if ip is None:
        return MALFORMED
    mtu = view.appliance.gateway.mtu
    if ip.dont_fragment:
        return report(packet, view, UNREACHABLE, TOO_LARGE, "fragmentation-needed", mtu)
    if view.network(packet.key) is None:
        return PacketInReply("unknown-network")
    header, actions = packet.frame[:ETHERNET], inject(packet.key, Table.PUBLIC_KIND)
    return PacketInReply("fragmented", tuple(PacketOut(header + part, actions) for part in fragments(ip, mtu)))


def from_remote(packet: PacketIn, view: HandlerView) -> PacketInReply:
    """For REMOTE_MACHINE: a packet of an interconnect larger than the network's MTU.

    The error comes from the network's router, and goes the way that its sender has.
    """
    ip = parse_ipv4(packet.frame)
    if ip is None:
        return MALFORMED
    network = view.network(packet.key)
    if network is None:
        return PacketInReply("unknown-network")
    if not ip.dont_fragment:
        header, actions = packet.frame[:ETHERNET], inject(packet.key, Table.REMOTE_MACHINE)
        return PacketInReply(
            "fragmented", tuple(PacketOut(header + part, actions) for part in fragments(ip, network.mtu))
        )
    if reason := silence(ip, network.prefix):
        return PacketInReply(reason)
    datagram = error(network.router, ip, ip.datagram, UNREACHABLE, TOO_LARGE, network.mtu)
    frame = ethernet(ip.eth_src, view.appliance.router_mac, datagram)
    return PacketInReply("fragmentation-needed", (PacketOut(frame, inject(packet.key, Table.REMOTE_ROUTE)),))


def inbound(packet: PacketIn, view: HandlerView) -> PacketInReply:
    """For INBOUND_FRAGMENTATION: a packet for a machine larger than its network's MTU.

    The error comes from the machine's address in the conntrack zone, and the
    quoted destination is that address: conntrack sees an error about a
    connection it knows and translates both. What was sent to a public address
    of the machine's own is answered by that one.
    """
    ip = parse_ipv4(packet.frame)
    if ip is None:
        return MALFORMED
    network = view.network(packet.key)
    host = host_of_address(network, ip.destination, view) if network else None
    if network is None or host is None:
        return PacketInReply("unknown-machine")
    if not ip.dont_fragment:
        header, actions = packet.frame[:ETHERNET], host.actions
        return PacketInReply(
            "fragmented", tuple(PacketOut(header + part, actions) for part in fragments(ip, network.mtu))
        )
    if reason := silence(ip, network.prefix):
        return PacketInReply(reason)
    to_public = host.public and packet.mark in (Mark.PUBLIC_WHOLE, Mark.PUBLIC_FRAGMENT)
    outside, table = (host.public, Table.GATEWAY_OUT) if to_public else (host.transit, Table.SNAT)
    quoted = readdressed(ip.datagram, DESTINATION, outside)
    datagram = error(outside, ip, quoted, UNREACHABLE, TOO_LARGE, network.mtu)
    frame = ethernet(view.appliance.router_mac, host.mac, datagram)
    return PacketInReply("fragmentation-needed", (PacketOut(frame, inject(packet.key, table)),))
