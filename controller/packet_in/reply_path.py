"""Ways by which answers leave: to a machine, back to the Internet, or on through the pipeline."""

from __future__ import annotations

from dataclasses import dataclass

from controller.features.switch import to_machine
from controller.packet_in.handler import HandlerView, PacketIn
from controller.packet_in.packet import Ipv4
from controller.pipeline.flow import Action, Output, Resubmit, SetField
from controller.pipeline.match import Field
from controller.pipeline.registry import APPLIANCE_KEY, ATTACHMENT, Table
from state.interconnect import INTERCONNECT_MAC
from state.model import Machine, Network


@dataclass(frozen=True, slots=True)
class ReplyPath:
    """Back to who sent a packet.

    `address` and `mac` are the router's own there, `sender_mac` is where the
    frame goes; `prefix` is that of the link.
    """

    address: str
    mac: str
    sender_mac: str
    prefix: str
    actions: tuple[Action, ...]


def machine_of_mac(network: Network, mac: str) -> Machine | None:
    """The machine of `network` that has `mac`."""
    return next((machine for machine in network.machines if machine.mac == mac), None)


def machine_of_address(network: Network, address: str) -> Machine | None:
    """The machine of `network` that has `address`."""
    return next((machine for machine in network.machines if machine.address == address), None)


def machine_of_public(network: Network, address: str) -> Machine | None:
    """The machine of `network` that has the public address `address`."""
    return next((machine for machine in network.machines if machine.public == address), None)


def deliver(machine: Machine, view: HandlerView) -> tuple[Action, ...] | None:
    """Actions that bring a frame to `machine`, None while its port is missing."""
    ports = view.site.ports
    return to_machine(machine, ports) if machine.attachment.port in ports else None


def inject(key: int, table: Table) -> tuple[Action, ...]:
    """Actions that put a packet of network `key` into `table`."""
    return (SetField(Field.METADATA, key), Resubmit(table))


def back(packet: PacketIn, ip: Ipv4, view: HandlerView) -> ReplyPath | None:
    """The way back to the sender of `packet`, None where there is none (any more).

    A machine is answered only at its own address.
    """
    appliance = view.appliance
    if packet.table in (Table.INTERCONNECT_TTL, Table.PEERING_IN):
        return _to_peer(packet, ip, view)
    if packet.key == APPLIANCE_KEY:
        gateway = appliance.gateway
        return ReplyPath(gateway.ip, gateway.mac, ip.eth_src, gateway.address, (Output(packet.in_port),))
    network = view.network(packet.key)
    machine = machine_of_mac(network, ip.eth_src) if network else None
    actions = deliver(machine, view) if machine else None
    if network is None or machine is None or actions is None or machine.address != ip.source:
        return None
    return ReplyPath(network.router, appliance.router_mac, machine.mac, network.prefix, actions)


def _to_peer(packet: PacketIn, ip: Ipv4, view: HandlerView) -> ReplyPath | None:
    """To the peer of the interconnect that `packet` came by, within its rate; flows write the MACs."""
    network = view.network(packet.key)
    interconnects = network.interconnects if network else view.site.peerings
    one = next((one for one in interconnects if one.number == packet.attachment), None)
    if one is None:
        return None
    actions = (SetField(ATTACHMENT, one.number), *inject(packet.key, Table.INTERCONNECT_OUT))
    return ReplyPath(one.local_ip, INTERCONNECT_MAC, ip.eth_src, one.local_address, actions)
