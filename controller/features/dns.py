"""Names: questions to a network's router go to the resolver's port, and its answers come back.

The resolver is a process in a network namespace behind that port. To it a
machine is its transit address, which no other machine of the appliance has, so
that equal addresses of tenants never meet; the router's address is as the
machine wrote it. Flows translate both ways, statelessly, and let nothing pass
but UDP and TCP from or to port 53: the latter are questions, the former answers
of a network's own servers, which the resolver may ask.
"""

from __future__ import annotations

from collections.abc import Iterator

from controller.features import flow
from controller.pipeline.context import PipelineContext
from controller.pipeline.flow import Action, Flow, Goto, LoadBits, Output, SetField, set_mac
from controller.pipeline.match import Field, Match, match
from controller.pipeline.registry import MARK, Feature, Mark, Priority, Table
from state import resolver
from state.model import Network

feature = Feature.DNS
tables = frozenset({Table.CLASSIFY, Table.SERVICES, Table.SNAT, Table.RESOLVER_OUT, Table.RESOLVER_IN})


def shared(site: PipelineContext) -> Iterator[Flow]:
    """All of it is shared: nothing here grows with networks or machines."""
    yield flow(feature, Table.SERVICES, Priority.MISS, Match(), (Goto(Table.ROUTER_LOCAL),), "to the router itself")
    yield flow(feature, Table.RESOLVER_OUT, Priority.MISS, Match(), (), "not-ip")
    yield flow(feature, Table.RESOLVER_IN, Priority.MISS, Match(), (), "not-names")
    port = site.resolver_port
    if port is not None:
        yield from _outward(site, port)
        yield from _inward(site, port)


def flows(network: Network, site: PipelineContext) -> Iterator[Flow]:
    """Networks have none of their own."""
    yield from ()


def _messages(ip_dst: str | None = None) -> Iterator[tuple[bool, Match, str]]:
    """Whether it is a question, how it is matched, and what it is; sound ends send neither in fragments."""
    for kind in ("udp", "tcp"):
        for question in (True, False):
            port = 53 if question else None, None if question else 53
            yield question, _ports(kind, ip_dst, *port), f"{'question' if question else 'answer'} over {kind.upper()}"


def _ports(kind: str, ip_dst: str | None, target: int | None, source: int | None) -> Match:
    if kind == "udp":
        return match("udp", ip_dst=ip_dst, frag="no", udp_dst=target, udp_src=source)
    return match("tcp", ip_dst=ip_dst, frag="no", tcp_dst=target, tcp_src=source)


def _outward(site: PipelineContext, port: int) -> Iterator[Flow]:
    mark = SetField(MARK, Mark.RESOLVER)
    for question, matched, why in _messages():
        # What is both takes one of them: the same either way.
        priority = Priority.NORMAL if question else Priority.DEFAULT
        yield flow(feature, Table.SERVICES, priority, matched, (mark, Goto(Table.TRANSIT)), why)
    yield flow(feature, Table.SNAT, Priority.EXCEPTION, match(reg3=Mark.RESOLVER),
               (Goto(Table.RESOLVER_OUT),), "to the resolver")  # fmt: skip
    leave: tuple[Action, ...] = (
        set_mac(Field.ETH_SRC, site.appliance.router_mac),
        set_mac(Field.ETH_DST, resolver.MAC),
        Output(port),
    )
    prefix = resolver.stand_in(site.appliance)
    if prefix is not None:
        yield flow(feature, Table.RESOLVER_OUT, Priority.NORMAL, match("ip", ip_src=str(resolver.MULTICAST)),
                   (_top_bits(Field.IP_SRC, int(prefix.network_address)), *leave),
                   f"to the resolver, as one of {prefix}")  # fmt: skip
    yield flow(feature, Table.RESOLVER_OUT, Priority.DEFAULT, match("ip"), leave, "to the resolver")


def _inward(site: PipelineContext, port: int) -> Iterator[Flow]:
    yield flow(feature, Table.CLASSIFY, Priority.EXCEPTION, match(in_port=port, untagged=True),
               (Goto(Table.RESOLVER_IN),), "from the resolver")  # fmt: skip
    go_on: tuple[Action, ...] = (SetField(MARK, Mark.RESOLVER), Goto(Table.INBOUND))
    for question, matched, why in _messages():
        priority = Priority.NORMAL if question else Priority.DEFAULT
        yield flow(feature, Table.RESOLVER_IN, priority, matched, go_on, why)
    prefix = resolver.stand_in(site.appliance)
    if prefix is None:
        return
    back = _top_bits(Field.IP_DST, int(resolver.MULTICAST.network_address))
    for question, matched, why in _messages(str(prefix)):
        priority = Priority.EXCEPTION if question else Priority.SPECIFIC
        yield flow(feature, Table.RESOLVER_IN, priority, matched, (back, *go_on), why)


def _top_bits(field: Field, address: int) -> LoadBits:
    return LoadBits(field, resolver.TOP_SHIFT, resolver.TOP_BITS, address >> resolver.TOP_SHIFT)
