"""The cache of desired state, kept up to date by the database's stream of row changes.

Everything here follows from rows alone, so a restarted agent, or a second
one, comes to the same answers. One lock guards it; what readers are given is
immutable. No call costs more as other tenants grow.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from sortedcontainers import SortedDict

from agent.cache import additional
from agent.cache.interconnects import InterconnectCache
from agent.cache.records import (
    DriveRecord,
    DriveView,
    MachineRecord,
    MachineView,
    NetworkRecord,
    NetworkView,
    PublicAddressRecord,
    PublicAddressView,
    Realization,
    View,
    address_status,
    drive_status,
    machine_status,
    network_status,
)
from agent.cache.vpn import VpnCache
from agent.clock import Clock
from agent.ipam.allocations import Allocations
from agent.ipam.appliance_pools import ZONE_REST, Pools
from agent.ipam.pool import Pool
from state import rows
from state.model import Kind, NetworkStatus, State
from state.ovsdb import Row, RowChange
from state.usage import Usage, usage

MONITORED = {name: rows.COLUMNS[name] for name in rows.COLUMNS if name not in ("Neighbor", "Vpn_Peer")}

Listener = Callable[[View | None, View | None], None]


class DesiredStateCache:
    """The objects, allocations and requests of one database.

    `listener(before, after)` is called under the lock for each object that was
    created (before None), changed or deleted (after None). Rows that tell who
    had an address or a port block expire `keep_blocks` ms after the release,
    those of other pools `keep_released`.
    """

    def __init__(self, pools: Pools, listener: Listener, clock: Clock, *, keep_blocks: int, keep_released: int) -> None:
        self.lock = threading.RLock()
        keep = {"port-block": keep_blocks, "assignment": keep_blocks, "public-zone": max(keep_released, ZONE_REST)}
        self.pools = pools
        self.allocations = Allocations(pools, self._addresses_of, clock, keep=keep, keep_others=keep_released)
        self.networks: SortedDict[str, NetworkRecord] = SortedDict()
        self.machines: SortedDict[str, MachineRecord] = SortedDict()
        self.drives: SortedDict[str, DriveRecord] = SortedDict()
        self.public_addresses: SortedDict[str, PublicAddressRecord] = SortedDict()
        self.tenants: dict[str, SortedDict[str, NetworkRecord]] = {}
        self.address_tenants: dict[str, SortedDict[str, PublicAddressRecord]] = {}
        self.by_address: dict[str, PublicAddressRecord] = {}
        self.drives_by_address: dict[str, DriveRecord] = {}
        self.usages: dict[str, Usage] = {}
        self.appliance: tuple[str, Row] | None = None
        self.pools_row: tuple[str, int] | None = None
        self.revision_row: tuple[str, Realization] | None = None
        self._networks_by_uuid: dict[str, NetworkRecord] = {}
        self._machines_by_uuid: dict[str, MachineRecord] = {}
        self._drives_by_uuid: dict[str, DriveRecord] = {}
        self._public_by_uuid: dict[str, PublicAddressRecord] = {}
        self._statuses: dict[str, NetworkStatus] = {}
        self._listener = listener
        self.vpn = VpnCache(pools, listener, self._wake)
        self.interconnects = InterconnectCache(pools, listener)
        self._additional = additional.AdditionalCache(pools)

    def port_problem(self, port: str) -> str:
        """What the controller says is wrong with a port of the appliance's own; empty: nothing."""
        told = self._statuses.get("")
        return "" if told is None else told.degraded.get(f"ports/{port}", "")

    def _addresses_of(self, name: str) -> Pool | None:
        network = self.networks.get(name)
        return None if network is None else network.pool

    # Deleted rows first, so that a name or value that changed hands within one update is free when it is
    # taken again; networks before machines and drives, whose rows refer to them. Public addresses are known
    # before machines, which show theirs, and looked at after them, since they show their machines' status.
    def apply(self, changes: Sequence[RowChange], _reset: bool = False) -> None:
        """Take in the changes of one update of the database."""
        by_table: dict[str, list[RowChange]] = {}
        for change in changes:
            if change.old != change.new:
                by_table.setdefault(change.table, []).append(change)
        with self.lock:
            touched: dict[str, NetworkRecord] = {}
            self._deleted(by_table)
            for change in sorted(by_table.get("Network_Status", ()), key=lambda c: c.new is not None):
                self._status(change, touched)
            for change in by_table.get("Network", ()):
                if change.new is not None:
                    record = self._network(change.uuid, change.new)
                    touched[record.network.name] = record
            self._additional.made(by_table.get("Additional_Address", ()), self._networks_by_uuid)
            addresses = [
                self._public_address(change.uuid, change.new)
                for change in by_table.get("Public_Address", ())
                if change.new is not None
            ]
            for change in by_table.get("Machine", ()):
                if change.new is not None:
                    self._machine(change.uuid, change.new)
            for change in by_table.get("Drive", ()):
                if change.new is not None:
                    self._drive(change.uuid, change.new)
            self.vpn.apply(by_table, self._networks_by_uuid)
            self.interconnects.apply(by_table, self._networks_by_uuid)
            for address in addresses:
                self._assigned(address)
            for change in sorted(by_table.get("Allocation", ()), key=lambda c: c.new is not None):
                self.allocations.allocation(change)
            for change in by_table.get("Request", ()):
                self.allocations.request(change)
            for change in by_table.get("Usage", ()):
                self._usage(change)
            for change in by_table.get("Pools", ()):
                self.pools_row = None if change.new is None else (change.uuid, change.new["revision"])
            for change in by_table.get("Revision", ()):
                self.revision_row = None if change.new is None else (change.uuid, Realization(**change.new))
            for change in by_table.get("Appliance", ()):
                self.appliance = None if change.new is None else (change.uuid, change.new)
            for record in touched.values():
                if not record.gone:
                    self._refresh(record)

    def _usage(self, change: RowChange) -> None:
        row = change.new or change.old
        assert row is not None
        if change.new is not None:
            self.usages[row["owner"]] = usage(change.new)
        else:
            self.usages.pop(row["owner"], None)

    def _deleted(self, by_table: dict[str, list[RowChange]]) -> None:
        self.vpn.deleted(by_table)
        self.interconnects.deleted(by_table)
        self._additional.deleted(by_table.get("Additional_Address", ()))
        for change in by_table.get("Machine", ()):
            if change.new is None:
                self._machine_gone(change.uuid)
            elif change.old is not None:
                self._unindex(self._machines_by_uuid[change.uuid])
        for table, gone in (
            ("Drive", self._drive_gone),
            ("Public_Address", self._public_address_gone),
            ("Network", self._network_gone),
        ):
            for change in by_table.get(table, ()):
                if change.new is None:
                    gone(change.uuid)

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
        additional.index(network, value)
        self._look(record, before)

    @staticmethod
    def _unindex(record: MachineRecord) -> None:
        value, network = record.machine, record.network
        del network.macs[value.mac], network.addresses[value.address], network.hostnames[value.hostname]
        users = network.attachments[value.attachment]
        users.discard(value.name)
        if not users:
            del network.attachments[value.attachment]
        additional.unindex(network, value)

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

    def _status(self, change: RowChange, touched: dict[str, NetworkRecord]) -> None:
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
                concerned = [*record.machines, *(f"drives/{name}" for name in record.drives)]
            else:
                concerned = {*before.machines, *after.machines, *before.degraded, *after.degraded, *record.pending}
            for name in concerned:
                machine, drive = record.machines.get(name), record.drives.get(name.removeprefix("drives/"))
                if machine is not None:
                    self._look(machine, machine.view)
                elif drive is not None and name.startswith("drives/"):
                    self._look_at_drive(drive, drive.view)
            self.vpn.look(record)
            self.interconnects.look(record)
        self._wake(record)

    def _look(self, record: MachineRecord, before: MachineView | None) -> None:
        """Work out how clients see a machine and its public address now, and tell of a difference."""
        network, value = record.network, record.machine
        status = machine_status(record)
        (network.pending.add if status.state is State.PENDING else network.pending.discard)(value.name)
        address = self.by_address.get(value.public)
        shown = "" if address is None else address.address.name
        record.view = MachineView(value, network.network.name, network.network.tenant, record.created_at, status, shown)
        if record.view != before:
            self._listener(before, record.view)
        if address is not None and address.since is not None:
            self._look_at_address(address)

    def _public_address(self, uuid: str, row: Row) -> PublicAddressRecord:
        value = rows.public_address(row)
        record = self._public_by_uuid.get(uuid)
        if record is None:
            record = self._public_by_uuid[uuid] = PublicAddressRecord(uuid, value)
            self.public_addresses[value.name] = self.by_address[value.address] = record
        else:
            self._address_tenant(record, add=False)
            if record.address.machine != value.machine:
                self._wake_machine(record)
                record.since = None
            record.address = value
        self._address_tenant(record, add=True)
        return record

    def _assigned(self, record: PublicAddressRecord) -> None:
        if record.since is None:
            machine = self.machines.get(record.address.machine)
            record.since = 0 if machine is None else machine.network.network.revision
        self._look_at_address(record)

    def _look_at_address(self, record: PublicAddressRecord) -> None:
        before = record.view
        status = address_status(record, self.machines.get(record.address.machine))
        # Clients see no revision.
        record.view = PublicAddressView(replace(record.address, revision=0), status)
        if record.view != before:
            self._listener(before, record.view)

    def _public_address_gone(self, uuid: str) -> None:
        record = self._public_by_uuid.pop(uuid)
        del self.public_addresses[record.address.name], self.by_address[record.address.address]
        self._address_tenant(record, add=False)
        record.gone = True
        self._wake_machine(record)
        self._listener(record.view, None)

    def _address_tenant(self, record: PublicAddressRecord, *, add: bool) -> None:
        name, tenant = record.address.name, record.address.tenant
        if add:
            self.address_tenants.setdefault(tenant, SortedDict())[name] = record
            return
        members = self.address_tenants[tenant]
        del members[name]
        if not members:
            del self.address_tenants[tenant]

    def _wake_machine(self, record: PublicAddressRecord) -> None:
        """Let those look again who wait for an address to become live with its machine."""
        machine = self.machines.get(record.address.machine)
        if machine is not None:
            self._wake(machine.network)

    def _drive(self, uuid: str, row: Row) -> None:
        network = self._networks_by_uuid[row["network"][1]]
        value = rows.drive(row)
        record = DriveRecord(uuid, value, network, row["created_at"], network.network.revision)
        self._drives_by_uuid[uuid] = self.drives_by_address[value.address] = record
        self.drives[value.name] = network.drives[value.name] = record
        self._look_at_drive(record, None)

    def _look_at_drive(self, record: DriveRecord, before: DriveView | None) -> None:
        network, name = record.network, record.drive.name
        status = drive_status(record)
        (network.pending.add if status.state is State.PENDING else network.pending.discard)(f"drives/{name}")
        record.view = DriveView(record.drive, network.network.name, network.network.tenant, record.created_at, status)
        if record.view != before:
            self._listener(before, record.view)

    def _drive_gone(self, uuid: str) -> None:
        record = self._drives_by_uuid.pop(uuid)
        value, network = record.drive, record.network
        del self.drives[value.name], self.drives_by_address[value.address], network.drives[value.name]
        network.pending.discard(f"drives/{value.name}")
        record.gone = True
        self._wake(network)
        self._listener(record.view, None)

    def _wake(self, record: NetworkRecord) -> None:
        if record.waiting is not None:
            record.waiting.notify_all()
