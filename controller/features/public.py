"""Public addresses: one stands for one machine, both ways, and belongs to nobody else.

Whole packets are rewritten by flows, statelessly: an assignment that ends takes
every connection with it at once. Fragments go through conntrack in a zone of
the assignment, because Open vSwitch 3.1 "corrects" two payload bytes of a later
fragment as if a UDP header were there; conntrack puts them together first. ICMP
errors quote a packet, which no flow can rewrite: those go by the controller.

What a machine sends to a public address of ours, or a machine with one to a
shared address, comes back in before it reaches the gateway port, with the
source it has outside. A machine without one may still not send to shared
addresses: its packet would be translated in the zone of shared addresses twice.
"""

from __future__ import annotations

from collections.abc import Iterator

from controller.features import flow, to_controller
from controller.pipeline.context import PipelineContext
from controller.pipeline.flow import (
    Action,
    Ct,
    CtClear,
    DecTtl,
    Flow,
    Goto,
    Meter,
    Nat,
    SetField,
    WriteMetadata,
    set_ip,
    set_mac,
)
from controller.pipeline.match import ICMP_ERRORS, Field, Match, ip_to_int, match
from controller.pipeline.registry import (
    APPLIANCE_KEY,
    ATTACHMENT,
    MARK,
    Feature,
    Mark,
    MeterClass,
    Priority,
    Table,
    meter,
)
from state.model import Machine, Network

feature = Feature.PUBLIC
tables = frozenset(
    {
        Table.UNROUTABLE,
        Table.PUBLIC_KIND,
        Table.PUBLIC_OUT,
        Table.PUBLIC_OUT_CHECK,
        Table.GATEWAY_OUT,
        Table.GATEWAY,
        Table.GATEWAY_LOCAL,
        Table.PUBLIC_IN,
        Table.PUBLIC_IN_CHECK,
    }
)


def shared(site: PipelineContext) -> Iterator[Flow]:
    """What kind of packet it is, the way back in, and what belongs to no machine."""
    yield from _kinds(Table.PUBLIC_KIND, Table.PUBLIC_OUT, None, Table.FRAGMENTS_OUT)
    yield flow(feature, Table.PUBLIC_OUT, Priority.MISS, Match(), (Goto(Table.TRANSIT),), "no public address")
    for prefix in site.assignable_prefixes:
        # Only what comes by the gateway port has this hop to count: what comes back in has had its own.
        yield flow(feature, Table.GATEWAY, Priority.DEFAULT,
                   match("ip", eth_dst=site.appliance.gateway.mac, ip_dst=prefix),
                   (DecTtl(), Goto(Table.GATEWAY_LOCAL)), f"to {prefix}")  # fmt: skip
        yield from _kinds(Table.GATEWAY_LOCAL, Table.PUBLIC_IN, prefix, Table.PUBLIC_IN)
        # The kernel datapath leaves a packet whole that conntrack has put together, and says no more that it
        # was in fragments: it must go in the way its answer, in fragments again, comes out.
        yield flow(feature, Table.GATEWAY_LOCAL, Priority.EXCEPTION,
                   match("ip", ip_dst=prefix, reg3=Mark.PUBLIC_FRAGMENT),
                   (Goto(Table.PUBLIC_IN),), "was in fragments")  # fmt: skip
    here: tuple[Action, ...] = (SetField(ATTACHMENT, 0), WriteMetadata(APPLIANCE_KEY), Goto(Table.GATEWAY_LOCAL))
    for prefix in (*site.shared_prefixes, *site.assignable_prefixes):
        yield flow(feature, Table.GATEWAY_OUT, Priority.SPECIFIC, match("ip", ip_dst=prefix),
                   (CtClear(), SetField(MARK, 0), *here), f"{prefix} is here")  # fmt: skip
    for prefix in site.assignable_prefixes:
        yield flow(feature, Table.GATEWAY_OUT, Priority.EXCEPTION,
                   match("ip", ip_dst=prefix, reg3=Mark.PUBLIC_FRAGMENT),
                   (CtClear(), *here), f"{prefix} is here: fragment")  # fmt: skip
    yield flow(feature, Table.PUBLIC_IN, Priority.MISS, Match(), (), "not-for-us")
    for table, state, target in (
        (Table.PUBLIC_OUT_CHECK, "+trk-rel+snat-inv", Table.GATEWAY_OUT),
        (Table.PUBLIC_IN_CHECK, "+trk-rel+dnat-inv", Table.INBOUND_MTU),
    ):
        yield flow(feature, table, Priority.NORMAL, match(ct_state=state), (Goto(target),), "translated")
    yield flow(feature, Table.PUBLIC_OUT_CHECK, Priority.MISS, Match(),
               (Goto(Table.NOT_TRANSLATED),), "not translated")  # fmt: skip
    yield flow(feature, Table.PUBLIC_IN_CHECK, Priority.MISS, Match(), (), "not-translated")


def _kinds(table: Table, target: Table, prefix: str | None, fragments: Table) -> Iterator[Flow]:
    def go(mark: Mark) -> tuple[Action, ...]:
        return SetField(MARK, mark), Goto(fragments if mark is Mark.PUBLIC_FRAGMENT else target)

    for part in ("first", "later"):
        yield flow(feature, table, Priority.EXCEPTION, match("ip", ip_dst=prefix, frag=part),
                   go(Mark.PUBLIC_FRAGMENT), f"{part} fragment")  # fmt: skip
    for kind in ICMP_ERRORS:
        yield flow(feature, table, Priority.SPECIFIC, match("icmp", ip_dst=prefix, icmp_type=kind),
                   go(Mark.PUBLIC_ERROR), "ICMP error")  # fmt: skip
    yield flow(feature, table, Priority.NORMAL, match("ip", ip_dst=prefix), go(Mark.PUBLIC_WHOLE), "whole")


def flows(network: Network, site: PipelineContext) -> Iterator[Flow]:
    """Seven flows for each machine that has a public address."""
    for machine in network.machines:
        if machine.public:
            yield from _outward(network, machine)
            yield from _inward(network, machine, site)


def _outward(network: Network, machine: Machine) -> Iterator[Flow]:
    key = network.key
    public = ip_to_int(machine.public)

    def of(mark: Mark) -> Match:
        return match("ip", metadata=key, ip_src=machine.address, reg3=mark)

    why = f"{machine.name} is {machine.public}"
    yield flow(feature, Table.UNROUTABLE, Priority.EXCEPTION, of(Mark.SHARED_ADDRESS),
               (Goto(Table.RATE_OUT),), f"{machine.name} may answer shared addresses", key)  # fmt: skip
    yield flow(feature, Table.PUBLIC_OUT, Priority.NORMAL, of(Mark.PUBLIC_WHOLE),
               (set_ip(Field.IP_SRC, machine.public), Goto(Table.GATEWAY_OUT)), why, key)  # fmt: skip
    yield flow(feature, Table.PUBLIC_OUT, Priority.NORMAL, of(Mark.PUBLIC_FRAGMENT),
               (Ct(Table.PUBLIC_OUT_CHECK, machine.public_zone, commit=True, nat=Nat(public, public)),),
               f"{why}: fragment", key)  # fmt: skip
    yield flow(feature, Table.PUBLIC_OUT, Priority.NORMAL, of(Mark.PUBLIC_ERROR),
               to_controller(key), f"{why}: ICMP error", key)  # fmt: skip


def _inward(network: Network, machine: Machine, site: PipelineContext) -> Iterator[Flow]:
    key = network.key
    address = ip_to_int(machine.address)
    macs = (set_mac(Field.ETH_SRC, site.appliance.router_mac), set_mac(Field.ETH_DST, machine.mac))

    def to(mark: Mark) -> Match:
        return match("ip", ip_dst=machine.public, reg3=mark)

    why = f"{machine.public} is {machine.name}"
    yield flow(feature, Table.PUBLIC_IN, Priority.NORMAL, to(Mark.PUBLIC_WHOLE),
               (set_ip(Field.IP_DST, machine.address), *macs, WriteMetadata(key), Goto(Table.INBOUND_MTU)),
               why, key)  # fmt: skip
    nat = Nat(address, address, destination=True)
    # What conntrack hands back keeps metadata set by an action, not by an instruction, which comes after it.
    yield flow(feature, Table.PUBLIC_IN, Priority.NORMAL, to(Mark.PUBLIC_FRAGMENT),
               (Meter(meter(MeterClass.NETWORK_FRAGMENTS, key)), *macs, SetField(Field.METADATA, key),
                Ct(Table.PUBLIC_IN_CHECK, machine.public_zone, commit=True, nat=nat)),
               f"{why}: fragment", key)  # fmt: skip
    yield flow(feature, Table.PUBLIC_IN, Priority.NORMAL, to(Mark.PUBLIC_ERROR),
               to_controller(key), f"{why}: ICMP error", key)  # fmt: skip
