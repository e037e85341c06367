"""Fragments: conntrack puts them together in a table that all networks share, so each gets there at a rate.

What never becomes whole stays in that table for its time-out: without a rate one
machine, or anybody in the Internet, would fill it. Who asked for the fragments
that come for a shared address is known only once they are whole. Their senders
are told apart by the last bits of their addresses, each group within a rate and
all together within another, which leaves room in the table for what networks send.
"""

from __future__ import annotations

from collections.abc import Iterator

from controller.features import flow
from controller.pipeline.context import PipelineContext
from controller.pipeline.flow import Ct, Flow, Goto, Meter
from controller.pipeline.match import Field, Match, Term, match
from controller.pipeline.registry import (
    FRAGMENTS_METER,
    SENDERS,
    ZONE,
    Feature,
    MeterClass,
    Priority,
    Table,
    meter,
    sender_meter,
)
from state.model import Network
from state.public import public_prefixes

feature = Feature.FRAGMENTS
tables = frozenset({Table.GATEWAY_LOCAL, Table.FRAGMENTS_OUT, Table.FRAGMENTS_IN, Table.FRAGMENTS_IN_ALL})


def shared(site: PipelineContext) -> Iterator[Flow]:
    """The way of fragments for shared addresses."""
    for prefix in public_prefixes(site.appliance):
        for part in ("first", "later"):
            yield flow(feature, Table.GATEWAY_LOCAL, Priority.SPECIFIC, match("ip", ip_dst=prefix, frag=part),
                       (Goto(Table.FRAGMENTS_IN),), f"{part} fragment to a shared address")  # fmt: skip
    for group in range(SENDERS):
        senders = Match((*match("ip").terms, Term(Field.IP_SRC, group, SENDERS - 1)))
        yield flow(feature, Table.FRAGMENTS_IN, Priority.NORMAL, senders,
                   (Meter(sender_meter(group)), Goto(Table.FRAGMENTS_IN_ALL)), "rate of some senders")  # fmt: skip
    yield flow(feature, Table.FRAGMENTS_IN, Priority.MISS, Match(), (), "not-ip")
    yield flow(feature, Table.FRAGMENTS_IN_ALL, Priority.NORMAL, match("ip"),
               (Meter(FRAGMENTS_METER), Ct(Table.GATEWAY_TRACK, ZONE)), "rate of all senders")  # fmt: skip
    yield flow(feature, Table.FRAGMENTS_IN_ALL, Priority.MISS, Match(), (), "not-ip")
    yield flow(feature, Table.FRAGMENTS_OUT, Priority.MISS, Match(), (), "no-network")


def flows(network: Network, site: PipelineContext) -> Iterator[Flow]:
    """One flow: the rate of all the network sends."""
    key = network.key
    yield flow(feature, Table.FRAGMENTS_OUT, Priority.NORMAL, match(metadata=key),
               (Meter(meter(MeterClass.NETWORK_FRAGMENTS, key)), Goto(Table.PUBLIC_OUT)),
               "rate of the network's fragments", key)  # fmt: skip
