"""Queries of usage; the controller counts."""

from __future__ import annotations

from agent.cache.records import MachineRecord, NetworkRecord
from agent.store.desired_state import DesiredState, find, following
from state.usage import Usage


class UsageQueries(DesiredState):
    """Usage of the store's objects."""

    def machine_usage(self, name: str) -> Usage:
        """What one machine used; nothing where nothing was counted yet. Raises NotFound."""
        with self.cache.lock:
            return self._of_machine(find(self.cache.machines, f"machines/{name}"))

    def network_usage(self, name: str) -> Usage:
        """What one network used, machines deleted since included. Raises NotFound."""
        with self.cache.lock:
            return self._of_network(find(self.cache.networks, f"networks/{name}"))

    def list_network_usage(self, after: str, count: int) -> list[Usage]:
        """At most `count` networks' usage with names above `after`, in order."""
        with self.cache.lock:
            index = self.cache.networks
            return [self._of_network(index[name]) for name in following([index], after, count)]

    def list_machine_usage(self, network: str, after: str, count: int) -> list[Usage]:
        """At most `count` machines' of one network, with names above `after`, in order. Raises NotFound."""
        with self.cache.lock:
            index = find(self.cache.networks, f"networks/{network}").machines
            return [self._of_machine(index[name]) for name in following([index], after, count)]

    def _of_machine(self, record: MachineRecord) -> Usage:
        empty = Usage(record.uuid, record.network.uuid, f"machines/{record.machine.name}")
        return self.cache.usages.get(record.uuid, empty)

    def _of_network(self, record: NetworkRecord) -> Usage:
        empty = Usage(record.uuid, record.uuid, f"networks/{record.network.name}")
        return self.cache.usages.get(record.uuid, empty)
