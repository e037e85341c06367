"""An API in memory for tests of the command line: real gRPC, no database, no switch."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest
from fake_answers import LIVE, page, refuse
from fake_interconnects import Drives, Interconnects
from fake_vpn import VpnConnections, VpnGateways
from google.protobuf.empty_pb2 import Empty
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc

from cli.main import run
from sluice.v1 import (
    appliance_pb2,
    appliance_pb2_grpc,
    drive_pb2,
    drive_pb2_grpc,
    interconnect_pb2,
    interconnect_pb2_grpc,
    limits_pb2,
    machine_pb2,
    machine_pb2_grpc,
    network_pb2,
    network_pb2_grpc,
    translation_pb2,
    translation_pb2_grpc,
    vpn_connection_pb2,
    vpn_connection_pb2_grpc,
    vpn_gateway_pb2,
    vpn_gateway_pb2_grpc,
)
from sluice.v1.status_pb2 import CREATED, EXISTING, SYNCED, Status


def office(**changes: Any) -> network_pb2.Network:
    """A live private network."""
    values: dict[str, Any] = {
        "name": "networks/office", "kind": network_pb2.Network.PRIVATE, "tenant": "acme", "prefix": "10.0.0.0/16",
        "limits": limits_pb2.Limits(public_kbps=1_000_000, storage_kbps=10_000_000),
        "router_address": "10.0.0.1", "mtu": 1500, "key": 3, "status": LIVE,
        "port_block": network_pb2.PortBlock(address="203.0.113.64", first_port=3072, last_port=4095),
    }  # fmt: skip
    return network_pb2.Network(**{**values, **changes})


def pc(number: int, **changes: Any) -> machine_pb2.Machine:
    """A live machine of the office."""
    values: dict[str, Any] = {
        "name": f"machines/pc{number}", "network": "networks/office", "mac_address": f"02:00:00:00:00:{number:02x}",
        "address": f"10.0.0.{number + 1}", "hostname": f"pc{number}", "status": LIVE,
        "attachment": machine_pb2.Attachment(port="trunk", vlan=9 + number),
    }  # fmt: skip
    return machine_pb2.Machine(**{**values, **changes})


@dataclass(frozen=True)
class Done:
    """What one command did."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        """What it wrote, as JSON."""
        return json.loads(self.out)


def command(api: FakeApi, capsys: pytest.CaptureFixture[str], *arguments: str) -> Done:
    """Run sluicectl against an API."""
    code = run(["--api", api.target, "--timeout", "5", *arguments])
    written = capsys.readouterr()
    return Done(code, written.out, written.err)


@dataclass
class FakeApi:
    """What the server answers, and what it was asked: `requests` in order."""

    target: str = ""
    networks: dict[str, network_pb2.Network] = field(default_factory=dict)
    machines: dict[str, machine_pb2.Machine] = field(default_factory=dict)
    requests: list[Any] = field(default_factory=list)
    new_status: Status = field(default_factory=lambda: LIVE)
    abort_creates: int = 0
    translation: translation_pb2.Translation | None = None
    vpn_gateways: dict[str, vpn_gateway_pb2.VpnGateway] = field(default_factory=dict)
    vpn_connections: dict[str, vpn_connection_pb2.VpnConnection] = field(default_factory=dict)
    # What a watch of connections says after SYNCED; then it goes on in silence, or ends.
    connection_events: list[vpn_connection_pb2.VpnConnectionEvent] = field(default_factory=list)
    interconnects: dict[str, interconnect_pb2.Interconnect] = field(default_factory=dict)
    routes: dict[str, list[interconnect_pb2.InterconnectRoute]] = field(default_factory=dict)
    drives: list[drive_pb2.Drive] = field(default_factory=list)
    # As `connection_events`, of interconnects.
    interconnect_events: list[interconnect_pb2.InterconnectEvent] = field(default_factory=list)
    watch_ends: bool = False
    # None: an agent that does not know yet.
    daemons: list[appliance_pb2.Daemon] | None = None
    realization: appliance_pb2.Realization | None = None
    ports: list[appliance_pb2.Port] = field(default_factory=list)

    def last(self) -> Any:
        """The last request."""
        return self.requests[-1]


class _Appliance(appliance_pb2_grpc.ApplianceServiceServicer):
    def __init__(self, api: FakeApi) -> None:
        self.api = api

    def GetAppliance(self, request: Any, context: Any) -> appliance_pb2.Appliance:
        if self.api.daemons is None:
            context.abort(grpc.StatusCode.UNIMPLEMENTED, "Method not found!")
        return appliance_pb2.Appliance(daemons=self.api.daemons, realization=self.api.realization, ports=self.api.ports)


class _Networks(network_pb2_grpc.NetworkServiceServicer):
    def __init__(self, api: FakeApi) -> None:
        self.api = api

    def CreateNetwork(self, request: Any, context: Any) -> network_pb2.Network:
        self.api.requests.append(request)
        if self.api.abort_creates:
            self.api.abort_creates -= 1
            context.abort(grpc.StatusCode.ABORTED, "another change came first")
        name = f"networks/{request.network_id or 'chosen'}"
        if name in self.api.networks:
            taken = error_details_pb2.ResourceInfo(resource_type="sluice.dev/Network", resource_name=name)
            taken.description = "exists"
            refuse(context, grpc.StatusCode.ALREADY_EXISTS, "a network of this name exists", taken)
        if request.network.mtu > 9000:
            violation = error_details_pb2.BadRequest.FieldViolation
            bad = error_details_pb2.BadRequest(field_violations=[
                violation(field="network.mtu", description=f"is {request.network.mtu}; allowed: 576 to 9000"),
                violation(field="network.prefix", description="is '10.0.0.0/8'; allowed: a /16"),
            ])  # fmt: skip
            refuse(context, grpc.StatusCode.INVALID_ARGUMENT, "2 fields are wrong", bad)
        self.api.networks[name] = office(name=name, status=self.api.new_status)
        return self.api.networks[name]

    def GetNetwork(self, request: Any, context: Any) -> network_pb2.Network:
        self.api.requests.append(request)
        if request.name not in self.api.networks:
            context.abort(grpc.StatusCode.NOT_FOUND, f"no network {request.name}")
        return self.api.networks[request.name]

    def ListNetworks(self, request: Any, context: Any) -> network_pb2.ListNetworksResponse:
        self.api.requests.append(request)
        found = [n for _, n in sorted(self.api.networks.items()) if request.tenant in ("", n.tenant)]
        found, token = page(request, found)
        return network_pb2.ListNetworksResponse(networks=found, next_page_token=token)

    def UpdateNetwork(self, request: Any, context: Any) -> network_pb2.Network:
        self.api.requests.append(request)
        network = self.api.networks[request.network.name]
        request.update_mask.MergeMessage(request.network, network, True, True)
        return network

    def DeleteNetwork(self, request: Any, context: Any) -> Empty:
        self.api.requests.append(request)
        users = [m.name for m in self.api.machines.values() if m.network == request.name]
        if users:
            violation = error_details_pb2.PreconditionFailure.Violation
            refuse(
                context, grpc.StatusCode.FAILED_PRECONDITION, "the network is in use",
                error_details_pb2.PreconditionFailure(
                    violations=[violation(subject=user, description="uses it") for user in users]
                ),
            )  # fmt: skip
        del self.api.networks[request.name]
        return Empty()

    def WatchNetworks(self, request: Any, context: Any) -> Iterator[network_pb2.NetworkEvent]:
        self.api.requests.append(request)
        for network in self.api.networks.values():
            yield network_pb2.NetworkEvent(type=EXISTING, network=network)
        yield network_pb2.NetworkEvent(type=SYNCED)
        yield network_pb2.NetworkEvent(type=CREATED, network=office(name="networks/later"))


class _Machines(machine_pb2_grpc.MachineServiceServicer):
    def __init__(self, api: FakeApi) -> None:
        self.api = api

    def _make(self, request: Any) -> machine_pb2.Machine:
        machine = machine_pb2.Machine()
        machine.CopyFrom(request.machine)
        machine.name = f"machines/{request.machine_id or 'chosen'}"
        machine.status.CopyFrom(self.api.new_status)
        self.api.machines[machine.name] = machine
        return machine

    def CreateMachine(self, request: Any, context: Any) -> machine_pb2.Machine:
        self.api.requests.append(request)
        return self._make(request)

    def BatchCreateMachines(self, request: Any, context: Any) -> machine_pb2.BatchCreateMachinesResponse:
        self.api.requests.append(request)
        return machine_pb2.BatchCreateMachinesResponse(machines=[self._make(one) for one in request.requests])

    def GetMachine(self, request: Any, context: Any) -> machine_pb2.Machine:
        self.api.requests.append(request)
        if request.name not in self.api.machines:
            context.abort(grpc.StatusCode.NOT_FOUND, f"no machine {request.name}")
        return self.api.machines[request.name]

    def ListMachines(self, request: Any, context: Any) -> machine_pb2.ListMachinesResponse:
        self.api.requests.append(request)
        found = [m for _, m in sorted(self.api.machines.items()) if request.network in ("", m.network)]
        found, token = page(request, found)
        return machine_pb2.ListMachinesResponse(machines=found, next_page_token=token)

    def UpdateMachine(self, request: Any, context: Any) -> machine_pb2.Machine:
        self.api.requests.append(request)
        machine = self.api.machines[request.machine.name]
        request.update_mask.MergeMessage(request.machine, machine, True, True)
        return machine

    def DeleteMachine(self, request: Any, context: Any) -> Empty:
        self.api.requests.append(request)
        if self.api.machines.pop(request.name, None) is None:
            context.abort(grpc.StatusCode.NOT_FOUND, f"no machine {request.name}")
        return Empty()

    def WatchMachines(self, request: Any, context: Any) -> Iterator[machine_pb2.MachineEvent]:
        self.api.requests.append(request)
        for machine in self.api.machines.values():
            yield machine_pb2.MachineEvent(type=EXISTING, machine=machine)
        yield machine_pb2.MachineEvent(type=SYNCED)


class _Translations(translation_pb2_grpc.TranslationServiceServicer):
    def __init__(self, api: FakeApi) -> None:
        self.api = api

    def LookupTranslation(self, request: Any, context: Any) -> translation_pb2.Translation:
        self.api.requests.append(request)
        if self.api.translation is None:
            context.abort(grpc.StatusCode.NOT_FOUND, f"nobody used {request.address}:{request.port}")
        return self.api.translation


class _Health(health_pb2_grpc.HealthServicer):
    def Check(self, request: Any, context: Any) -> health_pb2.HealthCheckResponse:
        return health_pb2.HealthCheckResponse(status=health_pb2.HealthCheckResponse.SERVING)


@contextmanager
def fake_api() -> Iterator[FakeApi]:
    """Serve on a unix socket of its own until the block ends."""
    with tempfile.TemporaryDirectory(prefix="sluice-") as directory:
        api = FakeApi(f"unix:{Path(directory, 'api.sock')}")
        server = grpc.server(ThreadPoolExecutor(4))
        network_pb2_grpc.add_NetworkServiceServicer_to_server(_Networks(api), server)
        machine_pb2_grpc.add_MachineServiceServicer_to_server(_Machines(api), server)
        translation_pb2_grpc.add_TranslationServiceServicer_to_server(_Translations(api), server)
        vpn_gateway_pb2_grpc.add_VpnGatewayServiceServicer_to_server(VpnGateways(api), server)
        vpn_connection_pb2_grpc.add_VpnConnectionServiceServicer_to_server(VpnConnections(api), server)
        interconnect_pb2_grpc.add_InterconnectServiceServicer_to_server(Interconnects(api), server)
        drive_pb2_grpc.add_DriveServiceServicer_to_server(Drives(api), server)
        appliance_pb2_grpc.add_ApplianceServiceServicer_to_server(_Appliance(api), server)
        health_pb2_grpc.add_HealthServicer_to_server(_Health(), server)
        server.add_insecure_port(api.target)
        server.start()
        try:
            yield api
        finally:
            server.stop(None).wait()


Sluicectl = Callable[..., Done]


@pytest.fixture
def api() -> Iterator[FakeApi]:
    """An API in memory, for one test."""
    with fake_api() as served:
        yield served


@pytest.fixture
def sluicectl(api: FakeApi, capsys: pytest.CaptureFixture[str]) -> Sluicectl:
    """Runs sluicectl against it."""
    return partial(command, api, capsys)
