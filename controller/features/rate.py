"""Limits: what a machine and its network exchange with the Internet, by one meter a direction each.

A packet meets its machine's meter first, so that what one machine sends over
its own limit takes nothing from the limit it shares with its neighbours. The
only machine of an isolated network has the lower one of both limits. These
meters also count what was let through (`usage`).
"""

from __future__ import annotations

from collections.abc import Iterator

from controller.features import flow
from controller.pipeline.context import PipelineContext
from controller.pipeline.flow import Flow, Goto, Meter
from controller.pipeline.match import Match, match
from controller.pipeline.registry import Feature, Mark, MeterClass, Priority, Table, meter
from state.model import Kind, Network

feature = Feature.RATE
tables = frozenset({Table.RATE_OUT, Table.NETWORK_RATE_OUT, Table.RATE_IN, Table.NETWORK_RATE_IN})

_M = MeterClass


def shared(site: PipelineContext) -> Iterator[Flow]:
    """What no machine accounts for does not pass; the resolver's answers are no traffic with the Internet."""
    yield flow(feature, Table.RATE_OUT, Priority.MISS, Match(), (), "no-network")
    yield flow(feature, Table.NETWORK_RATE_OUT, Priority.MISS, Match(), (), "no-network")
    yield flow(feature, Table.RATE_IN, Priority.EXCEPTION, match(reg3=Mark.RESOLVER),
               (Goto(Table.SWITCH),), "from the resolver")  # fmt: skip
    yield flow(feature, Table.RATE_IN, Priority.MISS, Match(), (), "no-machine")
    yield flow(feature, Table.NETWORK_RATE_IN, Priority.MISS, Match(), (), "no-network")


def flows(network: Network, site: PipelineContext) -> Iterator[Flow]:
    """Two flows a machine; in a private network two more, for all machines together."""
    key, private = network.key, network.kind is Kind.PRIVATE
    after_out = Table.NETWORK_RATE_OUT if private else Table.PATH_MTU
    after_in = Table.NETWORK_RATE_IN if private else Table.SWITCH
    for machine in network.machines:
        out, into = meter(_M.MACHINE_PUBLIC_OUT, machine.number), meter(_M.MACHINE_PUBLIC_IN, machine.number)
        yield flow(feature, Table.RATE_OUT, Priority.NORMAL, match("ip", metadata=key, ip_src=machine.address),
                   (Meter(out), Goto(after_out)), f"limit of {machine.name}", key)  # fmt: skip
        yield flow(feature, Table.RATE_IN, Priority.NORMAL, match(metadata=key, eth_dst=machine.mac),
                   (Meter(into), Goto(after_in)), f"limit of {machine.name}", key)  # fmt: skip
    if private:
        yield flow(feature, Table.NETWORK_RATE_OUT, Priority.NORMAL, match(metadata=key),
                   (Meter(meter(_M.NETWORK_PUBLIC_OUT, key)), Goto(Table.PATH_MTU)),
                   "limit of the network", key)  # fmt: skip
        yield flow(feature, Table.NETWORK_RATE_IN, Priority.NORMAL, match(metadata=key),
                   (Meter(meter(_M.NETWORK_PUBLIC_IN, key)), Goto(Table.SWITCH)),
                   "limit of the network", key)  # fmt: skip
