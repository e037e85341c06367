"""Neighbour discovery of the next hop and drives by ARP (RFC 826); only replies to us are learned.

Who holds an additional address is asked for as well; of that the switch learns by itself.
"""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass

from netaddr import IPAddress, IPNetwork

from controller.packet_in.handler import MALFORMED, HandlerView, PacketIn, PacketInReply, PacketOut
from controller.packet_in.packet import (
    ARP_TYPE,
    BROADCAST_MAC,
    ETHERNET,
    ethernet,
    is_group,
    mac_bytes,
    mac_text,
    parse_ipv4,
)
from controller.pipeline.context import PipelineContext
from controller.pipeline.flow import Action, Output, Resubmit, SetField
from controller.pipeline.match import Field
from controller.pipeline.registry import HOLDER, Table

_ARP = struct.Struct("!HHBBH6s4s6s4s")
_ETHERNET_IPV4 = (1, 0x0800, 6, 4)
_REQUEST, _REPLY = 1, 2
_NO_MAC = "00:00:00:00:00:00"


@dataclass(frozen=True, slots=True)
class _Arp:
    operation: int
    sender_mac: str
    sender: str
    target: str


def _parse(frame: bytes) -> _Arp | None:
    if len(frame) < ETHERNET + _ARP.size:
        return None
    *kind, operation, sender_mac, sender, _, target = _ARP.unpack_from(frame, ETHERNET)
    if tuple(kind) != _ETHERNET_IPV4:
        return None
    return _Arp(operation, mac_text(sender_mac), socket.inet_ntoa(sender), socket.inet_ntoa(target))


def learn(packet: PacketIn, view: HandlerView) -> PacketInReply:
    """The next hop's MAC from an ARP reply to the gateway address.

    Replies of others, and MACs no single neighbour can have, are not believed.
    """
    arp = _parse(packet.frame)
    if arp is None:
        return MALFORMED
    gateway = view.appliance.gateway
    if arp.operation != _REPLY or arp.sender != gateway.next_hop or arp.target != gateway.ip:
        return PacketInReply("arp-foreign")
    return _believed(arp, gateway.mac)


def learn_drive(packet: PacketIn, view: HandlerView) -> PacketInReply:
    """A drive's MAC from an ARP reply to the storage address.

    Of an announcement (RFC 5227 section 1.1: any broadcast with that sender)
    only the hint is taken that a drive may have moved: it is asked.
    """
    arp, storage = _parse(packet.frame), view.appliance.storage
    if arp is None:
        return MALFORMED
    if storage is None or arp.sender not in view.drives:
        return PacketInReply("arp-foreign")
    if arp.operation == _REPLY and arp.target == storage.ip:
        return _believed(arp, storage.mac)
    if view.site.neighbors.get(arp.sender) == arp.sender_mac:
        return PacketInReply("arp-known")
    return PacketInReply("arp-announced", ask=arp.sender)


def ask_holder(packet: PacketIn, view: HandlerView) -> PacketInReply:
    """For SWITCH: an additional address that no machine has announced; those that may hold it are asked."""
    ip, network = parse_ipv4(packet.frame), view.network(packet.key)
    if ip is None or network is None:
        return MALFORMED
    one = next((one for one in network.additional if one.address == ip.destination), None)
    if one is None:
        return PacketInReply("unknown-address")
    actions = (SetField(Field.METADATA, packet.key), SetField(HOLDER, one.number), Resubmit(Table.LISTERS))
    return PacketInReply("holder-asked", (_question(view.appliance.router_mac, network.router, one.address, actions),))


def _believed(arp: _Arp, own_mac: str) -> PacketInReply:
    if is_group(arp.sender_mac) or arp.sender_mac in (_NO_MAC, own_mac):
        return PacketInReply("arp-bad-mac")
    return PacketInReply("neighbor", neighbor=(arp.sender, arp.sender_mac))


def request(site: PipelineContext, address: str) -> PacketOut | None:
    """An ARP request for the next hop, or for a drive; None while the port it would leave by is missing."""
    gateway, storage = site.appliance.gateway, site.appliance.storage
    if address == gateway.next_hop:
        port, mac, own = site.gateway_port, gateway.mac, gateway.ip
    elif storage is not None:
        port, mac, own = site.storage_port, storage.mac, storage.ip
    else:
        return None
    if port is None:
        return None
    return _question(mac, own, address, (Output(port),))


def announcement(site: PipelineContext, address: str) -> PacketOut | None:
    """An ARP announcement (RFC 5227 section 3) of a public address by the gateway port.

    None while that port is missing, and for an address outside the gateway's
    subnet: that is routed to us, and nobody asks for its MAC.
    """
    gateway, port = site.appliance.gateway, site.gateway_port
    if port is None or IPAddress(address) not in IPNetwork(gateway.address):
        return None
    return _question(gateway.mac, address, address, (Output(port),))


def _question(mac: str, sender: str, target: str, actions: tuple[Action, ...]) -> PacketOut:
    question = _ARP.pack(
        *_ETHERNET_IPV4,
        _REQUEST,
        mac_bytes(mac),
        socket.inet_aton(sender),
        mac_bytes(_NO_MAC),
        socket.inet_aton(target),
    )
    return PacketOut(ethernet(BROADCAST_MAC, mac, question, ARP_TYPE), actions)
