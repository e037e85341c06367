"""Operations for shared drives."""

from __future__ import annotations

import ipaddress

from agent.cache.records import NetworkRecord
from agent.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound
from agent.requests import DriveSpec
from agent.transaction.builder import BaseTransaction, fresh
from agent.validation.objects import wrong
from state import rows
from state.model import Drive, Kind


class DriveOperations(BaseTransaction):
    """Creates and deletes drives."""

    def create_drive(self, new: DriveSpec) -> tuple[Drive, NetworkRecord]:
        """Plan a drive; raises NotFound, AlreadyExists, InvalidArgument, FailedPrecondition."""
        name = new.name or fresh("drive", self._cache.drives)
        if name in self._cache.drives:
            raise AlreadyExists(f"drives/{name}", f"drives/{name} exists already")
        if self._appliance.storage is None:
            raise FailedPrecondition(
                "NO_STORAGE_NETWORK", "appliance", "this appliance has no storage network ([storage] port)"
            )
        record = self._network_named(new.network.removeprefix("networks/"))
        network = record.network
        if network.kind is Kind.ISOLATED:
            of = f"networks/{network.name}"
            raise FailedPrecondition(
                "NETWORK_ISOLATED", of, f"{of} is ISOLATED; drives are for machines of PRIVATE networks"
            )
        if ipaddress.IPv4Address(new.address) in ipaddress.IPv4Network(network.prefix):
            allowed = f"an address outside of {network.prefix}, the prefix of networks/{network.name}"
            raise InvalidArgument([wrong("drive.address", new.address, allowed)])
        present = self._cache.drives_by_address.get(new.address)
        if present is not None:
            owner = f"drives/{present.drive.name}"
            raise AlreadyExists(owner, f"address {new.address} is that of {owner}")
        self._change(record)
        drive = Drive(name, new.address)
        self._insert("Drive", rows.drive_row(drive, ["uuid", record.uuid], self.now))
        return drive, record

    def delete_drive(self, name: str) -> None:
        """Plan the end of a drive; raises NotFound."""
        record = self._cache.drives.get(name)
        if record is None:
            raise NotFound(f"drives/{name}", f"drives/{name} does not exist")
        self._change(record.network)
        self._delete("Drive", record.uuid)
