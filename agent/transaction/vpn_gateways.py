"""Operations for VPN gateways."""

from __future__ import annotations

from agent.cache.records import NetworkRecord, VpnGatewayRecord
from agent.errors import AlreadyExists, FailedPrecondition, InUse, NotFound
from agent.requests import VpnGatewaySpec
from agent.transaction.builder import NAMED_USERS, fresh
from agent.transaction.public_addresses import PublicAddressOperations
from agent.translation_log import assignment_value
from state import vpn_rows
from state.model import Kind
from state.vpn import VpnGateway


class VpnGatewayOperations(PublicAddressOperations):
    """Creates and deletes VPN gateways."""

    def create_vpn_gateway(self, new: VpnGatewaySpec) -> tuple[VpnGateway, NetworkRecord]:
        """Plan a VPN gateway.

        Raises NotFound, AlreadyExists, InUse, InvalidArgument, FailedPrecondition, ResourceExhausted.
        """
        name = new.name or fresh("gateway", self._cache.vpn.gateways)
        if name in self._cache.vpn.gateways:
            raise AlreadyExists(f"vpnGateways/{name}", f"vpnGateways/{name} exists already")
        record = self._network_named(new.network.removeprefix("networks/"))
        network, of = record.network, f"networks/{record.network.name}"
        if network.kind is Kind.ISOLATED:
            raise FailedPrecondition("NETWORK_ISOLATED", of, f"{of} is ISOLATED; VPN gateways are for PRIVATE networks")
        if record.vpn is not None:
            present = f"vpnGateways/{record.vpn.gateway.name}"
            message = f"{of} has {present} already; a network has at most one VPN gateway"
            raise InUse(of, message, [present])
        pools = self._cache.pools
        if not pools.public.size:
            message = "this appliance has no public address to give away ([pools] public)"
            raise FailedPrecondition("NO_PUBLIC_POOL", "appliance", message)
        address = self._public("vpn_gateway.address", new.address)
        number, zone = int(self._next(pools.number)), self._next(pools.zone)
        gateway = VpnGateway(name, number, address, int(zone), created_at=self.now)
        self._change(record)
        self._unused_by_machines(number)
        self._guard_pools(changed=True)
        self._insert("Vpn_Gateway", vpn_rows.gateway_row(gateway, ["uuid", record.uuid]))
        self._insert("Allocation", self._allocation_of("public-address", address, network.tenant))
        self._allocate("public-zone", zone, network)
        self._allocate("assignment", _assignment(gateway), network)
        return gateway, record

    def delete_vpn_gateway(self, name: str) -> None:
        """Plan the end of a VPN gateway without connections; raises NotFound, InUse."""
        record = self._vpn_gateway_named(name)
        users = [f"vpnConnections/{connection}" for connection in record.connections.keys()[:NAMED_USERS]]
        if users:
            more = len(record.connections) - len(users)
            listed = ", ".join(users) + (f" and {more} more" if more else "")
            raise InUse(f"vpnGateways/{name}", f"vpnGateways/{name} is used by {listed}", users)
        gateway = record.gateway
        self._change(record.network)
        self._delete("Vpn_Gateway", record.uuid)
        self._release("public-address", gateway.address)
        self._release("public-zone", str(gateway.zone))
        self._release("assignment", _assignment(gateway))

    def _vpn_gateway_named(self, name: str) -> VpnGatewayRecord:
        record = self._cache.vpn.gateways.get(name)
        if record is None:
            raise NotFound(f"vpnGateways/{name}", f"vpnGateways/{name} does not exist")
        return record


def _assignment(gateway: VpnGateway) -> str:
    return assignment_value(gateway.address, f"vpnGateways/{gateway.name}", gateway.zone)
