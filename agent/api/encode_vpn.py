"""Converts VPN gateways and connections to messages of the API, without secrets."""

from __future__ import annotations

from agent.api.encode import moment, status
from agent.cache.records import VpnConnectionView, VpnGatewayView
from sluice.v1 import vpn_connection_pb2, vpn_gateway_pb2
from state.vpn import Authentication, Role, Tunnel, TunnelState, VpnConnection

VERSIONS = {1: vpn_connection_pb2.VpnConnection.IKE_V1, 2: vpn_connection_pb2.VpnConnection.IKE_V2}
ROLES = {
    Role.INITIATOR: vpn_connection_pb2.VpnConnection.INITIATOR,
    Role.RESPONDER: vpn_connection_pb2.VpnConnection.RESPONDER,
}
TUNNEL_STATES = {
    TunnelState.CONNECTING: vpn_connection_pb2.VpnTunnel.CONNECTING,
    TunnelState.ESTABLISHED: vpn_connection_pb2.VpnTunnel.ESTABLISHED,
    TunnelState.DOWN: vpn_connection_pb2.VpnTunnel.DOWN,
}


def gateway(view: VpnGatewayView) -> vpn_gateway_pb2.VpnGateway:
    """A VPN gateway."""
    value = view.gateway
    return vpn_gateway_pb2.VpnGateway(
        name=f"vpnGateways/{value.name}",
        network=f"networks/{view.network}",
        address=value.address,
        tenant=view.tenant,
        status=status(view.status),
        create_time=moment(value.created_at),
    )


def connection(view: VpnConnectionView) -> vpn_connection_pb2.VpnConnection:
    """A VPN connection."""
    value = view.connection
    return vpn_connection_pb2.VpnConnection(
        name=f"vpnConnections/{value.name}",
        gateway=f"vpnGateways/{view.gateway}",
        peer=value.peer,
        local_identity=value.local_identity,
        remote_identity=value.remote_identity,
        certificate=_certificate(value),
        local_prefixes=value.local_prefixes,
        remote_prefixes=value.remote_prefixes,
        ike_version=VERSIONS[value.ike_version],
        role=ROLES[value.role],
        ike_proposals=value.ike_proposals,
        esp_proposals=value.esp_proposals,
        allow_weak_algorithms=value.allow_weak,
        dpd_seconds=value.dpd_seconds,
        ike_lifetime_seconds=value.ike_seconds,
        child_lifetime_seconds=value.child_seconds,
        tenant=view.tenant,
        status=status(view.status),
        tunnel=None if view.tunnel is None else tunnel(view.tunnel),
        create_time=moment(value.created_at),
    )


def _certificate(value: VpnConnection) -> vpn_connection_pb2.VpnCertificate | None:
    if value.authentication is not Authentication.CERTIFICATE:
        return None
    return vpn_connection_pb2.VpnCertificate(
        certificate_pem=value.certificate, ca_certificates_pem=value.ca_certificates
    )


def tunnel(value: Tunnel) -> vpn_connection_pb2.VpnTunnel:
    """What was last seen of a tunnel."""
    return vpn_connection_pb2.VpnTunnel(
        state=TUNNEL_STATES[value.state],
        detail=value.detail,
        since_time=moment(value.since) if value.since else None,
        last_error=value.error,
        last_error_time=moment(value.error_at) if value.error_at else None,
        peer_address=value.peer_address,
        ike_proposal=value.ike_proposal,
        esp_proposal=value.esp_proposal,
        bytes_in=value.bytes_in,
        bytes_out=value.bytes_out,
        packets_in=value.packets_in,
        packets_out=value.packets_out,
        missing_pairs=map(_pair, value.missing.split()),
    )


def _pair(missing: str) -> vpn_connection_pb2.VpnPrefixPair:
    local, _, remote = missing.partition("-")
    return vpn_connection_pb2.VpnPrefixPair(local_prefix=local, remote_prefix=remote)
