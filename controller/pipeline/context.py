"""Pipeline context: what flows of every network depend on besides the network."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from state.interconnect import Interconnect, leg_port
from state.model import Appliance, Network
from state.public import assignable_prefixes, own_addresses, public_prefixes
from state.storage import storage_prefixes
from state.vpn import inside_port, outside_port


@dataclass(frozen=True, slots=True)
class PipelineContext:
    """The appliance's settings and what was observed of the bridge and the uplink.

    `ports` maps the names of the bridge's ports to OpenFlow port numbers,
    `neighbors` the addresses of next hop and drives to their MACs, once known;
    `silent` are the addresses of drives that were asked and did not answer;
    `peerings` are in order of name.
    """

    appliance: Appliance
    ports: Mapping[str, int] = field(default_factory=dict)
    neighbors: Mapping[str, str] = field(default_factory=dict)
    silent: frozenset[str] = frozenset()
    peerings: tuple[Interconnect, ...] = ()

    @property
    def gateway_port(self) -> int | None:
        """OpenFlow port number of the gateway port, None while it is missing."""
        return self.ports.get(self.appliance.gateway.port)

    @property
    def resolver_port(self) -> int | None:
        """OpenFlow port number of the resolver's port, None while it is missing or names are not resolved here."""
        return self.ports.get(self.appliance.resolver_port)

    @property
    def own_prefixes(self) -> tuple[str, ...]:
        """The appliance's own addresses: its gateway address and shared public addresses."""
        return own_addresses(self.appliance)

    @property
    def shared_prefixes(self) -> tuple[str, ...]:
        """The addresses that networks' port blocks are of."""
        return public_prefixes(self.appliance)

    @property
    def assignable_prefixes(self) -> tuple[str, ...]:
        """The public addresses that stand for one machine each, assigned or not."""
        return assignable_prefixes(self.appliance)

    @property
    def storage_port(self) -> int | None:
        """OpenFlow port number of the storage port, None while it is missing."""
        storage = self.appliance.storage
        return None if storage is None else self.ports.get(storage.port)

    @property
    def storage_prefixes(self) -> tuple[str, ...]:
        """The storage network and what machines are called there."""
        return storage_prefixes(self.appliance.storage)


def network_ports(network: Network | None) -> frozenset[str]:
    """The ports a network's flows depend on, there or not."""
    if network is None:
        return frozenset()
    legs = () if network.vpn is None else (inside_port(network.key), outside_port(network.key))
    machines = (machine.attachment.port for machine in network.machines)
    return frozenset((*machines, *legs, *interconnect_ports(network.interconnects)))


def interconnect_ports(interconnects: Iterable[Interconnect]) -> Iterator[str]:
    """The ports of interconnects, there or not."""
    for one in interconnects:
        yield from (one.port, leg_port(one.number))
