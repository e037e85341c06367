"""Path MTU: where gateway and network differ, too large packets are told so (RFC 1191)."""

from __future__ import annotations

from collections.abc import Iterator

from controller.features import flow, to_controller
from controller.pipeline.context import PipelineContext
from controller.pipeline.flow import CheckPacketLarger, Flow, Goto
from controller.pipeline.match import Match, match
from controller.pipeline.registry import TOO_LARGE, Feature, Priority, Table
from state.model import Network

feature = Feature.PATH_MTU
tables = frozenset({Table.PATH_MTU, Table.FRAGMENTATION, Table.INBOUND_MTU, Table.INBOUND_FRAGMENTATION})

_ETHERNET_HEADER = 14


def larger_than(mtu: int) -> CheckPacketLarger:
    """Find out whether the packet, in its Ethernet frame, is larger than `mtu` bytes."""
    return CheckPacketLarger(mtu + _ETHERNET_HEADER, TOO_LARGE)


def shared(site: PipelineContext) -> Iterator[Flow]:
    """Where the MTUs are equal packets just go on."""
    yield flow(feature, Table.PATH_MTU, Priority.MISS, Match(), (Goto(Table.PUBLIC_KIND),), "fits")
    yield flow(feature, Table.FRAGMENTATION, Priority.MISS, Match(), (Goto(Table.PUBLIC_KIND),), "fits")
    yield flow(feature, Table.INBOUND_FRAGMENTATION, Priority.MISS, Match(), (Goto(Table.RATE_IN),), "fits")


def flows(network: Network, site: PipelineContext) -> Iterator[Flow]:
    """Two flows in the direction, if any, whose way out is the narrower one."""
    gateway_mtu = site.appliance.gateway.mtu
    if network.mtu > gateway_mtu:
        check, tell, mtu = Table.PATH_MTU, Table.FRAGMENTATION, gateway_mtu
    elif network.mtu < gateway_mtu:
        check, tell, mtu = Table.INBOUND_MTU, Table.INBOUND_FRAGMENTATION, network.mtu
    else:
        return
    key = network.key
    yield flow(
        feature,
        check,
        Priority.NORMAL,
        match("ip", metadata=key),
        (larger_than(mtu), Goto(tell)),
        f"larger than {mtu}?",
        key,
    )
    yield flow(feature, tell, Priority.NORMAL, match(metadata=key, reg1=1),
               to_controller(key), "fragmentation needed", key)  # fmt: skip
