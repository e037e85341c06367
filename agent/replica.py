"""Desired state in memory, kept by the database's stream of row changes.

Everything here follows from rows alone, so a restarted agent, or a second
one, comes to the same answers. One lock guards it; what readers are given is
immutable. No call costs more as other tenants grow.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from sortedcontainers import SortedDict, SortedSet

from agent.allocation import Pool
from agent.history import History
from agent.pools import Pools
from agent.transit import TransitPool
from state import rows
from state.model import Attachment, Kind, Machine, Network, NetworkStatus, State
from state.ovsdb import Change, Row, atoms

MONITORED = {name: rows.COLUMNS[name] for name in rows.COLUMNS if name != "Neighbor"}


@dataclass(frozen=True, slots=True)
class ObjectStatus:
    """How far an object has come, and one sentence for a person."""

    state: State
    detail: str


@dataclass(frozen=True, slots=True)
class NetworkView:
    """A network as clients see it (its machines apart)."""

    network: Network
    status: ObjectStatus


@dataclass(frozen=True, slots=True)
class MachineView:
    """A machine as clients see it; `network` and `tenant` are names."""

    machine: Machine
    network: str
    tenant: str
    created_at: int
    status: ObjectStatus


KEEP_REQUESTS = 86_400_000
"""How long, in ms, a request id is remembered."""

View = NetworkView | MachineView

WAITING = ObjectStatus(State.PENDING, "stored; waiting for the controller to put its flows on the switch")
LIVE = ObjectStatus(State.LIVE, "")


@dataclass(slots=True, eq=False)
class MachineRecord:
    """A machine, its row, and the network revision it was last changed in."""

    uuid: str
    machine: Machine
    network: NetworkRecord
    created_at: int
    since: int
    gone: bool = False
    view: MachineView = field(init=False)


@dataclass(slots=True, eq=False)
class NetworkRecord:
    """A network, its row, and indexes of what is unique within it."""

    uuid: str
    network: Network
    view: NetworkView = field(init=False)
    status: NetworkStatus | None = None
    gone: bool = False
    machines: SortedDict[str, MachineRecord] = field(default_factory=SortedDict)
    macs: dict[str, str] = field(default_factory=dict)
    addresses: dict[str, str] = field(default_factory=dict)
    hostnames: dict[str, str] = field(default_factory=dict)
    attachments: dict[Attachment, set[str]] = field(default_factory=dict)
    pending: set[str] = field(default_factory=set)
    pool: Pool | None = None
    waiting: threading.Condition | None = None

    @property
    def created_at(self) -> int:
        """When it was created, in ms since the epoch."""
        return self.network.created_at


@dataclass(frozen=True, slots=True)
class RequestRecord:
    """A request that was answered, so that its repetition gets the same answer."""

    digest: str
    names: tuple[str, ...]
    created_at: int


Listener = Callable[[View | None, View | None], None]


class Replica:
    """The networks, machines, allocations and requests of one database.

    `listener(before, after)` is called under the lock for each network and
    machine that was created (before None), changed or deleted (after None). Rows of released port blocks expire
    `keep_blocks` ms after the release, those of other pools `keep_released`.
    """

    def __init__(self, pools: Pools, listener: Listener, *, keep_blocks: int, keep_released: int) -> None:
        self.lock = threading.RLock()
        self._keep, self._keep_others = {"port-block": keep_blocks}, keep_released
        self.pools = pools
        self.networks: SortedDict[str, NetworkRecord] = SortedDict()
        self.machines: SortedDict[str, MachineRecord] = SortedDict()
        self.tenants: dict[str, SortedDict[str, NetworkRecord]] = {}
        self.claims: dict[tuple[str, str], tuple[str, str]] = {}
        self.released: dict[str, dict[str, tuple[str, int]]] = {}
        self.requests: dict[str, RequestRecord] = {}
        self.expiring: SortedSet[tuple[int, str, str]] = SortedSet()
        self.history = History()
        self.appliance: tuple[str, Row] | None = None
        self._networks_by_uuid: dict[str, NetworkRecord] = {}
        self._machines_by_uuid: dict[str, MachineRecord] = {}
        self._statuses: dict[str, NetworkStatus] = {}
        self._listener = listener

    # Deleted rows first, so that a name or value that changed hands within one update is free when it is
    # taken again; networks before machines, since a machine's row refers to its network's.
    def apply(self, changes: Sequence[Change], _reset: bool = False) -> None:
        """Take in the changes of one update of the database."""
        by_table: dict[str, list[Change]] = {}
        for change in changes:
            if change.old != change.new:
                by_table.setdefault(change.table, []).append(change)
        with self.lock:
            touched: dict[str, NetworkRecord] = {}
            for change in by_table.get("Machine", ()):
                if change.new is None:
                    self._machine_gone(change.uuid)
                elif change.old is not None:
                    self._unindex(self._machines_by_uuid[change.uuid])
            for change in by_table.get("Network", ()):
                if change.new is None:
                    self._network_gone(change.uuid)
            for change in sorted(by_table.get("Network_Status", ()), key=lambda c: c.new is not None):
                self._status(change, touched)
            for change in by_table.get("Network", ()):
                if change.new is not None:
                    record = self._network(change.uuid, change.new)
                    touched[record.network.name] = record
            for change in by_table.get("Machine", ()):
                if change.new is not None:
                    self._machine(change.uuid, change.new)
            for change in sorted(by_table.get("Allocation", ()), key=lambda c: c.new is not None):
                self._allocation(change)
            for change in by_table.get("Request", ()):
                self._request(change)
            for change in by_table.get("Appliance", ()):
                self.appliance = None if change.new is None else (change.uuid, change.new)
            for record in touched.values():
                if not record.gone:
                    self._refresh(record)

    def _network(self, uuid: str, row: Row) -> NetworkRecord:
        record = self._networks_by_uuid.get(uuid)
        value = rows.network(row)
        if record is not None:
            self._tenant_index(record, add=False)
            record.network = value
            self._tenant_index(record, add=True)
            return record
        record = NetworkRecord(uuid, value, status=self._statuses.get(value.name))
        self._networks_by_uuid[uuid] = record
        self.networks[value.name] = record
        self._tenant_index(record, add=True)
        self.pools.key.use(str(value.key))
        if value.kind is Kind.PRIVATE:
            self.pools.private.use(value.prefix)
        record.view = NetworkView(value, network_status(record))
        self._listener(None, record.view)
        return record

    def _tenant_index(self, record: NetworkRecord, *, add: bool) -> None:
        name, tenant = record.network.name, record.network.tenant
        if add:
            self.tenants.setdefault(tenant, SortedDict())[name] = record
            return
        members = self.tenants[tenant]
        del members[name]
        if not members:
            del self.tenants[tenant]

    def _network_gone(self, uuid: str) -> None:
        record = self._networks_by_uuid.pop(uuid)
        value = record.network
        del self.networks[value.name]
        self._tenant_index(record, add=False)
        self.pools.key.unuse(str(value.key))
        if value.kind is Kind.PRIVATE:
            self.pools.private.unuse(value.prefix)
        record.gone = True
        self._wake(record)
        self._listener(record.view, None)

    def _machine(self, uuid: str, row: Row) -> None:
        network = self._networks_by_uuid[row["network"][1]]
        value = rows.machine(row)
        record = self._machines_by_uuid.get(uuid)
        before = None
        if record is None:
            record = MachineRecord(uuid, value, network, row["created_at"], network.network.revision)
            self._machines_by_uuid[uuid] = record
            self.machines[value.name] = record
            network.machines[value.name] = record
            self.pools.number.use(str(value.number))
            if network.pool is not None:
                network.pool.use(value.address)
        else:
            before = record.view
            record.machine, record.since = value, network.network.revision
        network.macs[value.mac] = value.name
        network.addresses[value.address] = value.name
        network.hostnames[value.hostname] = value.name
        network.attachments.setdefault(value.attachment, set()).add(value.name)
        self._look(record, before)

    @staticmethod
    def _unindex(record: MachineRecord) -> None:
        value, network = record.machine, record.network
        del network.macs[value.mac], network.addresses[value.address], network.hostnames[value.hostname]
        users = network.attachments[value.attachment]
        users.discard(value.name)
        if not users:
            del network.attachments[value.attachment]

    def _machine_gone(self, uuid: str) -> None:
        record = self._machines_by_uuid.pop(uuid)
        value, network = record.machine, record.network
        del self.machines[value.name]
        del network.machines[value.name]
        network.pending.discard(value.name)
        self._unindex(record)
        record.gone = True
        self.pools.number.unuse(str(value.number))
        if network.pool is not None:
            network.pool.unuse(value.address)
        self._wake(network)
        self._listener(record.view, None)

    def _status(self, change: Change, touched: dict[str, NetworkRecord]) -> None:
        row = change.new or change.old
        assert row is not None
        name = row["network"]
        if change.new is None:
            self._statuses.pop(name, None)
        else:
            self._statuses[name] = rows.status(change.new)
        record = self.networks.get(name)
        if record is not None:
            touched[name] = record

    def _refresh(self, record: NetworkRecord) -> None:
        """Look again at a network whose row or status changed, and at those of its machines it concerns."""
        before, seen = record.status, record.view
        record.status = after = self._statuses.get(record.network.name)
        record.view = NetworkView(record.network, network_status(record))
        # Clients see no revision.
        same = replace(seen.network, revision=record.network.revision) == record.network
        if not same or record.view.status != seen.status:
            self._listener(seen, record.view)
        if before is not after:
            concerned: Iterable[str]
            if before is None or after is None or before.state is not after.state or after.state is State.ERROR:
                concerned = list(record.machines)
            else:
                concerned = {*before.machines, *after.machines, *record.pending}
            for name in concerned:
                machine = record.machines.get(name)
                if machine is not None:
                    self._look(machine, machine.view)
        self._wake(record)

    def _look(self, record: MachineRecord, before: MachineView | None) -> None:
        """Work out how clients see a machine now, and tell of a difference."""
        network = record.network
        status = machine_status(record)
        (network.pending.add if status.state is State.PENDING else network.pending.discard)(record.machine.name)
        record.view = MachineView(
            record.machine, network.network.name, network.network.tenant, record.created_at, status
        )
        if record.view != before:
            self._listener(before, record.view)

    def _wake(self, record: NetworkRecord) -> None:
        if record.waiting is not None:
            record.waiting.notify_all()

    def _allocation(self, change: Change) -> None:
        for row, present in ((change.old, False), (change.new, True)):
            if row is not None:
                self._allocation_row(change.uuid, row, present)

    def _allocation_row(self, uuid: str, row: Row, present: bool) -> None:
        name, value, released_at = row["pool"], row["value"], row["released_at"]
        if name == "port-block":
            (self.history.add if present else self.history.remove)(row)
        pool: Pool | TransitPool | None = self.pools.by_allocation.get(name)
        if name.startswith("address/"):
            network = self.networks.get(row["network"])
            pool = None if network is None else network.pool
            markers = self.released.setdefault(row["network"], {})
            if present:
                markers[uuid] = (value, released_at)
            else:
                markers.pop(uuid, None)
                if not markers:
                    del self.released[row["network"]]
        if released_at == 0:
            if present:
                self.claims[name, value] = (uuid, row["network"])
            else:
                self.claims.pop((name, value), None)
            if pool is not None:
                (pool.use if present else pool.unuse)(value)
        else:
            self._expiry("Allocation", uuid, released_at + self._keep.get(name, self._keep_others), present)
            if pool is not None:
                (pool.cool if present else pool.forget)(value, released_at)

    def _expiry(self, table: str, uuid: str, due: int, present: bool) -> None:
        (self.expiring.add if present else self.expiring.discard)((due, table, uuid))

    def _request(self, change: Change) -> None:
        for row, present in ((change.old, False), (change.new, True)):
            if row is not None:
                self._expiry("Request", change.uuid, row["created_at"] + KEEP_REQUESTS, present)
        if change.old is not None:
            self.requests.pop(change.old["request_id"], None)
        if change.new is not None:
            names = tuple(name.split(" ", 1)[1] for name in sorted(atoms(change.new["names"])))
            record = RequestRecord(change.new["digest"], names, change.new["created_at"])
            self.requests[change.new["request_id"]] = record


def network_status(record: NetworkRecord) -> ObjectStatus:
    """A network is live when the flows of its present revision are on the switch."""
    status = record.status
    if status is None or status.revision < record.network.revision:
        return WAITING
    return _reported(status)


def machine_status(record: MachineRecord) -> ObjectStatus:
    """A machine is live when flows at least as new as its last change are on the switch.

    Later changes of other machines of its network do not make it pending again.
    """
    status = record.network.status
    if status is None or status.revision < record.since:
        return WAITING
    reason = status.machines.get(record.machine.name)
    return _reported(status) if reason is None else ObjectStatus(State.ERROR, reason)


def _reported(status: NetworkStatus) -> ObjectStatus:
    match status.state:
        case State.LIVE:
            return LIVE
        case State.PENDING:
            return ObjectStatus(State.PENDING, status.detail or WAITING.detail)
        case State.ERROR:
            return ObjectStatus(State.ERROR, status.detail or "the controller gave no reason; see its log")
