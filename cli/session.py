"""What every command of one call of sluicectl shares: where things are, and how to write answers."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

import click
import grpc

from sluice.v1 import (
    appliance_pb2_grpc,
    drive_pb2_grpc,
    interconnect_pb2_grpc,
    machine_pb2_grpc,
    network_pb2_grpc,
    public_address_pb2_grpc,
    translation_pb2_grpc,
    usage_pb2_grpc,
    vpn_connection_pb2_grpc,
    vpn_gateway_pb2_grpc,
)

DEFAULT_API = "unix:/run/sluice/api.sock"


@dataclass(slots=True)
class CliSession:
    """The global options, wherever they stood on the command line.

    `timeout` is in seconds and holds for each call.
    """

    api: str = DEFAULT_API
    timeout: float = 30.0
    rundir: Path = Path("/run/openvswitch")
    bridge: str = "br-sluice"
    metrics: tuple[str, ...] = ()
    format: str = "table"

    @property
    def json(self) -> bool:
        """Whether answers and errors are written as JSON."""
        return self.format == "json"

    @property
    def networks(self) -> network_pb2_grpc.NetworkServiceStub:
        """Calls about networks."""
        return network_pb2_grpc.NetworkServiceStub(channel(self.api))

    @property
    def appliance(self) -> appliance_pb2_grpc.ApplianceServiceStub:
        """Calls about the appliance itself."""
        return appliance_pb2_grpc.ApplianceServiceStub(channel(self.api))

    @property
    def machines(self) -> machine_pb2_grpc.MachineServiceStub:
        """Calls about machines."""
        return machine_pb2_grpc.MachineServiceStub(channel(self.api))

    @property
    def translations(self) -> translation_pb2_grpc.TranslationServiceStub:
        """Calls about translations."""
        return translation_pb2_grpc.TranslationServiceStub(channel(self.api))

    @property
    def usage(self) -> usage_pb2_grpc.UsageServiceStub:
        """Calls about usage."""
        return usage_pb2_grpc.UsageServiceStub(channel(self.api))

    @property
    def addresses(self) -> public_address_pb2_grpc.PublicAddressServiceStub:
        """Calls about public addresses."""
        return public_address_pb2_grpc.PublicAddressServiceStub(channel(self.api))

    @property
    def drives(self) -> drive_pb2_grpc.DriveServiceStub:
        """Calls about shared drives."""
        return drive_pb2_grpc.DriveServiceStub(channel(self.api))

    @property
    def vpn_gateways(self) -> vpn_gateway_pb2_grpc.VpnGatewayServiceStub:
        """Calls about VPN gateways."""
        return vpn_gateway_pb2_grpc.VpnGatewayServiceStub(channel(self.api))

    @property
    def vpn_connections(self) -> vpn_connection_pb2_grpc.VpnConnectionServiceStub:
        """Calls about VPN connections."""
        return vpn_connection_pb2_grpc.VpnConnectionServiceStub(channel(self.api))

    @property
    def interconnects(self) -> interconnect_pb2_grpc.InterconnectServiceStub:
        """Calls about interconnects."""
        return interconnect_pb2_grpc.InterconnectServiceStub(channel(self.api))


pass_session = click.make_pass_decorator(CliSession)


@functools.lru_cache(maxsize=4)
def channel(api: str) -> grpc.Channel:
    """The connection to the API at `unix:PATH` or `HOST:PORT`, made on first use.

    A watch waits for an API that is away; gRPC by itself would look for it every two minutes in the end.
    """
    options = [("grpc.enable_http_proxy", 0), ("grpc.initial_reconnect_backoff_ms", 250),
               ("grpc.max_reconnect_backoff_ms", 5000)]  # fmt: skip
    return grpc.insecure_channel(api, options=options)
