"""SNAT: each network leaves by its own port block of a shared public address.

The block is deterministic (RFC 7422), so address and port name the network. What has
no ports (ICMP echo, GRE) takes any shared address that is free for the tuple.
"""

from __future__ import annotations

from collections.abc import Iterator

from controller.features import flow
from controller.flow import Ct, Flow, Goto, Nat
from controller.match import Match, ip_to_int, match
from controller.pipeline import ZONE, Feature, Priority, Table
from controller.site import Site
from state.model import Network
from state.public import largest_public_range

feature = Feature.SNAT
TRIES = (Table.SNAT_TRY_2, Table.SNAT_TRY_3, Table.SNAT_TRY_4)
tables = frozenset({Table.SNAT, Table.SNAT_PORTS, Table.SNAT_CHECK, *TRIES})


def shared(site: Site) -> Iterator[Flow]:
    """Everything without ports, and the check that nothing leaves untranslated."""
    first, last = map(ip_to_int, largest_public_range(site.appliance))
    yield flow(feature, Table.SNAT, Priority.DEFAULT, match("ip"),
               (Ct(Table.SNAT_CHECK, ZONE, commit=True, nat=Nat(first, last), mark=True),),
               "shared address for what has no ports")  # fmt: skip
    # An ICMP error is committed as the connection it quotes, whose mark it must not change.
    yield flow(feature, Table.SNAT, Priority.NORMAL, match("icmp"),
               (Ct(Table.SNAT_CHECK, ZONE, commit=True, nat=Nat(first, last)),),
               "shared address of what may be an ICMP error")  # fmt: skip
    yield flow(feature, Table.SNAT, Priority.SPECIFIC, match("icmp", icmp_type=8),
               (Ct(Table.SNAT_CHECK, ZONE, commit=True, nat=Nat(first, last), mark=True),),
               "shared address of an echo request")  # fmt: skip
    for kind in ("tcp", "udp"):
        yield flow(feature, Table.SNAT, Priority.NORMAL, match(kind), (Goto(Table.SNAT_PORTS),), "has ports")
    yield flow(feature, Table.SNAT, Priority.MISS, Match(), (), "not-ip")
    yield flow(feature, Table.SNAT_PORTS, Priority.MISS, Match(), (), "no-network")
    # When no port is free OVS passes the packet on as it is (ovs-actions(7)): the
    # private source would leave.
    yield flow(feature, Table.SNAT_CHECK, Priority.NORMAL, match(ct_state="+trk-rel+snat-inv"),
               (Goto(Table.GATEWAY_OUT),), "translated")  # fmt: skip
    yield flow(feature, Table.SNAT_CHECK, Priority.MISS, Match(), (), "not-translated")
    # The userspace datapath keeps an echo's identifier, draws one address of the range
    # and gives up where that one is taken. Of three ranges that share no address at
    # least one is free for the third machine with an identifier.
    before, size = Table.SNAT_CHECK, last - first + 1
    for count, table in enumerate(TRIES):
        low, high = first + size * count // len(TRIES), first + size * (count + 1) // len(TRIES) - 1
        if low <= high:
            yield flow(feature, before, Priority.NORMAL, match("icmp", ct_state="+new+trk-rel-snat-inv"),
                       (Ct(table, ZONE, commit=True, nat=Nat(low, high), mark=True),),
                       "another shared address")  # fmt: skip
            before = table
        yield flow(feature, table, Priority.NORMAL, match(ct_state="+trk-rel+snat-inv"),
                   (Goto(Table.GATEWAY_OUT),), "translated")  # fmt: skip
        yield flow(feature, table, Priority.MISS, Match(), (), "not-translated")


def flows(network: Network, site: Site) -> Iterator[Flow]:
    """TCP and UDP by the network's block; what found no free port is counted.

    Conntrack relates an ICMP error to whatever connection it quotes, whoever
    sent it. All networks share one zone, so errors leave only where they are
    about a connection of the network itself: its key is the connection's mark.
    (`ct_nw_src` would do, but the kernel datapath does not give it for errors.)
    """
    key, block = network.key, network.block
    address = ip_to_int(block.address)
    yield flow(feature, Table.SNAT_PORTS, Priority.NORMAL, match("ip", metadata=key),
               (Ct(Table.SNAT_CHECK, ZONE, commit=True, mark=True,
                   nat=Nat(address, address, (block.first, block.last))),),
               f"as {block}", key)  # fmt: skip
    yield flow(feature, Table.SNAT_CHECK, Priority.SPECIFIC,
               match("icmp", metadata=key, ct_state="+trk+rel+snat-inv", ct_mark=key),
               (Goto(Table.GATEWAY_OUT),), "ICMP error about a connection of the network", key)  # fmt: skip
    yield flow(feature, Table.SNAT_CHECK, Priority.DROP, match(metadata=key), (), "not-translated", key)
