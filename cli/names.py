"""Collections of the API: resource names as people type them, lists over all pages, and completion."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

import click
import grpc
from click.core import ParameterSource
from click.shell_completion import CompletionItem
from google.protobuf.message import Message

from cli.paging import pages
from cli.session import CliSession, channel
from sluice.v1 import (
    drive_pb2,
    drive_pb2_grpc,
    interconnect_pb2,
    interconnect_pb2_grpc,
    machine_pb2,
    machine_pb2_grpc,
    network_pb2,
    network_pb2_grpc,
    public_address_pb2,
    public_address_pb2_grpc,
    vpn_connection_pb2,
    vpn_connection_pb2_grpc,
    vpn_gateway_pb2,
    vpn_gateway_pb2_grpc,
)

Listed = TypeVar("Listed", bound=Message)

_COMPLETION_TIMEOUT = 1.0


def not_empty(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """The value of an argument that may be missing; an empty one is a mistake, of a script's variable for one."""
    given = parameter.name is not None and context.get_parameter_source(parameter.name) is ParameterSource.COMMANDLINE
    if given and not value:
        raise click.BadParameter("is empty; leave it out where none is meant", context, parameter)
    return value


def short(name: str) -> str:
    """`networks/blue` → `blue`."""
    return name.rpartition("/")[2]


class Collection(click.ParamType[str], Generic[Listed]):
    """All objects of one kind; as the type of an argument or option, their names.

    `method` of the `stub` lists them in the answer's field `field`.
    """

    name = "name"

    def __init__(
        self,
        collection: str,
        stub: Callable[[grpc.Channel], Any],
        method: str,
        request: Callable[..., Message],
        field: str,
    ) -> None:
        self._collection, self._stub, self._method, self._request = collection, stub, method, request
        self._field = field

    def full(self, text: str) -> str:
        """`blue` or `networks/blue` → `networks/blue`; none stays none."""
        prefix = f"{self._collection}/"
        return text if not text or text.startswith(prefix) else prefix + text

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The name in full; an argument that must be there is not empty, as a script's variable may be."""
        if not value and isinstance(param, click.Argument) and param.required:
            self.fail("is empty", param, ctx)
        return self.full(str(value))

    def all(self, session: CliSession, timeout: float | None = None, **filters: str) -> Iterator[Listed]:
        """Every object, page by page, by the `filters` of the list's request. Raises grpc.RpcError."""
        method = getattr(self._stub(channel(session.api)), self._method)
        for page in pages(method, self._request(**filters), session.timeout if timeout is None else timeout):
            yield from getattr(page, self._field)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Names that start with `incomplete`; none when the API does not answer."""
        try:
            every: Iterator[Any] = self.all(ctx.ensure_object(CliSession), _COMPLETION_TIMEOUT)
            found = [short(one.name) for one in every]
        except grpc.RpcError:
            return []
        return [CompletionItem(name) for name in found if name.startswith(incomplete)]


NETWORKS = Collection[network_pb2.Network](
    "networks", network_pb2_grpc.NetworkServiceStub,
    "ListNetworks", network_pb2.ListNetworksRequest, "networks",
)  # fmt: skip
MACHINES = Collection[machine_pb2.Machine](
    "machines", machine_pb2_grpc.MachineServiceStub,
    "ListMachines", machine_pb2.ListMachinesRequest, "machines",
)  # fmt: skip
PUBLIC_ADDRESSES = Collection[public_address_pb2.PublicAddress](
    "publicAddresses", public_address_pb2_grpc.PublicAddressServiceStub,
    "ListPublicAddresses", public_address_pb2.ListPublicAddressesRequest, "public_addresses",
)  # fmt: skip
DRIVES = Collection[drive_pb2.Drive](
    "drives", drive_pb2_grpc.DriveServiceStub,
    "ListDrives", drive_pb2.ListDrivesRequest, "drives",
)  # fmt: skip
VPN_GATEWAYS = Collection[vpn_gateway_pb2.VpnGateway](
    "vpnGateways", vpn_gateway_pb2_grpc.VpnGatewayServiceStub,
    "ListVpnGateways", vpn_gateway_pb2.ListVpnGatewaysRequest, "vpn_gateways",
)  # fmt: skip
VPN_CONNECTIONS = Collection[vpn_connection_pb2.VpnConnection](
    "vpnConnections", vpn_connection_pb2_grpc.VpnConnectionServiceStub,
    "ListVpnConnections", vpn_connection_pb2.ListVpnConnectionsRequest, "vpn_connections",
)  # fmt: skip
INTERCONNECTS = Collection[interconnect_pb2.Interconnect](
    "interconnects", interconnect_pb2_grpc.InterconnectServiceStub,
    "ListInterconnects", interconnect_pb2.ListInterconnectsRequest, "interconnects",
)  # fmt: skip
