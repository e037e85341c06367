"""Public addresses over gRPC: who has which, from when, and what is refused."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from agent.store import Store
from sluice.v1 import machine_pb2 as machines
from sluice.v1 import public_address_pb2 as addresses
from sluice.v1 import status_pb2
from sluice.v1 import translation_pb2 as translations
from state.model import State
from tests.agents import (
    Api,
    Controller,
    Database,
    StoppedClock,
    machine,
    network,
    opened,
    public_address,
    refusal,
    served,
)
from tests.dummy_switch import wait_until

FIRST, SECOND = "203.0.113.96", "203.0.113.97"


@pytest.fixture
def clock() -> StoppedClock:
    return StoppedClock()


@pytest.fixture
def store(server: Database, clock: StoppedClock) -> Iterator[Store]:
    with opened(server, clock) as made:
        yield made


@pytest.fixture
def api(store: Store) -> Iterator[Api]:
    with served(store) as made:
        made.networks.CreateNetwork(network("office"))
        made.machines.CreateMachine(machine("pc", "office", 1))
        made.machines.CreateMachine(machine("mail", "office", 2))
        made.machines.CreateMachine(machine("web", number=3))
        yield made


def assign(api: Api, name: str, to: str, **options: Any) -> addresses.PublicAddress:
    changed = addresses.PublicAddress(name=f"publicAddresses/{name}", machine=to and f"machines/{to}")
    mask = FieldMask(paths=["machine"])
    return api.public_addresses.UpdatePublicAddress(
        addresses.UpdatePublicAddressRequest(public_address=changed, update_mask=mask), **options
    )


def get(api: Api, name: str) -> addresses.PublicAddress:
    return api.public_addresses.GetPublicAddress(addresses.GetPublicAddressRequest(name=f"publicAddresses/{name}"))


def of_machine(api: Api, name: str) -> str:
    return api.machines.GetMachine(machines.GetMachineRequest(name=f"machines/{name}")).public_address


def zone(store: Store, name: str) -> int:
    return store.cache.machines[name].machine.public_zone


def test_an_address_from_create_to_delete(api: Api, store: Store) -> None:
    made = api.public_addresses.CreatePublicAddress(public_address("a", tenant="t"))
    assert (made.name, made.address, made.machine, made.tenant) == ("publicAddresses/a", FIRST, "", "t")
    assert made.status.state == status_pb2.Status.LIVE
    assert get(api, "a") == made
    given = assign(api, "a", "pc")
    assert (given.machine, given.status.state) == ("machines/pc", status_pb2.Status.PENDING)
    assert (of_machine(api, "pc"), of_machine(api, "mail")) == ("publicAddresses/a", "")
    record = store.cache.machines["pc"].machine
    assert (record.public, record.public_zone) == (FIRST, 2)
    api.public_addresses.DeletePublicAddress(addresses.DeletePublicAddressRequest(name="publicAddresses/a"))
    assert of_machine(api, "pc") == ""
    record = store.cache.machines["pc"].machine
    assert (record.public, record.public_zone) == ("", 0)
    request = addresses.GetPublicAddressRequest(name="publicAddresses/a")
    assert refusal(api.public_addresses.GetPublicAddress, request)[0] == "NOT_FOUND"


def test_each_assignment_has_a_zone_of_its_own(api: Api, store: Store, clock: StoppedClock) -> None:
    api.public_addresses.CreatePublicAddress(public_address("a", machine="pc"))
    api.public_addresses.CreatePublicAddress(public_address("b", machine="web"))
    assert (zone(store, "pc"), zone(store, "web")) == (2, 3)
    assign(api, "a", "mail")
    assert zone(store, "mail") == 4
    assign(api, "a", "")
    clock.advance(179)
    assign(api, "a", "pc")
    assert zone(store, "pc") == 5
    clock.advance(1)
    assign(api, "a", "mail")
    assert zone(store, "mail") == 2


def test_every_network_concerned_has_a_new_revision(api: Api, store: Store) -> None:
    def revisions() -> tuple[int, int]:
        return tuple(store.cache.networks[name].network.revision for name in ("office", "web"))  # type: ignore[return-value]

    api.public_addresses.CreatePublicAddress(public_address("a"))
    office, web = revisions()
    assign(api, "a", "pc")
    assert revisions() == (office + 1, web)
    assign(api, "a", "mail")
    assert revisions() == (office + 2, web)
    assign(api, "a", "web")
    assert revisions() == (office + 3, web + 1)
    assign(api, "a", "")
    assert revisions() == (office + 3, web + 2)
    assign(api, "a", "")
    assert revisions() == (office + 3, web + 2)


def test_a_machine_has_at_most_one_address(api: Api, server: Database) -> None:
    api.public_addresses.CreatePublicAddress(public_address("a", machine="pc"))
    api.public_addresses.CreatePublicAddress(public_address("b"))
    before = server.dump()
    code, message, details = refusal(api.public_addresses.CreatePublicAddress, public_address("c", machine="pc"))
    assert (code, details["ErrorInfo"].reason) == ("FAILED_PRECONDITION", "IN_USE")
    assert message == "machines/pc has publicAddresses/a already; a machine has at most one public address"
    assert details["PreconditionFailure"].violations[0].subject == "publicAddresses/a"
    request = addresses.UpdatePublicAddressRequest(
        public_address=addresses.PublicAddress(name="publicAddresses/b", machine="machines/pc")
    )
    assert refusal(api.public_addresses.UpdatePublicAddress, request)[0] == "FAILED_PRECONDITION"
    assert server.dump() == before


def test_deleting_a_machine_leaves_its_address_allocated(api: Api, store: Store) -> None:
    for name, machine_name in (("a", "pc"), ("b", "web")):
        api.public_addresses.CreatePublicAddress(public_address(name, machine=machine_name))
        api.machines.DeleteMachine(machines.DeleteMachineRequest(name=f"machines/{machine_name}"))
        left = get(api, name)
        assert (left.machine, left.status.state) == ("", status_pb2.Status.LIVE)
    assert "web" not in store.cache.networks
    assert not [key for key in store.cache.allocations.claims if key[0] in ("public-zone", "assignment")]


def test_addresses_asked_for(api: Api, clock: StoppedClock) -> None:
    made = api.public_addresses.CreatePublicAddress(public_address("a", address=SECOND))
    assert made.address == SECOND
    assert api.public_addresses.CreatePublicAddress(public_address("b")).address == FIRST
    code, message, details = refusal(api.public_addresses.CreatePublicAddress, public_address("c", address=SECOND))
    assert (code, details["ResourceInfo"].resource_name) == ("ALREADY_EXISTS", "publicAddresses/a")
    for wrong in ("198.51.100.1", "203.0.113.2", "203.0.113.95", "203.0.113.104", "x"):
        code, message, _ = refusal(api.public_addresses.CreatePublicAddress, public_address("c", address=wrong))
        assert (code, "public_address.address is" in message) == ("INVALID_ARGUMENT", True)
    api.public_addresses.DeletePublicAddress(addresses.DeletePublicAddressRequest(name="publicAddresses/a"))
    code, message, _ = refusal(api.public_addresses.CreatePublicAddress, public_address("c", address=SECOND))
    assert (code, "free again in 60 s" in message) == ("FAILED_PRECONDITION", True)
    clock.advance(60)
    assert api.public_addresses.CreatePublicAddress(public_address("c", address=SECOND)).address == SECOND


def test_the_gateway_s_own_addresses_are_not_given_out_and_the_pool_ends(server: Database) -> None:
    with opened(server, public_pool=("203.0.113.0/30",)) as store, served(store) as api:
        code, message, _ = refusal(api.public_addresses.CreatePublicAddress, public_address("a", address="203.0.113.1"))
        assert code == "INVALID_ARGUMENT"
        assert api.public_addresses.CreatePublicAddress(public_address("a")).address == "203.0.113.3"
        code, message, _details = refusal(api.public_addresses.CreatePublicAddress, public_address("b"))
        assert (code, message) == ("RESOURCE_EXHAUSTED", "pool public-address is empty: none of its 1 is free")


def test_malformed_requests(api: Api) -> None:
    request = public_address("A", tenant="x" * 64)
    request.public_address.machine = "networks/office"
    _code, _, details = refusal(api.public_addresses.CreatePublicAddress, request)
    assert [v.field for v in details["BadRequest"].field_violations] == [
        "public_address_id", "public_address.machine", "public_address.tenant",
    ]  # fmt: skip
    assert refusal(api.public_addresses.CreatePublicAddress, public_address("a", machine="none"))[0] == "NOT_FOUND"
    api.public_addresses.CreatePublicAddress(public_address("a"))
    assert refusal(api.public_addresses.CreatePublicAddress, public_address("a"))[0] == "ALREADY_EXISTS"
    for paths, fields in ((["address"], {}), ([], {"address": SECOND}), (["*", "tenant"], {})):
        changed = addresses.PublicAddress(name="publicAddresses/a", **fields)
        update = addresses.UpdatePublicAddressRequest(public_address=changed, update_mask=FieldMask(paths=paths))
        assert refusal(api.public_addresses.UpdatePublicAddress, update)[0] == "INVALID_ARGUMENT"
    for name in ("", "a", "machines/pc", "publicAddresses/"):
        update = addresses.UpdatePublicAddressRequest(public_address=addresses.PublicAddress(name=name))
        assert refusal(api.public_addresses.UpdatePublicAddress, update)[0] == "INVALID_ARGUMENT"


def test_a_repeated_create_answers_the_same(api: Api) -> None:
    request = public_address("", machine="pc", request_id=str(uuid.uuid4()))
    made = api.public_addresses.CreatePublicAddress(request)
    assert api.public_addresses.CreatePublicAddress(request) == made
    request.public_address.tenant = "t"
    assert refusal(api.public_addresses.CreatePublicAddress, request)[0] == "INVALID_ARGUMENT"


def test_update_without_a_mask_sets_what_is_set(api: Api) -> None:
    made = api.public_addresses.CreatePublicAddress(public_address("a", machine="pc"))
    made.tenant = "t"
    changed = api.public_addresses.UpdatePublicAddress(addresses.UpdatePublicAddressRequest(public_address=made))
    assert (changed.tenant, changed.machine, changed.address) == ("t", "machines/pc", FIRST)
    everything = addresses.UpdatePublicAddressRequest(
        public_address=addresses.PublicAddress(name="publicAddresses/a"), update_mask=FieldMask(paths=["*"])
    )
    changed = api.public_addresses.UpdatePublicAddress(everything)
    assert (changed.tenant, changed.machine) == ("", "")


def test_pages_by_tenant(api: Api) -> None:
    for name, tenant in (("a", "t"), ("b", "u"), ("c", "t")):
        api.public_addresses.CreatePublicAddress(public_address(name, tenant=tenant))
    request = addresses.ListPublicAddressesRequest(tenant="t", page_size=1)
    first = api.public_addresses.ListPublicAddresses(request)
    request.page_token = first.next_page_token
    second = api.public_addresses.ListPublicAddresses(request)
    assert [a.name for a in (*first.public_addresses, *second.public_addresses)] == [
        "publicAddresses/a", "publicAddresses/c",
    ]  # fmt: skip
    assert second.next_page_token == ""
    everything = api.public_addresses.ListPublicAddresses(addresses.ListPublicAddressesRequest())
    assert len(everything.public_addresses) == 3


def test_an_address_is_live_with_its_machine(api: Api, server: Database) -> None:
    controller = Controller(server)
    try:
        controller.report("office", State.LIVE)
        api.public_addresses.CreatePublicAddress(public_address("a", machine="pc"))
        assert get(api, "a").status.state == status_pb2.Status.PENDING
        controller.report("office", State.LIVE)
        waiting = addresses.GetPublicAddressRequest(name="publicAddresses/a", wait_live=True)
        assert api.public_addresses.GetPublicAddress(waiting).status.state == status_pb2.Status.LIVE
        # A later change of another machine does not concern it.
        changed = machines.Machine(name="machines/mail", hostname="post")
        api.machines.UpdateMachine(machines.UpdateMachineRequest(machine=changed))
        assert get(api, "a").status.state == status_pb2.Status.LIVE
        controller.report("office", State.LIVE, machines={"pc": "port pc is not on the bridge"})
        wait_until(lambda: get(api, "a").status.state == status_pb2.Status.ERROR)
        assert get(api, "a").status.detail == "port pc is not on the bridge"
    finally:
        controller.close()


def test_changes_are_streamed(api: Api) -> None:
    api.public_addresses.CreatePublicAddress(public_address("a"))
    stream = api.public_addresses.WatchPublicAddresses(addresses.WatchPublicAddressesRequest())
    event = next(stream)
    assert (event.type, event.public_address.name) == (status_pb2.EXISTING, "publicAddresses/a")
    assert next(stream).type == status_pb2.SYNCED
    api.public_addresses.CreatePublicAddress(public_address("b", machine="pc"))
    event = next(stream)
    assert (event.type, event.public_address.machine) == (status_pb2.CREATED, "machines/pc")
    assign(api, "b", "web")
    event = next(stream)
    assert (event.type, event.public_address.machine) == (status_pb2.UPDATED, "machines/web")
    api.machines.DeleteMachine(machines.DeleteMachineRequest(name="machines/web"))
    event = next(stream)
    assert (event.type, event.public_address.machine) == (status_pb2.UPDATED, "")
    assert event.public_address.status.state == status_pb2.Status.LIVE
    api.public_addresses.DeletePublicAddress(addresses.DeletePublicAddressRequest(name="publicAddresses/a"))
    assert next(stream).type == status_pb2.DELETED
    stream.cancel()


def test_who_had_an_address(api: Api, clock: StoppedClock) -> None:
    def who(moment: int | None = None, port: int = 0) -> translations.Translation:
        request = translations.LookupTranslationRequest(address=FIRST, port=port)
        if moment is not None:
            request.time.FromMilliseconds(moment)
        return api.translations.LookupTranslation(request)

    api.public_addresses.CreatePublicAddress(public_address("a"))
    nobody = translations.LookupTranslationRequest(address=FIRST, port=80)
    code, message, _ = refusal(api.translations.LookupTranslation, nobody)
    assert (code, message) == ("NOT_FOUND", f"{FIRST} stood for no machine now")
    begin = clock.moment
    assign(api, "a", "pc")
    clock.advance(10)
    assign(api, "a", "web")
    clock.advance(10)
    api.machines.DeleteMachine(machines.DeleteMachineRequest(name="machines/web"))
    assert refusal(api.translations.LookupTranslation, nobody)[0] == "NOT_FOUND"
    first, second = who(begin), who(begin + 10_000, port=70000)
    assert (first.machine, first.network, first.prefix) == ("machines/pc", "networks/office", "10.0.0.0/16")
    assert (first.allocate_time.ToMilliseconds(), first.release_time.ToMilliseconds()) == (begin, begin + 10_000)
    assert (second.machine, second.HasField("port_block")) == ("machines/web", False)
    assert second.release_time.ToMilliseconds() == begin + 20_000
    assign(api, "a", "mail")
    assert (who().machine, who().HasField("release_time")) == ("machines/mail", False)
