"""Calls of the API about VPN gateways and connections, for sandboxes."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from google.protobuf.field_mask_pb2 import FieldMask
from sandbox import CALL_SECONDS, Sandbox, require_live
from supervisor import PATIENCE

from sluice.v1 import vpn_connection_pb2, vpn_gateway_pb2
from sluice.v1.vpn_connection_pb2 import VpnConnection, VpnTunnel
from sluice.v1.vpn_gateway_pb2 import VpnGateway


class Vpn:
    """VPN gateways and connections of a sandbox, by identifier."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._gateways, self._connections = sandbox.vpn_gateways, sandbox.vpn_connections

    def create_gateway(self, name: str, network: str, *, address: str = "", live: bool = True) -> VpnGateway:
        """A VPN gateway of a network, once it is `live`. Raises grpc.RpcError, NotLive."""
        wanted = VpnGateway(network=f"networks/{network}", address=address)
        request = vpn_gateway_pb2.CreateVpnGatewayRequest(vpn_gateway_id=name, vpn_gateway=wanted, wait_live=live)
        made: VpnGateway = self._gateways.CreateVpnGateway(request, timeout=CALL_SECONDS)
        if live:
            require_live(made)
        return made

    def delete_gateway(self, name: str) -> None:
        """Delete a VPN gateway. Raises grpc.RpcError."""
        request = vpn_gateway_pb2.DeleteVpnGatewayRequest(name=f"vpnGateways/{name}")
        self._gateways.DeleteVpnGateway(request, timeout=CALL_SECONDS)

    def gateway(self, name: str) -> VpnGateway:
        """A VPN gateway as the API has it. Raises grpc.RpcError."""
        request = vpn_gateway_pb2.GetVpnGatewayRequest(name=f"vpnGateways/{name}")
        found: VpnGateway = self._gateways.GetVpnGateway(request, timeout=CALL_SECONDS)
        return found

    def connect(
        self, name: str, gateway: str, remote_prefixes: Sequence[str], *, live: bool = True, **fields: Any
    ) -> VpnConnection:
        """A connection of a gateway, once it is `live`; `fields` are those of the message. Raises as above."""
        wanted = VpnConnection(gateway=f"vpnGateways/{gateway}", remote_prefixes=remote_prefixes, **fields)
        request = vpn_connection_pb2.CreateVpnConnectionRequest(
            vpn_connection_id=name, vpn_connection=wanted, wait_live=live
        )
        made: VpnConnection = self._connections.CreateVpnConnection(request, timeout=CALL_SECONDS)
        if live:
            require_live(made)
        return made

    def change(self, name: str, fields: Mapping[str, Any]) -> VpnConnection:
        """Set fields of a connection, and wait until it is live. Raises grpc.RpcError, NotLive."""
        request = vpn_connection_pb2.UpdateVpnConnectionRequest(
            vpn_connection=VpnConnection(name=f"vpnConnections/{name}", **fields),
            update_mask=FieldMask(paths=list(fields)),
            wait_live=True,
        )
        changed: VpnConnection = self._connections.UpdateVpnConnection(request, timeout=CALL_SECONDS)
        require_live(changed)
        return changed

    def disconnect(self, name: str) -> None:
        """Delete a connection. Raises grpc.RpcError."""
        request = vpn_connection_pb2.DeleteVpnConnectionRequest(name=f"vpnConnections/{name}")
        self._connections.DeleteVpnConnection(request, timeout=CALL_SECONDS)

    def connection(self, name: str) -> VpnConnection:
        """A connection as the API has it. Raises grpc.RpcError."""
        request = vpn_connection_pb2.GetVpnConnectionRequest(name=f"vpnConnections/{name}")
        found: VpnConnection = self._connections.GetVpnConnection(request, timeout=CALL_SECONDS)
        return found

    def established(self, name: str) -> bool:
        """Whether a connection's tunnel carries traffic. Raises grpc.RpcError."""
        return self.connection(name).tunnel.state == VpnTunnel.ESTABLISHED

    def seconds_until_established(self, name: str, limit: float = 30.0) -> float:
        """How long it takes from now until the API says so. Raises TimeoutError with what it says instead."""
        began, limit = time.monotonic(), limit * PATIENCE
        while not self.established(name):
            if time.monotonic() - began > limit:
                tunnel = self.connection(name).tunnel
                raise TimeoutError(f"{name} is not established within {limit:g} s: {tunnel.detail or tunnel}")
            time.sleep(0.05)
        return time.monotonic() - began
