"""Additional addresses outside their own segment: routing, translation, limits and usage.

The router finds out who holds an address where it would name the machine's MAC,
by looking it up; what nobody has announced goes to the controller, which asks.
What a machine sends from an additional address meets the machine's own limits,
and what it gets those of the machine that holds it.

NAT and drives know the address by a transit address and number of its own:
`state.additional` says why.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from controller.features import flow, storage, to_controller
from controller.pipeline.context import PipelineContext
from controller.pipeline.flow import Action, Flow, Goto, Meter, Resubmit, SetField, set_ip, set_mac
from controller.pipeline.match import Field, match
from controller.pipeline.registry import ATTACHMENT, HOLDER, VIRTUAL_MAC, Feature, MeterClass, Priority, Table, meter
from state.additional import AdditionalAddress
from state.model import Attachment, Machine, Network
from state.storage import client_address

TABLES = (
    Table.ROUTER, Table.DELIVER, Table.NEIGHBOR_IN, Table.NEIGHBOR_OUT, Table.RATE_OUT, Table.RATE_IN, Table.TRANSIT,
    Table.INBOUND, Table.STORAGE, Table.STORAGE_MACHINE, Table.REMOTE_MACHINE, Table.SWITCH, Table.HOLDER_MAC,
    Table.HOLDER_STORAGE,
)  # fmt: skip
UNRESOLVED = "00:00:00:00:00:00"
"""MAC of packets for an additional address that nobody has announced."""

_FEATURE = Feature.ADDITIONAL
_M = MeterClass


@dataclass(frozen=True, slots=True)
class AddressSender:
    """A machine that may send from an additional address, with its own MAC or a virtual one (empty: its own)."""

    machine: Machine
    address: AdditionalAddress
    virtual: str = ""

    @property
    def mac(self) -> str:
        """The source MAC it has then."""
        return self.virtual or self.machine.mac

    @property
    def marked(self) -> int | None:
        """What `SENDER` holds when the MAC does not say which machine it is; else None."""
        return self.machine.number if self.virtual else None

    @property
    def holder(self) -> int:
        """What `HOLDER` holds when it was the last to announce the address."""
        return self.machine.number | (VIRTUAL_MAC if self.virtual else 0)


def owners(network: Network) -> dict[tuple[Attachment, str], Machine]:
    """The machine that frames of a virtual MAC count for, by attachment: the first that lists the MAC there."""
    found: dict[tuple[Attachment, str], Machine] = {}
    for machine in network.machines:
        for one in machine.allowed:
            if one.mac:
                found.setdefault((machine.attachment, one.mac), machine)
    return found


def senders(network: Network) -> list[AddressSender]:
    """Every machine, additional address it may send from, and MAC it may do that with."""
    addresses = {one.address: one for one in network.additional}
    virtual = owners(network)
    found: dict[AddressSender, None] = {}
    for machine in network.machines:
        for one in machine.allowed:
            address = addresses.get(one.address)
            if address is None:
                continue
            found[AddressSender(machine, address)] = None
            if one.mac:
                found[AddressSender(virtual[machine.attachment, one.mac], address, one.mac)] = None
    return list(found)


def to_holder(address: AdditionalAddress) -> tuple[Action, ...]:
    """Actions that give a packet the MAC of the machine that holds an address."""
    return (
        set_mac(Field.ETH_DST, UNRESOLVED),
        SetField(HOLDER, address.number),
        Resubmit(Table.HOLDERS),
        Resubmit(Table.HOLDER_MAC),
    )


def flows(network: Network, found: list[AddressSender], site: PipelineContext) -> Iterator[Flow]:
    """Those of each address, of each that may send from it, and of what nobody has announced."""
    key = network.key
    drives = site.appliance.storage is not None and bool(storage.reachable(network, site))
    yield flow(_FEATURE, Table.RATE_IN, Priority.NORMAL, match(metadata=key, eth_dst=UNRESOLVED),
               (Goto(Table.SWITCH),), "holder not known", key)  # fmt: skip
    yield flow(_FEATURE, Table.SWITCH, Priority.NORMAL, match("ip", metadata=key, eth_dst=UNRESOLVED),
               to_controller(key), "ask who holds it", key)  # fmt: skip
    for address in network.additional:
        yield from _inward(network, address, site)
        if drives:
            yield from _from_drives(network, address, site)
    for machine, address in dict.fromkeys((sender.machine, sender.address) for sender in found):
        yield from _outward(network, machine, address)
        if drives:
            yield from _to_drives(network, machine, address, site)
    for machine, holder in dict.fromkeys((sender.machine, sender.holder) for sender in found):
        yield from _limits(network, machine, holder, drives=drives)
    yield from _macs(network, found)


def _inward(network: Network, one: AdditionalAddress, site: PipelineContext) -> Iterator[Flow]:
    key, why = network.key, f"to the holder of {one.address}"
    routed = (set_mac(Field.ETH_SRC, site.appliance.router_mac), *to_holder(one))
    to_it = match("ip", metadata=key, ip_dst=one.address)
    yield flow(_FEATURE, Table.DELIVER, Priority.SPECIFIC, to_it,
               (SetField(ATTACHMENT, 0), *routed, Goto(Table.NEIGHBOR_IN)), why, key)  # fmt: skip
    if network.vpn is not None or network.interconnects:
        yield flow(_FEATURE, Table.REMOTE_MACHINE, Priority.NORMAL, to_it, (*routed, Goto(Table.SWITCH)), why, key)
    yield flow(_FEATURE, Table.TRANSIT, Priority.NORMAL, match("ip", metadata=key, ip_src=one.address),
               (set_ip(Field.IP_SRC, one.transit), Goto(Table.SNAT)),
               f"{one.address} is {one.transit}", key)  # fmt: skip
    # An instruction would set the network only after the holder has been looked up.
    yield flow(_FEATURE, Table.INBOUND, Priority.NORMAL, match("ip", ip_dst=one.transit),
               (set_ip(Field.IP_DST, one.address), SetField(Field.METADATA, key), *routed, Goto(Table.INBOUND_MTU)),
               f"{one.transit} is {one.address}", key)  # fmt: skip


def _outward(network: Network, machine: Machine, one: AdditionalAddress) -> Iterator[Flow]:
    key, number, who = network.key, machine.number, f"{one.address} of {machine.name}"
    yield flow(_FEATURE, Table.ROUTER, Priority.NORMAL,
               match("ip", metadata=key, reg4=number, ip_src=one.address, ip_dst=network.router),
               (Meter(meter(_M.MACHINE_ROUTER, number)), Goto(Table.SERVICES)),
               f"{who} to the router itself", key)  # fmt: skip
    sent = match("ip", metadata=key, reg4=number, ip_src=one.address)
    yield flow(_FEATURE, Table.RATE_OUT, Priority.NORMAL, sent,
               (Meter(meter(_M.MACHINE_PUBLIC_OUT, number)), Goto(Table.NETWORK_RATE_OUT)),
               f"limit of {who}", key)  # fmt: skip
    yield flow(_FEATURE, Table.NEIGHBOR_OUT, Priority.NORMAL, sent,
               (Meter(meter(_M.MACHINE_PRIVATE_OUT, number)), Goto(Table.SWITCH)),
               f"counts for {who}", key)  # fmt: skip


def _to_drives(network: Network, machine: Machine, one: AdditionalAddress, site: PipelineContext) -> Iterator[Flow]:
    assert site.appliance.storage is not None
    client = client_address(site.appliance.storage, one.number)
    yield flow(_FEATURE, Table.STORAGE, Priority.NORMAL,
               match("ip", metadata=network.key, reg4=machine.number, ip_src=one.address),
               (Meter(meter(_M.MACHINE_STORAGE_OUT, machine.number)), set_ip(Field.IP_SRC, client),
                Goto(Table.STORAGE_OUT)),
               f"{one.address} of {machine.name} is {client}", network.key)  # fmt: skip


def _from_drives(network: Network, one: AdditionalAddress, site: PipelineContext) -> Iterator[Flow]:
    assert site.appliance.storage is not None
    client = client_address(site.appliance.storage, one.number)
    actions = (
        set_ip(Field.IP_DST, one.address),
        set_mac(Field.ETH_SRC, site.appliance.router_mac),
        *to_holder(one),
        Resubmit(Table.HOLDER_STORAGE),
        Goto(Table.SWITCH),
    )
    yield flow(_FEATURE, Table.STORAGE_MACHINE, Priority.NORMAL, match("ip", metadata=network.key, ip_dst=client),
               actions, f"{client} is {one.address}", network.key)  # fmt: skip


def _limits(network: Network, machine: Machine, holder: int, *, drives: bool) -> Iterator[Flow]:
    """The limits of the machine that holds an address; of one that does so with its own MAC that says enough."""
    key, number = network.key, machine.number
    if drives:
        yield flow(_FEATURE, Table.HOLDER_STORAGE, Priority.NORMAL, match(metadata=key, reg5=holder),
                   (Meter(meter(_M.MACHINE_STORAGE_IN, number)),), f"limit of {machine.name}", key)  # fmt: skip
    if holder & VIRTUAL_MAC:
        yield flow(_FEATURE, Table.RATE_IN, Priority.SPECIFIC, match(metadata=key, reg5=holder),
                   (Meter(meter(_M.MACHINE_PUBLIC_IN, number)), Goto(Table.NETWORK_RATE_IN)),
                   f"limit of {machine.name}", key)  # fmt: skip
        yield flow(_FEATURE, Table.NEIGHBOR_IN, Priority.SPECIFIC, match(metadata=key, reg5=holder),
                   (Meter(meter(_M.MACHINE_PRIVATE_IN, number)), Goto(Table.NEIGHBOR_OUT)),
                   f"counts for {machine.name}", key)  # fmt: skip


def _macs(network: Network, found: list[AddressSender]) -> Iterator[Flow]:
    key, table = network.key, Table.HOLDER_MAC
    for machine in dict.fromkeys(sender.machine for sender in found if not sender.virtual):
        yield flow(_FEATURE, table, Priority.NORMAL, match(metadata=key, reg5=machine.number),
                   (set_mac(Field.ETH_DST, machine.mac),), f"held by {machine.name}", key)  # fmt: skip
    for sender in found:
        if sender.virtual:
            yield flow(_FEATURE, table, Priority.NORMAL,
                       match("ip", metadata=key, reg5=sender.holder, ip_dst=sender.address.address),
                       (set_mac(Field.ETH_DST, sender.virtual),),
                       f"{sender.address.address} held by {sender.machine.name}", key)  # fmt: skip
