"""Finds the way back to the sender of a packet, for answers in the router's name."""

from __future__ import annotations

from dataclasses import dataclass

from controller.packet_in.handler import HandlerView, PacketIn
from controller.packet_in.host import sender_of
from controller.packet_in.packet import Ipv4
from controller.packet_in.reply_path import inject
from controller.pipeline.flow import Action, Output, SetField
from controller.pipeline.registry import APPLIANCE_KEY, ATTACHMENT, Table
from state.interconnect import INTERCONNECT_MAC


@dataclass(frozen=True, slots=True)
class Way:
    """Back to who sent a packet.

    `address` and `mac` are the router's own there, `sender_mac` is where the
    frame goes; `prefix` is that of the link.
    """

    address: str
    mac: str
    sender_mac: str
    prefix: str
    actions: tuple[Action, ...]


def back(packet: PacketIn, ip: Ipv4, view: HandlerView) -> Way | None:
    """The way back to the sender of `packet`, None where there is none (any more).

    A machine is answered only at an address it may have.
    """
    appliance = view.appliance
    if packet.table in (Table.INTERCONNECT_TTL, Table.PEERING_IN):
        return _to_peer(packet, ip, view)
    if packet.key == APPLIANCE_KEY:
        gateway = appliance.gateway
        return Way(gateway.ip, gateway.mac, ip.eth_src, gateway.address, (Output(packet.in_port),))
    network = view.network(packet.key)
    host = sender_of(network, ip, view) if network else None
    if network is None or host is None:
        return None
    return Way(network.router, appliance.router_mac, host.mac, network.prefix, host.actions)


def _to_peer(packet: PacketIn, ip: Ipv4, view: HandlerView) -> Way | None:
    """To the peer of the interconnect that `packet` came by, within its rate; flows write the MACs."""
    network = view.network(packet.key)
    interconnects = network.interconnects if network else view.site.peerings
    one = next((one for one in interconnects if one.number == packet.attachment), None)
    if one is None:
        return None
    actions = (SetField(ATTACHMENT, one.number), *inject(packet.key, Table.INTERCONNECT_OUT))
    return Way(one.local_ip, INTERCONNECT_MAC, ip.eth_src, one.local_address, actions)
