"""Switching: a MAC to its attachment, broadcast and multicast to the whole network."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

from controller.features import flow
from controller.features.classify import attachment_numbers
from controller.pipeline.context import PipelineContext
from controller.pipeline.flow import IN_PORT, Action, ClearInPort, Flow, Output, PopVlan, PushVlan, SetField
from controller.pipeline.match import Field, Match, match
from controller.pipeline.registry import APPLIANCE_KEY, Feature, Priority, Table
from state.model import Attachment, Kind, Machine, Network

feature = Feature.SWITCH
tables = frozenset({Table.SWITCH})


def leave(attachment: Attachment, ports: Mapping[str, int]) -> tuple[Action, ...]:
    """The actions that send a frame out of an attachment; its port is in `ports`."""
    output = Output(ports[attachment.port])
    if attachment.vlan is not None:
        return PushVlan(attachment.vlan), output
    if attachment.vni is not None:
        return SetField(Field.TUN_ID, attachment.vni), output
    return (output,)


def to_machine(machine: Machine, ports: Mapping[str, int]) -> tuple[Action, ...]:
    """The actions that send a frame out of a machine's attachment; its port is in `ports`."""
    return leave(machine.attachment, ports)


def shared(site: PipelineContext) -> Iterator[Flow]:
    """Answers of the gateway's own address go back where the question came from."""
    yield flow(feature, Table.SWITCH, Priority.NORMAL, match(metadata=APPLIANCE_KEY),
               (Output(IN_PORT),), "answer of the gateway address")  # fmt: skip
    yield flow(feature, Table.SWITCH, Priority.MISS, Match(), (), "unknown-mac")


def flows(network: Network, site: PipelineContext) -> Iterator[Flow]:
    """One flow a machine, one that counts; in a private network the flood, and what its segment has seen already."""
    key = network.key
    numbers = attachment_numbers(network)
    for machine in network.machines:
        # The way out may be the port of arrival: another VLAN, or an answer of the router.
        yield flow(feature, Table.SWITCH, Priority.NORMAL, match(metadata=key, eth_dst=machine.mac),
                   (ClearInPort(), *to_machine(machine, site.ports)), f"to {machine.name}", key)  # fmt: skip
    yield flow(feature, Table.SWITCH, Priority.DROP, match(metadata=key), (), "unknown-mac", key)
    if network.kind is Kind.ISOLATED:
        return
    users = Counter(machine.attachment for machine in network.machines)
    for machine in network.machines:
        if users[machine.attachment] > 1:
            yield flow(feature, Table.SWITCH, Priority.SPECIFIC,
                       match(metadata=key, reg2=numbers[machine.attachment], eth_dst=machine.mac),
                       (), "same-segment", key)  # fmt: skip
    for number, attachments in _floods(numbers).items():
        yield flow(
            feature,
            Table.SWITCH,
            Priority.SPECIFIC,
            match(metadata=key, reg2=number, multicast=True),
            flood(attachments, site.ports, clear=number is not None),
            "broadcast and multicast",
            key,
        )


def _floods(numbers: Mapping[Attachment, int]) -> dict[int | None, list[Attachment]]:
    """Which attachments get a broadcast, by the attachment it came by (None: any).

    A switch leaves out the port of arrival by itself; where two attachments
    share a port that is too much, and each needs a flow of its own.
    """
    everywhere = sorted(numbers, key=numbers.__getitem__)
    if len({attachment.port for attachment in everywhere}) == len(everywhere):
        return {None: everywhere}
    return {number: [a for a in everywhere if a != own] for own, number in numbers.items()}


def flood(attachments: list[Attachment], ports: Mapping[str, int], *, clear: bool) -> tuple[Action, ...]:
    """A copy for each of `attachments`; with `clear` also for those behind the port of arrival."""
    actions: list[Action] = [ClearInPort()] if clear else []
    for attachment in attachments:
        actions += leave(attachment, ports)
        if attachment.vlan is not None:
            actions.append(PopVlan())
    return tuple(actions)
