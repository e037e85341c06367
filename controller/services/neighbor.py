"""The next hop's MAC: asked for by ARP (RFC 826), learned from its reply alone."""

from __future__ import annotations

import socket
import struct

from controller.flow import Output
from controller.services.contract import MALFORMED, Answer, PacketIn, PacketOut, View
from controller.services.packet import ARP_TYPE, BROADCAST_MAC, ETHERNET, ethernet, is_group, mac_bytes, mac_text
from controller.site import Site
from state.model import Appliance

_ARP = struct.Struct("!HHBBH6s4s6s4s")
_ETHERNET_IPV4 = (1, 0x0800, 6, 4)
_REQUEST, _REPLY = 1, 2
_NO_MAC = "00:00:00:00:00:00"


def learn(packet: PacketIn, view: View) -> Answer:
    """The next hop's MAC from an ARP reply to the gateway address.

    Replies of others, and MACs no single neighbour can have, are not believed.
    """
    if len(packet.frame) < ETHERNET + _ARP.size:
        return MALFORMED
    *kind, operation, sender_mac, sender, _, target = _ARP.unpack_from(packet.frame, ETHERNET)
    if tuple(kind) != _ETHERNET_IPV4:
        return MALFORMED
    gateway = view.appliance.gateway
    mac, address = mac_text(sender_mac), socket.inet_ntoa(sender)
    if operation != _REPLY or address != gateway.next_hop or socket.inet_ntoa(target) != gateway.ip:
        return Answer("arp-foreign")
    if is_group(mac) or mac in (_NO_MAC, gateway.mac):
        return Answer("arp-bad-mac")
    return Answer("neighbor", neighbor=(address, mac))


def request(appliance: Appliance, site: Site) -> PacketOut | None:
    """An ARP request for the next hop by the gateway port, None while that port is missing."""
    gateway = appliance.gateway
    port = site.gateway_port
    if port is None:
        return None
    question = _ARP.pack(
        *_ETHERNET_IPV4,
        _REQUEST,
        mac_bytes(gateway.mac),
        socket.inet_aton(gateway.ip),
        mac_bytes(_NO_MAC),
        socket.inet_aton(gateway.next_hop),
    )
    return PacketOut(ethernet(BROADCAST_MAC, gateway.mac, question, ARP_TYPE), (Output(port),))
