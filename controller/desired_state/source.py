"""Reads desired state for the controller, and writes observed state back.

Changes arrive on the thread of the database client; each is turned into new
immutable values, put where lookups find them, and reported with the names of
what changed.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from controller.desired_state import interconnects, vpn
from controller.reconcile.work_queue import Progress
from state import rows
from state.additional import AdditionalAddress
from state.interconnect import Interconnect
from state.model import Appliance, Drive, Machine, Network, NetworkStatus
from state.ovsdb import Operation, OvsdbClient, Row, RowChange

log = logging.getLogger("sluice.source")

_TABLES = (
    {
        name: rows.COLUMNS[name]
        for name in ("Appliance", "Network", "Machine", "Additional_Address", "Drive", "Network_Status", "Neighbor")
    }
    | {"Revision": ("desired",)}
    | {**vpn.TABLES, **interconnects.TABLES}
)


@dataclass(frozen=True, slots=True)
class DesiredStateChange:
    """What changed at once: networks by key (None: gone), and which shared settings.

    `neighbors` are the addresses whose MAC became known, another or unknown;
    `peerings`: there are others, or other routes of them.

    `reset`: everything was read anew, after a connection was made. `revision`
    is that of desired state with all of this.
    """

    networks: Mapping[int, Network | None]
    appliance: bool = False
    neighbors: frozenset[str] = frozenset()
    reset: bool = False
    peerings: bool = False
    revision: int = 0


def _ignore(changed: DesiredStateChange) -> None:
    pass


class DesiredStateSource:
    """The desired state of one database; empty until `watch`."""

    def __init__(self, path: str) -> None:
        self._on_change: Callable[[DesiredStateChange], None] = _ignore
        self._networks: dict[int, Network] = {}
        self._names: dict[str, int] = {}
        self._rows: dict[str, Row] = {}
        self._machines: dict[str, dict[str, Machine]] = defaultdict(dict)
        self._drives: dict[str, dict[str, Drive]] = defaultdict(dict)
        self._additional: dict[str, dict[str, AdditionalAddress]] = defaultdict(dict)
        self._drive_owners: dict[str, int] = {}
        self._vpn = vpn.VpnRows()
        self._interconnects = interconnects.InterconnectRows()
        self._peerings: tuple[Interconnect, ...] = ()
        self._owners: dict[str, str] = {}
        self._keys: dict[str, int] = {}
        self._appliances: dict[str, Appliance] = {}
        self._neighbors: dict[str, tuple[str, str]] = {}
        self._statuses: dict[str, tuple[str, NetworkStatus]] = {}
        self._revision = 0
        self.client = OvsdbClient(path)

    def watch(self, on_change: Callable[[DesiredStateChange], None]) -> None:
        """Read the state, and report all of it and then every change.

        `on_change` is called on the thread of the database client and must
        not call back into the database.
        """
        self._on_change = on_change
        self.client.monitor(_TABLES, self._handle)

    def close(self) -> None:
        """End the connection."""
        self.client.close()

    def wait_loaded(self, timeout: float) -> None:
        """Wait until the state has been read once. Raises Unavailable."""
        self.client.wait_connected(timeout)

    @property
    def connected(self) -> bool:
        """Whether the database answers now."""
        return self.client.connected.is_set()

    @property
    def appliance(self) -> Appliance | None:
        """The appliance's settings, None until its agent has written them."""
        return next(iter(self._appliances.values()), None)

    @property
    def neighbors(self) -> Mapping[str, str]:
        """MAC by address of the next hop and the drives known."""
        return dict(self._neighbors.values())

    @property
    def drives(self) -> Mapping[str, int]:
        """Key of the owning network by address of a drive."""
        return dict(self._drive_owners)

    def network(self, key: int) -> Network | None:
        """The network of that key."""
        return self._networks.get(key)

    @property
    def peerings(self) -> tuple[Interconnect, ...]:
        """The interconnects that belong to no network, in order of name."""
        return self._peerings

    def networks(self) -> list[Network]:
        """All networks."""
        return list(self._networks.values())

    def write_statuses(self, statuses: Mapping[str, NetworkStatus | None], progress: Progress | None = None) -> None:
        """Write what changed of the statuses of these networks (None: gone), and the progress, in one transaction.

        Not durable: after a crash the controller finds the state again by
        looking at the switch. Raises DatabaseError.
        """
        operations: list[Operation] = []
        for name, status in statuses.items():
            where = ["network", "==", name]
            known = self._statuses.get(name)
            if status is None:
                if known is not None:
                    operations.append({"op": "delete", "table": "Network_Status", "where": [where]})
            elif known is None:
                operations.append({"op": "insert", "table": "Network_Status", "row": rows.status_row(name, status)})
            elif known[1] != status:
                row = rows.status_row(name, status)
                del row["network"]
                operations.append({"op": "update", "table": "Network_Status", "where": [where], "row": row})
        if progress is not None:
            row = {"realized": progress.revision, "pending": progress.pending}
            # The agent makes the row, with its first command.
            operations.append({"op": "update", "table": "Revision", "where": [], "row": row})
        if operations:
            self.client.transact(operations, durable=False)

    def forgotten_statuses(self) -> list[str]:
        """Names in the status table of networks that do not exist any more; peerings have none."""
        return [name for name in list(self._statuses) if name and name not in self._names]

    def has_network(self, name: str) -> bool:
        """Whether a network of that name exists."""
        return name in self._names

    def write_neighbor(self, address: str, mac: str) -> None:
        """Remember the MAC of a next hop or drive. Raises DatabaseError."""
        known = dict(self._neighbors.values())
        if known.get(address) == mac:
            return
        operation: Operation = {"op": "insert", "table": "Neighbor", "row": {"address": address, "mac": mac}}
        if address in known:
            where = [["address", "==", address]]
            operation = {"op": "update", "table": "Neighbor", "where": where, "row": {"mac": mac}}
        self.client.transact([operation], durable=False)

    def forget_neighbors(self, addresses: Collection[str]) -> None:
        """Remember no MAC of these any more. Raises DatabaseError."""
        operations: list[Operation] = [
            {"op": "delete", "table": "Neighbor", "where": [["address", "==", address]]} for address in addresses
        ]
        self.client.transact(operations, durable=False)

    def _handle(self, changes: Sequence[RowChange], reset: bool) -> None:
        touched: dict[str, None] = {}
        appliance = False
        revision = self._revision
        neighbors: set[str] = set()
        for change in changes:
            match change.table:
                case "Network":
                    touched[change.uuid] = None
                    if change.new is None:
                        self._rows.pop(change.uuid, None)
                    else:
                        self._rows[change.uuid] = change.new
                case "Machine" | "Drive" | "Additional_Address":
                    owner = self._member_changed(change)
                    if owner is not None:
                        touched[owner] = None
                case "Vpn_Gateway" | "Vpn_Connection" | "Vpn_Peer":
                    self._vpn.take(change)
                case "Interconnect" | "Interconnect_Status" | "Interconnect_Routes":
                    self._interconnects.take(change)
                case "Network_Status":
                    self._status_changed(change)
                case "Revision":
                    self._revision = 0 if change.new is None else change.new["desired"]
                case "Appliance":
                    appliance = True
                    self._appliance_changed(change)
                case _:
                    neighbors |= self._neighbor_changed(change)
        owners = self._interconnects.touched()
        touched |= dict.fromkeys((*self._vpn.touched(), *filter(None, owners)))
        networks = self._rebuilt(touched)
        peerings = None in owners
        if peerings:
            self._peerings = self._interconnects.of(None)
        if networks or appliance or neighbors or reset or peerings or self._revision != revision:
            if reset:
                log.info("desired state read", extra={"networks": len(self._networks)})
            self._on_change(
                DesiredStateChange(networks, appliance, frozenset(neighbors), reset, peerings, self._revision)
            )

    def _member_changed(self, change: RowChange) -> str | None:
        """A machine, drive or additional address of a network: the network's row."""
        before = self._owners.pop(change.uuid, None)
        if change.new is None:
            if before is not None:
                self._machines[before].pop(change.uuid, None)
                self._drives[before].pop(change.uuid, None)
                self._additional[before].pop(change.uuid, None)
            return before
        owner: str = change.new["network"][1]
        self._owners[change.uuid] = owner
        if change.table == "Machine":
            self._machines[owner][change.uuid] = rows.machine(change.new)
        elif change.table == "Drive":
            self._drives[owner][change.uuid] = rows.drive(change.new)
        else:
            self._additional[owner][change.uuid] = rows.additional_address(change.new)
        return owner

    def _status_changed(self, change: RowChange) -> None:
        if change.old is not None:
            known = self._statuses.get(change.old["network"])
            # The row may be replaced by another of the same name in the same update.
            if known is not None and known[0] == change.uuid:
                del self._statuses[change.old["network"]]
        if change.new is not None:
            self._statuses[change.new["network"]] = (change.uuid, rows.status(change.new))

    def _appliance_changed(self, change: RowChange) -> None:
        if change.new is None:
            self._appliances.pop(change.uuid, None)
        else:
            self._appliances[change.uuid] = rows.appliance(change.new)

    def _neighbor_changed(self, change: RowChange) -> set[str]:
        before = self._neighbors.pop(change.uuid, None)
        if change.new is not None:
            self._neighbors[change.uuid] = (change.new["address"], change.new["mac"])
        return {address for address, _ in filter(None, (before, self._neighbors.get(change.uuid)))}

    def _rebuilt(self, touched: Mapping[str, None]) -> dict[int, Network | None]:
        found: dict[int, Network | None] = {}
        for uuid in touched:
            if uuid not in self._rows and uuid in self._keys:
                key = self._keys.pop(uuid)
                self._machines.pop(uuid, None)
                self._drives.pop(uuid, None)
                self._additional.pop(uuid, None)
                if found.get(key) is None:
                    found[key] = None
        for uuid in touched:
            row = self._rows.get(uuid)
            if row is None:
                continue
            members = self._machines[uuid].values(), self._drives[uuid].values()
            routed = self._vpn.of(uuid), self._interconnects.of(uuid)
            network = rows.network(row, *members, *routed, self._additional[uuid].values())
            self._keys[uuid] = network.key
            if self._networks.get(network.key) != network:
                found[network.key] = network
            else:
                found.pop(network.key, None)
        for key in found:
            before = self._networks.pop(key, None)
            if before is not None and self._names.get(before.name) == key:
                del self._names[before.name]
            for drive in before.drives if before is not None else ():
                self._drive_owners.pop(drive.address, None)
        for key, value in found.items():
            if value is not None:
                self._networks[key] = value
                self._names[value.name] = key
                self._drive_owners |= {drive.address: key for drive in value.drives}
        return found
