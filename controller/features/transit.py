"""Transit addresses: machines of private networks become unique before conntrack.

Private networks may overlap, so each of their machines has a second address,
unique on the appliance, which flows put in place of its own on the way out and
take away again on the way in. It is a stateless 1:1 rewrite: one conntrack
zone and one pass a direction serve every tenant, and what has no ports (ICMP,
errors, fragments) finds its way back by address. ICMP errors quote the packet
they are about, which no flow can rewrite: those go by the controller.

A transit address has the same ones' complement sum as the address it stands
for (as in RFC 6296), so the rewrite leaves every checksum as it is. That is
not for speed: Open vSwitch 3.1 "corrects" two payload bytes of a later
fragment as if a UDP header were there, unless nothing is to correct.
"""

from __future__ import annotations

from collections.abc import Iterator

from controller.features import flow, to_controller
from controller.pipeline.context import PipelineContext
from controller.pipeline.flow import Action, Flow, Goto, WriteMetadata, set_ip, set_mac
from controller.pipeline.match import ICMP_ERRORS, Field, Match, match
from controller.pipeline.registry import Feature, Priority, Table
from state.model import Kind, Network

feature = Feature.TRANSIT
tables = frozenset({Table.TRANSIT, Table.INBOUND, Table.INBOUND_MTU})


def shared(site: PipelineContext) -> Iterator[Flow]:
    """Isolated networks' addresses are unique as they are."""
    yield flow(feature, Table.TRANSIT, Priority.MISS, Match(), (Goto(Table.SNAT),), "address is unique")
    yield flow(feature, Table.INBOUND, Priority.MISS, Match(), (), "no-machine")
    yield flow(feature, Table.INBOUND_MTU, Priority.MISS, Match(), (Goto(Table.RATE_IN),), "to the machine")


def flows(network: Network, site: PipelineContext) -> Iterator[Flow]:
    """One flow a machine and direction; in a private network the errors it sends and gets."""
    key = network.key
    for machine in network.machines:
        own: tuple[Action, ...] = ()
        if machine.transit != machine.address:
            own = (set_ip(Field.IP_DST, machine.address),)
            yield flow(feature, Table.TRANSIT, Priority.NORMAL,
                       match("ip", metadata=key, ip_src=machine.address),
                       (set_ip(Field.IP_SRC, machine.transit), Goto(Table.SNAT)),
                       f"{machine.name} is {machine.transit}", key)  # fmt: skip
        actions = (
            *own,
            set_mac(Field.ETH_SRC, site.appliance.router_mac),
            set_mac(Field.ETH_DST, machine.mac),
            WriteMetadata(key),
            Goto(Table.INBOUND_MTU),
        )
        yield flow(feature, Table.INBOUND, Priority.NORMAL, match("ip", ip_dst=machine.transit), actions,
                   f"{machine.transit} is {machine.name}", key)  # fmt: skip
    if network.kind is Kind.ISOLATED:
        return
    for kind in ICMP_ERRORS:
        yield flow(feature, Table.TRANSIT, Priority.SPECIFIC, match("icmp", metadata=key, icmp_type=kind),
                   to_controller(key), "ICMP error from a machine", key)  # fmt: skip
    yield flow(feature, Table.INBOUND_MTU, Priority.SPECIFIC, match("icmp", metadata=key, ct_state="+trk+rel"),
               to_controller(key), "ICMP error for a machine", key)  # fmt: skip
