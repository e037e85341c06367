"""Packets that the peers and the legs of interconnects send; see `tracer`."""

from __future__ import annotations

import examples

from state.interconnect import INTERCONNECT_MAC, Interconnect, leg_port


def come(one: Interconnect, source: str, destination: str, *, kind: str = "udp", ttl: int = 64, more: str = "",
         mac: str = INTERCONNECT_MAC) -> str:  # fmt: skip
    """A packet from the peer of an interconnect."""
    port = examples.SITE.ports[one.port]
    tag = f",dl_vlan={one.vlan}" if one.vlan else ""
    more = f",{more}" if more else ""
    addresses = f"nw_src={source},nw_dst={destination},nw_ttl={ttl}"
    return f"in_port={port}{tag},dl_src=02:00:00:00:cc:99,dl_dst={mac},{kind},{addresses}{more}"


def from_leg(one: Interconnect, kind: str, source: str) -> str:
    """A packet from the leg."""
    port = examples.SITE.ports[leg_port(one.number)]
    return f"in_port={port},dl_src={INTERCONNECT_MAC},dl_dst=02:00:00:00:cc:99,{kind},{source}"
