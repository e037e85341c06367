"""Drives beyond a tunnel's near end: who comes out of a tunnel is the VPN gateway to the network's drives.

On the storage network the gateway has an address as machines have, which
conntrack puts in place of those beyond the tunnel, in a zone of the gateway:
prefixes of customers may be equal, and drives know nobody else. Replies find
their way back by it, ICMP errors with what they quote, and fragments whole.
Drives open no connections to there.
"""

from __future__ import annotations

from collections.abc import Iterator

from controller.features import flow, storage
from controller.flow import Ct, Flow, Goto, Nat
from controller.match import Match, ip_to_int, match
from controller.pipeline import Feature, Priority, Table
from controller.site import Site
from state.model import Network
from state.storage import client_address
from state.vpn import VpnGateway

TABLES = (Table.VPN_DRIVE_CHECK, Table.STORAGE_MACHINE, Table.VPN_DRIVE_REPLY)

_FEATURE = Feature.VPN


def shared() -> Iterator[Flow]:
    """What conntrack must have said of a packet before it goes on."""
    yield flow(_FEATURE, Table.VPN_DRIVE_CHECK, Priority.NORMAL, match(ct_state="+trk+snat-inv"),
               (Goto(Table.STORAGE_OUT),), "translated")  # fmt: skip
    yield flow(_FEATURE, Table.VPN_DRIVE_CHECK, Priority.MISS, Match(), (), "not-translated")
    for state in ("+trk+est+dnat-inv", "+trk+rel+dnat-inv"):
        yield flow(_FEATURE, Table.VPN_DRIVE_REPLY, Priority.NORMAL, match(ct_state=state),
                   (Goto(Table.VPN_LEG),), "reply or ICMP error of a known connection")  # fmt: skip
    yield flow(_FEATURE, Table.VPN_DRIVE_REPLY, Priority.MISS, Match(), (), "vpn-unsolicited")


def flows(network: Network, gateway: VpnGateway, site: Site) -> Iterator[Flow]:
    """One flow a drive that is there, and four when there are any; the gateway's inside leg is on the bridge."""
    drives = storage.reachable(network, site)
    settings = site.appliance.storage
    if settings is None or not drives:
        return
    key = network.key
    client = client_address(settings, gateway.number)
    nat = Nat(ip_to_int(client), ip_to_int(client))
    for drive, _ in drives:
        yield flow(_FEATURE, Table.VPN_MACHINE, Priority.NORMAL, match("ip", metadata=key, ip_dst=drive.address),
                   (Ct(Table.VPN_DRIVE_CHECK, gateway.zone, commit=True, nat=nat),),
                   f"to drive {drive.name} as {client}", key)  # fmt: skip
    back = (Ct(Table.VPN_DRIVE_REPLY, gateway.zone),)
    yield flow(_FEATURE, Table.STORAGE_MACHINE, Priority.NORMAL, match("ip", metadata=key, ip_dst=client),
               back, f"{client} is {gateway.name}", key)  # fmt: skip
    # Before the flows that hand ICMP errors to the controller: conntrack translates what they quote.
    yield flow(_FEATURE, Table.STORAGE_MACHINE, Priority.EXCEPTION, match("icmp", metadata=key, ip_dst=client, reg1=0),
               back, f"{client} is {gateway.name}: ICMP", key)  # fmt: skip
    for table, reason in ((Table.VPN_DRIVE_CHECK, "not-translated"), (Table.VPN_DRIVE_REPLY, "vpn-unsolicited")):
        yield flow(_FEATURE, table, Priority.DROP, match(metadata=key), (), reason, key)
