"""Runs one worker per VPN gateway."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from daemons import workers
from state.vpn import inside_port, outside_port
from vpn import metrics, namespace
from vpn.desired_state import DesiredGateways, VpnGatewayConfig
from vpn.peer_addresses import PeerAddresses
from vpn.worker import GatewayContext, GatewayWorker

log = logging.getLogger("sluice.vpn")


class GatewayWorkers(workers.Workers[DesiredGateways, VpnGatewayConfig]):
    """Keeps gateways, by the keys of their networks, as last `set`; before the first time nothing is touched."""

    def __init__(self, around: GatewayContext, peers: PeerAddresses) -> None:
        self._around, self._peers = around, peers
        super().__init__("gateways", log, metrics.RUNNING.set, metrics.FAULTS.inc)

    def prepare(self, desired: DesiredGateways) -> Mapping[int, VpnGatewayConfig]:
        """Have rows and legs of these gateways only, and know their peers; they by network key."""
        sites = {site.key: site for site in desired.sites}
        metrics.WANTED.set(len(sites))
        self._peers.set(desired.names, desired.upstream)
        objects = [f"vpnGateways/{site.gateway.name}" for site in desired.sites]
        objects += [f"vpnConnections/{one.name}" for site in desired.sites for one in site.gateway.connections]
        self._around.report.only(objects, desired.names)
        self._around.legs.set(leg for key in sites for leg in (inside_port(key), outside_port(key)))
        return sites

    def worker(self, number: int) -> GatewayWorker:
        """Who keeps the gateway of the network of that key."""
        return GatewayWorker(number, self._around)

    def left(self) -> set[int]:
        """Keys of the networks whose gateways left a namespace or files."""
        files = {int(path.name) for path in self._around.directory.glob("*") if path.name.isdecimal()}
        return files | set(namespace.present())
