"""VPN gateways and connections in the cache, with the VPN daemon's status."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from sortedcontainers import SortedDict

from agent.cache.records import (
    NetworkRecord,
    View,
    VpnConnectionRecord,
    VpnConnectionView,
    VpnGatewayRecord,
    VpnGatewayView,
    connection_status,
    gateway_status,
)
from agent.ipam.appliance_pools import Pools
from state import vpn_rows
from state.ovsdb import Row, RowChange
from state.vpn import Tunnel
from state.vpn_rows import VpnStatus

ByTable = Mapping[str, Sequence[RowChange]]


class VpnCache:
    """A part of `DesiredStateCache`, under its lock: the VPN gateways and connections of one database.

    `listener` is that of the cache; `wake` lets those look again who wait
    for something of a network.
    """

    def __init__(
        self, pools: Pools, listener: Callable[[View | None, View | None], None], wake: Callable[[NetworkRecord], None]
    ) -> None:
        self.gateways: SortedDict[str, VpnGatewayRecord] = SortedDict()
        self.connections: SortedDict[str, VpnConnectionRecord] = SortedDict()
        self.by_address: dict[str, VpnGatewayRecord] = {}
        self._pools, self._listener, self._wake = pools, listener, wake
        self._gateways_by_uuid: dict[str, VpnGatewayRecord] = {}
        self._connections_by_uuid: dict[str, VpnConnectionRecord] = {}
        self._said: dict[str, VpnStatus] = {}

    def deleted(self, by_table: ByTable) -> None:
        """Forget what was deleted, connections before the gateways they are of."""
        for change in by_table.get("Vpn_Connection", ()):
            if change.new is None:
                self._connection_gone(change.uuid)
        for change in by_table.get("Vpn_Gateway", ()):
            if change.new is None:
                self._gateway_gone(change.uuid)

    def apply(self, by_table: ByTable, networks: Mapping[str, NetworkRecord]) -> None:
        """Take in rows that are there after an update, and statuses; `networks` are known by uuid."""
        # A row that says something anew may come with the end of the one before.
        for change in sorted(by_table.get("Vpn_Status", ()), key=lambda c: c.new is not None):
            self._status(change)
        for change in by_table.get("Vpn_Gateway", ()):
            if change.new is not None:
                self._gateway(change.uuid, change.new, networks)
        for change in by_table.get("Vpn_Connection", ()):
            if change.new is not None:
                self._connection(change.uuid, change.new)
        concerned = {record.uuid: record for record in map(self._of, by_table.get("Vpn_Status", ())) if record}
        for record in concerned.values():
            self.look(record.network)
            self._wake(record.network)

    def look(self, network: NetworkRecord) -> None:
        """Work out how clients see a network's gateway and its connections now, and tell of differences."""
        gateway = network.vpn
        if gateway is not None:
            self._look_at_gateway(gateway, gateway.view)
            for connection in gateway.connections.values():
                self._look_at_connection(connection, connection.view)

    def _status(self, change: RowChange) -> None:
        row = change.new or change.old
        assert row is not None
        if change.new is None:
            self._said.pop(row["object"], None)
        else:
            self._said[row["object"]] = vpn_rows.status(change.new)

    def _of(self, change: RowChange) -> VpnGatewayRecord | None:
        """The gateway that is concerned by a change of a status, if there is one."""
        row = change.new or change.old
        assert row is not None
        collection, _, name = row["object"].partition("/")
        if collection == "vpnGateways":
            return self.gateways.get(name)
        connection = self.connections.get(name)
        return None if connection is None else connection.gateway

    def _gateway(self, uuid: str, row: Row, networks: Mapping[str, NetworkRecord]) -> None:
        network = networks[row["network"][1]]
        value = vpn_rows.gateway(row)
        record = VpnGatewayRecord(uuid, value, network, network.network.revision)
        self._gateways_by_uuid[uuid] = self.gateways[value.name] = self.by_address[value.address] = record
        network.vpn = record
        self._pools.number.use(str(value.number))
        self._look_at_gateway(record, None)

    def _look_at_gateway(self, record: VpnGatewayRecord, before: VpnGatewayView | None) -> None:
        of = record.network.network
        status = gateway_status(record, self._said.get(f"vpnGateways/{record.gateway.name}"))
        record.view = VpnGatewayView(record.gateway, of.name, of.tenant, status)
        if record.view != before:
            self._listener(before, record.view)

    def _gateway_gone(self, uuid: str) -> None:
        record = self._gateways_by_uuid.pop(uuid)
        value = record.gateway
        del self.gateways[value.name], self.by_address[value.address]
        record.network.vpn = None
        record.gone = True
        self._pools.number.unuse(str(value.number))
        self._wake(record.network)
        self._listener(record.view, None)

    def _connection(self, uuid: str, row: Row) -> None:
        gateway = self._gateways_by_uuid[row["gateway"][1]]
        value = vpn_rows.connection(row)
        revision = gateway.network.network.revision
        record = self._connections_by_uuid.get(uuid)
        before = None
        if record is None:
            record = VpnConnectionRecord(uuid, value, gateway, revision)
            self._connections_by_uuid[uuid] = self.connections[value.name] = record
            gateway.connections[value.name] = record
        else:
            before = record.view
            record.connection, record.since = value, revision
        self._look_at_connection(record, before)

    def _look_at_connection(self, record: VpnConnectionRecord, before: VpnConnectionView | None) -> None:
        value, gateway = record.connection, record.gateway
        said = self._said.get(f"vpnConnections/{value.name}")
        status = connection_status(record, self._said.get(f"vpnGateways/{gateway.gateway.name}"), said)
        # Revisions grow from the time of creation on: what is below was said of an earlier one of this name.
        tunnel = None if said is None or said.revision < value.created_at else said.tunnel
        shown = replace(value, secret="", revision=0)
        record.view = VpnConnectionView(shown, gateway.gateway.name, gateway.network.network.tenant, status, tunnel)
        if before is None or _uncounted(record.view) != _uncounted(before):
            self._listener(before, record.view)

    def _connection_gone(self, uuid: str) -> None:
        record = self._connections_by_uuid.pop(uuid)
        name = record.connection.name
        del self.connections[name], record.gateway.connections[name]
        record.gone = True
        self._wake(record.gateway.network)
        self._listener(record.view, None)


def _uncounted(view: VpnConnectionView) -> VpnConnectionView:
    """The view without its counters, which alone are no change."""
    tunnel: Tunnel | None = view.tunnel
    if tunnel is None:
        return view
    return replace(view, tunnel=replace(tunnel, bytes_in=0, bytes_out=0, packets_in=0, packets_out=0))
