"""The router's sub-interface: echo answered by flows, TTL decremented, errors by the controller."""

from __future__ import annotations

from collections.abc import Iterator

from controller.features import flow, to_controller
from controller.pipeline.context import PipelineContext
from controller.pipeline.flow import Action, DecTtl, Flow, Goto, Meter, Move, SetField, set_mac
from controller.pipeline.match import Field, Match, match
from controller.pipeline.registry import APPLIANCE_KEY, ATTACHMENT, SCRATCH, Feature, MeterClass, Priority, Table, meter
from state.model import Network

feature = Feature.ROUTER
tables = frozenset({Table.FORWARD, Table.ROUTER, Table.ROUTER_LOCAL, Table.TTL})


def _echo(mac: str, *, first: bool) -> tuple[Action, ...]:
    # A later fragment has no ICMP header; the type was changed in the first.
    kind: tuple[Action, ...] = (SetField(Field.ICMP_TYPE, 0),) if first else ()
    return (
        Move(Field.ETH_SRC, Field.ETH_DST),
        set_mac(Field.ETH_SRC, mac),
        Move(Field.IP_SRC, SCRATCH),
        Move(Field.IP_DST, Field.IP_SRC),
        Move(SCRATCH, Field.IP_DST),
        *kind,
        SetField(Field.IP_TTL, 64),
        SetField(ATTACHMENT, 0),
        Goto(Table.SWITCH),
    )


def shared(site: PipelineContext) -> Iterator[Flow]:
    """Which packets are routed, the echo replies, and the TTL."""
    appliance = site.appliance
    yield flow(feature, Table.FORWARD, Priority.NORMAL, match("ip", eth_dst=appliance.router_mac),
               (Goto(Table.ROUTER),), "to the router")  # fmt: skip
    yield flow(feature, Table.FORWARD, Priority.MISS, Match(), (Goto(Table.NEIGHBOR_IN),), "to a neighbour")
    # As Linux does; each network counts and answers what ends here by one flow.
    yield flow(feature, Table.ROUTER, Priority.DROP, match("ip", ttl=0),
               (SetField(Field.IP_TTL, 1), Goto(Table.TTL)), "a TTL of 0 ends as 1 does")  # fmt: skip
    yield flow(feature, Table.ROUTER, Priority.MISS, Match(), (Goto(Table.TTL),), "through the router")
    for priority, key, mac in (
        (Priority.EXCEPTION, APPLIANCE_KEY, appliance.gateway.mac),
        (Priority.SPECIFIC, None, appliance.router_mac),
    ):
        yield flow(feature, Table.ROUTER_LOCAL, priority, match("icmp", metadata=key, icmp_type=8, icmp_code=0),
                   _echo(mac, first=True), "echo reply")  # fmt: skip
        yield flow(feature, Table.ROUTER_LOCAL, priority, match("icmp", metadata=key, frag="later"),
                   _echo(mac, first=False), "rest of a fragmented echo reply")  # fmt: skip
    yield flow(feature, Table.ROUTER_LOCAL, Priority.MISS, Match(), (), "to-gateway")
    yield flow(feature, Table.TTL, Priority.DEFAULT, match("ip"), (DecTtl(), Goto(Table.ROUTE)), "one hop")
    yield flow(feature, Table.TTL, Priority.MISS, Match(), (), "not-ip")


def flows(network: Network, site: PipelineContext) -> Iterator[Flow]:
    """The router's address under each machine's meter, and its errors under the network's."""
    key = network.key
    for machine in network.machines:
        yield flow(feature, Table.ROUTER, Priority.NORMAL,
                   match("ip", metadata=key, ip_src=machine.address, ip_dst=network.router),
                   (Meter(meter(MeterClass.MACHINE_ROUTER, machine.number)), Goto(Table.SERVICES)),
                   f"{machine.name} to the router itself", key)  # fmt: skip
    yield flow(feature, Table.ROUTER_LOCAL, Priority.DEFAULT, match("ip", metadata=key),
               to_controller(key), "port or protocol unreachable", key)  # fmt: skip
    yield flow(feature, Table.TTL, Priority.NORMAL, match("ip", metadata=key, ttl=1),
               to_controller(key), "time exceeded", key)  # fmt: skip
