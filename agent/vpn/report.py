"""What the daemon tells: status rows of gateways and connections, and the addresses of peers.

Written by a thread of its own, not durably: after a crash all of it is found again by looking.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection, Iterable, Mapping

from agent.vpn import metrics
from state import vpn_rows
from state.ovsdb import Client, DatabaseError, Operation
from state.vpn import TunnelState
from state.vpn_rows import VpnStatus

log = logging.getLogger("sluice.vpn")

RETRY_SECONDS = 1.0


class Report:
    """Keeps the tables `Vpn_Status` and `Vpn_Peer` as last told; `statuses` and `peers` read what is in them."""

    def __init__(
        self,
        client: Client,
        statuses: Callable[[], Mapping[str, VpnStatus]],
        peers: Callable[[], Mapping[str, tuple[str, ...]]],
    ) -> None:
        self._client, self._in_database, self._peers_in_database = client, statuses, peers
        self._statuses: dict[str, VpnStatus] = {}
        self._peers: dict[str, tuple[str, ...]] = {}
        self._objects: frozenset[str] | None = None
        self._names: frozenset[str] | None = None
        self._lock = threading.Lock()
        self._changed = threading.Event()
        self._stop = False
        self._thread = threading.Thread(target=self._run, name="report", daemon=True)

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def stop(self) -> None:
        """Write what is left to write, and end."""
        self._stop = True
        self._changed.set()
        self._thread.join()

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

    def _run(self) -> None:
        last = False
        while not last:
            last = self._stop
            # Also without a change: the database may be back, or be another.
            self._changed.wait(0 if last else RETRY_SECONDS)
            self._changed.clear()
            try:
                self._write()
            except DatabaseError as error:
                log.warning("status not written", extra={"error": str(error)})
            except Exception:
                metrics.FAULTS.inc()
                log.exception("writing status failed")

    def _write(self) -> None:
        if not self._client.connected.is_set():
            return
        with self._lock:
            statuses, peers, objects, names = dict(self._statuses), dict(self._peers), self._objects, self._names
        states = [told.tunnel.state for told in statuses.values() if told.tunnel is not None]
        for state in TunnelState:
            metrics.TUNNELS.labels(state.value).set(states.count(state))
        operations: list[Operation] = []
        known = self._in_database()
        for name, status in statuses.items():
            if known.get(name) != status and (objects is None or name in objects):
                operations += _put("Vpn_Status", "object", name, vpn_rows.status_row(status), name in known)
        known_peers = self._peers_in_database()
        for name, addresses in peers.items():
            if known_peers.get(name) != addresses and (names is None or name in names):
                operations += _put("Vpn_Peer", "name", name, vpn_rows.peer_row(name, addresses), name in known_peers)
        if objects is not None and names is not None:
            operations += [_delete("Vpn_Status", "object", name) for name in known if name not in objects]
            operations += [_delete("Vpn_Peer", "name", name) for name in known_peers if name not in names]
        if operations:
            self._client.transact(operations, durable=False)


def _put(table: str, column: str, name: str, row: dict[str, object], there: bool) -> list[Operation]:
    if not there:
        return [{"op": "insert", "table": table, "row": row}]
    changed = {key: value for key, value in row.items() if key != column}
    return [{"op": "update", "table": table, "where": [[column, "==", name]], "row": changed}]


def _delete(table: str, column: str, name: str) -> Operation:
    return {"op": "delete", "table": table, "where": [[column, "==", name]]}
