"""ICMP that changes where others send, or how fast: dropped wherever it comes from.

Redirects and router discovery (RFC 792, RFC 1256) are a router's to send, and no
machine is one: it sends with its own address only. From a neighbour, a tunnel, a
drive or the Internet they would lead a machine's traffic astray. Source quench is
of no use to anybody (RFC 6633).
"""

from __future__ import annotations

from collections.abc import Iterator

from controller.features import flow
from controller.pipeline.context import PipelineContext
from controller.pipeline.flow import Flow, Goto
from controller.pipeline.match import Match, match
from controller.pipeline.registry import Feature, Priority, Table
from state.model import Network

feature = Feature.ICMP_REDIRECT
TYPES = (4, 5, 9, 10)
"""Source quench, redirect, router advertisement and router solicitation."""

_FROM = (Table.PORT_SECURITY, Table.INTERCONNECT_LINK, Table.VPN_INSIDE, Table.STORAGE_MACHINE, Table.GATEWAY)
tables = frozenset({*_FROM, Table.ICMP_REDIRECT})


def shared(site: PipelineContext) -> Iterator[Flow]:
    """What is found by its type at each way in; it counts for the appliance where no network sent it."""
    for table in _FROM:
        for kind in TYPES:
            yield flow(feature, table, Priority.FORBIDDEN, match("icmp", icmp_type=kind),
                       (Goto(Table.ICMP_REDIRECT),), "redirect, router discovery or source quench")  # fmt: skip
    yield flow(feature, Table.ICMP_REDIRECT, Priority.MISS, Match(), (), "icmp-redirect")


def flows(network: Network, site: PipelineContext) -> Iterator[Flow]:
    """One flow: what came from the network counts for it."""
    yield flow(feature, Table.ICMP_REDIRECT, Priority.DROP, match(metadata=network.key),
               (), "icmp-redirect", network.key)  # fmt: skip
