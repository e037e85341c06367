"""Additional addresses: virtual IP addresses that machines of a private network take over from each other.

The machine that announced such an address last holds it, as on any network:
by gratuitous ARP, or by an ARP reply. The switch keeps that by itself, in a
flow that the announcement makes (`learn`, ovs-actions(7)), so an address moves
while no controller runs. There is one such flow an address at most, only
machines that list the address meet what makes it, and it goes with their flows.

Announcements and replies go on to their receivers, and requests to all that may
hold the address: proxy ARP would hide from neighbours that it has moved.

The switch makes the flow at once for the first packet of a kind, and for more
within ten seconds when it next looks at its datapath (half a second at most).
An address that moves back so soon may do that so much later.
"""

from __future__ import annotations

from collections.abc import Iterator

from controller.features import additional_routed, flow
from controller.features.additional_routed import AddressSender, owners, senders
from controller.features.classify import arrival, attachment_numbers
from controller.features.switch import flood, to_machine
from controller.pipeline.context import PipelineContext
from controller.pipeline.flow import (
    Action,
    ClearInPort,
    Flow,
    Goto,
    Learn,
    PopVlan,
    Resubmit,
    SetField,
    WriteMetadata,
)
from controller.pipeline.match import Match, match
from controller.pipeline.registry import ATTACHMENT, HOLDER, SENDER, Feature, Priority, Table, cookie
from state.additional import AdditionalAddress
from state.model import Attachment, Network

feature = Feature.ADDITIONAL
tables = frozenset(
    {
        Table.CLASSIFY, Table.PORT_SECURITY, Table.ARP, Table.ANNOUNCE, Table.SWITCH, Table.LISTERS,
        *additional_routed.TABLES,
    }
)  # fmt: skip
_ADDRESS_SHIFT = 16


def shared(site: PipelineContext) -> Iterator[Flow]:
    """What belongs to no additional address."""
    yield flow(feature, Table.ANNOUNCE, Priority.MISS, Match(), (), "arp-unknown")
    yield flow(feature, Table.LISTERS, Priority.MISS, Match(), (), "no-holder")


def flows(network: Network, site: PipelineContext) -> Iterator[Flow]:
    """None in a network without additional addresses."""
    if not network.additional:
        return
    found = senders(network)
    yield from _virtual_sources(network, site)
    for sender in found:
        yield from _secure(network, sender)
        yield from _announce(network, sender)
    yield from _arp(network)
    yield from _virtual_targets(network, found)
    yield from _listers(network, found, site)
    yield from additional_routed.flows(network, found, site)


def _virtual_sources(network: Network, site: PipelineContext) -> Iterator[Flow]:
    """Virtual MACs, which several machines may have: the attachment says whose frame it is.

    VRRP's own messages have the virtual MAC and the machine's own address (RFC 5798 section 7.2).
    """
    key, numbers, found = network.key, attachment_numbers(network), owners(network)
    for (attachment, mac), owner in found.items():
        strip: tuple[Action, ...] = () if attachment.vlan is None else (PopVlan(),)
        actions = (
            *strip,
            SetField(ATTACHMENT, numbers[attachment]),
            SetField(SENDER, owner.number),
            WriteMetadata(key),
            Goto(Table.PORT_SECURITY),
        )
        yield flow(feature, Table.CLASSIFY, Priority.SPECIFIC, arrival(attachment, site.ports[attachment.port], mac),
                   actions, f"from {owner.name} as {mac}", key)  # fmt: skip
    for machine in network.machines:
        for mac in dict.fromkeys(one.mac for one in machine.allowed if one.mac):
            yield flow(feature, Table.PORT_SECURITY, Priority.SPECIFIC,
                       match("ip", metadata=key, reg4=found[machine.attachment, mac].number, eth_src=mac,
                             ip_src=machine.address),
                       (Goto(Table.FORWARD),), f"IP of {machine.name} as {mac}", key)  # fmt: skip


def _secure(network: Network, sender: AddressSender) -> Iterator[Flow]:
    key, table, address = network.key, Table.PORT_SECURITY, sender.address.address
    who = f"{address} of {sender.machine.name}"
    yield flow(feature, table, Priority.SPECIFIC,
               match("ip", metadata=key, reg4=sender.marked, eth_src=sender.mac, ip_src=address),
               (SetField(SENDER, sender.machine.number), Goto(Table.FORWARD)), f"IP {who}", key)  # fmt: skip
    yield flow(feature, table, Priority.SPECIFIC,
               match("arp", metadata=key, reg4=sender.marked, eth_src=sender.mac, arp_spa=address, arp_sha=sender.mac),
               (Goto(Table.ARP),), f"ARP {who}", key)  # fmt: skip


def _announce(network: Network, sender: AddressSender) -> Iterator[Flow]:
    key, table, one = network.key, Table.ANNOUNCE, sender.address
    mark = cookie(key, feature, one.number << _ADDRESS_SHIFT | sender.machine.number)
    learn = Learn(Table.HOLDERS, mark, key, HOLDER, one.number, sender.holder)
    why = f"{sender.machine.name} holds {one.address}"
    yield flow(feature, table, Priority.NORMAL,
               match("arp", metadata=key, reg4=sender.marked, eth_src=sender.mac, arp_spa=one.address),
               (learn, Goto(Table.SWITCH)), why, key)  # fmt: skip
    yield flow(feature, table, Priority.SPECIFIC,
               match("arp", metadata=key, reg4=sender.marked, eth_src=sender.mac, arp_spa=one.address,
                     arp_tpa=network.router),
               (learn,), f"{why}: answer to the router", key)  # fmt: skip


def _arp(network: Network) -> Iterator[Flow]:
    """Requests from an additional address are answered as any other, and do not move it."""
    key, table = network.key, Table.ARP
    for one in network.additional:
        address = one.address
        yield flow(feature, table, Priority.EXCEPTION, match("arp", metadata=key, arp_spa=address, arp_tpa=address),
                   (Goto(Table.ANNOUNCE),), f"gratuitous ARP of {address}", key)  # fmt: skip
        yield flow(feature, table, Priority.SPECIFIC, match("arp", metadata=key, arp_op=2, arp_spa=address),
                   (Goto(Table.ANNOUNCE),), f"ARP reply of {address}", key)  # fmt: skip
        yield flow(feature, table, Priority.NORMAL, match("arp", metadata=key, arp_op=1, arp_tpa=address),
                   (SetField(HOLDER, one.number), Goto(Table.LISTERS)), f"ARP for {address}", key)  # fmt: skip


def _virtual_targets(network: Network, found: list[AddressSender]) -> Iterator[Flow]:
    """A virtual MAC goes to who holds the first of its addresses; what neighbours send it counts for them alone."""
    key = network.key
    first: dict[str, AdditionalAddress] = {}
    for sender in sorted(found, key=lambda s: s.address.number):
        if sender.virtual:
            first.setdefault(sender.virtual, sender.address)
    for mac, one in first.items():
        yield flow(feature, Table.NEIGHBOR_IN, Priority.DEFAULT, match(metadata=key, eth_dst=mac),
                   (Goto(Table.NEIGHBOR_OUT),), f"to {mac}", key)  # fmt: skip
        yield flow(feature, Table.SWITCH, Priority.NORMAL, match(metadata=key, eth_dst=mac),
                   (SetField(HOLDER, one.number), Resubmit(Table.HOLDERS), Goto(Table.LISTERS)),
                   f"to the holder of {one.address}", key)  # fmt: skip


def _listers(network: Network, found: list[AddressSender], site: PipelineContext) -> Iterator[Flow]:
    """To the holder of a virtual MAC; to all that may hold an address, but not back where it came from."""
    key, numbers = network.key, attachment_numbers(network)
    virtual = {sender.address for sender in found if sender.virtual}
    for machine, holder in dict.fromkeys((s.machine, s.holder) for s in found if s.address in virtual):
        yield flow(feature, Table.LISTERS, Priority.SPECIFIC,
                   match(metadata=key, reg2=numbers[machine.attachment], reg5=holder),
                   (), "same-segment", key)  # fmt: skip
        yield flow(feature, Table.LISTERS, Priority.NORMAL, match(metadata=key, reg5=holder),
                   (ClearInPort(), *to_machine(machine, site.ports)), f"to {machine.name}", key)  # fmt: skip
    for one in network.additional:
        yield from _all_listers(network, one, _attachments(network, one), numbers, site)


def _all_listers(
    network: Network,
    one: AdditionalAddress,
    everywhere: list[Attachment],
    numbers: dict[Attachment, int],
    site: PipelineContext,
) -> Iterator[Flow]:
    key, table, why = network.key, Table.LISTERS, f"to all that list {one.address}"
    for own in everywhere:
        others = [attachment for attachment in everywhere if attachment != own]
        matched = match(metadata=key, reg2=numbers[own], reg5=one.number)
        if others:
            yield flow(feature, table, Priority.SPECIFIC, matched, flood(others, site.ports, clear=True), why, key)
        else:
            yield flow(feature, table, Priority.SPECIFIC, matched, (), "same-segment", key)
    if everywhere:
        yield flow(feature, table, Priority.NORMAL, match(metadata=key, reg5=one.number),
                   flood(everywhere, site.ports, clear=True), why, key)  # fmt: skip


def _attachments(network: Network, one: AdditionalAddress) -> list[Attachment]:
    """Where the address may be, or a virtual MAC that it may have."""
    macs = {a.mac for machine in network.machines for a in machine.allowed if a.address == one.address and a.mac}
    listers = (
        machine
        for machine in network.machines
        if any(a.address == one.address or a.mac in macs for a in machine.allowed)
    )
    return list(dict.fromkeys(machine.attachment for machine in listers))
