"""Requests for VPN gateways and connections, and what a VPN daemon would say of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from google.protobuf.field_mask_pb2 import FieldMask

from sluice.v1 import vpn_connection_pb2 as connections
from sluice.v1 import vpn_gateway_pb2 as gateways
from state import vpn_rows
from state.model import State
from state.ovsdb import OvsdbClient
from state.vpn import Tunnel
from state.vpn_rows import VpnStatus
from tests.agents import Api, Database

SECRET = "correct horse battery staple"
PEER = "198.51.100.200"


def gateway(name: str, of: str = "office", address: str = "", **options: Any) -> gateways.CreateVpnGatewayRequest:
    """A request for the VPN gateway of network `of`."""
    made = gateways.VpnGateway(network=f"networks/{of}", address=address)
    return gateways.CreateVpnGatewayRequest(vpn_gateway_id=name, vpn_gateway=made, **options)


def connection(name: str, of: str = "gw", **fields: Any) -> connections.CreateVpnConnectionRequest:
    """A request for a connection of gateway `of`; `request_id` and `wait_live` are the request's."""
    options = {key: fields.pop(key) for key in ("request_id", "wait_live") if key in fields}
    values = {
        "gateway": f"vpnGateways/{of}", "peer": PEER, "remote_prefixes": ["192.168.50.0/24"],
        "pre_shared_key": "" if "certificate" in fields else SECRET,
    } | fields  # fmt: skip
    made = connections.VpnConnection(**values)
    return connections.CreateVpnConnectionRequest(vpn_connection_id=name, vpn_connection=made, **options)


def changed(name: str, *paths: str, **fields: Any) -> connections.UpdateVpnConnectionRequest:
    """A request to change a connection; without paths those that are set."""
    value = connections.VpnConnection(name=f"vpnConnections/{name}", **fields)
    return connections.UpdateVpnConnectionRequest(vpn_connection=value, update_mask=FieldMask(paths=paths))


def update(api: Api, name: str, *paths: str, **fields: Any) -> connections.VpnConnection:
    """Change a connection; the arguments are those of `changed`."""
    return api.vpn_connections.UpdateVpnConnection(changed(name, *paths, **fields))


def get_gateway(api: Api, name: str, **options: Any) -> gateways.VpnGateway:
    """A VPN gateway as it is now."""
    return api.vpn_gateways.GetVpnGateway(gateways.GetVpnGatewayRequest(name=f"vpnGateways/{name}", **options))


def get_connection(api: Api, name: str, **options: Any) -> connections.VpnConnection:
    """A connection as it is now."""
    request = connections.GetVpnConnectionRequest(name=f"vpnConnections/{name}", **options)
    return api.vpn_connections.GetVpnConnection(request)


Create = Callable[..., connections.VpnConnection]
"""Makes a connection; the arguments are those of `connection`."""


class Daemon:
    """Says of gateways and connections what the VPN daemon would say, by request of the test."""

    def __init__(self, of: Database) -> None:
        self._client = OvsdbClient(of.socket)
        self._client.wait_connected(5)

    def say(
        self,
        name: str,
        state: State = State.LIVE,
        detail: str = "",
        tunnel: Tunnel | None = None,
        revision: int | None = None,
    ) -> None:
        """Report of `vpnGateways/NAME` or `vpnConnections/NAME`, as it is now unless another `revision` is given."""
        if revision is None:
            revision = self.revision(name)
        status = VpnStatus(name, revision, state, detail, tunnel)
        self._client.transact(
            [
                {"op": "delete", "table": "Vpn_Status", "where": [["object", "==", name]]},
                {"op": "insert", "table": "Vpn_Status", "row": vpn_rows.status_row(status)},
            ]
        )

    def revision(self, name: str) -> int:
        """The present revision of `vpnConnections/NAME`; when `vpnGateways/NAME` was created."""
        collection, _, identifier = name.partition("/")
        table, column = {"vpnGateways": ("Vpn_Gateway", "created_at")}.get(collection, ("Vpn_Connection", "revision"))
        where = [["name", "==", identifier]]
        select = {"op": "select", "table": table, "where": where, "columns": [column]}
        (answer,) = self._client.transact([select])
        return int(answer["rows"][0][column])

    def close(self) -> None:
        """End its connection."""
        self._client.close()
