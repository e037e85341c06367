"""Operations for machines."""

from __future__ import annotations

from dataclasses import replace

from agent.cache.records import NetworkRecord
from agent.errors import AlreadyExists, InUse, InvalidArgument
from agent.ipam.pool import Pool
from agent.requests import AttachmentSpec, MachineSpec, MachineUpdate, NetworkSpec
from agent.transaction.additional import AdditionalOperations
from agent.transaction.builder import clock_text, fresh
from agent.transaction.networks import NetworkOperations
from agent.transaction.public_addresses import PublicAddressOperations
from agent.validation.objects import address_in, wrong
from state import rows
from state.model import Attachment, Kind, Machine, Network


def attachment_of(tagged: AttachmentSpec) -> Attachment:
    """The attachment that was asked for, once validated."""
    return Attachment(tagged.port, tagged.vlan, tagged.vni)


class MachineOperations(NetworkOperations, PublicAddressOperations, AdditionalOperations):
    """Creates, changes and deletes machines."""

    def create_machine(self, new: MachineSpec) -> tuple[Machine, Network]:
        """Plan a machine.

        Raises NotFound, AlreadyExists, InUse, InvalidArgument, FailedPrecondition, ResourceExhausted.
        """
        assert new.attachment is not None
        name = new.name or fresh("machine", self._cache.machines)
        if name in self._cache.machines or name in self._names:
            raise AlreadyExists(f"machines/{name}", f"machines/{name} exists already")
        self._names.add(name)
        record = self._network_named(new.network.removeprefix("networks/")) if new.network else None
        if record is None:
            wanted = NetworkSpec(kind="ISOLATED", tenant=new.tenant)
            network, reference = self._network(name, wanted, implicit=True)
        else:
            network, reference = record.network, ["uuid", record.uuid]
            if new.tenant not in ("", network.tenant):
                allowed = f"{network.tenant!r}, that of networks/{network.name}, or empty"
                raise InvalidArgument([wrong("machine.tenant", new.tenant, allowed)])
            self._admit(record, name)
            self._change(record)
        mac, hostname = new.mac.lower(), new.hostname.lower() or name
        self._unique(record, network, "mac_address", mac, name)
        self._unique(record, network, "hostname", hostname, name)
        attachment = attachment_of(new.attachment)
        self._attach(record, network, attachment, name)
        additional = () if record is None else self._list(record, new.additional, mac, name)
        address = self._address(record, network, new.address, name)
        transit = address
        if network.kind is Kind.PRIVATE:
            transit = self._next(self._cache.pools.transit.like(address))
            self._allocate("transit", transit, network)
        number = int(self._next(self._cache.pools.number))
        public, zone = "", 0
        if new.public_address:
            public, zone = self._stand_for(new.public_address.removeprefix("publicAddresses/"), name, network)
        machine = Machine(
            name, number, mac, address, transit, hostname, attachment, public, zone,
            public_rate=new.public_rate, storage_rate=new.storage_rate, allowed=additional,
        )  # fmt: skip
        self._insert("Machine", rows.machine_row(machine, reference, self.now))
        return machine, network

    def _admit(self, record: NetworkRecord, name: str) -> None:
        network = record.network
        if network.kind is not Kind.ISOLATED:
            return
        present = next(iter(record.machines), None) or self._taken.get(("seat", network.name, ""))
        if present is not None:
            user = f"machines/{present}"
            message = f"networks/{network.name} is ISOLATED, for one machine, and {user} is in it"
            raise InUse(f"networks/{network.name}", message, [user])
        self._taken["seat", network.name, ""] = name

    def _unique(self, record: NetworkRecord | None, network: Network, what: str, value: str, name: str) -> None:
        """Note that machine `name` takes `value`, unique in its network."""
        held = {}
        if record is not None:
            if what == "mac_address":
                self._not_virtual(record, value)
            elif what == "address":
                self._not_listed(record, value)
            held = {"mac_address": record.macs, "hostname": record.hostnames, "address": record.addresses}[what]
        owner = held.get(value) or self._taken.get((what, network.name, value))
        if owner is not None and owner != name:
            raise AlreadyExists(
                f"machines/{owner}", f"{what} {value} is taken in networks/{network.name} by machines/{owner}"
            )
        self._taken[what, network.name, value] = name

    def _attach(self, record: NetworkRecord | None, network: Network, attachment: Attachment, name: str) -> None:
        text = str(attachment)
        interconnect = self._cache.interconnects.by_place.get(text)
        if interconnect is not None:
            user = f"interconnects/{interconnect.interconnect.name}"
            raise AlreadyExists(user, f"attachment {text} is that of {user}")
        owner = self._claimed.get(text) or self._cache.allocations.claims.get(("attachment", text), ("", ""))[1]
        if owner and owner != network.name:
            raise AlreadyExists(f"networks/{owner}", f"attachment {text} belongs to networks/{owner}")
        if attachment.vlan is None and attachment.vni is None:
            present = set() if record is None else record.attachments.get(attachment, set()) - {name}
            other = next(iter(sorted(present)), None) or self._taken.get(("port", network.name, text))
            if other is not None:
                raise AlreadyExists(
                    f"machines/{other}",
                    f"attachment {text} is that of machines/{other}; machines share only a VLAN or a VNI",
                )
            self._taken["port", network.name, text] = name
        if not owner:
            self._claimed[text] = network.name
            self._allocate("attachment", text, network)

    def _detach(self, record: NetworkRecord, attachment: Attachment, name: str) -> None:
        if record.attachments.get(attachment, set()) <= {name}:
            self._unclaim("attachment", str(attachment))

    def _address(self, record: NetworkRecord | None, network: Network, asked: str, name: str) -> str:
        if asked:
            violations = list(address_in("machine.address", asked, network.prefix))
            if violations:
                raise InvalidArgument(violations)
            self._unique(record, network, "address", asked, name)
        if network.kind is Kind.ISOLATED:
            # The only address of a /30 that is neither the network's, the router's nor the broadcast address.
            return rows.second_usable(network.prefix)
        assert record is not None
        pool = self._address_pool(record)
        if asked:
            until = pool.cooling_until(asked, self.steady)
            if until is not None:
                raise InUse(
                    f"networks/{network.name}",
                    f"machine.address {asked} was released lately and is free again {clock_text(until, self.steady)}",
                )
            return asked
        while True:
            address = self._next(pool)
            if ("address", network.name, address) not in self._taken and not self._is_listed(record, address):
                self._taken["address", network.name, address] = name
                return address

    def _address_pool(self, record: NetworkRecord) -> Pool:
        if record.pool is None:
            name = record.network.name
            released = self._cache.allocations.released.get(name, {}).values()
            used = (*record.addresses, *record.additional)
            record.pool = self._cache.pools.addresses(name, record.network.prefix, used, released)
        return record.pool

    def update_machine(self, name: str, change: MachineUpdate) -> bool:
        """Plan a change of a machine; False when there is none.

        Raises NotFound, AlreadyExists, InvalidArgument, ResourceExhausted.
        """
        record = self._machine_named(name)
        before, network = record.machine, record.network
        after = replace(
            before,
            mac=before.mac if change.mac is None else change.mac.lower(),
            hostname=before.hostname if change.hostname is None else change.hostname.lower() or name,
            attachment=before.attachment if change.attachment is None else attachment_of(change.attachment),
            public_rate=before.public_rate if change.public_rate is None else change.public_rate,
            storage_rate=before.storage_rate if change.storage_rate is None else change.storage_rate,
        )
        if change.additional is not None:
            asked = self._list(network, change.additional, after.mac, name)
            kept = {one.address for one in asked}
            self._unlist(network, [one for one in before.allowed if one.address not in kept], name)
            after = replace(after, allowed=asked)
        if after == before:
            return False
        self._change(network)
        self._unique(network, network.network, "mac_address", after.mac, name)
        self._unique(network, network.network, "hostname", after.hostname, name)
        if after.attachment != before.attachment:
            self._detach(network, before.attachment, name)
            self._attach(network, network.network, after.attachment, name)
        row = rows.machine_row(after, ["uuid", network.uuid], record.created_at)
        mutable = ("mac", "hostname", "port", "vlan", "vni", "public_rate", "storage_rate", "additional_addresses")
        self._update("Machine", record.uuid, {column: row[column] for column in mutable})
        return True

    def delete_machine(self, name: str) -> None:
        """Plan the end of a machine, and of the network made with it; raises NotFound."""
        record = self._machine_named(name)
        machine, network = record.machine, record.network
        if network.network.implicit:
            self._wait(network)
        else:
            self._change(network)
        self._take_address(record)
        self._delete("Machine", record.uuid)
        self._detach(network, machine.attachment, name)
        self._unlist(network, machine.allowed, name)
        if network.network.kind is Kind.PRIVATE:
            self._release("transit", machine.transit)
            pool = f"address/{network.network.name}"
            row = self._allocation(pool, machine.address, network.network, record.created_at)
            self._insert("Allocation", {**row, "released_at": self.now})
        if network.network.implicit:
            self._end(network)
