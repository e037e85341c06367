"""Writes status rows of gateways and connections, and addresses of peers."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Mapping

from daemons import status_writer
from daemons.status_writer import delete, put
from state import vpn_rows
from state.ovsdb import Operation, OvsdbClient
from state.vpn import TunnelState
from state.vpn_rows import VpnStatus
from vpn import metrics

log = logging.getLogger("sluice.vpn")


class GatewayStatus(status_writer.StatusWriter):
    """Keeps the tables `Vpn_Status` and `Vpn_Peer` as last told; `statuses` and `peers` read what is in them."""

    def __init__(
        self,
        client: OvsdbClient,
        statuses: Callable[[], Mapping[str, VpnStatus]],
        peers: Callable[[], Mapping[str, tuple[str, ...]]],
    ) -> None:
        super().__init__(client, log, metrics.FAULTS.inc)
        self._in_database, self._peers_in_database = statuses, peers
        self._statuses: dict[str, VpnStatus] = {}
        self._peers: dict[str, tuple[str, ...]] = {}
        self._objects: frozenset[str] | None = None
        self._names: frozenset[str] | None = None

    def last(self, name: str) -> VpnStatus | None:
        """What was last told of an object, also by a daemon before this one."""
        with self._lock:
            told = self._statuses.get(name)
        return told or self._in_database().get(name)

    def tell(self, status: VpnStatus) -> None:
        """Have the row of an object say this."""
        with self._lock:
            self._statuses[status.object] = status
        self._changed.set()

    def tell_peer(self, name: str, addresses: tuple[str, ...]) -> None:
        """Have the row of a peer say that it has these addresses."""
        with self._lock:
            self._peers[name] = addresses
        self._changed.set()

    def only(self, objects: Iterable[str], names: Collection[str]) -> None:
        """Have no rows of other objects and peers."""
        with self._lock:
            self._objects, self._names = frozenset(objects), frozenset(names)
            self._statuses = {name: told for name, told in self._statuses.items() if name in self._objects}
            self._peers = {name: told for name, told in self._peers.items() if name in self._names}
        self._changed.set()

    def write(self) -> None:
        """Have the rows be as told. Raises DatabaseError."""
        with self._lock:
            statuses, peers, objects, names = dict(self._statuses), dict(self._peers), self._objects, self._names
        states = [told.tunnel.state for told in statuses.values() if told.tunnel is not None]
        for state in TunnelState:
            metrics.TUNNELS.labels(state.value).set(states.count(state))
        operations: list[Operation] = []
        known = self._in_database()
        for name, status in statuses.items():
            if known.get(name) != status and (objects is None or name in objects):
                row = vpn_rows.status_row(status)
                operations.append(put("Vpn_Status", {"object": name}, row, there=name in known))
        known_peers = self._peers_in_database()
        for name, addresses in peers.items():
            if known_peers.get(name) != addresses and (names is None or name in names):
                row = vpn_rows.peer_row(name, addresses)
                operations.append(put("Vpn_Peer", {"name": name}, row, there=name in known_peers))
        if objects is not None and names is not None:
            operations += [delete("Vpn_Status", {"object": name}) for name in known if name not in objects]
            operations += [delete("Vpn_Peer", {"name": name}) for name in known_peers if name not in names]
        if operations:
            self._client.transact(operations, durable=False)
