"""Desired state behind commands and questions; each module has those of one kind of object."""

from __future__ import annotations

from agent.cache.records import Realization
from agent.store.daemons import Work
from agent.store.drives import Drives
from agent.store.interconnects import Interconnects
from agent.store.machines import Machines
from agent.store.networks import Networks
from agent.store.public_addresses import PublicAddresses
from agent.store.usage import UsageQueries
from agent.store.vpn_connections import VpnConnections
from agent.store.vpn_gateways import VpnGateways
from agent.translation_log import PortBlockUse, PublicAddressUse

# Who has it now is who has not released it, whatever became of the clock.
_LAST = 2**62


class Store(
    Networks, Machines, PublicAddresses, Drives, VpnGateways, VpnConnections, Interconnects, UsageQueries, Work
):
    """The only writer of desired state, as `DesiredState` says."""

    def translation(self, address: str, port: int, moment: int | None) -> PortBlockUse | None:
        """Who had `port` of public `address` at `moment` (ms; None means now)."""
        with self.cache.lock:
            return self.cache.allocations.history.at(address, port, _LAST if moment is None else moment)

    def assignment(self, address: str, moment: int | None) -> PublicAddressUse | None:
        """Who had public `address` at `moment` (ms; None means now)."""
        with self.cache.lock:
            return self.cache.allocations.assignments.at(address, _LAST if moment is None else moment)

    def realization(self) -> Realization:
        """How much of desired state the switch has."""
        with self.cache.lock:
            return Realization() if self.cache.revision_row is None else self.cache.revision_row[1]

    def port_problems(self) -> dict[str, str]:
        """The appliance's own ports with what is wrong with them, as the controller says."""
        with self.cache.lock:
            return {port: self.cache.port_problem(port) for port in self.config.appliance.own_ports}

    def is_assignable(self, address: str) -> bool:
        """Whether `address` can stand for a machine."""
        return bool(self.cache.pools.public.covered(address))
