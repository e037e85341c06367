"""Port security: a machine sends with its own IP and ARP sender only, or with an additional address it lists."""

from __future__ import annotations

from collections.abc import Iterator

from controller.features import flow
from controller.pipeline.context import PipelineContext
from controller.pipeline.flow import Flow, Goto
from controller.pipeline.match import Match, match
from controller.pipeline.registry import Feature, Priority, Table
from state.model import Network

feature = Feature.PORT_SECURITY
tables = frozenset({Table.PORT_SECURITY})


def shared(site: PipelineContext) -> Iterator[Flow]:
    """Probes (RFC 5227 section 1.1) have no sender address to be wrong; neighbours learn nothing from them."""
    yield flow(feature, Table.PORT_SECURITY, Priority.EXCEPTION, match("arp", arp_op=1, arp_spa="0.0.0.0"),
               (Goto(Table.ARP),), "address probe")  # fmt: skip
    yield flow(feature, Table.PORT_SECURITY, Priority.MISS, Match(), (), "no-network")


def flows(network: Network, site: PipelineContext) -> Iterator[Flow]:
    """Two flows a machine, three counters a network."""
    key = network.key
    for machine in network.machines:
        yield flow(feature, Table.PORT_SECURITY, Priority.SPECIFIC,
                   match("ip", metadata=key, eth_src=machine.mac, ip_src=machine.address),
                   (Goto(Table.FORWARD),), f"IP of {machine.name}", key)  # fmt: skip
        yield flow(feature, Table.PORT_SECURITY, Priority.SPECIFIC,
                   match("arp", metadata=key, eth_src=machine.mac, arp_spa=machine.address, arp_sha=machine.mac),
                   (Goto(Table.ARP),), f"ARP of {machine.name}", key)  # fmt: skip
    for kind, reason in (("ip", "source-ip"), ("arp", "arp-sender")):
        yield flow(feature, Table.PORT_SECURITY, Priority.DROP, match(kind, metadata=key), (), reason, key)
    yield flow(feature, Table.PORT_SECURITY, Priority.REST, match(metadata=key), (), "protocol", key)
