"""Operations for public addresses: allocate, assign, unassign, release."""

from __future__ import annotations

from agent.cache.records import MachineRecord, PublicAddressRecord
from agent.errors import AlreadyExists, FailedPrecondition, InUse, InvalidArgument, NotFound
from agent.requests import PublicAddressSpec, PublicAddressUpdate
from agent.transaction.builder import BaseTransaction, clock_text, fresh
from agent.translation_log import assignment_value
from agent.validation.objects import wrong
from state import rows
from state.model import Network, PublicAddress
from state.ovsdb import Row, to_set


class PublicAddressOperations(BaseTransaction):
    """Creates, assigns and deletes public addresses.

    Each assignment has a conntrack zone of its own, so that nothing the
    datapath still knows of an earlier one applies to it.
    """

    def create_public_address(self, new: PublicAddressSpec) -> PublicAddress:
        """Plan a public address; raises NotFound, AlreadyExists, InUse, InvalidArgument, ResourceExhausted."""
        name = new.name or fresh("address", self._cache.public_addresses)
        if name in self._cache.public_addresses:
            raise AlreadyExists(f"publicAddresses/{name}", f"publicAddresses/{name} exists already")
        machine = self._machine_named(new.machine.removeprefix("machines/")) if new.machine else None
        if machine is not None:
            self._without_address(machine)
        value = PublicAddress(
            name=name,
            address=self._public("public_address.address", new.address),
            tenant=new.tenant,
            machine="" if machine is None else machine.machine.name,
            # As a network's: above every revision of an earlier one of this name.
            revision=self.revision,
            created_at=self.now,
        )
        self._insert("Public_Address", rows.public_address_row(value))
        self._insert("Allocation", self._allocation_of("public-address", value.address, value.tenant))
        if machine is not None:
            self._of_one_tenant(f"publicAddresses/{value.name}", value.tenant, value.machine, machine.network.network)
            self._assign(value.address, machine)
        return value

    def _public(self, field: str, asked: str) -> str:
        """A free public address, the one asked for. Raises InvalidArgument, AlreadyExists, InUse, ResourceExhausted."""
        pool = self._cache.pools.public
        if not asked:
            return self._next(pool)
        if not pool.covered(asked):
            raise InvalidArgument([wrong(field, asked, "one of the pool, or empty for the lowest free one")])
        self._guard_pools()
        owner = self._owner(asked)
        if owner:
            raise AlreadyExists(owner, f"address {asked} is taken by {owner}")
        until = pool.cooling_until(asked, self.steady)
        if until is not None:
            message = f"address {asked} was released lately and is free again {clock_text(until, self.steady)}"
            raise InUse("publicAddresses", message)
        return asked

    def _owner(self, address: str) -> str:
        """The resource name of what has a public address; empty: nothing."""
        present, gateway = self._cache.by_address.get(address), self._cache.vpn.by_address.get(address)
        if present is not None:
            return f"publicAddresses/{present.address.name}"
        return "" if gateway is None else f"vpnGateways/{gateway.gateway.name}"

    def update_public_address(self, name: str, change: PublicAddressUpdate) -> bool:
        """Plan a change of a public address; False when there is none. Raises NotFound, InUse, ResourceExhausted."""
        record = self._public_address_named(name)
        before = record.address
        machine = before.machine if change.machine is None else change.machine.removeprefix("machines/")
        tenant = before.tenant if change.tenant is None else change.tenant
        if (machine, tenant) == (before.machine, before.tenant):
            return False
        if machine:
            self._of_one_tenant(
                f"publicAddresses/{before.name}", tenant, machine, self._machine_named(machine).network.network
            )
        row: Row = {"tenant": tenant}
        self._change_address(record)
        if machine != before.machine:
            target = self._machine_named(machine) if machine else None
            if target is not None:
                self._without_address(target)
            self._withdraw(record)
            if target is not None:
                self._assign(before.address, target)
            row["machine"] = to_set([machine] if machine else [])
        self._update("Public_Address", record.uuid, row)
        return True

    def delete_public_address(self, name: str) -> None:
        """Plan the end of a public address, and of its assignment; raises NotFound."""
        record = self._public_address_named(name)
        self._change_address(record)
        self._withdraw(record)
        self._delete("Public_Address", record.uuid)
        self._release("public-address", record.address.address)

    def _take_address(self, machine: MachineRecord) -> None:
        """The machine ends: its public address, if it has one, is nobody's."""
        record = self._cache.by_address.get(machine.machine.public)
        if record is not None:
            self._change_address(record)
            self._release_assignment(record, machine)
            self._update("Public_Address", record.uuid, {"machine": to_set([])})

    def _without_address(self, machine: MachineRecord) -> None:
        """Raise InUse if the machine has a public address."""
        if machine.machine.public:
            of, owner = f"machines/{machine.machine.name}", f"public address {machine.machine.public}"
            present = self._cache.by_address.get(machine.machine.public)
            if present is not None:
                owner = f"publicAddresses/{present.address.name}"
            raise InUse(of, f"{of} has {owner} already; a machine has at most one public address", [owner])

    @staticmethod
    def _of_one_tenant(address: str, tenant: str, machine: str, network: Network) -> None:
        """Raises FailedPrecondition where both have a tenant, and not the same one."""
        theirs = network.tenant
        if tenant and theirs and tenant != theirs:
            of = f"machines/{machine}"
            raise FailedPrecondition(
                "OTHER_TENANT", of, f"{address} is of tenant {tenant!r} and {of} of tenant {theirs!r}"
            )

    def _stand_for(self, name: str, machine: str, network: Network) -> tuple[str, int]:
        """Plan that a public address stands for a machine made now: its address and the assignment's zone.

        Raises NotFound, InUse, FailedPrecondition, ResourceExhausted.
        """
        record, of = self._public_address_named(name), f"publicAddresses/{name}"
        present = record.address.machine or self._taken.get(("public address", "", name))
        if present:
            user = f"machines/{present}"
            raise InUse(of, f"{of} stands for {user}; take it away from there first", [user])
        self._taken["public address", "", name] = machine
        self._of_one_tenant(of, record.address.tenant, machine, network)
        self._change_address(record)
        self._update("Public_Address", record.uuid, {"machine": to_set([machine])})
        return record.address.address, self._zone(record.address.address, machine, network)

    def _assign(self, address: str, machine: MachineRecord) -> None:
        self._change(machine.network)
        zone = self._zone(address, machine.machine.name, machine.network.network)
        self._update("Machine", machine.uuid, {"public": to_set([address]), "public_zone": to_set([zone])})

    def _zone(self, address: str, machine: str, network: Network) -> int:
        """A conntrack zone for an assignment, and its entry in the history."""
        zone = self._next(self._cache.pools.zone)
        self._allocate("public-zone", zone, network)
        self._allocate("assignment", assignment_value(address, machine, int(zone)), network)
        return int(zone)

    def _withdraw(self, record: PublicAddressRecord) -> None:
        """Take the address away from its machine, if it has one, which goes on without."""
        machine = self._cache.machines.get(record.address.machine)
        if machine is not None:
            self._change(machine.network)
            self._release_assignment(record, machine)
            self._update("Machine", machine.uuid, {"public": to_set([]), "public_zone": to_set([])})

    def _release_assignment(self, record: PublicAddressRecord, machine: MachineRecord) -> None:
        value = machine.machine
        self._release("public-zone", str(value.public_zone))
        self._release("assignment", assignment_value(record.address.address, value.name, value.public_zone))

    def _change_address(self, record: PublicAddressRecord) -> None:
        if self._guard("Public_Address", record.uuid, record.address.revision):
            self._bump("Public_Address", record.uuid)

    def _public_address_named(self, name: str) -> PublicAddressRecord:
        record = self._cache.public_addresses.get(name)
        if record is None:
            raise NotFound(f"publicAddresses/{name}", f"publicAddresses/{name} does not exist")
        return record
