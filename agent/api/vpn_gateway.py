"""VpnGatewayService: decode, call the store, encode."""

from __future__ import annotations

from collections.abc import Iterator

from google.protobuf.empty_pb2 import Empty

from agent.api import encode_vpn, paging
from agent.api.calls import ConcurrencyLimit, Context, idempotency, time_left
from agent.api.names import identifier, optional_identifier
from agent.api.watching import stream
from agent.cache.records import VpnGatewayView
from agent.requests import VpnGatewaySpec
from agent.store import Store
from sluice.v1 import status_pb2, vpn_gateway_pb2, vpn_gateway_pb2_grpc

COLLECTION = "vpnGateways"


class VpnGatewayService(vpn_gateway_pb2_grpc.VpnGatewayServiceServicer):
    """VPN gateways over gRPC; the contract is vpn_gateway.proto. Faults become statuses in `calls`."""

    def __init__(self, store: Store, waiting: ConcurrencyLimit, watching: ConcurrencyLimit) -> None:
        self._store, self._waiting, self._watching = store, waiting, watching

    def CreateVpnGateway(
        self, request: vpn_gateway_pb2.CreateVpnGatewayRequest, context: Context
    ) -> vpn_gateway_pb2.VpnGateway:
        """Give a network a VPN gateway, and wait until it runs if asked to."""
        asked = request.vpn_gateway
        new = VpnGatewaySpec(request.vpn_gateway_id, asked.network, asked.address)
        repeat = idempotency(request, "CreateVpnGateway")
        with self._waiting.seated(request.wait_live):
            view = self._store.create_vpn_gateway(new, repeat, time_left(context))
            if request.wait_live:
                view = self._store.wait_vpn_gateway(view, time_left(context))
        return encode_vpn.gateway(view)

    def GetVpnGateway(
        self, request: vpn_gateway_pb2.GetVpnGatewayRequest, context: Context
    ) -> vpn_gateway_pb2.VpnGateway:
        """One VPN gateway."""
        name = identifier("name", request.name, COLLECTION)
        self._store.wait_connected(time_left(context))
        view = self._store.vpn_gateway(name)
        if request.wait_live:
            with self._waiting.seated():
                view = self._store.wait_vpn_gateway(view, time_left(context))
        return encode_vpn.gateway(view)

    def ListVpnGateways(
        self, request: vpn_gateway_pb2.ListVpnGatewaysRequest, context: Context
    ) -> vpn_gateway_pb2.ListVpnGatewaysResponse:
        """A page of VPN gateways in order of name."""
        size = paging.size(request.page_size)
        network = optional_identifier("network", request.network, "networks")
        selection = paging.selection(network, request.tenant)
        after = paging.decode(COLLECTION, selection, request.page_token)
        self._store.wait_connected(time_left(context))
        views = self._store.list_vpn_gateways(network, request.tenant, after, size + 1)
        page, token = paging.cut(views, size, COLLECTION, selection, lambda view: view.gateway.name)
        return vpn_gateway_pb2.ListVpnGatewaysResponse(
            vpn_gateways=map(encode_vpn.gateway, page), next_page_token=token
        )

    def DeleteVpnGateway(self, request: vpn_gateway_pb2.DeleteVpnGatewayRequest, context: Context) -> Empty:
        """Delete a VPN gateway without connections."""
        self._store.delete_vpn_gateway(identifier("name", request.name, COLLECTION), time_left(context))
        return Empty()

    def WatchVpnGateways(
        self, request: vpn_gateway_pb2.WatchVpnGatewaysRequest, context: Context
    ) -> Iterator[vpn_gateway_pb2.VpnGatewayEvent]:
        """Every VPN gateway there is, SYNCED, then each change."""
        network = optional_identifier("network", request.network, "networks")
        self._store.wait_connected(time_left(context))

        def event(
            kind: status_pb2.ChangeType.ValueType, view: VpnGatewayView | None
        ) -> vpn_gateway_pb2.VpnGatewayEvent:
            shown = None if view is None else encode_vpn.gateway(view)
            return vpn_gateway_pb2.VpnGatewayEvent(type=kind, vpn_gateway=shown)

        return stream(self._store, self._watching, context, lambda: self._store.watch_vpn_gateways(network), event)
