"""Operations for networks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from agent.cache.records import NetworkRecord
from agent.errors import AlreadyExists, InUse, InvalidArgument
from agent.requests import DnsForwardingRule, NetworkSpec, NetworkUpdate
from agent.transaction.builder import NAMED_USERS, BaseTransaction, fresh
from agent.validation.objects import DEFAULT_MTU, forwarding_within
from state import rows
from state.model import Forwarding, Kind, Network, PortBlock
from state.prefixes import own_prefixes


def forwarding_of(asked: Sequence[DnsForwardingRule]) -> tuple[Forwarding, ...]:
    """The forwarding rules that were asked for, once validated, in order of domain."""
    return tuple(sorted((Forwarding(f.domain.lower(), f.servers) for f in asked), key=lambda f: f.domain))


def _beyond(record: NetworkRecord) -> list[str]:
    """The remote prefixes of the network's VPN connections."""
    connections = () if record.vpn is None else record.vpn.connections.values()
    return [prefix for connection in connections for prefix in connection.connection.remote_prefixes]


class NetworkOperations(BaseTransaction):
    """Creates, changes and deletes networks."""

    def create_network(self, new: NetworkSpec) -> Network:
        """Plan a network; raises AlreadyExists, ResourceExhausted."""
        name = new.name or fresh("network", self._cache.networks)
        return self._network(name, new, implicit=False)[0]

    def _network(self, name: str, new: NetworkSpec, *, implicit: bool) -> tuple[Network, list[str]]:
        if name in self._cache.networks or ("network", name, "") in self._taken:
            raise AlreadyExists(f"networks/{name}", f"networks/{name} exists already")
        pools = self._cache.pools
        isolated = new.kind == "ISOLATED"
        prefix = new.prefix or self._next(pools.isolated if isolated else pools.private)
        self._forwarding(new.dns_forwarding, prefix, ())
        block_text = self._next(pools.block)
        address, _, ports = block_text.partition(":")
        first, _, last = ports.partition("-")
        network = Network(
            name=name,
            kind=Kind.ISOLATED if isolated else Kind.PRIVATE,
            tenant=new.tenant,
            key=int(self._next(pools.key)),
            prefix=prefix,
            router=rows.router_of(prefix),
            block=PortBlock(address, int(first), int(last)),
            dns_servers=new.dns_servers,
            mtu=new.mtu or DEFAULT_MTU,
            search_domain=new.search_domain.lower(),
            dns_forwarding=forwarding_of(new.dns_forwarding),
            public_rate=new.public_rate,
            storage_rate=new.storage_rate,
            implicit=implicit,
            # Above every revision a network of this name ever had, so that what the controller
            # said of a deleted one is not taken for this one's, whatever became of the time of day.
            revision=self.revision,
            created_at=self.now,
        )
        self._taken["network", name, ""] = name
        handle = f"n{len(self.operations)}"
        self._insert("Network", rows.network_row(network), handle)
        self._allocate("port-block", block_text, network)
        if isolated:
            self._allocate("isolated-prefix", prefix, network)
        elif not new.prefix:
            self._allocate("private-prefix", prefix, network)
        return network, ["named-uuid", handle]

    def update_network(self, name: str, change: NetworkUpdate) -> bool:
        """Plan a change of a network; False when there is none. Raises NotFound, InvalidArgument."""
        record = self._network_named(name)
        before = record.network
        forwarding = before.dns_forwarding
        if change.dns_forwarding is not None:
            self._forwarding(change.dns_forwarding, before.prefix, _beyond(record))
            forwarding = forwarding_of(change.dns_forwarding)
        after = replace(
            before,
            dns_servers=before.dns_servers if change.dns_servers is None else change.dns_servers,
            search_domain=before.search_domain if change.search_domain is None else change.search_domain.lower(),
            dns_forwarding=forwarding,
            public_rate=before.public_rate if change.public_rate is None else change.public_rate,
            storage_rate=before.storage_rate if change.storage_rate is None else change.storage_rate,
        )
        if after == before:
            return False
        self._change(record)
        row = rows.network_row(after)
        mutable = ("dns_servers", "search_domain", "dns_forwarding", "public_rate", "storage_rate")
        self._update("Network", record.uuid, {column: row[column] for column in mutable})
        return True

    def _forwarding(self, rules: Sequence[DnsForwardingRule], prefix: str, remote: Sequence[str]) -> None:
        """Check forwarding rules against the network. Raises InvalidArgument."""
        appliance = self._appliance
        own = own_prefixes(appliance)
        violations = list(forwarding_within("network.dns_forwarding", rules, appliance.domain, prefix, own, remote))
        if violations:
            raise InvalidArgument(violations)

    def delete_network(self, name: str) -> None:
        """Plan the end of an empty network; raises NotFound, InUse."""
        record = self._network_named(name)
        users = [f"machines/{machine}" for machine in record.machines.keys()[:NAMED_USERS]]
        users += [f"drives/{drive}" for drive in record.drives.keys()[: NAMED_USERS - len(users)]]
        users += [f"interconnects/{name}" for name in record.interconnects.keys()[: NAMED_USERS - len(users)]]
        more = len(record.machines) + len(record.drives) + len(record.interconnects) - len(users)
        if record.vpn is not None:
            users.append(f"vpnGateways/{record.vpn.gateway.name}")
        if users:
            listed = ", ".join(users) + (f" and {more} more" if more else "")
            why = " (deleting the machine deletes this network too)" if record.network.implicit else ""
            raise InUse(f"networks/{name}", f"networks/{name} is used by {listed}{why}", users)
        self._wait(record)
        self._end(record)

    def _end(self, record: NetworkRecord) -> None:
        network = record.network
        self._delete("Network", record.uuid)
        self._release("port-block", str(network.block))
        if network.kind is Kind.ISOLATED:
            self._release("isolated-prefix", network.prefix)
        elif self._cache.allocations.claims.get(("private-prefix", network.prefix), ("", ""))[1] == network.name:
            self._unclaim("private-prefix", network.prefix)
        for uuid in self._cache.allocations.released.get(network.name, ()):
            self._delete("Allocation", uuid)
