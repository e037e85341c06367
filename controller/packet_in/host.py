"""Resolves an address of a network to its machine, or to the holder of an additional address."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from controller.features.additional_routed import UNRESOLVED, to_holder
from controller.packet_in.handler import HandlerView
from controller.packet_in.packet import Ipv4
from controller.packet_in.reply_path import deliver
from controller.pipeline.flow import Action, Resubmit, SetField
from controller.pipeline.match import Field
from controller.pipeline.registry import Table
from state.additional import AdditionalAddress
from state.model import Machine, Network
from state.storage import client_address


@dataclass(frozen=True, slots=True)
class Host:
    """An address of a network, what stands for it elsewhere, and how it is reached.

    `number` is that of its address on the storage network, `transit` its
    address in the conntrack zone, `public` its public one (empty: none);
    `actions` bring a frame with the target `mac` there.
    """

    address: str
    number: int
    transit: str
    public: str
    mac: str
    actions: tuple[Action, ...]


def host_of_address(network: Network, address: str, view: HandlerView) -> Host | None:
    """Whoever has `address`; None where nobody has, or its port is missing."""
    machine = next((machine for machine in network.machines if machine.address == address), None)
    if machine is not None:
        return _machine(machine, view)
    one = next((one for one in network.additional if one.address == address), None)
    return None if one is None else _holder(network, one)


def host_of_public(network: Network, address: str, view: HandlerView) -> Host | None:
    """The machine that has the public address `address`; None where none has, or its port is missing."""
    machine = next((machine for machine in network.machines if machine.public == address), None)
    return None if machine is None else _machine(machine, view)


def host_of_client(network: Network, address: str, view: HandlerView) -> Host | None:
    """Whoever has `address` on the storage network; None where nobody has, or its port is missing."""
    storage = view.appliance.storage
    if storage is None:
        return None
    found = next((one for one in network.addressed if client_address(storage, one.number) == address), None)
    return None if found is None else host_of_address(network, found.address, view)


def sender_of(network: Network, ip: Ipv4, view: HandlerView) -> Host | None:
    """Who sent a packet, at the address and MAC it was sent with; None where no machine may have sent it so."""
    for machine in network.machines:
        macs = {one.address: one.mac for one in machine.allowed}
        virtual = ip.eth_src != machine.mac
        if virtual and ip.eth_src not in macs.values():
            continue
        if ip.source == machine.address:
            host = _machine(machine, view)
        elif ip.source in macs and (not virtual or macs[ip.source] == ip.eth_src):
            one = next((one for one in network.additional if one.address == ip.source), None)
            actions = deliver(machine, view)
            host = None if one is None or actions is None else _at(one, machine.mac, actions)
        else:
            continue
        if host is None:
            return None
        return dataclasses.replace(host, mac=ip.eth_src, actions=_switched(network)) if virtual else host
    return None


def _machine(machine: Machine, view: HandlerView) -> Host | None:
    actions = deliver(machine, view)
    if actions is None:
        return None
    return Host(machine.address, machine.number, machine.transit, machine.public, machine.mac, actions)


def _holder(network: Network, one: AdditionalAddress) -> Host:
    return _at(one, UNRESOLVED, (SetField(Field.METADATA, network.key), *to_holder(one), Resubmit(Table.SWITCH)))


def _at(one: AdditionalAddress, mac: str, actions: tuple[Action, ...]) -> Host:
    return Host(one.address, one.number, one.transit, "", mac, actions)


def _switched(network: Network) -> tuple[Action, ...]:
    """By its MAC: the switch finds out which machine has a virtual one."""
    return SetField(Field.METADATA, network.key), Resubmit(Table.SWITCH)
