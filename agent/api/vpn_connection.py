"""VpnConnectionService: decode, call the store, encode. What clients send of secrets goes to the store alone."""

from __future__ import annotations

from collections.abc import Iterator

from google.protobuf.empty_pb2 import Empty

from agent.api import encode_vpn, paging
from agent.api.calls import ConcurrencyLimit, Context, idempotency, time_left
from agent.api.mask import mask
from agent.api.names import identifier, optional_identifier
from agent.api.watching import stream
from agent.cache.records import VpnConnectionView
from agent.requests import Certificate, Idempotency, VpnConnectionSpec, VpnConnectionUpdate
from agent.store import Store
from agent.validation.vpn import FIELD
from sluice.v1 import status_pb2, vpn_connection_pb2, vpn_connection_pb2_grpc

COLLECTION = "vpnConnections"
CHANGEABLE = (
    "peer", "local_identity", "remote_identity", "pre_shared_key", "certificate", "local_prefixes", "remote_prefixes",
    "ike_version", "role", "ike_proposals", "esp_proposals", "allow_weak_algorithms", "dpd_seconds",
    "ike_lifetime_seconds", "child_lifetime_seconds",
)  # fmt: skip

VERSION_NAMES = {
    vpn_connection_pb2.VpnConnection.IKE_VERSION_UNSPECIFIED: "IKE_V2",
    vpn_connection_pb2.VpnConnection.IKE_V1: "IKE_V1",
    vpn_connection_pb2.VpnConnection.IKE_V2: "IKE_V2",
}
ROLE_NAMES = {
    vpn_connection_pb2.VpnConnection.ROLE_UNSPECIFIED: "INITIATOR",
    vpn_connection_pb2.VpnConnection.INITIATOR: "INITIATOR",
    vpn_connection_pb2.VpnConnection.RESPONDER: "RESPONDER",
}


def _certificate(asked: vpn_connection_pb2.VpnConnection) -> Certificate | None:
    if not asked.HasField("certificate"):
        return None
    sent = asked.certificate
    return Certificate(sent.certificate_pem, sent.private_key_pem, sent.ca_certificates_pem)


def _new(name: str, asked: vpn_connection_pb2.VpnConnection) -> VpnConnectionSpec:
    return VpnConnectionSpec(
        name=name,
        gateway=asked.gateway,
        peer=asked.peer,
        local_identity=asked.local_identity,
        remote_identity=asked.remote_identity,
        pre_shared_key=asked.pre_shared_key,
        certificate=_certificate(asked),
        local_prefixes=tuple(asked.local_prefixes),
        remote_prefixes=tuple(asked.remote_prefixes),
        ike_version=VERSION_NAMES.get(asked.ike_version, str(asked.ike_version)),
        role=ROLE_NAMES.get(asked.role, str(asked.role)),
        ike_proposals=tuple(asked.ike_proposals),
        esp_proposals=tuple(asked.esp_proposals),
        allow_weak=asked.allow_weak_algorithms,
        dpd_seconds=asked.dpd_seconds,
        ike_seconds=asked.ike_lifetime_seconds,
        child_seconds=asked.child_lifetime_seconds,
    )


def _change(asked: vpn_connection_pb2.VpnConnection, paths: set[str]) -> VpnConnectionUpdate:
    sent = _new("", asked)
    pre_shared_key = sent.pre_shared_key if "pre_shared_key" in paths else None
    certificate = (sent.certificate or Certificate()) if "certificate" in paths else None
    # A mask of both: the one that is set takes the place of the other.
    if pre_shared_key is not None and certificate is not None:
        if sent.certificate is None:
            certificate = None
        elif not pre_shared_key:
            pre_shared_key = None
    return VpnConnectionUpdate(
        peer=sent.peer if "peer" in paths else None,
        local_identity=sent.local_identity if "local_identity" in paths else None,
        remote_identity=sent.remote_identity if "remote_identity" in paths else None,
        pre_shared_key=pre_shared_key,
        certificate=certificate,
        local_prefixes=sent.local_prefixes if "local_prefixes" in paths else None,
        remote_prefixes=sent.remote_prefixes if "remote_prefixes" in paths else None,
        ike_version=sent.ike_version if "ike_version" in paths else None,
        role=sent.role if "role" in paths else None,
        ike_proposals=sent.ike_proposals if "ike_proposals" in paths else None,
        esp_proposals=sent.esp_proposals if "esp_proposals" in paths else None,
        allow_weak=sent.allow_weak if "allow_weak_algorithms" in paths else None,
        dpd_seconds=sent.dpd_seconds if "dpd_seconds" in paths else None,
        ike_seconds=sent.ike_seconds if "ike_lifetime_seconds" in paths else None,
        child_seconds=sent.child_seconds if "child_lifetime_seconds" in paths else None,
    )


class VpnConnectionService(vpn_connection_pb2_grpc.VpnConnectionServiceServicer):
    """VPN connections over gRPC; the contract is vpn_connection.proto. Faults become statuses in `calls`."""

    def __init__(self, store: Store, waiting: ConcurrencyLimit, watching: ConcurrencyLimit) -> None:
        self._store, self._waiting, self._watching = store, waiting, watching

    def CreateVpnConnection(
        self, request: vpn_connection_pb2.CreateVpnConnectionRequest, context: Context
    ) -> vpn_connection_pb2.VpnConnection:
        """Add a connection to a gateway, and wait until the gateway acts by it if asked to."""
        new = _new(request.vpn_connection_id, request.vpn_connection)
        repeat = self._repeat(request)
        with self._waiting.seated(request.wait_live):
            view = self._store.create_vpn_connection(new, repeat, time_left(context))
            if request.wait_live:
                view = self._store.wait_vpn_connection(view, time_left(context))
        return encode_vpn.connection(view)

    def _repeat(self, request: vpn_connection_pb2.CreateVpnConnectionRequest) -> Idempotency:
        """As `idempotency`; a digest of a secret as it is would let whoever reads the database guess it."""
        if not request.request_id:
            return Idempotency()
        closed = vpn_connection_pb2.CreateVpnConnectionRequest()
        closed.CopyFrom(request)
        asked = closed.vpn_connection
        if asked.pre_shared_key:
            asked.pre_shared_key = self._store.seal.digest(asked.pre_shared_key)
        if asked.certificate.private_key_pem:
            asked.certificate.private_key_pem = self._store.seal.digest(asked.certificate.private_key_pem)
        return idempotency(closed, "CreateVpnConnection")

    def GetVpnConnection(
        self, request: vpn_connection_pb2.GetVpnConnectionRequest, context: Context
    ) -> vpn_connection_pb2.VpnConnection:
        """One connection."""
        name = identifier("name", request.name, COLLECTION)
        self._store.wait_connected(time_left(context))
        view = self._store.vpn_connection(name)
        if request.wait_live:
            with self._waiting.seated():
                view = self._store.wait_vpn_connection(view, time_left(context))
        return encode_vpn.connection(view)

    def ListVpnConnections(
        self, request: vpn_connection_pb2.ListVpnConnectionsRequest, context: Context
    ) -> vpn_connection_pb2.ListVpnConnectionsResponse:
        """A page of connections in order of name."""
        size = paging.size(request.page_size)
        gateway = optional_identifier("gateway", request.gateway, "vpnGateways")
        selection = paging.selection(gateway, request.tenant)
        after = paging.decode(COLLECTION, selection, request.page_token)
        self._store.wait_connected(time_left(context))
        views = self._store.list_vpn_connections(gateway, request.tenant, after, size + 1)
        page, token = paging.cut(views, size, COLLECTION, selection, lambda view: view.connection.name)
        return vpn_connection_pb2.ListVpnConnectionsResponse(
            vpn_connections=map(encode_vpn.connection, page), next_page_token=token
        )

    def UpdateVpnConnection(
        self, request: vpn_connection_pb2.UpdateVpnConnectionRequest, context: Context
    ) -> vpn_connection_pb2.VpnConnection:
        """Change what the mask names."""
        asked = request.vpn_connection
        name = identifier(f"{FIELD}.name", asked.name, COLLECTION)
        self._store.wait_connected(time_left(context))
        kept = None
        if not request.update_mask.paths:
            kept = {"gateway": f"vpnGateways/{self._store.vpn_connection(name).gateway}"}
        sent = {"pre_shared_key": asked.pre_shared_key, "certificate": asked.certificate.private_key_pem}
        unread = [field for field, secret in sent.items() if not secret]
        change = _change(asked, mask(FIELD, asked, request.update_mask, CHANGEABLE, kept=kept, unread=unread))
        with self._waiting.seated(request.wait_live):
            view = self._store.update_vpn_connection(name, change, time_left(context))
            if request.wait_live:
                view = self._store.wait_vpn_connection(view, time_left(context))
        return encode_vpn.connection(view)

    def DeleteVpnConnection(self, request: vpn_connection_pb2.DeleteVpnConnectionRequest, context: Context) -> Empty:
        """Close and delete a connection."""
        self._store.delete_vpn_connection(identifier("name", request.name, COLLECTION), time_left(context))
        return Empty()

    def WatchVpnConnections(
        self, request: vpn_connection_pb2.WatchVpnConnectionsRequest, context: Context
    ) -> Iterator[vpn_connection_pb2.VpnConnectionEvent]:
        """Every connection there is, SYNCED, then each change."""
        gateway = optional_identifier("gateway", request.gateway, "vpnGateways")
        self._store.wait_connected(time_left(context))

        def event(
            kind: status_pb2.ChangeType.ValueType, view: VpnConnectionView | None
        ) -> vpn_connection_pb2.VpnConnectionEvent:
            shown = None if view is None else encode_vpn.connection(view)
            return vpn_connection_pb2.VpnConnectionEvent(type=kind, vpn_connection=shown)

        return stream(self._store, self._watching, context, lambda: self._store.watch_vpn_connections(gateway), event)
