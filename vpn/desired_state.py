"""Desired state of VPN gateways as the daemon reads it from the database."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from state import rows, vpn_rows
from state.addresses import is_address
from state.model import Appliance
from state.ovsdb import OvsdbClient, Row, RowChange
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


class GatewaySource:
    """Desired state of one database, and what was last reported there; empty until `watch`."""

    def __init__(self, client: OvsdbClient) -> None:
        self._client = client
        self._rows: dict[str, dict[str, Row]] = {table: {} for table in TABLES}
        self._on_change: Callable[[DesiredGateways], None] | None = None
        self._last: DesiredGateways | None = None
        self._networks: frozenset[str] = frozenset()

    def watch(self, on_change: Callable[[DesiredGateways], None]) -> None:
        """Read the state, and report all of it, then all of it again at every change.

        `on_change` is called on the thread of the database client and must not call back into the database.
        """
        self._on_change = on_change
        self._client.monitor(TABLES, self._handle)

    def statuses(self) -> Mapping[str, VpnStatus]:
        """What is in the status table, by object."""
        found = (vpn_rows.status(row) for row in list(self._rows["Vpn_Status"].values()))
        return {status.object: status for status in found}

    def peers(self) -> Mapping[str, tuple[str, ...]]:
        """What is in the table of peers: name → addresses."""
        return dict(vpn_rows.peer(row) for row in list(self._rows["Vpn_Peer"].values()))

    def _handle(self, changes: Sequence[RowChange], reset: bool) -> None:
        for change in changes:
            if change.new is None:
                self._rows[change.table].pop(change.uuid, None)
            else:
                self._rows[change.table][change.uuid] = change.new
        if any(change.table == "Vpn_Gateway" for change in changes):
            self._networks = frozenset(row["network"][1] for row in self._rows["Vpn_Gateway"].values())
        if self._on_change is None or not (reset or any(map(self._concerns_gateways, changes))):
            return
        desired = self._desired()
        if desired is not None and (reset or desired != self._last):
            self._last = desired
            self._on_change(desired)

    def _concerns_gateways(self, change: RowChange) -> bool:
        if change.table == "Network":
            return change.uuid in self._networks
        return change.table != "Vpn_Status"

    def _desired(self) -> DesiredGateways | None:
        """None until the agent has written the appliance's settings."""
        appliance = next(map(rows.appliance, self._rows["Appliance"].values()), None)
        if appliance is None:
            return None
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
