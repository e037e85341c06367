"""Desired state of VPN gateways as the daemon reads it from the database."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from daemons.source import DaemonSource
from state import rows, vpn_rows
from state.addresses import is_address
from state.model import Appliance
from state.ovsdb import Row, RowChange
from state.storage import storage_prefix
from state.vpn import VpnConnection, VpnGateway
from state.vpn_rows import VpnStatus

log = logging.getLogger("sluice.vpn")

# Of networks only what gateways need: other changes of theirs, their revisions among them, are not sent.
TABLES = {
    name: rows.COLUMNS[name] for name in ("Appliance", "Vpn_Gateway", "Vpn_Connection", "Vpn_Status", "Vpn_Peer")
} | {"Network": ("name", "key", "prefix", "mtu")}


@dataclass(frozen=True, slots=True)
class VpnGatewayConfig:
    """A VPN gateway and what it needs to know of its network and the appliance.

    `mtu` is the network's in bytes, `router_mac` and `outside_mac` whom frames
    on its legs are for.
    """

    key: int
    gateway: VpnGateway
    network: str
    prefix: str
    router: str
    mtu: int
    router_mac: str
    outside_mac: str
    storage: str = ""

    def local_prefixes(self, connection: VpnConnection) -> tuple[str, ...]:
        """The prefixes of this side of a connection."""
        return connection.local_prefixes or tuple(filter(None, (self.prefix, self.storage)))


@dataclass(frozen=True, slots=True)
class DesiredGateways:
    """All gateways, the domain names of peers, and the resolvers for these (none: the host's)."""

    sites: tuple[VpnGatewayConfig, ...] = ()
    names: frozenset[str] = frozenset()
    upstream: tuple[str, ...] = ()


class GatewaySource(DaemonSource[DesiredGateways]):
    """VPN gateways of one database, and what was last reported of them; empty until `watch`."""

    tables = TABLES
    objects = "Vpn_Gateway"

    def statuses(self) -> Mapping[str, VpnStatus]:
        """What is in the status table, by object."""
        found = (vpn_rows.status(row) for row in list(self._rows["Vpn_Status"].values()))
        return {status.object: status for status in found}

    def peers(self) -> Mapping[str, tuple[str, ...]]:
        """What is in the table of peers: name → addresses."""
        return dict(vpn_rows.peer(row) for row in list(self._rows["Vpn_Peer"].values()))

    def _matters(self, change: RowChange) -> bool:
        return change.table != "Vpn_Status" and super()._matters(change)

    def _network_of(self, row: Row) -> str | None:
        return str(row["network"][1])

    def _desired(self, appliance: Appliance) -> DesiredGateways:
        known = self.peers()
        connections = defaultdict(list)
        for row in self._rows["Vpn_Connection"].values():
            connections[row["gateway"][1]].append(vpn_rows.connection(row, known))
        sites = []
        for uuid, row in self._rows["Vpn_Gateway"].items():
            network = self._rows["Network"].get(row["network"][1])
            if network is not None:
                sites.append(_site(network, vpn_rows.gateway(row, connections[uuid]), appliance))
        peers = {one.peer for site in sites for one in site.gateway.connections}
        names = frozenset(peer for peer in peers if peer and not is_address(peer))
        return DesiredGateways(tuple(sorted(sites, key=lambda site: site.key)), names, appliance.dns_upstream)


def _site(row: Row, gateway: VpnGateway, appliance: Appliance) -> VpnGatewayConfig:
    storage = appliance.storage
    return VpnGatewayConfig(
        key=row["key"],
        gateway=gateway,
        network=row["name"],
        prefix=row["prefix"],
        router=rows.router_of(row["prefix"]),
        mtu=row["mtu"],
        router_mac=appliance.router_mac,
        outside_mac=appliance.gateway.mac,
        storage=storage_prefix(storage) if storage else "",
    )
