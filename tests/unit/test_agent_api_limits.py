"""What one client may ask of the API: calls without a request, large requests, and refusals every client can read."""

from __future__ import annotations

import base64
import threading
import time
from collections.abc import Iterator

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from agent import metrics
from agent.api.server import AWAITED_CALLS
from agent.config import Limits
from sluice.v1 import machine_pb2 as machines
from sluice.v1 import network_pb2 as networks
from tests.agents import Api, Database, machine, network, opened, refusal, served

# What a client takes by default (GRPC_ARG_MAX_METADATA_SIZE).
METADATA = 8192
QUICK = 5.0


@pytest.fixture
def api(server: Database) -> Iterator[Api]:
    with opened(server, limits=Limits(watches=3, waiting_calls=3)) as store, served(store) as made:
        yield made


class Silent:
    """Requests that do not come until it is ended."""

    def __init__(self) -> None:
        self.ended = threading.Event()

    def __iter__(self) -> Iterator[bytes]:
        self.ended.wait(60)
        yield from ()


@pytest.mark.parametrize(
    "method",
    [
        "/sluice.v1.NetworkService/GetNetwork",
        "/sluice.v1.NetworkService/WatchNetworks",
        "/grpc.health.v1.Health/Check",
        "/grpc.health.v1.Health/Watch",
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
    ],
)
def test_calls_whose_request_never_comes_keep_nobody_waiting(api: Api, method: str) -> None:
    missing = metrics.REQUESTS_MISSING._value.get()
    silent = Silent()
    calls = [api.channel.stream_stream(method)(iter(silent)) for _ in range(3 * AWAITED_CALLS)]
    try:
        began = time.monotonic()
        for _ in range(20):
            api.networks.ListNetworks(networks.ListNetworksRequest(), timeout=QUICK)
        assert time.monotonic() - began < QUICK
        deadline = time.monotonic() + QUICK
        while metrics.REQUESTS_MISSING._value.get() < missing + 2 * AWAITED_CALLS - 1 and time.monotonic() < deadline:
            time.sleep(0.01)
        # Those that have waited longest are the ones that end.
        assert calls[0].code() is grpc.StatusCode.CANCELLED
        assert calls[-1].is_active()
    finally:
        silent.ended.set()
        for call in calls:
            call.cancel()


def test_a_call_without_a_request_is_refused(api: Api) -> None:
    call = api.channel.stream_unary("/sluice.v1.NetworkService/GetNetwork")
    with pytest.raises(grpc.RpcError) as caught:
        call(iter(()))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_other_services_answer_as_before(api: Api) -> None:
    check = api.channel.unary_unary("/grpc.health.v1.Health/Check", health_pb2.HealthCheckRequest.SerializeToString,
                                    health_pb2.HealthCheckResponse.FromString)  # fmt: skip
    assert check(health_pb2.HealthCheckRequest()).status == health_pb2.HealthCheckResponse.SERVING
    info = api.channel.stream_stream(
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        reflection_pb2.ServerReflectionRequest.SerializeToString,
        reflection_pb2.ServerReflectionResponse.FromString,
    )
    asked = [reflection_pb2.ServerReflectionRequest(list_services="")] * 2
    assert len([answer.list_services_response.service for answer in info(iter(asked))]) == 2


def size_of(error: grpc.RpcError) -> int:
    """Bytes of the metadata that came with a refusal, as HTTP/2 counts them (RFC 9113 section 6.5.2)."""
    pairs = [*error.trailing_metadata(), ("grpc-message", error.details())]
    return sum(len(name) + (len(base64.b64encode(value)) if isinstance(value, bytes) else len(value)) + 32
               for name, value in pairs)  # fmt: skip


@pytest.mark.parametrize("count", [1, 40, 1000])
def test_a_refusal_of_many_requests_is_read_by_every_client(api: Api, count: int) -> None:
    requests = [machine(f"w{i}", mac_address="bad") for i in range(count)]
    with pytest.raises(grpc.RpcError) as caught:
        api.machines.BatchCreateMachines(machines.BatchCreateMachinesRequest(requests=requests))
    assert size_of(caught.value) < METADATA
    code, message, details = refusal(
        api.machines.BatchCreateMachines, machines.BatchCreateMachinesRequest(requests=requests)
    )
    assert code == "INVALID_ARGUMENT"
    assert message.startswith("requests[0].machine.mac_address is 'bad'")
    shown = len(details["BadRequest"].field_violations)
    assert shown + int(details["ErrorInfo"].metadata.get("left_out", 0)) == count
    assert shown >= min(count, 10)


def test_a_refusal_with_text_of_the_client_s_own_is_read_too(api: Api) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        api.networks.CreateNetwork(network("ü" * 100_000))
    assert (caught.value.code().name, size_of(caught.value) < METADATA) == ("INVALID_ARGUMENT", True)


def test_what_uses_a_network_is_named_as_far_as_clients_take_it(api: Api) -> None:
    api.networks.CreateNetwork(network("big", kind=networks.Network.PRIVATE, prefix="10.9.0.0/16"))
    for first in range(0, 600, 200):
        wanted = [
            machine(f"m{i}", "big", mac_address=f"02:00:00:00:{i >> 8:02x}:{i & 255:02x}")
            for i in range(first, first + 200)
        ]
        api.machines.BatchCreateMachines(machines.BatchCreateMachinesRequest(requests=wanted))
    with pytest.raises(grpc.RpcError) as caught:
        api.networks.DeleteNetwork(networks.DeleteNetworkRequest(name="networks/big"))
    assert (caught.value.code().name, size_of(caught.value) < METADATA) == ("FAILED_PRECONDITION", True)


def test_a_mask_of_many_paths_is_refused_at_once(api: Api) -> None:
    api.networks.CreateNetwork(network("n", kind=networks.Network.PRIVATE))
    paths = FieldMask(paths=["x" + str(number) for number in range(100_000)])
    request = networks.UpdateNetworkRequest(network=networks.Network(name="networks/n"), update_mask=paths)
    began = time.monotonic()
    with pytest.raises(grpc.RpcError) as caught:
        api.networks.UpdateNetwork(request)
    assert (caught.value.code().name, size_of(caught.value) < METADATA) == ("INVALID_ARGUMENT", True)
    assert time.monotonic() - began < QUICK


def test_requests_have_a_size(api: Api) -> None:
    request = machines.BatchCreateMachinesRequest(requests=[machines.CreateMachineRequest()] * 1_000_000)
    with pytest.raises(grpc.RpcError) as caught:
        api.machines.BatchCreateMachines(request)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.mark.parametrize("token", ["[" * 100_000, base64.b64encode(b"[" * 1200).decode(), "W10=", "x"])
def test_no_page_token_is_a_fault_of_the_agent(api: Api, token: str) -> None:
    code, _, details = refusal(api.networks.ListNetworks, networks.ListNetworksRequest(page_token=token))
    assert (code, details["BadRequest"].field_violations[0].field) == ("INVALID_ARGUMENT", "page_token")
