"""VPN gateways and connections of the API in memory."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import grpc
from fake_answers import LIVE, page, refuse
from google.protobuf.empty_pb2 import Empty
from google.rpc import error_details_pb2

from sluice.v1 import vpn_connection_pb2, vpn_connection_pb2_grpc, vpn_gateway_pb2, vpn_gateway_pb2_grpc
from sluice.v1.status_pb2 import CREATED, EXISTING, SYNCED


def head(**changes: Any) -> vpn_gateway_pb2.VpnGateway:
    """A live VPN gateway of the office."""
    values: dict[str, Any] = {
        "name": "vpnGateways/head", "network": "networks/office", "address": "203.0.113.70", "tenant": "acme",
        "status": LIVE,
    }  # fmt: skip
    return vpn_gateway_pb2.VpnGateway(**{**values, **changes})


def berlin(**changes: Any) -> vpn_connection_pb2.VpnConnection:
    """A live connection of the head as the API returns it, with its effective values."""
    values: dict[str, Any] = {
        "name": "vpnConnections/berlin", "gateway": "vpnGateways/head", "peer": "198.51.100.7",
        "local_identity": "203.0.113.70", "remote_identity": "198.51.100.7",
        "local_prefixes": ["10.0.0.0/16"], "remote_prefixes": ["192.168.10.0/24"],
        "ike_version": vpn_connection_pb2.VpnConnection.IKE_V2, "role": vpn_connection_pb2.VpnConnection.INITIATOR,
        "ike_proposals": ["aes256gcm16-prfsha384-ecp384", "aes256gcm16-prfsha512-ecp384",
                          "aes128gcm16-prfsha256-ecp256", "aes256-sha256-modp2048"],
        "esp_proposals": ["aes256gcm16-ecp384", "aes128gcm16-ecp256", "aes256-sha256-modp2048"],
        "dpd_seconds": 2, "ike_lifetime_seconds": 14400, "child_lifetime_seconds": 3600, "tenant": "acme",
        "status": LIVE,
    }  # fmt: skip
    return vpn_connection_pb2.VpnConnection(**{**values, **changes})


class VpnGateways(vpn_gateway_pb2_grpc.VpnGatewayServiceServicer):
    """Gateways in `api.vpn_gateways`."""

    def __init__(self, api: Any) -> None:
        self.api = api

    def CreateVpnGateway(self, request: Any, context: Any) -> vpn_gateway_pb2.VpnGateway:
        self.api.requests.append(request)
        if request.vpn_gateway.network == "networks/shop":
            violation = error_details_pb2.PreconditionFailure.Violation
            failed = error_details_pb2.PreconditionFailure(
                violations=[violation(subject="networks/shop", description="is ISOLATED; allowed: a PRIVATE one")]
            )
            refuse(context, grpc.StatusCode.FAILED_PRECONDITION, "the network cannot have a VPN gateway", failed)
        made = head(name=f"vpnGateways/{request.vpn_gateway_id or 'chosen'}", network=request.vpn_gateway.network)
        made.status.CopyFrom(self.api.new_status)
        self.api.vpn_gateways[made.name] = made
        return made

    def GetVpnGateway(self, request: Any, context: Any) -> vpn_gateway_pb2.VpnGateway:
        self.api.requests.append(request)
        if request.name not in self.api.vpn_gateways:
            context.abort(grpc.StatusCode.NOT_FOUND, f"no VPN gateway {request.name}")
        return self.api.vpn_gateways[request.name]

    def ListVpnGateways(self, request: Any, context: Any) -> vpn_gateway_pb2.ListVpnGatewaysResponse:
        self.api.requests.append(request)
        found = [g for _, g in sorted(self.api.vpn_gateways.items()) if request.network in ("", g.network)]
        found, token = page(request, found)
        return vpn_gateway_pb2.ListVpnGatewaysResponse(vpn_gateways=found, next_page_token=token)

    def DeleteVpnGateway(self, request: Any, context: Any) -> Empty:
        self.api.requests.append(request)
        if self.api.vpn_gateways.pop(request.name, None) is None:
            context.abort(grpc.StatusCode.NOT_FOUND, f"no VPN gateway {request.name}")
        return Empty()

    def WatchVpnGateways(self, request: Any, context: Any) -> Iterator[vpn_gateway_pb2.VpnGatewayEvent]:
        self.api.requests.append(request)
        for gateway in self.api.vpn_gateways.values():
            yield vpn_gateway_pb2.VpnGatewayEvent(type=EXISTING, vpn_gateway=gateway)
        yield vpn_gateway_pb2.VpnGatewayEvent(type=SYNCED)
        yield vpn_gateway_pb2.VpnGatewayEvent(type=CREATED, vpn_gateway=head(name="vpnGateways/later"))


class VpnConnections(vpn_connection_pb2_grpc.VpnConnectionServiceServicer):
    """Connections in `api.vpn_connections`."""

    def __init__(self, api: Any) -> None:
        self.api = api

    def CreateVpnConnection(self, request: Any, context: Any) -> vpn_connection_pb2.VpnConnection:
        self.api.requests.append(request)
        made = vpn_connection_pb2.VpnConnection()
        made.CopyFrom(request.vpn_connection)
        # Secrets are never read back.
        made.pre_shared_key = made.certificate.private_key_pem = ""
        if not request.vpn_connection.HasField("certificate"):
            made.ClearField("certificate")
        made.name = f"vpnConnections/{request.vpn_connection_id or 'chosen'}"
        made.status.CopyFrom(self.api.new_status)
        self.api.vpn_connections[made.name] = made
        return made

    def GetVpnConnection(self, request: Any, context: Any) -> vpn_connection_pb2.VpnConnection:
        self.api.requests.append(request)
        if request.name not in self.api.vpn_connections:
            context.abort(grpc.StatusCode.NOT_FOUND, f"no VPN connection {request.name}")
        return self.api.vpn_connections[request.name]

    def ListVpnConnections(self, request: Any, context: Any) -> vpn_connection_pb2.ListVpnConnectionsResponse:
        self.api.requests.append(request)
        found = [c for _, c in sorted(self.api.vpn_connections.items()) if request.gateway in ("", c.gateway)]
        found, token = page(request, found)
        return vpn_connection_pb2.ListVpnConnectionsResponse(vpn_connections=found, next_page_token=token)

    def UpdateVpnConnection(self, request: Any, context: Any) -> vpn_connection_pb2.VpnConnection:
        self.api.requests.append(request)
        connection = self.api.vpn_connections[request.vpn_connection.name]
        request.update_mask.MergeMessage(request.vpn_connection, connection, True, True)
        connection.pre_shared_key = ""
        return connection

    def DeleteVpnConnection(self, request: Any, context: Any) -> Empty:
        self.api.requests.append(request)
        if self.api.vpn_connections.pop(request.name, None) is None:
            context.abort(grpc.StatusCode.NOT_FOUND, f"no VPN connection {request.name}")
        return Empty()

    def WatchVpnConnections(self, request: Any, context: Any) -> Iterator[vpn_connection_pb2.VpnConnectionEvent]:
        self.api.requests.append(request)
        ended = threading.Event()
        context.add_callback(ended.set)
        for connection in self.api.vpn_connections.values():
            yield vpn_connection_pb2.VpnConnectionEvent(type=EXISTING, vpn_connection=connection)
        yield vpn_connection_pb2.VpnConnectionEvent(type=SYNCED)
        yield from self.api.connection_events
        if not self.api.watch_ends:
            ended.wait()
