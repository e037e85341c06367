"""Services: answers to packets that flows cannot answer. Bytes in, bytes out, nothing remembered."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from controller.pipeline import Table
from controller.services import dhcp, embedded, icmp_error, neighbor, path_mtu, storage
from controller.services.contract import Answer, PacketIn, PacketOut, View
from controller.services.packet import ARP_TYPE

__all__ = ["Answer", "PacketIn", "PacketOut", "View", "answer"]


def _gateway(packet: PacketIn, view: View) -> Answer:
    is_arp = packet.frame[12:14] == ARP_TYPE
    return neighbor.learn(packet, view) if is_arp else icmp_error.expired(packet, view)


_SERVICES: Mapping[Table, Callable[[PacketIn, View], Answer]] = {
    Table.PORT_SECURITY: dhcp.answer,
    Table.TTL: icmp_error.expired,
    Table.INTERCONNECT_TTL: icmp_error.expired,
    Table.PEERING_IN: icmp_error.expired,
    Table.ROUTER_LOCAL: icmp_error.no_service,
    Table.UNROUTABLE: icmp_error.no_route,
    Table.DELIVER: icmp_error.no_host,
    Table.BEYOND: icmp_error.not_learned,
    Table.FRAGMENTATION: path_mtu.outbound,
    Table.INBOUND_FRAGMENTATION: path_mtu.inbound,
    Table.BEYOND_MACHINE: path_mtu.from_beyond,
    Table.TRANSIT: embedded.from_machine,
    Table.INBOUND_MTU: embedded.from_internet,
    Table.PUBLIC_OUT: embedded.from_public,
    Table.PUBLIC_IN: embedded.to_public,
    Table.GATEWAY: _gateway,
    Table.STORAGE_IN: neighbor.learn_drive,
    Table.STORAGE_ERROR: storage.answer,
}


def answer(packet: PacketIn, view: View) -> Answer:
    """What becomes of a packet a flow sent up; never raises, whatever the bytes of its frame.

    Nothing is sent for a frame that is malformed, or whose network or machine
    is no longer there.
    """
    service = _SERVICES.get(packet.table)
    return service(packet, view) if service is not None else Answer("no-service")
