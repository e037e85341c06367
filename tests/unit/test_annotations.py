"""What the descriptors say of fields (AIP-123, 203, 202, 122) is what the server enforces."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from google.api import field_behavior_pb2, field_info_pb2, resource_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor, ServiceDescriptor
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message_factory import GetMessageClass

from agent.api.errors import RESOURCE_TYPES
from agent.store import Store
from sluice.v1 import (
    appliance_pb2,
    drive_pb2,
    interconnect_pb2,
    machine_pb2,
    network_pb2,
    public_address_pb2,
    status_pb2,
    translation_pb2,
    usage_pb2,
    vpn_connection_pb2,
    vpn_gateway_pb2,
)
from tests.agents import Api, refusal, served

FILES = (appliance_pb2, drive_pb2, interconnect_pb2, machine_pb2, network_pb2, public_address_pb2, status_pb2,
         translation_pb2, usage_pb2, vpn_connection_pb2, vpn_gateway_pb2)  # fmt: skip
MESSAGES: dict[str, Descriptor] = {n: m for file in FILES for n, m in file.DESCRIPTOR.message_types_by_name.items()}
SERVICES: dict[str, ServiceDescriptor] = {
    name: service for file in FILES for name, service in file.DESCRIPTOR.services_by_name.items()
}
RESOURCES = {name: found for name, found in MESSAGES.items() if found.GetOptions().HasExtension(resource_pb2.resource)}
UPDATED = [name for name in RESOURCES if f"Update{name}Request" in MESSAGES]
Behavior = field_behavior_pb2.FieldBehavior


def behaviors(field: FieldDescriptor) -> set[str]:
    return {Behavior.Name(value) for value in field.GetOptions().Extensions[field_behavior_pb2.field_behavior]}


def with_behavior(message: str, *wanted: str) -> list[str]:
    return [field.name for field in MESSAGES[message].fields if behaviors(field).issuperset(wanted)]


def format_of(field: FieldDescriptor) -> str:
    value = field.GetOptions().Extensions[field_info_pb2.field_info].format
    return str(field_info_pb2.FieldInfo.Format.Name(value))


def part(message: str) -> str:
    """The field of requests that holds a resource: VpnGateway → vpn_gateway."""
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in message).strip("_")


def given_by_clients() -> Iterator[Descriptor]:
    """Resources, requests, and what clients write in them."""
    waiting = [*RESOURCES.values(), *(m for name, m in MESSAGES.items() if name.endswith("Request"))]
    seen = set()
    while waiting:
        message = waiting.pop()
        if message.full_name in seen or not message.full_name.startswith("sluice."):
            continue
        seen.add(message.full_name)
        yield message
        inner = [field for field in message.fields if field.message_type and "OUTPUT_ONLY" not in behaviors(field)]
        waiting += [field.message_type for field in inner]


@pytest.fixture
def api(store: Store) -> Iterator[Api]:
    with served(store) as made:
        yield made


def call(api: Api, method: str) -> Any:
    """A call by name, of whichever service has it."""
    (service,) = [one for one in SERVICES.values() if method in one.methods_by_name]
    answer = GetMessageClass(service.methods_by_name[method].output_type)
    return api.channel.unary_unary(f"/{service.full_name}/{method}", lambda m: m.SerializeToString(), answer.FromString)


def violations(api: Api, method: str, request: Any) -> set[str]:
    """The fields an INVALID_ARGUMENT names; empty for any other answer."""
    code, _, details = refusal(call(api, method), request)
    return {one.field for one in details["BadRequest"].field_violations} if code == "INVALID_ARGUMENT" else set()  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", RESOURCES)
def test_resources_are_typed_as_the_api_names_them(name: str) -> None:
    """AIP-123: SERVICE/Kind, and its pattern, plural and singular; errors use the same type."""
    resource = RESOURCES[name].GetOptions().Extensions[resource_pb2.resource]
    collection = resource.pattern[0].partition("/")[0]
    assert resource.type == f"sluice.dev/{name}" == RESOURCE_TYPES[collection]
    assert list(resource.pattern) == [f"{collection}/{{{part(name)}}}"]
    assert (resource.plural, resource.singular) == (collection, name[0].lower() + name[1:])
    assert with_behavior(name, "IDENTIFIER") == ["name"]


def test_every_kind_of_object_is_a_resource() -> None:
    types = {found.GetOptions().Extensions[resource_pb2.resource].type for found in RESOURCES.values()}
    assert types == set(RESOURCE_TYPES.values())


def test_every_field_that_clients_give_says_how(api: Api) -> None:
    """AIP-203: one of these, and what goes with it."""
    for message in given_by_clients():
        for field in message.fields:
            found = behaviors(field)
            one = found & {"REQUIRED", "OPTIONAL", "OUTPUT_ONLY", "IDENTIFIER"}
            assert len(one) == 1 or found == {"INPUT_ONLY"}, (field.full_name, found)
            if found & {"IMMUTABLE", "INPUT_ONLY"}:
                assert not found & {"OUTPUT_ONLY", "IDENTIFIER"}, (field.full_name, found)


@pytest.mark.parametrize("name", UPDATED)
def test_updates_refuse_exactly_what_cannot_be_changed(api: Api, name: str) -> None:
    """IMMUTABLE, OUTPUT_ONLY and IDENTIFIER; every other field may be in a mask."""
    fixed = {field for kind in ("IMMUTABLE", "OUTPUT_ONLY", "IDENTIFIER") for field in with_behavior(name, kind)}
    refused = set()
    for field in RESOURCES[name].fields:
        request = GetMessageClass(MESSAGES[f"Update{name}Request"])()
        collection = RESOURCES[name].GetOptions().Extensions[resource_pb2.resource].plural
        getattr(request, part(name)).name = f"{collection}/none"
        request.update_mask.CopyFrom(FieldMask(paths=[field.name]))
        if "update_mask" in violations(api, f"Update{name}", request):
            refused.add(field.name)
    assert refused == fixed


@pytest.mark.parametrize("name", [name for name in RESOURCES if name not in UPDATED])
def test_what_is_never_updated_is_immutable(name: str) -> None:
    for field in RESOURCES[name].fields:
        assert behaviors(field) & {"IMMUTABLE", "OUTPUT_ONLY", "IDENTIFIER"}, field.full_name


# Required unless another field says otherwise, as their comments tell: one of two proofs, a peer of no address has an
# identity, and only peerings may accept everything.
DEPENDING = {
    "VpnConnection": {"pre_shared_key", "peer", "remote_identity"},
    "Interconnect": {"accept_prefixes"},
}


@pytest.mark.parametrize("name", RESOURCES)
def test_creates_refuse_exactly_the_lack_of_what_is_required(api: Api, name: str) -> None:
    request = GetMessageClass(MESSAGES[f"Create{name}Request"])()
    getattr(request, part(name)).SetInParent()
    prefix = f"{part(name)}."
    missing = {field.removeprefix(prefix).partition(".")[0] for field in violations_or_none(api, name, request)}
    assert missing - DEPENDING.get(name, set()) == set(with_behavior(name, "REQUIRED"))


def violations_or_none(api: Api, name: str, request: Any) -> set[str]:
    try:
        return violations(api, f"Create{name}", request)
    except AssertionError:
        # It is not refused.
        return set()


@pytest.mark.parametrize("name", RESOURCES)
def test_creates_ignore_what_only_the_server_writes(api: Api, name: str) -> None:
    """Filled in or not, the answer is the same."""
    answers = []
    for filled in (False, True):
        request = GetMessageClass(MESSAGES[f"Create{name}Request"])()
        value = getattr(request, part(name))
        value.SetInParent()
        for field in RESOURCES[name].fields if filled else ():
            if field.name in with_behavior(name, "OUTPUT_ONLY"):
                fill(value, field)
        try:
            call(api, f"Create{name}")(request)
            answers.append("OK")
        except grpc.RpcError as error:
            answers.append(error.details() or "")
    assert answers[0] == answers[1] if answers[0] != "OK" else answers[1] == "OK"


def fill(value: Any, field: FieldDescriptor) -> None:
    match field.cpp_type:
        case FieldDescriptor.CPPTYPE_STRING:
            setattr(value, field.name, "nonsense")
        case FieldDescriptor.CPPTYPE_MESSAGE:
            getattr(value, field.name).SetInParent()
        case FieldDescriptor.CPPTYPE_BOOL:
            setattr(value, field.name, True)
        case _:
            setattr(value, field.name, 1)


REFERRING = {"network": "Network", "machine": "Machine", "gateway": "VpnGateway", "vpn_gateway": "VpnGateway",
             "public_address": "PublicAddress", "parent": "Interconnect"}  # fmt: skip


def test_fields_that_hold_names_of_objects_say_of_which_kind() -> None:
    """AIP-122; `*` is that of any kind."""
    types = {*RESOURCE_TYPES.values(), "*"}
    for name, message in MESSAGES.items():
        for field in message.fields:
            reference = field.GetOptions().Extensions[resource_pb2.resource_reference].type
            of = REFERRING.get(field.name)
            if of is not None and field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
                assert reference == f"sluice.dev/{of}", field.full_name
            elif name.endswith("Request") and field.name == "name":
                assert reference in types, field.full_name
            else:
                assert reference in ("", "*"), field.full_name


def test_names_of_other_kinds_are_refused_where_a_reference_says_one(api: Api) -> None:
    for name, message in MESSAGES.items():
        for field in message.fields if name.startswith(("Get", "Delete")) and name.endswith("Request") else ():
            if field.GetOptions().Extensions[resource_pb2.resource_reference].type.startswith("sluice.dev/"):
                request = GetMessageClass(message)(**{field.name: "others/none"})
                assert violations(api, name.removesuffix("Request"), request) == {field.name}, name


@pytest.mark.parametrize("name", RESOURCES)
def test_addresses_are_refused_that_are_none(api: Api, name: str) -> None:
    """AIP-202: what has the format IPV4 and is given by clients."""
    for field in RESOURCES[name].fields:
        if format_of(field) != "IPV4" or "OUTPUT_ONLY" in behaviors(field):
            continue
        request = GetMessageClass(MESSAGES[f"Create{name}Request"])()
        value = getattr(request, part(name))
        if field.is_repeated:
            getattr(value, field.name).append("2001:db8::1")
        else:
            setattr(value, field.name, "2001:db8::1")
        found = {one.partition("[")[0] for one in violations(api, f"Create{name}", request)}
        assert f"{part(name)}.{field.name}" in found


def test_every_field_called_address_has_a_format() -> None:
    """But those that hold a prefix length, a MAC or a name as well."""
    others = {
        "AdditionalAddress.mac_address",
        "Machine.mac_address",
        "Machine.public_address",
        "Interconnect.local_address",
    }
    for name, message in MESSAGES.items():
        for field in message.fields:
            if field.cpp_type == FieldDescriptor.CPPTYPE_STRING and field.name.endswith("address"):
                wanted = "FORMAT_UNSPECIFIED" if f"{name}.{field.name}" in others else "IPV4"
                assert format_of(field) == wanted, field.full_name


def test_request_ids_are_uuids(api: Api) -> None:
    for name, message in MESSAGES.items():
        field = message.fields_by_name.get("request_id")
        if field is not None:
            assert format_of(field) == "UUID4", name
            request = GetMessageClass(message)(request_id="no-uuid")
            assert "request_id" in violations(api, name.removesuffix("Request"), request), name
