"""SNAT: each network leaves by its own port block of a shared public address.

The block is deterministic (RFC 7422), so address and port name the network. What has
no ports (ICMP echo, GRE, ESP) leaves by the block's address as well (RFC 4787 REQ-2),
and only where another network has the tuple there by another shared address.

All networks share conntrack, so each has a rate of new connections. A packet is
looked up first, so that those of known connections are not counted against it.
"""

from __future__ import annotations

from collections.abc import Iterator

from controller.features import flow
from controller.pipeline.context import PipelineContext
from controller.pipeline.flow import Ct, Flow, Goto, Meter, Nat
from controller.pipeline.match import Match, ip_to_int, match
from controller.pipeline.registry import ZONE, Feature, MeterClass, Priority, Table, meter
from state.model import Network
from state.public import largest_public_range

feature = Feature.SNAT
# ICMP, GRE, ESP and AH: of what else has no ports one network has the tuple of a shared address.
WITHOUT_PORTS = (1, 47, 50, 51)
TRIES = (Table.SNAT_TRY_2, Table.SNAT_TRY_3, Table.SNAT_TRY_4)
tables = frozenset({Table.SNAT, Table.SNAT_PORTS, Table.SNAT_CHECK, *TRIES, Table.NOT_TRANSLATED})

_LOST = (Goto(Table.NOT_TRANSLATED),)


def shared(site: PipelineContext) -> Iterator[Flow]:
    """What goes by which way, and the check that nothing leaves untranslated."""
    first, last = map(ip_to_int, largest_public_range(site.appliance))
    yield flow(feature, Table.SNAT, Priority.NORMAL, match("ip"), (Ct(Table.SNAT_PORTS, ZONE),), "known connection?")
    yield flow(feature, Table.SNAT, Priority.MISS, Match(), (), "not-ip")
    yield from _known(Nat(first, last))
    # When no port is free OVS passes the packet on as it is (ovs-actions(7)): the
    # private source would leave.
    yield flow(feature, Table.SNAT_CHECK, Priority.NORMAL, match(ct_state="+trk-rel+snat-inv"),
               (Goto(Table.GATEWAY_OUT),), "translated")  # fmt: skip
    yield flow(feature, Table.SNAT_CHECK, Priority.MISS, Match(), _LOST, "not translated")
    yield flow(feature, Table.NOT_TRANSLATED, Priority.MISS, Match(), (), "not-translated")
    # The userspace datapath keeps an echo's identifier and gives up where the tuple is
    # taken. Of a range it draws one address: of three ranges that share none, at least
    # one is free for the third machine with an identifier.
    before, size = Table.SNAT_CHECK, last - first + 1
    for count, table in enumerate(TRIES):
        low, high = first + size * count // len(TRIES), first + size * (count + 1) // len(TRIES) - 1
        if low <= high:
            for protocol in WITHOUT_PORTS:
                yield flow(feature, before, Priority.NORMAL,
                           match("ip", ip_proto=protocol, ct_state="+new+trk-rel-snat-inv"),
                           (Ct(table, ZONE, commit=True, nat=Nat(low, high), mark=True),),
                           "another shared address")  # fmt: skip
            before = table
        yield flow(feature, table, Priority.NORMAL, match(ct_state="+trk-rel+snat-inv"),
                   (Goto(Table.GATEWAY_OUT),), "translated")  # fmt: skip
        yield flow(feature, table, Priority.MISS, Match(), _LOST, "not translated")


def _known(of_shared: Nat) -> Iterator[Flow]:
    """Connections that conntrack knows: it translates by what they were given, whatever is asked for."""
    table = Table.SNAT_PORTS
    yield flow(feature, table, Priority.SPECIFIC, match(ct_state="+trk-rel+snat-inv"),
               (Goto(Table.GATEWAY_OUT),), "known connection")  # fmt: skip
    # The kernel translates an error, and what is not answered yet, only where it commits. An error is committed
    # as the connection it quotes, whose mark it must not change.
    again = (Ct(Table.SNAT_CHECK, ZONE, commit=True, nat=of_shared),)
    yield flow(feature, table, Priority.SPECIFIC, match("icmp", ct_state="+trk+rel-snat-inv"),
               again, "ICMP error about a known connection")  # fmt: skip
    yield flow(feature, table, Priority.DROP, match(ct_state="+new+trk-rel", ct_mark=0), (), "no-network")
    yield flow(feature, table, Priority.REST, match("ip", ct_state="+new+trk-rel-snat-inv"),
               again, "known and not answered yet")  # fmt: skip
    yield flow(feature, table, Priority.MISS, Match(), (Goto(Table.SNAT_CHECK),), "no connection")


def flows(network: Network, site: PipelineContext) -> Iterator[Flow]:
    """New connections by the network's block, within its rate; what found no free port is counted.

    A connection that was committed has the network's key as its mark: one
    without a mark is new, also where the first packets are never answered.

    For an ICMP echo the kernel takes the ports as identifiers.

    Conntrack relates an ICMP error to whatever connection it quotes, whoever
    sent it. All networks share one zone, so errors leave only where they are
    about a connection of the network itself: its key is the connection's mark.
    (`ct_nw_src` would do, but the kernel datapath does not give it for errors.)
    """
    key, block = network.key, network.block
    address = ip_to_int(block.address)
    yield flow(feature, Table.SNAT_PORTS, Priority.NORMAL,
               match("ip", metadata=key, ct_state="+new+trk-rel", ct_mark=0),
               (Meter(meter(MeterClass.NETWORK_CONNECTIONS, key)), Ct(Table.SNAT_CHECK, ZONE, commit=True, mark=True,
                   nat=Nat(address, address, (block.first, block.last))),),
               f"as {block}", key)  # fmt: skip
    yield flow(feature, Table.SNAT_CHECK, Priority.SPECIFIC,
               match("icmp", metadata=key, ct_state="+trk+rel+snat-inv", ct_mark=key),
               (Goto(Table.GATEWAY_OUT),), "ICMP error about a connection of the network", key)  # fmt: skip
    yield flow(feature, Table.NOT_TRANSLATED, Priority.DROP, match(metadata=key), (), "not-translated", key)
