"""Classification: port, VLAN or VNI and source MAC → network key."""

from __future__ import annotations

from collections.abc import Iterator

from controller.features import flow
from controller.pipeline.context import PipelineContext
from controller.pipeline.flow import Action, Flow, Goto, PopVlan, SetField, WriteMetadata
from controller.pipeline.match import Match, match
from controller.pipeline.registry import ATTACHMENT, Feature, Priority, Table
from state.model import Attachment, Network

feature = Feature.CLASSIFY
tables = frozenset({Table.PRIORITY_TAG, Table.CLASSIFY})


def attachment_numbers(network: Network) -> dict[Attachment, int]:
    """A number for each attachment of a network: the lowest of its machines' numbers."""
    numbers: dict[Attachment, int] = {}
    for machine in network.machines:
        numbers.setdefault(machine.attachment, machine.number)
    return numbers


def arrival(attachment: Attachment, port: int, mac: str | None) -> Match:
    """Frames with source `mac` (None: any) that come by an attachment, whose port has the number `port`."""
    # Outside of tunnels tun_id is 0: a port alone never speaks for the VNIs of that port.
    if attachment.vlan is not None:
        return match(in_port=port, tun_id=0, vlan=attachment.vlan, eth_src=mac)
    return match(in_port=port, tun_id=attachment.vni or 0, untagged=True, eth_src=mac)


def shared(site: PipelineContext) -> Iterator[Flow]:
    """Priority tags (IEEE 802.1Q 6.9.1), the gateway port, and the drop of what nobody claims."""
    yield flow(feature, Table.PRIORITY_TAG, Priority.NORMAL, match(vlan=0),
               (PopVlan(), Goto(Table.CLASSIFY)), "priority tag")  # fmt: skip
    yield flow(feature, Table.PRIORITY_TAG, Priority.MISS, Match(), (Goto(Table.CLASSIFY),), "any other frame")
    if site.gateway_port is not None:
        yield flow(feature, Table.CLASSIFY, Priority.EXCEPTION, match(in_port=site.gateway_port, untagged=True),
                   (Goto(Table.GATEWAY),), "from the Internet")  # fmt: skip
    yield flow(feature, Table.CLASSIFY, Priority.MISS, Match(), (), "no-network")


def flows(network: Network, site: PipelineContext) -> Iterator[Flow]:
    """One flow a machine; one an attachment that counts foreign MACs."""
    numbers = attachment_numbers(network)
    for machine in network.machines:
        attachment = machine.attachment
        strip: tuple[Action, ...] = () if attachment.vlan is None else (PopVlan(),)
        actions = (
            *strip,
            SetField(ATTACHMENT, numbers[attachment]),
            WriteMetadata(network.key),
            Goto(Table.PORT_SECURITY),
        )
        yield flow(feature, Table.CLASSIFY, Priority.SPECIFIC,
                   arrival(attachment, site.ports[attachment.port], machine.mac), actions,
                   f"from {machine.name}", network.key)  # fmt: skip
    for attachment in numbers:
        yield flow(feature, Table.CLASSIFY, Priority.NORMAL,
                   arrival(attachment, site.ports[attachment.port], None), (), "source-mac", network.key)  # fmt: skip
