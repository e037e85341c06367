"""Networks with VPN gateways, and the packets their legs, peers and drives send; see `tracer`."""

from __future__ import annotations

import examples
from tracer import GATEWAY_MAC, ROUTER_MAC, Verdict

from controller.pipeline.match import mac_to_int
from state.model import Network
from state.storage import client_address
from state.vpn import INSIDE_MAC, OUTSIDE_MAC, inside_port, outside_port

BRANCH, BUREAU, DEPOT = examples.VPN_NETWORKS
GATEWAYS = {network.key: network.vpn for network in examples.VPN_NETWORKS if network.vpn is not None}
HQ, PLANT, PLANT_AGAIN = "198.51.100.20", "198.51.100.30", "198.51.100.31"
"""The branch's peers; those of the bureau may be anybody."""
STRANGER = "198.51.100.99"
OFFICE = "192.168.4.4"
REMOTE = {BRANCH.key: (OFFICE, "10.77.1.1", "172.20.0.9"), BUREAU.key: (OFFICE,)}
"""Addresses beyond the tunnels of each."""
STORAGE = examples.APPLIANCE.storage
assert STORAGE is not None
ARCHIVE = BRANCH.drives[0]
CLIENT = client_address(STORAGE, GATEWAYS[BRANCH.key].number)
"""The address the branch's gateway has on the storage network."""
IPSEC = [("udp", 500), ("udp", 4500), ("ip,nw_proto=50", None), ("udp,nw_frag=later", None)]
"""What a gateway and its peer exchange: kind, and the gateway's port."""


def from_inside(network: Network, destination: str, source: str = OFFICE, *, kind: str = "tcp", more: str = "",
                mac: str = ROUTER_MAC) -> str:  # fmt: skip
    """A packet from the inside leg: one that came out of a tunnel, where nothing else is said."""
    port = examples.SITE.ports[inside_port(network.key)]
    more = f",{more}" if more else ""
    return (
        f"in_port={port},dl_src={INSIDE_MAC},dl_dst={mac},{kind},nw_src={source},nw_dst={destination},nw_ttl=63{more}"
    )


def from_outside(network: Network, destination: str, source: str = "", *, kind: str = "udp", more: str = "") -> str:
    """A packet from the outside leg."""
    port = examples.SITE.ports[outside_port(network.key)]
    source = source or GATEWAYS[network.key].address
    more = f",{more}" if more else ""
    addresses = f"nw_src={source},nw_dst={destination}"
    return f"in_port={port},dl_src={OUTSIDE_MAC},dl_dst={GATEWAY_MAC},{kind},{addresses},nw_ttl=64{more}"


def fields(verdict: Verdict, *names: str) -> tuple[str, ...]:
    return tuple(verdict.final_flow[name] for name in names)


def macs(verdict: Verdict) -> tuple[int, int]:
    """Source and destination, in whichever way they are written."""
    source, destination = fields(verdict, "dl_src", "dl_dst")
    return mac_to_int(source), mac_to_int(destination)


def written(source: str, destination: str) -> tuple[int, int]:
    return mac_to_int(source), mac_to_int(destination)


def refused(verdict: Verdict, why: str, network: Network) -> bool:
    return (verdict.output, verdict.controller, verdict.dropped, verdict.dropped_by) == ((), (), why, network.key)


def from_drive(destination: str, *, kind: str = "tcp", more: str = "") -> str:
    """A packet of the branch's drive."""
    assert STORAGE is not None
    port, mac = examples.SITE.ports["storage"], examples.SITE.neighbors[ARCHIVE.address]
    more = f",{more}" if more else ""
    addresses = f"nw_src={ARCHIVE.address},nw_dst={destination}"
    return f"in_port={port},dl_src={mac},dl_dst={STORAGE.mac},{kind},{addresses},nw_ttl=64{more}"
