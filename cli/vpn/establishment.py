"""Waiting until a tunnel is established."""

from __future__ import annotations

import grpc

from cli.errors import Failure, Unreachable
from cli.session import Session
from sluice.v1 import status_pb2
from sluice.v1 import vpn_connection_pb2 as pb


def await_established(session: Session, connection: pb.VpnConnection, seconds: float) -> pb.VpnConnection:
    """The connection once its tunnel is established.

    Raises errors.Unreachable with its last error when it is not after
    `seconds`, errors.Failure when it is deleted meanwhile, grpc.RpcError.
    """
    seen = connection
    request = pb.WatchVpnConnectionsRequest(gateway=connection.gateway)
    try:
        for event in session.vpn_connections.WatchVpnConnections(request, timeout=seconds):
            if event.vpn_connection.name != connection.name:
                continue
            if event.type == status_pb2.DELETED:
                raise Failure("NOT_FOUND", f"{connection.name} was deleted meanwhile")
            seen = event.vpn_connection
            if seen.tunnel.state == pb.VpnTunnel.ESTABLISHED:
                return seen
    except grpc.RpcError as error:
        if not isinstance(error, grpc.Call) or error.code() is not grpc.StatusCode.DEADLINE_EXCEEDED:
            raise
    why = seen.tunnel.last_error or seen.tunnel.detail or "it says nothing of why"
    message = f"{connection.name} was created, but its tunnel is not established after {seconds:g} s: {why}"
    raise Unreachable("NOT_ESTABLISHED", message)
