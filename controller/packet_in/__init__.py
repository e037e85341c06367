"""Services: answers to packets that flows cannot answer. Bytes in, bytes out, nothing remembered."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from controller.packet_in import dhcp, icmp_error, icmp_nat, neighbor, path_mtu, storage
from controller.packet_in.handler import HandlerView, PacketIn, PacketInReply, PacketOut
from controller.packet_in.packet import ARP_TYPE
from controller.pipeline.registry import Table

__all__ = ["Answer", "PacketIn", "PacketOut", "View", "answer"]


def _gateway(packet: PacketIn, view: HandlerView) -> PacketInReply:
    is_arp = packet.frame[12:14] == ARP_TYPE
    return neighbor.learn(packet, view) if is_arp else icmp_error.expired(packet, view)


_SERVICES: Mapping[Table, Callable[[PacketIn, HandlerView], PacketInReply]] = {
    Table.PORT_SECURITY: dhcp.answer,
    Table.TTL: icmp_error.expired,
    Table.INTERCONNECT_TTL: icmp_error.expired,
    Table.PEERING_IN: icmp_error.expired,
    Table.ROUTER_LOCAL: icmp_error.no_service,
    Table.UNROUTABLE: icmp_error.no_route,
    Table.DELIVER: icmp_error.no_host,
    Table.SWITCH: neighbor.ask_holder,
    Table.REMOTE_ROUTE: icmp_error.not_learned,
    Table.FRAGMENTATION: path_mtu.outbound,
    Table.INBOUND_FRAGMENTATION: path_mtu.inbound,
    Table.REMOTE_MACHINE: path_mtu.from_remote,
    Table.TRANSIT: icmp_nat.from_machine,
    Table.INBOUND_MTU: icmp_nat.from_internet,
    Table.PUBLIC_OUT: icmp_nat.from_public,
    Table.PUBLIC_IN: icmp_nat.to_public,
    Table.GATEWAY: _gateway,
    Table.STORAGE_IN: neighbor.learn_drive,
    Table.STORAGE_ERROR: storage.answer,
}


def answer(packet: PacketIn, view: HandlerView) -> PacketInReply:
    """What becomes of a packet a flow sent up; never raises, whatever the bytes of its frame.

    Nothing is sent for a frame that is malformed, or whose network or machine
    is no longer there.
    """
    service = _SERVICES.get(packet.table)
    return service(packet, view) if service is not None else PacketInReply("no-service")
