"""VPN gateways of desired state, from rows of three tables, by network.

Rows of one update come in any order, so that who is whose is looked up when all
of them are known. A change costs what its own gateways have, whatever others do.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from state import rows, vpn_rows
from state.ovsdb import Row, RowChange
from state.vpn import VpnGateway

TABLES: Mapping[str, tuple[str, ...]] = {
    "Vpn_Gateway": rows.COLUMNS["Vpn_Gateway"],
    # Flows need no secrets: they never come here.
    "Vpn_Connection": tuple(column for column in rows.COLUMNS["Vpn_Connection"] if column != "secret"),
    "Vpn_Peer": rows.COLUMNS["Vpn_Peer"],
}


class VpnRows:
    """Gateways by the row of their network; one thread."""

    def __init__(self) -> None:
        self._gateways: dict[str, Row] = {}
        self._of_network: dict[str, set[str]] = defaultdict(set)
        self._connections: dict[str, Row] = {}
        self._of_gateway: dict[str, set[str]] = defaultdict(set)
        self._of_peer: dict[str, set[str]] = defaultdict(set)
        self._peers: dict[str, tuple[str, tuple[str, ...]]] = {}
        self._known: dict[str, tuple[str, ...]] = {}
        self._row_of_peer: dict[str, str] = {}
        self._touched_gateways: set[str] = set()
        self._touched_peers: set[str] = set()
        self._touched: set[str] = set()

    def take(self, change: RowChange) -> None:
        """Take in a changed row of one of `TABLES`."""
        match change.table:
            case "Vpn_Gateway":
                self._gateway_changed(change)
            case "Vpn_Connection":
                self._connection_changed(change)
            case _:
                self._peer_changed(change)

    def touched(self) -> set[str]:
        """The rows of the networks concerned by what was taken in since the last call."""
        for peer in self._touched_peers:
            for connection in self._of_peer.get(peer, ()):
                self._touched_gateways.add(self._connections[connection]["gateway"][1])
        found = self._touched
        for uuid in self._touched_gateways:
            if uuid in self._gateways:
                found.add(self._gateways[uuid]["network"][1])
        self._touched, self._touched_gateways, self._touched_peers = set(), set(), set()
        return found

    def of(self, network: str) -> VpnGateway | None:
        """The gateway of the network with that row."""
        for uuid in self._of_network.get(network, ()):
            mine = (self._connections[connection] for connection in self._of_gateway.get(uuid, ()))
            return vpn_rows.gateway(self._gateways[uuid], [vpn_rows.connection(row, self._known) for row in mine])
        return None

    def _gateway_changed(self, change: RowChange) -> None:
        before = self._gateways.pop(change.uuid, None)
        if before is not None:
            _remove(self._of_network, before["network"][1], change.uuid)
            self._touched.add(before["network"][1])
        if change.new is not None:
            self._gateways[change.uuid] = change.new
            self._of_network[change.new["network"][1]].add(change.uuid)
            self._touched.add(change.new["network"][1])

    def _connection_changed(self, change: RowChange) -> None:
        before = self._connections.pop(change.uuid, None)
        if before is not None:
            _remove(self._of_gateway, before["gateway"][1], change.uuid)
            _remove(self._of_peer, before["peer"], change.uuid)
            self._touched_gateways.add(before["gateway"][1])
        if change.new is not None:
            self._connections[change.uuid] = change.new
            self._of_gateway[change.new["gateway"][1]].add(change.uuid)
            self._of_peer[change.new["peer"]].add(change.uuid)
            self._touched_gateways.add(change.new["gateway"][1])

    def _peer_changed(self, change: RowChange) -> None:
        before = self._peers.pop(change.uuid, None)
        if before is not None:
            self._touched_peers.add(before[0])
            # The name may be another row's by now.
            if self._row_of_peer.get(before[0]) == change.uuid:
                del self._known[before[0]], self._row_of_peer[before[0]]
        if change.new is not None:
            name, addresses = self._peers[change.uuid] = vpn_rows.peer(change.new)
            self._known[name], self._row_of_peer[name] = addresses, change.uuid
            self._touched_peers.add(name)


def _remove(index: dict[str, set[str]], key: str, uuid: str) -> None:
    index[key].discard(uuid)
    if not index[key]:
        del index[key]
