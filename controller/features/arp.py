"""ARP: the appliance answers for the router and for the machines of a private network."""

from __future__ import annotations

from collections.abc import Iterator

from controller.features import flow
from controller.features.classify import attachment_numbers
from controller.pipeline.context import PipelineContext
from controller.pipeline.flow import Flow, Goto, Move, SetField, set_mac
from controller.pipeline.match import Field, Match, match
from controller.pipeline.registry import ATTACHMENT, SCRATCH, Feature, Priority, Table
from state.model import Kind, Network

feature = Feature.ARP
tables = frozenset({Table.ARP, Table.ARP_REPLY})

_REPLY = (
    Move(Field.ETH_SRC, Field.ETH_DST),
    Move(Field.ARP_THA, Field.ETH_SRC),
    Move(Field.ARP_SHA, Field.ARP_THA),
    Move(Field.ETH_SRC, Field.ARP_SHA),
    Move(Field.ARP_TPA, SCRATCH),
    Move(Field.ARP_SPA, Field.ARP_TPA),
    Move(SCRATCH, Field.ARP_SPA),
    SetField(Field.ARP_OP, 2),
    SetField(ATTACHMENT, 0),
    Goto(Table.SWITCH),
)


def shared(site: PipelineContext) -> Iterator[Flow]:
    """The reply itself: who asks has put the answering MAC into `arp_tha`, which is unused in a request."""
    yield flow(feature, Table.ARP_REPLY, Priority.DEFAULT, match("arp"), _REPLY, "ARP reply")
    yield flow(feature, Table.ARP_REPLY, Priority.MISS, Match(), (), "not-arp")
    yield flow(feature, Table.ARP, Priority.DEFAULT, match("arp", arp_op=1, arp_spa="0.0.0.0"), (), "arp-probe")
    yield flow(feature, Table.ARP, Priority.MISS, Match(), (), "arp-unknown")


def flows(network: Network, site: PipelineContext) -> Iterator[Flow]:
    """One flow for the router, one that counts what nobody answers; in a private network two a machine.

    A machine that shares the attachment with who asks has heard the question
    itself; an answer with its MAC from here would have switches beyond learn
    the MAC in the wrong place, as would an answer to its own announcement.
    """
    owners = [(network.router, site.appliance.router_mac, "router")]
    if network.kind is Kind.PRIVATE:
        owners += [(machine.address, machine.mac, machine.name) for machine in network.machines]
        numbers = attachment_numbers(network)
        for machine in network.machines:
            yield flow(feature, Table.ARP, Priority.SPECIFIC,
                       match("arp", metadata=network.key, reg2=numbers[machine.attachment], arp_op=1,
                             arp_tpa=machine.address),
                       (), "same-segment", network.key)  # fmt: skip
    for address, mac, name in owners:
        yield flow(feature, Table.ARP, Priority.NORMAL,
                   match("arp", metadata=network.key, arp_op=1, arp_tpa=address),
                   (set_mac(Field.ARP_THA, mac), Goto(Table.ARP_REPLY)), f"ARP for {name}", network.key)  # fmt: skip
    yield flow(feature, Table.ARP, Priority.DROP, match(metadata=network.key), (), "arp-unknown", network.key)
