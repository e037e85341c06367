"""The API over gRPC as clients see it: codes and details, pages, waiting, watching, health, reflection."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp
from grpc_reflection.v1alpha import reflection_pb2

from agent import metrics
from agent.api import paging
from agent.config import Limits
from agent.store import Store
from sluice.v1 import machine_pb2 as machines
from sluice.v1 import network_pb2 as networks
from sluice.v1 import public_address_pb2 as addresses
from sluice.v1 import status_pb2
from sluice.v1 import translation_pb2 as translations
from tests.agents import MAC, Api, Database, StoppedClock, machine, network, opened, public_address, refusal, served
from tests.dummy_switch import wait_until

NOT_FOUND = grpc.StatusCode.NOT_FOUND.value[0]


@pytest.fixture
def store(server: Database) -> Iterator[Store]:
    with opened(server, limits=Limits(watches=3, waiting_calls=3)) as made:
        yield made


@pytest.fixture
def api(store: Store) -> Iterator[Api]:
    with served(store) as made:
        yield made


def test_a_machine_from_create_to_delete(api: Api) -> None:
    made = api.machines.CreateMachine(machine("web", tenant="t"))
    assert (made.name, made.network, made.address, made.hostname) == (
        "machines/web", "networks/web", "172.16.0.2", "web",
    )  # fmt: skip
    assert (made.tenant, made.status.state) == ("t", status_pb2.Status.PENDING)
    assert abs(made.create_time.ToMilliseconds() - time.time() * 1000) < 5000
    assert api.machines.GetMachine(machines.GetMachineRequest(name="machines/web")) == made
    of = api.networks.GetNetwork(networks.GetNetworkRequest(name="networks/web"))
    assert (of.kind, of.prefix, of.router_address) == (networks.Network.ISOLATED, "172.16.0.0/30", "172.16.0.1")
    assert (of.mtu, of.port_block.last_port - of.port_block.first_port) == (1500, 1023)
    api.machines.DeleteMachine(machines.DeleteMachineRequest(name="machines/web"))
    assert refusal(api.networks.GetNetwork, networks.GetNetworkRequest(name="networks/web"))[0] == "NOT_FOUND"


def test_malformed_requests_name_every_field(api: Api) -> None:
    request = machine("Web", number=1, network="office", attachment=machines.Attachment(port="x", vlan=5000))
    code, message, details = refusal(api.machines.CreateMachine, request)
    assert code == "INVALID_ARGUMENT"
    assert [v.field for v in details["BadRequest"].field_violations] == [
        "machine_id", "machine.network", "machine.attachment.vlan",
    ]  # fmt: skip
    assert "machine.attachment.vlan is 5000; allowed: 1 to 4094" in message
    assert details["ErrorInfo"].domain == "sluice"
    code, message, _ = refusal(api.networks.CreateNetwork, network("n", kind=7))
    assert (code, message) == ("INVALID_ARGUMENT", "network.kind is '7'; allowed: ISOLATED or PRIVATE")


@pytest.mark.parametrize("data", [b"\xff\xff", b"\x0a\x02\xc3\x28"])
def test_what_is_no_request_is_the_client_s_fault(api: Api, data: bytes) -> None:
    for method in ("unary_unary", "unary_stream"):
        name = "CreateNetwork" if method == "unary_unary" else "WatchNetworks"
        path = f"/sluice.v1.NetworkService/{name}"
        call = getattr(api.channel, method)(path, request_serializer=None, response_deserializer=None)
        with pytest.raises(grpc.RpcError) as caught:
            list(call(data))
        assert caught.value.code().name == "INVALID_ARGUMENT"


@pytest.mark.parametrize("name", ["", "web", "machines/", "networks/web", "machines/a/b"])
def test_malformed_names(api: Api, name: str) -> None:
    for call, request in (
        (api.machines.GetMachine, machines.GetMachineRequest(name=name)),
        (api.machines.DeleteMachine, machines.DeleteMachineRequest(name=name)),
        (api.machines.UpdateMachine, machines.UpdateMachineRequest(machine=machines.Machine(name=name))),
    ):
        assert refusal(call, request)[0] == "INVALID_ARGUMENT"


def test_refusals_carry_details(api: Api) -> None:
    api.networks.CreateNetwork(network("office"))
    api.machines.CreateMachine(machine("pc", "office"))
    code, _, details = refusal(api.machines.CreateMachine, machine("pc", "office", 2))
    assert (code, details["ResourceInfo"].resource_name) == ("ALREADY_EXISTS", "machines/pc")
    code, _, details = refusal(api.networks.DeleteNetwork, networks.DeleteNetworkRequest(name="networks/office"))
    assert (code, details["PreconditionFailure"].violations[0].subject) == ("FAILED_PRECONDITION", "machines/pc")
    code, _, details = refusal(api.machines.DeleteMachine, machines.DeleteMachineRequest(name="machines/none"))
    assert (code, details["ResourceInfo"].resource_type) == ("NOT_FOUND", "sluice.dev/Machine")


def test_an_empty_pool_is_resource_exhausted(server: Database) -> None:
    with opened(server, nat_pool=("198.51.100.9",), block_size=32768) as store, served(store) as api:
        api.networks.CreateNetwork(network("a"))
        code, message, details = refusal(api.networks.CreateNetwork, network("b"))
        assert (code, details["QuotaFailure"].violations[0].subject) == ("RESOURCE_EXHAUSTED", "port-block")
        assert message == "pool port-block is empty: none of its 1 is free"
        assert details["ErrorInfo"].metadata == {"pool": "port-block", "size": "1"}


def test_a_repeated_create_answers_the_same(api: Api) -> None:
    request = network("", tenant="t", request_id=str(uuid.uuid4()))
    first = api.networks.CreateNetwork(request)
    assert api.networks.CreateNetwork(request) == first
    request.wait_live = True
    assert api.networks.CreateNetwork(request, timeout=0.3) == first
    request.network.tenant = "u"
    code, message, _ = refusal(api.networks.CreateNetwork, request)
    assert (code, "was used for another request" in message) == ("INVALID_ARGUMENT", True)
    assert refusal(api.machines.CreateMachine, machine("a", request_id=request.request_id))[0] == "INVALID_ARGUMENT"
    assert refusal(api.networks.CreateNetwork, network("b", request_id="7"))[0] == "INVALID_ARGUMENT"


def test_a_batch(api: Api) -> None:
    api.networks.CreateNetwork(network("n"))
    requests = [machine(f"m{at}", "n", at) for at in range(100)]
    batch = machines.BatchCreateMachinesRequest(requests=requests, request_id=str(uuid.uuid4()))
    made = api.machines.BatchCreateMachines(batch).machines
    assert [m.name for m in made] == [f"machines/m{at}" for at in range(100)]
    assert [m.address for m in made] == [f"10.0.0.{at + 2}" for at in range(100)]
    assert api.machines.BatchCreateMachines(batch).machines == made
    requests = [machine("x", "n", 200), machine("y", "n", 201, wait_live=True), machine("m5", "n", 202)]
    batch = machines.BatchCreateMachinesRequest(requests=requests)
    code, message, _ = refusal(api.machines.BatchCreateMachines, batch)
    assert (code, message.startswith("requests[1].wait_live is True")) == ("INVALID_ARGUMENT", True)
    requests[1].wait_live = False
    code, message, details = refusal(
        api.machines.BatchCreateMachines, machines.BatchCreateMachinesRequest(requests=requests)
    )
    assert (code, message) == ("ALREADY_EXISTS", "requests[2]: machines/m5 exists already")
    assert details["ErrorInfo"].metadata["request"] == "2"
    for count in (0, 1001):
        many = machines.BatchCreateMachinesRequest(requests=[machine("z", "n")] * count)
        assert refusal(api.machines.BatchCreateMachines, many)[0] == "INVALID_ARGUMENT"


def test_update_by_mask(api: Api) -> None:
    api.networks.CreateNetwork(network("n"))
    made = api.machines.CreateMachine(machine("a", "n"))

    def update(*paths: str, **fields: Any) -> machines.Machine:
        changed = machines.Machine(name="machines/a", **fields)
        request = machines.UpdateMachineRequest(machine=changed, update_mask=FieldMask(paths=paths))
        return api.machines.UpdateMachine(request)

    assert update("hostname", hostname="mail", mac_address=MAC.format(9)).mac_address == MAC.format(1)
    assert update(mac_address=MAC.format(9)).hostname == "mail"
    assert update("hostname").hostname == "a"
    after = update("*", mac_address=MAC.format(3), attachment=machines.Attachment(port="tun", vni=8))
    assert (after.attachment.vni, after.hostname, after.address) == (8, "a", made.address)
    # Writing back what was read changes nothing.
    request = machines.UpdateMachineRequest(machine=after)
    assert api.machines.UpdateMachine(request) == after
    request.machine.address = "10.0.0.77"
    code, message, _ = refusal(api.machines.UpdateMachine, request)
    assert (code, "it cannot be changed" in message) == ("INVALID_ARGUMENT", True)
    for path in ("address", "nonsense", "attachment.vlan"):
        request = machines.UpdateMachineRequest(machine=after, update_mask=FieldMask(paths=[path]))
        assert refusal(api.machines.UpdateMachine, request)[0] == "INVALID_ARGUMENT"


def test_pages_neither_repeat_nor_skip_while_others_come_and_go(api: Api) -> None:
    batch = [machine(f"m{at:03d}") for at in range(25)]
    api.machines.BatchCreateMachines(machines.BatchCreateMachinesRequest(requests=batch))
    seen, token, pages = [], "", 0
    while True:
        page = api.machines.ListMachines(machines.ListMachinesRequest(page_size=10, page_token=token))
        seen += [m.name for m in page.machines]
        pages, token = pages + 1, page.next_page_token
        if not token:
            break
        # What the token points at goes, something before and something after it comes.
        api.machines.DeleteMachine(machines.DeleteMachineRequest(name=seen[-1]))
        api.machines.CreateMachine(machine(f"a{pages}"))
        api.machines.CreateMachine(machine(f"z{pages}"))
    assert seen == [f"machines/m{at:03d}" for at in range(25)] + ["machines/z1", "machines/z2"]
    assert pages == 3


def test_lists_by_tenant_and_by_network(api: Api) -> None:
    for name, tenant in (("a", "t"), ("b", "u"), ("c", "t")):
        api.networks.CreateNetwork(network(name, tenant=tenant))
    api.machines.CreateMachine(machine("m", "b"))
    api.machines.CreateMachine(machine("n", "c"))
    first = api.networks.ListNetworks(networks.ListNetworksRequest(tenant="t", page_size=1))
    assert [n.name for n in first.networks] == ["networks/a"]
    request = networks.ListNetworksRequest(tenant="t", page_token=first.next_page_token)
    second = api.networks.ListNetworks(request)
    assert ([n.name for n in second.networks], second.next_page_token) == (["networks/c"], "")
    listed = api.machines.ListMachines(machines.ListMachinesRequest(network="networks/b")).machines
    assert [m.name for m in listed] == ["machines/m"]
    assert refusal(api.machines.ListMachines, machines.ListMachinesRequest(network="networks/x"))[0] == "NOT_FOUND"
    # A token is for its own list only.
    request.tenant = "u"
    code, _, details = refusal(api.networks.ListNetworks, request)
    assert (code, details["BadRequest"].field_violations[0].field) == ("INVALID_ARGUMENT", "page_token")


@pytest.mark.parametrize("token", ["x", "e30=", "W10=", "%%%", "bnVsbA==", "ä"])
def test_made_up_page_tokens(api: Api, token: str) -> None:
    assert refusal(api.networks.ListNetworks, networks.ListNetworksRequest(page_token=token))[0] == "INVALID_ARGUMENT"


def test_page_sizes(api: Api) -> None:
    assert refusal(api.machines.ListMachines, machines.ListMachinesRequest(page_size=-1))[0] == "INVALID_ARGUMENT"
    # More than there may be are as many as there may be (https://google.aip.dev/158).
    for size in (1000, 1001, 2**31 - 1):
        assert api.machines.ListMachines(machines.ListMachinesRequest(page_size=size)).next_page_token == ""
    assert paging.size(2**31 - 1) == 1000


def test_translations(api: Api) -> None:
    made = api.networks.CreateNetwork(network("n", tenant="t"))
    block = made.port_block
    request = translations.LookupTranslationRequest(address=block.address, port=block.first_port)
    found = api.translations.LookupTranslation(request)
    assert (found.network, found.tenant, found.prefix) == ("networks/n", "t", "10.0.0.0/16")
    assert (found.port_block, found.HasField("release_time")) == (block, False)
    assert found.allocate_time == made.create_time
    before = Timestamp()
    before.FromMilliseconds(made.create_time.ToMilliseconds() - 1)
    request.time.CopyFrom(before)
    assert refusal(api.translations.LookupTranslation, request)[0] == "NOT_FOUND"
    for address, port in (("x", 1), ("198.51.100.1", 0), ("198.51.100.1", 65536)):
        bad = translations.LookupTranslationRequest(address=address, port=port)
        assert refusal(api.translations.LookupTranslation, bad)[0] == "INVALID_ARGUMENT"
    for seconds in (-(1 << 62), made.create_time.seconds + 3600):
        request.time.seconds = seconds
        assert refusal(api.translations.LookupTranslation, request)[0] == "INVALID_ARGUMENT"


@pytest.mark.parametrize("number", range(1, 8))
def test_no_machine_has_an_address_of_the_appliances_own(api: Api, number: int) -> None:
    """Routers, gateway port, storage port, resolver, the legs of VPN gateways and of interconnects."""
    request = machine("pc", number=1)
    request.machine.mac_address = f"02:00:00:00:FF:0{number}"
    code, message, _ = refusal(api.machines.CreateMachine, request)
    assert (code, "the appliance's own" in message) == ("INVALID_ARGUMENT", True)


def test_who_has_a_port_now_does_not_depend_on_the_clock(server: Database) -> None:
    clock = StoppedClock()
    with opened(server, clock) as store, served(store) as api:
        block = api.networks.CreateNetwork(network("n")).port_block
        request = translations.LookupTranslationRequest(address=block.address, port=block.first_port)
        clock.advance(-3600)
        assert api.translations.LookupTranslation(request).network == "networks/n"
        api.networks.DeleteNetwork(networks.DeleteNetworkRequest(name="networks/n"))
        assert refusal(api.translations.LookupTranslation, request)[0] == "NOT_FOUND"


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
def test_reflection_lists_services_and_has_their_files(api: Api, version: str) -> None:
    info = api.channel.stream_stream(
        f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
        reflection_pb2.ServerReflectionRequest.SerializeToString,
        reflection_pb2.ServerReflectionResponse.FromString,
    )

    def ask(**question: str) -> Any:
        return next(info(iter([reflection_pb2.ServerReflectionRequest(**question)])))

    listed = {s.name for s in ask(list_services="").list_services_response.service}
    assert {
        "sluice.v1.NetworkService", "sluice.v1.MachineService", "sluice.v1.TranslationService",
        "sluice.v1.UsageService",
        "grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection",
    } <= listed  # fmt: skip
    for service in listed:
        answer = ask(file_containing_symbol=service).file_descriptor_response
        files = [FileDescriptorProto.FromString(text) for text in answer.file_descriptor_proto]
        assert service in {f"{file.package}.{made.name}" for file in files for made in file.service}
    assert ask(file_containing_symbol="sluice.v1.NoService").error_response.error_code == NOT_FOUND


def test_internal_faults_are_logged_and_counted_but_not_shown(
    api: Api, store: Store, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("secret particulars")

    monkeypatch.setattr(store, "network", broken)
    before = metrics.INTERNAL._value.get()
    code, message, _ = refusal(api.networks.GetNetwork, networks.GetNetworkRequest(name="networks/n"))
    assert (code, "secret" in message) == ("INTERNAL", False)
    assert metrics.INTERNAL._value.get() == before + 1
    (record,) = [r for r in caplog.records if r.exc_info]
    assert "secret particulars" in str(record.exc_info)
    assert record.call in message  # type: ignore[attr-defined]


def test_the_log_has_a_line_for_each_call_with_its_request_id(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "sluice.api")
    request_id = str(uuid.uuid4())
    api.networks.CreateNetwork(network("n", request_id=request_id))
    wait_until(lambda: [r for r in caplog.records if getattr(r, "request_id", "") == request_id])
    (record,) = [r for r in caplog.records if getattr(r, "request_id", "") == request_id]
    assert (record.method, record.code) == ("CreateNetwork", "OK")  # type: ignore[attr-defined]


def test_tenants_do_not_mix(api: Api) -> None:
    """Nothing given is ignored, and nothing of one tenant is given to another."""
    api.networks.CreateNetwork(network("office", kind=networks.Network.PRIVATE, tenant="a"))
    api.networks.CreateNetwork(network("free", kind=networks.Network.PRIVATE))
    code, message, _ = refusal(api.machines.CreateMachine, machine("m", "office", tenant="b"))
    assert (code, message) == (
        "INVALID_ARGUMENT", "machine.tenant is 'b'; allowed: 'a', that of networks/office, or empty",
    )  # fmt: skip
    api.machines.CreateMachine(machine("m", "office", tenant="a"))
    api.machines.CreateMachine(machine("n", "office", number=2))
    api.machines.CreateMachine(machine("o", "free", number=3))
    code, message, details = refusal(
        api.public_addresses.CreatePublicAddress, public_address("www", tenant="b", machine="m")
    )
    assert (code, details["ErrorInfo"].reason) == ("FAILED_PRECONDITION", "OTHER_TENANT")
    assert message == "publicAddresses/www is of tenant 'b' and machines/m of tenant 'a'"
    for name, tenant, to in (("one", "a", "m"), ("two", "", "n"), ("three", "b", "o")):
        api.public_addresses.CreatePublicAddress(public_address(name, tenant=tenant, machine=to))
    moved = addresses.UpdatePublicAddressRequest(
        public_address=addresses.PublicAddress(name="publicAddresses/two", tenant="b"),
        update_mask=FieldMask(paths=["tenant"]),
    )
    assert refusal(api.public_addresses.UpdatePublicAddress, moved)[0] == "FAILED_PRECONDITION"
