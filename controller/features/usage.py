"""Usage among neighbours: meters that let everything through count what machines of a network send each other.

What is exchanged with the Internet and with drives is counted by the meters of
their limits. Only what is delivered counts: who is meant comes first.
"""

from __future__ import annotations

from collections.abc import Iterator

from controller.features import flow
from controller.pipeline.context import PipelineContext
from controller.pipeline.flow import Flow, Goto, Meter
from controller.pipeline.match import Match, match
from controller.pipeline.registry import Feature, MeterClass, Priority, Table, meter
from state.model import Kind, Network

feature = Feature.USAGE
tables = frozenset({Table.NEIGHBOR_IN, Table.NEIGHBOR_OUT})


def shared(site: PipelineContext) -> Iterator[Flow]:
    """A packet to all is counted once, for its sender; what nobody gets is not counted."""
    yield flow(feature, Table.NEIGHBOR_IN, Priority.DEFAULT, match(multicast=True),
               (Goto(Table.NEIGHBOR_OUT),), "to all neighbours")  # fmt: skip
    yield flow(feature, Table.NEIGHBOR_IN, Priority.MISS, Match(), (Goto(Table.SWITCH),), "to nobody")
    yield flow(feature, Table.NEIGHBOR_OUT, Priority.MISS, Match(), (Goto(Table.SWITCH),), "from nobody")


def flows(network: Network, site: PipelineContext) -> Iterator[Flow]:
    """Two flows a machine of a private network; the machine of an isolated one has no neighbours."""
    if network.kind is Kind.ISOLATED:
        return
    key = network.key
    for machine in network.machines:
        into, out = (
            meter(kind, machine.number) for kind in (MeterClass.MACHINE_PRIVATE_IN, MeterClass.MACHINE_PRIVATE_OUT)
        )
        yield flow(feature, Table.NEIGHBOR_IN, Priority.NORMAL, match(metadata=key, eth_dst=machine.mac),
                   (Meter(into), Goto(Table.NEIGHBOR_OUT)), f"counts for {machine.name}", key)  # fmt: skip
        yield flow(feature, Table.NEIGHBOR_OUT, Priority.NORMAL, match("ip", metadata=key, ip_src=machine.address),
                   (Meter(out), Goto(Table.SWITCH)), f"counts for {machine.name}", key)  # fmt: skip
