"""VPN gateways over gRPC: which network has one, what it takes and gives back, how far it is, what is refused."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator

import grpc
import pytest

from agent.requests import AttachmentSpec, Idempotency, MachineSpec, NetworkSpec, VpnGatewaySpec
from agent.store import Store
from agent.transaction import TransactionBuilder
from sluice.v1 import machine_pb2 as machines
from sluice.v1 import network_pb2 as networks
from sluice.v1 import status_pb2
from sluice.v1 import translation_pb2 as translations
from sluice.v1 import vpn_connection_pb2 as connections
from sluice.v1 import vpn_gateway_pb2 as gateways
from state.model import State
from state.ovsdb import TransactionRefused
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
from tests.vpn_calls import Daemon, connection, gateway, get_gateway

FIRST, SECOND, LAST = "203.0.113.96", "203.0.113.97", "203.0.113.103"


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
        made.networks.CreateNetwork(network("office", tenant="t"))
        made.networks.CreateNetwork(network("lab"))
        made.machines.CreateMachine(machine("web"))
        yield made


def delete(api: Api, name: str) -> None:
    api.vpn_gateways.DeleteVpnGateway(gateways.DeleteVpnGatewayRequest(name=f"vpnGateways/{name}"))


def test_a_gateway_from_create_to_delete(api: Api, store: Store) -> None:
    revision = store.cache.networks["office"].network.revision
    made = api.vpn_gateways.CreateVpnGateway(gateway("gw"))
    assert (made.name, made.network, made.address, made.tenant) == ("vpnGateways/gw", "networks/office", FIRST, "t")
    assert made.status.state == status_pb2.Status.PENDING
    assert get_gateway(api, "gw") == made
    assert store.cache.networks["office"].network.revision == revision + 1
    # Machine web has 1.
    value = store.cache.vpn.gateways["gw"].gateway
    assert (value.number, value.zone) == (2, 2)
    code, message, details = refusal(api.networks.DeleteNetwork, networks.DeleteNetworkRequest(name="networks/office"))
    assert (code, message) == ("FAILED_PRECONDITION", "networks/office is used by vpnGateways/gw")
    assert details["PreconditionFailure"].violations[0].subject == "vpnGateways/gw"
    delete(api, "gw")
    assert store.cache.networks["office"].network.revision == revision + 2
    gone = gateways.GetVpnGatewayRequest(name="vpnGateways/gw")
    assert refusal(api.vpn_gateways.GetVpnGateway, gone)[0] == "NOT_FOUND"
    assert (
        refusal(api.vpn_gateways.DeleteVpnGateway, gateways.DeleteVpnGatewayRequest(name=gone.name))[0] == "NOT_FOUND"
    )
    api.networks.DeleteNetwork(networks.DeleteNetworkRequest(name="networks/office"))
    held = [key for key in store.cache.allocations.claims if key[0] in ("public-zone", "assignment", "public-address")]
    assert not held


def test_numbers_and_zones_are_shared_with_machines(api: Api, store: Store) -> None:
    api.vpn_gateways.CreateVpnGateway(gateway("gw"))
    api.machines.CreateMachine(machine("pc", "office", 2))
    api.public_addresses.CreatePublicAddress(public_address("a", machine="pc"))
    record = store.cache.machines["pc"].machine
    assert (record.number, record.public, record.public_zone) == (3, SECOND, 3)
    delete(api, "gw")
    assert store.cache.machines["pc"].machine == record
    api.machines.CreateMachine(machine("mail", "office", 3))
    assert store.cache.machines["mail"].machine.number == 2


def test_refusals_change_nothing(api: Api, server: Database) -> None:
    api.vpn_gateways.CreateVpnGateway(gateway("gw"))
    api.public_addresses.CreatePublicAddress(public_address("a", address=SECOND))
    before = server.dump()
    for request, expected, said in (
        (gateway("gw", "lab"), "ALREADY_EXISTS", "vpnGateways/gw exists already"),
        (gateway("b"), "FAILED_PRECONDITION", "networks/office has vpnGateways/gw already"),
        (gateway("b", "web"), "FAILED_PRECONDITION", "networks/web is ISOLATED"),
        (gateway("b", "none"), "NOT_FOUND", "networks/none does not exist"),
        (gateway("b", "lab", FIRST), "ALREADY_EXISTS", f"address {FIRST} is taken by vpnGateways/gw"),
        (gateway("b", "lab", SECOND), "ALREADY_EXISTS", f"address {SECOND} is taken by publicAddresses/a"),
        (gateway("b", "lab", "198.51.100.1"), "INVALID_ARGUMENT", "vpn_gateway.address is '198.51.100.1'"),
        (gateway("b", "lab", "x"), "INVALID_ARGUMENT", "vpn_gateway.address is 'x'"),
        (gateway("B", "lab"), "INVALID_ARGUMENT", "vpn_gateway_id is"),
        (gateway("b", "No"), "INVALID_ARGUMENT", "vpn_gateway.network is"),
        (gateway("b", "lab", request_id="1"), "INVALID_ARGUMENT", "request_id is"),
    ):
        code, message, _ = refusal(api.vpn_gateways.CreateVpnGateway, request)
        assert (code, said in message) == (expected, True), message
    code, message, details = refusal(api.public_addresses.CreatePublicAddress, public_address("b", address=FIRST))
    assert (code, message) == ("ALREADY_EXISTS", f"address {FIRST} is taken by vpnGateways/gw")
    assert details["ResourceInfo"].resource_type == "sluice.dev/VpnGateway"
    assert server.dump() == before


def test_reasons_for_programs(api: Api) -> None:
    _, _, details = refusal(api.vpn_gateways.CreateVpnGateway, gateway("b", "web"))
    assert details["ErrorInfo"].reason == "NETWORK_ISOLATED"
    assert details["PreconditionFailure"].violations[0].subject == "networks/web"
    api.vpn_gateways.CreateVpnGateway(gateway("gw"))
    _, _, details = refusal(api.vpn_gateways.CreateVpnGateway, gateway("b"))
    assert details["ErrorInfo"].reason == "IN_USE"
    assert details["PreconditionFailure"].violations[0].subject == "vpnGateways/gw"


def test_without_a_pool_of_public_addresses(server: Database) -> None:
    with opened(server, public_pool=()) as store, served(store) as api:
        api.networks.CreateNetwork(network("office"))
        code, message, details = refusal(api.vpn_gateways.CreateVpnGateway, gateway("gw"))
        assert (code, details["ErrorInfo"].reason) == ("FAILED_PRECONDITION", "NO_PUBLIC_POOL")
        assert "[pools] public" in message


def test_an_empty_pool(api: Api) -> None:
    for at in range(8):
        api.public_addresses.CreatePublicAddress(public_address(f"a{at}"))
    assert refusal(api.vpn_gateways.CreateVpnGateway, gateway("gw"))[0] == "RESOURCE_EXHAUSTED"


def test_an_address_rests_after_its_gateway(api: Api, clock: StoppedClock) -> None:
    assert api.vpn_gateways.CreateVpnGateway(gateway("gw", address=LAST)).address == LAST
    delete(api, "gw")
    code, message, _ = refusal(api.vpn_gateways.CreateVpnGateway, gateway("gw", address=LAST))
    assert (code, "is free again in 60 s" in message) == ("FAILED_PRECONDITION", True)
    clock.advance(60)
    assert api.vpn_gateways.CreateVpnGateway(gateway("gw", address=LAST)).address == LAST


def test_a_gateway_with_connections_stays(api: Api) -> None:
    api.vpn_gateways.CreateVpnGateway(gateway("gw"))
    for at in range(7):
        request = connection(f"c{at}", peer=f"198.51.100.{200 + at}", remote_prefixes=[f"192.168.{at}.0/24"])
        api.vpn_connections.CreateVpnConnection(request)
    request = gateways.DeleteVpnGatewayRequest(name="vpnGateways/gw")
    code, message, details = refusal(api.vpn_gateways.DeleteVpnGateway, request)
    assert (code, message) == (
        "FAILED_PRECONDITION",
        "vpnGateways/gw is used by vpnConnections/c0, vpnConnections/c1, vpnConnections/c2, "
        "vpnConnections/c3, vpnConnections/c4 and 2 more",
    )
    assert len(details["PreconditionFailure"].violations) == 5
    for at in range(7):
        api.vpn_connections.DeleteVpnConnection(connections.DeleteVpnConnectionRequest(name=f"vpnConnections/c{at}"))
    delete(api, "gw")


def test_a_repeated_create_answers_the_same(api: Api) -> None:
    request = gateway("", request_id=str(uuid.uuid4()))
    made = api.vpn_gateways.CreateVpnGateway(request)
    assert made.name.startswith("vpnGateways/gateway-")
    assert api.vpn_gateways.CreateVpnGateway(request) == made
    request.vpn_gateway.address = LAST
    assert refusal(api.vpn_gateways.CreateVpnGateway, request)[0] == "INVALID_ARGUMENT"


def test_how_far_a_gateway_is(api: Api, controller: Controller, daemon: Daemon) -> None:
    def status() -> tuple[int, str]:
        found = get_gateway(api, "gw").status
        return found.state, found.detail

    controller.report("office", State.LIVE)
    # Of one with the same name that was deleted.
    daemon.say("vpnGateways/gw", State.ERROR, "no device could be made", revision=1)
    api.vpn_gateways.CreateVpnGateway(gateway("gw"))
    # What the controller said is of the revision before.
    stored = status()
    assert stored[0] == status_pb2.Status.PENDING
    # The daemon makes the legs: one that is missing is an error when it cannot.
    reason = "port vpn1-in is not on the bridge"
    controller.report("office", State.LIVE, machines={"vpnGateways/gw": reason})
    waiting = (status_pb2.Status.PENDING, f"{reason}; waiting for the VPN daemon to make it")
    wait_until(lambda: status() == waiting)
    daemon.say("vpnGateways/gw", State.ERROR, "no device can be made")
    wait_until(lambda: status() == (status_pb2.Status.ERROR, "no device can be made"))
    daemon.say("vpnGateways/gw", State.LIVE)
    wait_until(lambda: status() == waiting)
    controller.report("office", State.LIVE, machines={"vpnGateways/gw": ""})
    wait_until(lambda: status() == stored)
    # A machine may have the same name.
    controller.report("office", State.LIVE, machines={"gw": "port gw is not on the bridge"})
    wait_until(lambda: status() == (status_pb2.Status.LIVE, ""))
    daemon.say("vpnGateways/gw", State.ERROR, "no device could be made", revision=1)
    wait_until(lambda: status()[1] == "waiting for the VPN daemon to start its IKE daemon")
    daemon.say("vpnGateways/gw", State.ERROR, "charon ended with status 1")
    wait_until(lambda: status() == (status_pb2.Status.ERROR, "charon ended with status 1"))
    # Later changes of the network do not make it pending.
    daemon.say("vpnGateways/gw", State.LIVE)
    api.machines.CreateMachine(machine("pc", "office", 5))
    wait_until(lambda: status() == (status_pb2.Status.LIVE, ""))


def test_waiting_until_the_daemon_runs(api: Api, controller: Controller, daemon: Daemon) -> None:
    api.vpn_gateways.CreateVpnGateway(gateway("gw"))
    controller.report("office", State.LIVE)
    detail = "waiting for the VPN daemon to start its IKE daemon"
    wait_until(lambda: get_gateway(api, "gw").status.detail == detail)
    found: list[gateways.VpnGateway] = []
    waiting = threading.Thread(target=lambda: found.append(get_gateway(api, "gw", wait_live=True)))
    waiting.start()
    daemon.say("vpnGateways/gw")
    waiting.join(5)
    assert [one.status.state for one in found] == [status_pb2.Status.LIVE]


def test_waiting_ends_with_the_call_and_with_the_gateway(api: Api) -> None:
    api.vpn_gateways.CreateVpnGateway(gateway("gw"))
    request = gateways.GetVpnGatewayRequest(name="vpnGateways/gw", wait_live=True)
    answer = api.vpn_gateways.GetVpnGateway(request, timeout=0.5)
    assert answer.status.state == status_pb2.Status.PENDING
    call = api.vpn_gateways.GetVpnGateway.future(request, timeout=10)
    delete(api, "gw")
    with pytest.raises(grpc.RpcError) as error:
        call.result()
    assert error.value.code().name == "NOT_FOUND"


def test_pages_by_network(api: Api) -> None:
    for name, of in (("a", "office"), ("b", "lab")):
        api.vpn_gateways.CreateVpnGateway(gateway(name, of))
    request = gateways.ListVpnGatewaysRequest(page_size=1)
    first = api.vpn_gateways.ListVpnGateways(request)
    request.page_token = first.next_page_token
    second = api.vpn_gateways.ListVpnGateways(request)
    assert [g.name for g in (*first.vpn_gateways, *second.vpn_gateways)] == ["vpnGateways/a", "vpnGateways/b"]
    assert second.next_page_token == ""
    of_lab = api.vpn_gateways.ListVpnGateways(gateways.ListVpnGatewaysRequest(network="networks/lab", page_size=1))
    assert [g.name for g in of_lab.vpn_gateways] == ["vpnGateways/b"]
    assert of_lab.next_page_token == ""
    of_web = gateways.ListVpnGatewaysRequest(network="networks/web")
    assert not api.vpn_gateways.ListVpnGateways(of_web).vpn_gateways
    of_none = gateways.ListVpnGatewaysRequest(network="networks/none")
    assert refusal(api.vpn_gateways.ListVpnGateways, of_none)[0] == "NOT_FOUND"
    wrong = gateways.ListVpnGatewaysRequest(network="networks/lab", page_token=first.next_page_token)
    assert refusal(api.vpn_gateways.ListVpnGateways, wrong)[0] == "INVALID_ARGUMENT"


def test_changes_are_streamed(api: Api, controller: Controller) -> None:
    api.vpn_gateways.CreateVpnGateway(gateway("gw"))
    stream = api.vpn_gateways.WatchVpnGateways(gateways.WatchVpnGatewaysRequest(network="networks/office"))
    event = next(stream)
    assert (event.type, event.vpn_gateway.name) == (status_pb2.EXISTING, "vpnGateways/gw")
    assert next(stream).type == status_pb2.SYNCED
    api.vpn_gateways.CreateVpnGateway(gateway("other", "lab"))
    controller.report("office", State.ERROR, "the switch is full")
    event = next(stream)
    assert (event.type, event.vpn_gateway.status.detail) == (status_pb2.UPDATED, "the switch is full")
    delete(api, "gw")
    event = next(stream)
    assert (event.type, event.vpn_gateway.name) == (status_pb2.DELETED, "vpnGateways/gw")
    stream.cancel()


def test_who_had_an_address(api: Api, clock: StoppedClock) -> None:
    api.vpn_gateways.CreateVpnGateway(gateway("gw"))
    question = translations.LookupTranslationRequest(address=FIRST)
    begin = clock.moment
    now = api.translations.LookupTranslation(question)
    assert (now.vpn_gateway, now.machine, now.network, now.tenant) == ("vpnGateways/gw", "", "networks/office", "t")
    clock.advance(10)
    delete(api, "gw")
    assert refusal(api.translations.LookupTranslation, question)[0] == "NOT_FOUND"
    question.time.FromMilliseconds(begin)
    then = api.translations.LookupTranslation(question)
    assert (then.vpn_gateway, then.release_time.ToMilliseconds()) == ("vpnGateways/gw", begin + 10_000)


@pytest.mark.parametrize("port", ["vpn1-in", "vpn16383-out"])
def test_no_machine_is_behind_a_leg(api: Api, port: str) -> None:
    request = machine("pc", "office", 2, attachment=machines.Attachment(port=port))
    code, message, _ = refusal(api.machines.CreateMachine, request)
    assert (code, "legs of VPN gateways" in message) == ("INVALID_ARGUMENT", True)


@pytest.mark.parametrize("port", ["vpn-in", "vpn1-inn", "xvpn1-in", "vpn1"])
def test_ports_that_only_look_like_legs(api: Api, port: str) -> None:
    api.machines.CreateMachine(machine("pc", "office", 2, attachment=machines.Attachment(port=port)))


def test_an_agent_that_starts_later_agrees(api: Api, store: Store, server: Database, daemon: Daemon) -> None:
    api.vpn_gateways.CreateVpnGateway(gateway("gw"))
    api.vpn_connections.CreateVpnConnection(connection("hq"))
    daemon.say("vpnConnections/hq")
    with opened(server) as other:
        assert other.vpn_gateway("gw") == store.vpn_gateway("gw")
        assert other.vpn_connection("hq") == store.vpn_connection("hq")
        assert other.cache.pools.number.free_count(0) == store.cache.pools.number.free_count(0)
        other.delete_vpn_connection("hq", 5)
        other.delete_vpn_gateway("gw", 5)
        wait_until(lambda: not store.list_vpn_gateways("", "", "", 9))
    assert not store.list_vpn_connections("", "", "", 9)


@pytest.mark.parametrize("first", ["machine", "gateway"])
def test_two_agents_give_no_number_twice(server: Database, first: str) -> None:
    with opened(server) as one, opened(server) as other:
        one.create_network(NetworkSpec("office"), Idempotency(), 5)
        wait_until(lambda: "office" in other.cache.networks)
        machine, vpn = (
            MachineSpec("web", mac="02:00:00:00:00:01", attachment=AttachmentSpec("web")),
            VpnGatewaySpec("gw", "office"),
        )
        with other.cache.lock:
            transaction = TransactionBuilder(other.cache, other.config.appliance, other.clock)
            transaction.create_vpn_gateway(vpn) if first == "machine" else transaction.create_machine(machine)
        if first == "machine":
            one.create_machines([machine], Idempotency(), 5, batch=False)
        else:
            one.create_vpn_gateway(VpnGatewaySpec("gw", "networks/office"), Idempotency(), 5)
        # Planned before it knew; what it plans now has another number.
        with pytest.raises(TransactionRefused):
            other.client.transact(transaction.operations)
        if first == "machine":
            other.create_vpn_gateway(VpnGatewaySpec("gw", "networks/office"), Idempotency(), 5)
        else:
            other.create_machines([machine], Idempotency(), 5, batch=False)
        numbers = (
            other.cache.machines["web"].machine.number,
            other.cache.vpn.gateways["gw"].gateway.number,
        )
        assert sorted(numbers) == [1, 2]
