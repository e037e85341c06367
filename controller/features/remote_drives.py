"""Drives for senders in remote prefixes: all of them are one client on the storage network.

It has an address as machines have, which conntrack puts in place of those
beyond, in a zone of its own: prefixes of customers may be equal, and drives
know nobody else. Replies find their way back by it, ICMP errors with what they
quote, and fragments whole. Drives open no connections to there.
"""

from __future__ import annotations

from collections.abc import Iterator

from controller.features import flow, storage
from controller.pipeline.context import PipelineContext
from controller.pipeline.flow import Ct, Flow, Goto, Nat
from controller.pipeline.match import Match, ip_to_int, match
from controller.pipeline.registry import Feature, Priority, Table
from state import remote
from state.model import Network
from state.storage import client_address

TABLES = (Table.REMOTE_DRIVE_CHECK, Table.STORAGE_MACHINE, Table.REMOTE_DRIVE_REPLY)

_FEATURE = Feature.REMOTE


def shared() -> Iterator[Flow]:
    """What conntrack must have said of a packet before it goes on."""
    yield flow(_FEATURE, Table.REMOTE_DRIVE_CHECK, Priority.NORMAL, match(ct_state="+trk+snat-inv"),
               (Goto(Table.STORAGE_OUT),), "translated")  # fmt: skip
    yield flow(_FEATURE, Table.REMOTE_DRIVE_CHECK, Priority.MISS, Match(), (), "not-translated")
    for state in ("+trk+est+dnat-inv", "+trk+rel+dnat-inv"):
        yield flow(_FEATURE, Table.REMOTE_DRIVE_REPLY, Priority.NORMAL, match(ct_state=state),
                   (Goto(Table.REMOTE_ROUTE),), "reply or ICMP error of a known connection")  # fmt: skip
    yield flow(_FEATURE, Table.REMOTE_DRIVE_REPLY, Priority.MISS, Match(), (), "remote-unsolicited")


def flows(network: Network, site: PipelineContext) -> Iterator[Flow]:
    """One flow a drive that is there, and four when there are any; something is beyond the network."""
    drives = storage.reachable(network, site)
    settings, one = site.appliance.storage, remote.client(network)
    if settings is None or one is None or not drives:
        return
    key = network.key
    address = client_address(settings, one.number)
    nat = Nat(ip_to_int(address), ip_to_int(address))
    for drive, _ in drives:
        yield flow(_FEATURE, Table.REMOTE_MACHINE, Priority.NORMAL, match("ip", metadata=key, ip_dst=drive.address),
                   (Ct(Table.REMOTE_DRIVE_CHECK, one.zone, commit=True, nat=nat),),
                   f"to drive {drive.name} as {address}", key)  # fmt: skip
    back = (Ct(Table.REMOTE_DRIVE_REPLY, one.zone),)
    yield flow(_FEATURE, Table.STORAGE_MACHINE, Priority.NORMAL, match("ip", metadata=key, ip_dst=address),
               back, f"{address} is {one.name}", key)  # fmt: skip
    # Before the flows that hand ICMP errors to the controller: conntrack translates what they quote.
    yield flow(_FEATURE, Table.STORAGE_MACHINE, Priority.EXCEPTION,
               match("icmp", metadata=key, ip_dst=address, reg1=0),
               back, f"{address} is {one.name}: ICMP", key)  # fmt: skip
    for table, reason in ((Table.REMOTE_DRIVE_CHECK, "not-translated"),
                          (Table.REMOTE_DRIVE_REPLY, "remote-unsolicited")):  # fmt: skip
        yield flow(_FEATURE, table, Priority.DROP, match(metadata=key), (), reason, key)
