"""Additional addresses in the cache: those of each network, and which machines list them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from agent.cache.records import AdditionalRecord, NetworkRecord
from agent.ipam.appliance_pools import Pools
from state import rows
from state.model import Machine
from state.ovsdb import RowChange


def index(network: NetworkRecord, machine: Machine) -> None:
    """Note what a machine of `network` lists."""
    for one in machine.allowed:
        network.listed.setdefault(one.address, set()).add(machine.name)
        if one.mac:
            network.virtual_macs.setdefault(one.mac, set()).add(machine.name)


def unindex(network: NetworkRecord, machine: Machine) -> None:
    """Forget what a machine of `network` lists."""
    for one in machine.allowed:
        _discard(network.listed, one.address, machine.name)
        _discard(network.virtual_macs, one.mac, machine.name)


def _discard(users: dict[str, set[str]], value: str, name: str) -> None:
    users.get(value, set()).discard(name)
    if not users.get(value, True):
        del users[value]


class AdditionalCache:
    """The additional addresses of all networks; under the cache's lock."""

    def __init__(self, pools: Pools) -> None:
        self._pools = pools
        self._owners: dict[str, NetworkRecord] = {}

    def deleted(self, changes: Iterable[RowChange]) -> None:
        """Take in which are gone."""
        for change in changes:
            if change.new is None and change.old is not None:
                network = self._owners.pop(change.uuid)
                gone = network.additional.pop(change.old["address"]).value
                self._pools.number.unuse(str(gone.number))
                if network.pool is not None:
                    network.pool.unuse(gone.address)

    def made(self, changes: Iterable[RowChange], networks: Mapping[str, NetworkRecord]) -> None:
        """Take in which are new: rows never change."""
        for change in changes:
            if change.new is not None:
                network = self._owners[change.uuid] = networks[change.new["network"][1]]
                value = rows.additional_address(change.new)
                network.additional[value.address] = AdditionalRecord(change.uuid, value, change.new["created_at"])
                self._pools.number.use(str(value.number))
                if network.pool is not None:
                    network.pool.use(value.address)
