"""Resource names as people type them, and their completion."""

from __future__ import annotations

import os
from collections.abc import Iterator

import click
import grpc
from click.shell_completion import CompletionItem

from cli.paging import pages
from cli.session import channel
from sluice.v1 import machine_pb2, machine_pb2_grpc, network_pb2, network_pb2_grpc

DEFAULT_API = "unix:/run/sluice/api.sock"
_COMPLETION_TIMEOUT = 1.0


def network_name(text: str) -> str:
    """`blue` or `networks/blue` → `networks/blue`."""
    return text if text.startswith("networks/") else f"networks/{text}"


def machine_name(text: str) -> str:
    """`web` or `machines/web` → `machines/web`."""
    return text if text.startswith("machines/") else f"machines/{text}"


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


def _api(context: click.Context) -> str:
    # While completing, the root group's options are parsed but its callback does not run.
    return context.find_root().params.get("api") or os.environ.get("SLUICE_API", DEFAULT_API)


def complete_network(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of networks that start with `incomplete`; none when the API does not answer."""
    stub = network_pb2_grpc.NetworkServiceStub(channel(_api(context)))
    try:
        found = [short(network.name) for network in all_networks(stub, timeout=_COMPLETION_TIMEOUT)]
    except grpc.RpcError:
        return []
    return [CompletionItem(name) for name in found if name.startswith(incomplete)]


def complete_machine(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of machines that start with `incomplete`; none when the API does not answer."""
    stub = machine_pb2_grpc.MachineServiceStub(channel(_api(context)))
    try:
        found = [short(machine.name) for machine in all_machines(stub, timeout=_COMPLETION_TIMEOUT)]
    except grpc.RpcError:
        return []
    return [CompletionItem(name) for name in found if name.startswith(incomplete)]
