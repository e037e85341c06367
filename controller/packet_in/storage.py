"""Handles packets between machines and drives that flows cannot: ICMP errors and too large packets.

Flows change one address in the outer header only. An ICMP error quotes the
packet it is about, whose address must change with it (RFC 5508 section 4.2).
"""

from __future__ import annotations

from controller.packet_in.fragment import fragments
from controller.packet_in.handler import MALFORMED, HandlerView, PacketIn, PacketInReply, PacketOut
from controller.packet_in.host import host_of_client, sender_of
from controller.packet_in.icmp_error import TOO_LARGE, UNREACHABLE, error, report, silence
from controller.packet_in.icmp_nat import is_error, requoted
from controller.packet_in.packet import ETHERNET, Ipv4, ethernet, parse_ipv4
from controller.packet_in.reply_path import inject
from controller.packet_in.rewrite import DESTINATION, SOURCE, readdressed
from controller.pipeline.flow import Output
from controller.pipeline.registry import Table
from state import remote
from state.model import Network, Storage
from state.storage import client_address


def answer(packet: PacketIn, view: HandlerView) -> PacketInReply:
    """For STORAGE_ERROR: ICMP errors are passed on; of packets that are too large the sender is told."""
    ip = parse_ipv4(packet.frame)
    if ip is None:
        return MALFORMED
    network, storage = view.network(packet.key), view.appliance.storage
    if network is None or storage is None:
        return PacketInReply("unknown-network")
    if packet.in_port == view.site.storage_port:
        return _to_machine(packet, ip, network, storage, view)
    return _to_drive(packet, ip, network, storage, view)


def _to_drive(packet: PacketIn, ip: Ipv4, network: Network, storage: Storage, view: HandlerView) -> PacketInReply:
    host = sender_of(network, ip, view)
    if host is None:
        return PacketInReply("unknown-machine")
    header, actions = packet.frame[:ETHERNET], inject(network.key, Table.STORAGE_OUT)
    client = client_address(storage, host.number)
    if is_error(ip):
        message = requoted(ip, DESTINATION, host.address, client)
        if message is None:
            return PacketInReply("foreign-quote")
        return PacketInReply(
            "icmp-error-out", (PacketOut(header + readdressed(ip.header, SOURCE, client) + message, actions),)
        )
    if ip.dont_fragment:
        return report(packet, view, UNREACHABLE, TOO_LARGE, "fragmentation-needed", storage.mtu)
    # In pieces only now: flows cannot rewrite fragments.
    whole = parse_ipv4(header + readdressed(ip.datagram, SOURCE, client))
    parts = fragments(whole, storage.mtu) if whole else ()
    return PacketInReply("fragmented", tuple(PacketOut(header + part, actions) for part in parts))


def _to_machine(packet: PacketIn, ip: Ipv4, network: Network, storage: Storage, view: HandlerView) -> PacketInReply:
    one = remote.client(network)
    if one is not None and ip.destination == client_address(storage, one.number):
        return _to_remote(packet, ip, network, storage)
    host = host_of_client(network, ip.destination, view)
    if host is None:
        return PacketInReply("unknown-machine")
    header, actions = ethernet(host.mac, view.appliance.router_mac, b""), host.actions
    if is_error(ip):
        message = requoted(ip, SOURCE, ip.destination, host.address)
        if message is None:
            return PacketInReply("foreign-quote")
        datagram = readdressed(ip.header, DESTINATION, host.address) + message
        return PacketInReply("icmp-error-in", (PacketOut(header + datagram, actions),))
    if ip.dont_fragment:
        return _too_large(packet, ip, network, storage)
    whole = parse_ipv4(packet.frame[:ETHERNET] + readdressed(ip.datagram, DESTINATION, host.address))
    parts = fragments(whole, network.mtu) if whole else ()
    return PacketInReply("fragmented", tuple(PacketOut(header + part, actions) for part in parts))


def _to_remote(packet: PacketIn, ip: Ipv4, network: Network, storage: Storage) -> PacketInReply:
    """What is too large for an interconnect or the leg of a VPN gateway; conntrack translates it, also in pieces."""
    if ip.dont_fragment:
        return _too_large(packet, ip, network, storage)
    header, actions = packet.frame[:ETHERNET], inject(network.key, Table.STORAGE_MACHINE)
    return PacketInReply("fragmented", tuple(PacketOut(header + part, actions) for part in fragments(ip, network.mtu)))


def _too_large(packet: PacketIn, ip: Ipv4, network: Network, storage: Storage) -> PacketInReply:
    """Tell a drive how large its packets may be."""
    if reason := silence(ip, storage.address):
        return PacketInReply(reason)
    datagram = error(storage.ip, ip, ip.datagram, UNREACHABLE, TOO_LARGE, network.mtu)
    out = PacketOut(ethernet(ip.eth_src, storage.mac, datagram), (Output(packet.in_port),))
    return PacketInReply("fragmentation-needed", (out,))
