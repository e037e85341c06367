"""Routing: the own network, the Internet, or nowhere."""

from __future__ import annotations

from collections.abc import Iterator

from controller.features import flow, to_controller
from controller.pipeline.context import PipelineContext
from controller.pipeline.flow import Flow, Goto, SetField, set_mac
from controller.pipeline.match import Field, Match, match
from controller.pipeline.registry import ATTACHMENT, MARK, Feature, Mark, Priority, Table
from state.model import Kind, Network
from state.prefixes import not_outside

feature = Feature.ROUTE
tables = frozenset({Table.ROUTE, Table.UNROUTABLE, Table.DELIVER})


def bogons(site: PipelineContext) -> tuple[str, ...]:
    """Prefixes that nobody outside sends from."""
    return tuple(dict.fromkeys((*not_outside(site.appliance), *site.assignable_prefixes)))


def shared(site: PipelineContext) -> Iterator[Flow]:
    """What no machine may reach by the gateway; the rest goes out."""
    for prefix in not_outside(site.appliance):
        if prefix in site.shared_prefixes:
            continue
        yield flow(feature, Table.ROUTE, Priority.NORMAL, match("ip", ip_dst=prefix),
                   (Goto(Table.UNROUTABLE),), f"{prefix} is not in the Internet")  # fmt: skip
    for prefix in site.shared_prefixes:
        yield flow(feature, Table.ROUTE, Priority.SPECIFIC, match("ip", ip_dst=prefix),
                   (SetField(MARK, Mark.SHARED_ADDRESS), Goto(Table.UNROUTABLE)), f"{prefix} is shared")  # fmt: skip
    for prefix in site.assignable_prefixes:
        yield flow(feature, Table.ROUTE, Priority.SPECIFIC, match("ip", ip_dst=prefix),
                   (Goto(Table.RATE_OUT),), f"{prefix} is reached as from outside")  # fmt: skip
    yield flow(feature, Table.ROUTE, Priority.MISS, Match(), (Goto(Table.RATE_OUT),), "to the Internet")
    yield flow(feature, Table.UNROUTABLE, Priority.MISS, Match(), (), "unroutable")
    yield flow(feature, Table.DELIVER, Priority.MISS, Match(), (), "no-machine")


def flows(network: Network, site: PipelineContext) -> Iterator[Flow]:
    """The network's own answer to 'unreachable'; in a private network its machines."""
    key = network.key
    yield flow(feature, Table.UNROUTABLE, Priority.NORMAL, match("ip", metadata=key),
               to_controller(key), "unroutable", key)  # fmt: skip
    if network.kind is Kind.ISOLATED:
        return
    yield flow(feature, Table.ROUTE, Priority.SPECIFIC, match("ip", metadata=key, ip_dst=network.prefix),
               (Goto(Table.DELIVER),), "inside the network", key)  # fmt: skip
    for machine in network.machines:
        actions = (
            set_mac(Field.ETH_SRC, site.appliance.router_mac),
            set_mac(Field.ETH_DST, machine.mac),
            SetField(ATTACHMENT, 0),
            Goto(Table.NEIGHBOR_IN),
        )
        yield flow(feature, Table.DELIVER, Priority.SPECIFIC, match("ip", metadata=key, ip_dst=machine.address),
                   actions, f"to {machine.name}", key)  # fmt: skip
    yield flow(feature, Table.DELIVER, Priority.DEFAULT, match("ip", metadata=key),
               to_controller(key), "host unreachable", key)  # fmt: skip
