"""Operations for additional addresses, with the transit address and number of each."""

from __future__ import annotations

from collections.abc import Sequence

from agent.cache.records import NetworkRecord
from agent.errors import AlreadyExists, InvalidArgument
from agent.requests import MachineSpec, RequestedAddress
from agent.transaction.builder import BaseTransaction
from agent.validation.additional import FIELD, listing_within
from agent.validation.objects import wrong
from state import rows
from state.additional import AdditionalAddress, AllowedAddress

# A machine of the same request whose name the appliance chooses.
_UNNAMED = "(unnamed)"


class AdditionalOperations(BaseTransaction):
    """Lists and unlists additional addresses; each exists while a machine lists it."""

    def expect(self, new: MachineSpec) -> None:
        """Note what a machine of this transaction is going to list, so that no other is given it as its own address."""
        network = new.network.removeprefix("networks/")
        for one in new.additional:
            self._taken.setdefault(("additional", network, one.address), new.name or _UNNAMED)

    def _is_listed(self, record: NetworkRecord, address: str) -> bool:
        return address in record.listed or ("additional", record.network.name, address) in self._taken

    def _not_listed(self, record: NetworkRecord, address: str) -> None:
        """Refuse an additional address as a machine's own. Raises AlreadyExists."""
        network = record.network.name
        owner = min(record.listed.get(address, ()), default=self._taken.get(("additional", network, address)))
        if owner is not None:
            message = f"address {address} is an additional address of machines/{owner} in networks/{network}"
            raise AlreadyExists(f"machines/{owner}", message)

    def _not_virtual(self, record: NetworkRecord, mac: str) -> None:
        """Refuse the MAC of an additional address as a machine's own. Raises AlreadyExists."""
        network = record.network.name
        owner = min(record.virtual_macs.get(mac, ()), default=self._taken.get(("virtual_mac", network, mac)))
        if owner is not None:
            message = f"mac_address {mac} is that of an additional address of machines/{owner} in networks/{network}"
            raise AlreadyExists(f"machines/{owner}", message)

    def _list(
        self, record: NetworkRecord, asked: Sequence[RequestedAddress], mac: str, name: str
    ) -> tuple[AllowedAddress, ...]:
        """Plan that machine `name`, whose MAC is `mac`, may take `asked`.

        Raises InvalidArgument, AlreadyExists, ResourceExhausted.
        """
        network = record.network.name
        violations = list(listing_within(asked, record.network.prefix))
        for at, one in enumerate(asked):
            owner = record.addresses.get(one.address) or self._taken.get(("address", network, one.address))
            if owner is not None:
                allowed = f"an address that no machine has as its own; machines/{owner} has it"
                violations.append(wrong(f"{FIELD}[{at}].address", one.address, allowed))
            virtual = one.mac.lower()
            owner = record.macs.get(virtual) or self._taken.get(("mac_address", network, virtual))
            if virtual and (owner is not None or virtual == mac):
                allowed = f"a MAC that no machine has as its own, or none; machines/{owner or name} has it"
                violations.append(wrong(f"{FIELD}[{at}].mac_address", one.mac, allowed))
            agreed, other = self._virtual_mac_of(record, one.address, name)
            if virtual and agreed not in ("", virtual):
                allowed = f"{agreed}, which machines/{other} has for it, or none"
                violations.append(wrong(f"{FIELD}[{at}].mac_address", one.mac, allowed))
        if violations:
            raise InvalidArgument(violations)
        for one in asked:
            if one.mac:
                self._taken["virtual_mac", network, one.mac.lower()] = name
                self._taken["mac_of", network, one.address] = f"{one.mac.lower()} {name}"
            if one.address not in record.additional and self._taken.get(("made", network, one.address)) is None:
                self._taken["made", network, one.address] = name
                self._make(record, one.address)
        return tuple(sorted((AllowedAddress(one.address, one.mac.lower()) for one in asked), key=lambda a: a.address))

    def _virtual_mac_of(self, record: NetworkRecord, address: str, name: str) -> tuple[str, str]:
        """The MAC that machines but `name` have for an address, and one of them; empty: none.

        There is one at most: what the switch learns says that an address has its virtual MAC, and not which.
        """
        for other in sorted(record.listed.get(address, set()) - {name}):
            allowed = record.machines[other].machine.allowed
            mac = next((one.mac for one in allowed if one.address == address), "")
            if mac:
                return mac, other
        mac, _, other = self._taken.get(("mac_of", record.network.name, address), "").partition(" ")
        return mac, other

    def _make(self, record: NetworkRecord, address: str) -> None:
        pools = self._cache.pools
        transit, number = self._next(pools.transit.like(address)), int(self._next(pools.number))
        self._unused_by_machines(number)
        self._guard_pools(changed=True)
        self._allocate("transit", transit, record.network)
        value = AdditionalAddress(address, transit, number)
        self._insert("Additional_Address", rows.additional_address_row(value, ["uuid", record.uuid], self.now))

    def _unlist(self, record: NetworkRecord, gone: Sequence[AllowedAddress], name: str) -> None:
        """Plan that machine `name` may not take `gone` any more; what nobody else lists rests as a machine's does."""
        for one in gone:
            made = record.additional.get(one.address)
            if made is None or record.listed.get(one.address, set()) - {name}:
                continue
            self._delete("Additional_Address", made.uuid)
            self._release("transit", made.value.transit)
            row = self._allocation(f"address/{record.network.name}", one.address, record.network, made.created_at)
            self._insert("Allocation", {**row, "released_at": self.now})
