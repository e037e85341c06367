"""All gateways: a thread for each, made when it appears and taken away when it is gone."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from agent.host import driver
from agent.vpn import metrics, namespace
from agent.vpn.gateway import Gateway, Surroundings
from agent.vpn.peers import Peers
from agent.vpn.source import Desired, Site
from state.vpn import inside_port, outside_port

log = logging.getLogger("sluice.vpn")


class Driver(driver.Driver[Desired, Site]):
    """Keeps gateways, by the keys of their networks, as last `set`; before the first time nothing is touched."""

    def __init__(self, around: Surroundings, peers: Peers) -> None:
        self._around, self._peers = around, peers
        super().__init__("gateways", log, metrics.RUNNING.set, metrics.FAULTS.inc)

    def prepare(self, desired: Desired) -> Mapping[int, Site]:
        """Have rows and legs of these gateways only, and know their peers; they by network key."""
        sites = {site.key: site for site in desired.sites}
        metrics.WANTED.set(len(sites))
        self._peers.set(desired.names, desired.upstream)
        objects = [f"vpnGateways/{site.gateway.name}" for site in desired.sites]
        objects += [f"vpnConnections/{one.name}" for site in desired.sites for one in site.gateway.connections]
        self._around.report.only(objects, desired.names)
        self._around.legs.set(leg for key in sites for leg in (inside_port(key), outside_port(key)))
        return sites

    def keeper(self, number: int) -> Gateway:
        """Who keeps the gateway of the network of that key."""
        return Gateway(number, self._around)

    def left(self) -> set[int]:
        """Keys of the networks whose gateways left a namespace or files."""
        files = {int(path.name) for path in self._around.directory.glob("*") if path.name.isdecimal()}
        return files | set(namespace.present())
