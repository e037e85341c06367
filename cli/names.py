"""Resource names as people type them, and their completion."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import Any

import click
import grpc
from click.core import ParameterSource
from click.shell_completion import CompletionItem

from cli.paging import pages
from cli.session import channel
from sluice.v1 import (
    interconnect_pb2,
    interconnect_pb2_grpc,
    machine_pb2,
    machine_pb2_grpc,
    network_pb2,
    network_pb2_grpc,
    vpn_connection_pb2,
    vpn_connection_pb2_grpc,
    vpn_gateway_pb2,
    vpn_gateway_pb2_grpc,
)

DEFAULT_API = "unix:/run/sluice/api.sock"
_COMPLETION_TIMEOUT = 1.0


def not_empty(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """The value of an argument that may be missing; an empty one is a mistake, of a script's variable for one."""
    given = parameter.name is not None and context.get_parameter_source(parameter.name) is ParameterSource.COMMANDLINE
    if given and not value:
        raise click.BadParameter("is empty; leave it out where none is meant", context, parameter)
    return value


def network_name(text: str) -> str:
    """`blue` or `networks/blue` → `networks/blue`."""
    return text if text.startswith("networks/") else f"networks/{text}"


def machine_name(text: str) -> str:
    """`web` or `machines/web` → `machines/web`."""
    return text if text.startswith("machines/") else f"machines/{text}"


def vpn_gateway_name(text: str) -> str:
    """`head` or `vpnGateways/head` → `vpnGateways/head`."""
    return text if text.startswith("vpnGateways/") else f"vpnGateways/{text}"


def vpn_connection_name(text: str) -> str:
    """`berlin` or `vpnConnections/berlin` → `vpnConnections/berlin`."""
    return text if text.startswith("vpnConnections/") else f"vpnConnections/{text}"


def interconnect_name(text: str) -> str:
    """`berlin-dc` or `interconnects/berlin-dc` → `interconnects/berlin-dc`."""
    return text if text.startswith("interconnects/") else f"interconnects/{text}"


def short(name: str) -> str:
    """`networks/blue` → `blue`."""
    return name.rpartition("/")[2]


def all_networks(
    stub: network_pb2_grpc.NetworkServiceStub, tenant: str = "", timeout: float | None = None
) -> Iterator[network_pb2.Network]:
    """Every network, page by page. Raises grpc.RpcError."""
    for page in pages(stub.ListNetworks, network_pb2.ListNetworksRequest(tenant=tenant), timeout):
        yield from page.networks


def all_machines(
    stub: machine_pb2_grpc.MachineServiceStub, network: str = "", timeout: float | None = None
) -> Iterator[machine_pb2.Machine]:
    """Every machine, of one network where it is given, page by page. Raises grpc.RpcError."""
    for page in pages(stub.ListMachines, machine_pb2.ListMachinesRequest(network=network), timeout):
        yield from page.machines


def all_vpn_gateways(
    stub: vpn_gateway_pb2_grpc.VpnGatewayServiceStub, network: str = "", timeout: float | None = None
) -> Iterator[vpn_gateway_pb2.VpnGateway]:
    """Every VPN gateway, of one network where it is given, page by page. Raises grpc.RpcError."""
    for page in pages(stub.ListVpnGateways, vpn_gateway_pb2.ListVpnGatewaysRequest(network=network), timeout):
        yield from page.vpn_gateways


def all_vpn_connections(
    stub: vpn_connection_pb2_grpc.VpnConnectionServiceStub, gateway: str = "", timeout: float | None = None
) -> Iterator[vpn_connection_pb2.VpnConnection]:
    """Every VPN connection, of one gateway where it is given, page by page. Raises grpc.RpcError."""
    request = vpn_connection_pb2.ListVpnConnectionsRequest(gateway=gateway)
    for page in pages(stub.ListVpnConnections, request, timeout):
        yield from page.vpn_connections


def all_interconnects(
    stub: interconnect_pb2_grpc.InterconnectServiceStub, network: str = "", timeout: float | None = None
) -> Iterator[interconnect_pb2.Interconnect]:
    """Every interconnect, of one network where it is given, page by page. Raises grpc.RpcError."""
    for page in pages(stub.ListInterconnects, interconnect_pb2.ListInterconnectsRequest(network=network), timeout):
        yield from page.interconnects


def _channel(context: click.Context) -> grpc.Channel:
    # While completing, the root group's options are parsed but its callback does not run.
    return channel(context.find_root().params.get("api") or os.environ.get("SLUICE_API", DEFAULT_API))


def _complete(objects: Iterable[Any], incomplete: str) -> list[CompletionItem]:
    try:
        found = [short(one.name) for one in objects]
    except grpc.RpcError:
        return []
    return [CompletionItem(name) for name in found if name.startswith(incomplete)]


def complete_network(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of networks that start with `incomplete`; none when the API does not answer."""
    stub = network_pb2_grpc.NetworkServiceStub(_channel(context))
    return _complete(all_networks(stub, timeout=_COMPLETION_TIMEOUT), incomplete)


def complete_machine(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of machines that start with `incomplete`; none when the API does not answer."""
    stub = machine_pb2_grpc.MachineServiceStub(_channel(context))
    return _complete(all_machines(stub, timeout=_COMPLETION_TIMEOUT), incomplete)


def complete_vpn_gateway(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of VPN gateways that start with `incomplete`; none when the API does not answer."""
    stub = vpn_gateway_pb2_grpc.VpnGatewayServiceStub(_channel(context))
    return _complete(all_vpn_gateways(stub, timeout=_COMPLETION_TIMEOUT), incomplete)


def complete_vpn_connection(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Names of VPN connections that start with `incomplete`; none when the API does not answer."""
    stub = vpn_connection_pb2_grpc.VpnConnectionServiceStub(_channel(context))
    return _complete(all_vpn_connections(stub, timeout=_COMPLETION_TIMEOUT), incomplete)


def complete_interconnect(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of interconnects that start with `incomplete`; none when the API does not answer."""
    stub = interconnect_pb2_grpc.InterconnectServiceStub(_channel(context))
    return _complete(all_interconnects(stub, timeout=_COMPLETION_TIMEOUT), incomplete)
