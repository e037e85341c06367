"""Finds objects whose flows are installed but whose port has no link, or is missing.

A port keeps its number, and hence its flows, when its device goes down or is
deleted; nothing passes through it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from controller.pipeline.context import PipelineContext
from state.interconnect import Interconnect, leg_port
from state.model import Network
from state.vpn import inside_port, outside_port


def degraded(network: Network | None, site: PipelineContext, down: Collection[str]) -> dict[str, str]:
    """Names as in `NetworkStatus.machines` to the reason, where the ports in `down` have no link."""
    if not down:
        return {}
    if network is None:
        return dict(_interconnects(site.peerings, down))
    return {
        **{m.name: _reason(m.attachment.port) for m in network.machines if m.attachment.port in down},
        **_drives(network, site, down),
        **_gateway(network, down),
        **dict(_interconnects(network.interconnects, down)),
    }


def own_ports(site: PipelineContext, down: Collection[str]) -> dict[str, str]:
    """`ports/NAME` of the appliance's own ports to what is wrong with them."""
    found = {}
    for port in site.appliance.own_ports:
        if port not in site.ports:
            found[f"ports/{port}"] = f"port {port} is not on the bridge"
        elif port in down:
            found[f"ports/{port}"] = _reason(port)
    return found


def _reason(port: str) -> str:
    return f"port {port} has no link: its device is down, its other end is, or it was deleted"


def _drives(network: Network, site: PipelineContext, down: Collection[str]) -> Mapping[str, str]:
    storage = site.appliance.storage
    if storage is None or storage.port not in down:
        return {}
    return {f"drives/{drive.name}": _reason(storage.port) for drive in network.drives}


def _gateway(network: Network, down: Collection[str]) -> Mapping[str, str]:
    legs = [port for port in (inside_port(network.key), outside_port(network.key)) if port in down]
    return {f"vpnGateways/{network.vpn.name}": _reason(legs[0])} if network.vpn is not None and legs else {}


def _interconnects(interconnects: Collection[Interconnect], down: Collection[str]) -> Iterator[tuple[str, str]]:
    for one in interconnects:
        cut = [port for port in (one.port, leg_port(one.number)) if port in down]
        if cut:
            yield f"interconnects/{one.name}", _reason(cut[0])
