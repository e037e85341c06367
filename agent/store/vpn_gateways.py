"""Commands and queries of VPN gateways."""

from __future__ import annotations

from sortedcontainers import SortedDict

from agent.cache.records import WAITING, VpnGatewayRecord, VpnGatewayView
from agent.cache.watch import Watcher
from agent.requests import Idempotency, VpnGatewaySpec
from agent.store.desired_state import DesiredState, Index, check, find, following, remade
from agent.transaction import TransactionBuilder
from agent.validation.objects import request_id
from agent.validation.vpn import new_vpn_gateway


class VpnGateways(DesiredState):
    """VPN gateways of the store."""

    def create_vpn_gateway(self, new: VpnGatewaySpec, request: Idempotency, timeout: float) -> VpnGatewayView:
        """Give a network a VPN gateway.

        Raises InvalidArgument, NotFound, AlreadyExists, InUse, FailedPrecondition, ResourceExhausted, Aborted,
        Unavailable.
        """
        check([*request_id("request_id", request.request_id), *new_vpn_gateway(new)])

        def plan(transaction: TransactionBuilder) -> VpnGatewayView:
            made = self.made_before(request)
            if made is not None:
                return remade(self.cache.vpn.gateways, f"vpnGateways/{made.names[0]}", made.created_at).view
            gateway, record = transaction.create_vpn_gateway(new)
            transaction.answered(request, [gateway.name])
            return VpnGatewayView(gateway, record.network.name, record.network.tenant, WAITING)

        view = self.run(plan, timeout, repeatable=bool(request.request_id))
        with self.cache.lock:
            record = self.cache.vpn.gateways.get(view.gateway.name)
            return view if record is None else record.view

    def delete_vpn_gateway(self, name: str, timeout: float) -> None:
        """Delete a VPN gateway without connections. Raises NotFound, InUse, Aborted, Unavailable."""
        self.run(lambda transaction: transaction.delete_vpn_gateway(name), timeout)

    def vpn_gateway(self, name: str) -> VpnGatewayView:
        """One VPN gateway. Raises NotFound."""
        with self.cache.lock:
            return find(self.cache.vpn.gateways, f"vpnGateways/{name}").view

    def list_vpn_gateways(self, network: str, tenant: str, after: str, count: int) -> list[VpnGatewayView]:
        """At most `count` VPN gateways with names above `after`, in order; of one network and tenant unless empty.

        Raises NotFound.
        """
        with self.cache.lock:
            every = self.cache.vpn.gateways
            found = self.of_network(network, tenant, every, lambda record: _alone(record.vpn))
            return [every[name].view for name in following(found, after, count)]

    def wait_vpn_gateway(self, view: VpnGatewayView, timeout: float) -> VpnGatewayView:
        """The VPN gateway once it is no longer pending, or as it is after `timeout`. Raises NotFound."""
        name = f"vpnGateways/{view.gateway.name}"
        with self.cache.lock:
            record = remade(self.cache.vpn.gateways, name, view.gateway.created_at)
            self.await_object(record, record.network, name, timeout)
            return record.view

    def watch_vpn_gateways(self, network: str) -> tuple[list[VpnGatewayView], Watcher[VpnGatewayView]]:
        """The VPN gateways there are (only that of `network` unless it is empty) and a stream of changes after them."""
        with self.cache.lock:
            watcher = self.hub.add(VpnGatewayView, lambda view: network in ("", view.network))
            views = [record.view for record in self.cache.vpn.gateways.values()]
            return [view for view in views if network in ("", view.network)], watcher


def _alone(gateway: VpnGatewayRecord | None) -> Index | None:
    return None if gateway is None else SortedDict({gateway.gateway.name: gateway})
