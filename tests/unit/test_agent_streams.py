"""Calls that last: waiting for flows, watching changes, health, and how a stop ends them."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from agent.api.server import ApiServer
from agent.cache.records import WAITING, NetworkView
from agent.config import Limits
from agent.daemon_health import Daemons
from agent.store import Store
from sluice.v1 import machine_pb2 as machines
from sluice.v1 import network_pb2 as networks
from sluice.v1 import status_pb2
from state.model import Kind, Network, PortBlock, State
from tests.agents import Api, Controller, Database, connected, machine, network, opened, refusal, served
from tests.dummy_switch import wait_until


@pytest.fixture
def store(server: Database) -> Iterator[Store]:
    with opened(server, limits=Limits(watches=3, waiting_calls=3)) as made:
        yield made


@pytest.fixture
def api(store: Store) -> Iterator[Api]:
    with served(store) as made:
        yield made


@pytest.fixture
def controller(server: Database) -> Iterator[Controller]:
    made = Controller(server)
    yield made
    made.close()


def test_a_create_waits_until_it_is_live(api: Api, store: Store, controller: Controller) -> None:
    answer: list[Any] = []
    calls = [
        threading.Thread(target=lambda: answer.append(api.networks.CreateNetwork(network("n", wait_live=True)))),
        threading.Thread(target=lambda: answer.append(api.machines.CreateMachine(machine("m", wait_live=True)))),
    ]
    for call in calls:
        call.start()
    for name in ("n", "m"):
        wait_until(lambda name=name: name in store.cache.networks)  # type: ignore[misc]
        time.sleep(0.05)
    assert not answer
    controller.report("n", State.LIVE)
    calls[0].join(2)
    assert [a.name for a in answer] == ["networks/n"]
    controller.report("m", State.ERROR, machines={"m": "port m is not on the bridge"})
    calls[1].join(2)
    assert answer[0].status.state == status_pb2.Status.LIVE
    assert (answer[1].status.state, answer[1].status.detail) == (
        status_pb2.Status.ERROR, "port m is not on the bridge",
    )  # fmt: skip


def test_waiting_ends_shortly_before_the_deadline(api: Api) -> None:
    began = time.monotonic()
    made = api.networks.CreateNetwork(network("n", wait_live=True), timeout=0.6)
    assert made.status.state == status_pb2.Status.PENDING
    assert 0.4 < time.monotonic() - began < 0.6
    request = networks.GetNetworkRequest(name="networks/n", wait_live=True)
    assert api.networks.GetNetwork(request, timeout=0.3) == made


def test_waiting_ends_when_the_object_goes(api: Api, store: Store) -> None:
    answer: list[str] = []
    call = threading.Thread(
        target=lambda: answer.append(refusal(api.machines.CreateMachine, machine("m", wait_live=True), timeout=5)[0])
    )
    call.start()
    wait_until(lambda: "m" in store.cache.machines)
    api.machines.DeleteMachine(machines.DeleteMachineRequest(name="machines/m"))
    call.join(2)
    assert answer == ["NOT_FOUND"]


def test_waiting_and_watching_leave_room_for_others(api: Api, store: Store) -> None:
    """With every seat taken, more of the same are refused before anything is made, and all else goes on."""
    waiting = [
        threading.Thread(target=api.networks.CreateNetwork, args=(network(f"n{at}", wait_live=True), 2.5))
        for at in range(3)
    ]
    for call in waiting:
        call.start()
    wait_until(lambda: len(store.cache.networks) == 3)
    watches = [api.networks.WatchNetworks(networks.WatchNetworksRequest()) for _ in range(3)]
    for watch in watches:
        next(watch)
    code, message, _ = refusal(api.networks.CreateNetwork, network("x", wait_live=True))
    assert (code, message) == ("RESOURCE_EXHAUSTED", "all 3 waiting calls of this agent are open")
    assert refusal(lambda r: next(api.networks.WatchNetworks(r)), networks.WatchNetworksRequest())[0] == (
        "RESOURCE_EXHAUSTED"
    )
    assert api.networks.CreateNetwork(network("y")).name == "networks/y"
    assert {n.name for n in api.networks.ListNetworks(networks.ListNetworksRequest()).networks} == {
        "networks/n0", "networks/n1", "networks/n2", "networks/y",
    }  # fmt: skip
    for watch in watches:
        watch.cancel()
    for call in waiting:
        call.join()

    def again() -> bool:
        return next(api.networks.WatchNetworks(networks.WatchNetworksRequest()), None) is not None

    wait_until(lambda: _succeeds(again), what="seats given back")


def _succeeds(call: Any) -> bool:
    try:
        return bool(call())
    except grpc.RpcError:
        return False


def test_watches_tell_what_was_there_then_what_changes(api: Api, controller: Controller) -> None:
    api.networks.CreateNetwork(network("a"))
    api.networks.CreateNetwork(network("b"))
    every = api.networks.WatchNetworks(networks.WatchNetworksRequest())
    one = api.networks.WatchNetworks(networks.WatchNetworksRequest(name="networks/b"))
    of_b = api.machines.WatchMachines(machines.WatchMachinesRequest(network="networks/b"))

    def event(stream: Any) -> tuple[str, str, str]:
        got = next(stream)
        shown = got.network if isinstance(got, networks.NetworkEvent) else got.machine
        state = status_pb2.Status.State.Name(shown.status.state)
        return status_pb2.ChangeType.Name(got.type), shown.name, state

    assert [event(every) for _ in range(3)] == [
        ("EXISTING", "networks/a", "PENDING"),
        ("EXISTING", "networks/b", "PENDING"),
        ("SYNCED", "", "STATE_UNSPECIFIED"),
    ]
    assert [event(one)[0] for _ in range(2)] == ["EXISTING", "SYNCED"]
    assert event(of_b)[0] == "SYNCED"
    api.machines.CreateMachine(machine("m", "b"))
    api.networks.CreateNetwork(network("c"))
    controller.report("b", State.LIVE)
    assert event(every)[:2] == ("CREATED", "networks/c")
    assert event(every) == event(one) == ("UPDATED", "networks/b", "LIVE")
    assert event(of_b) == ("CREATED", "machines/m", "PENDING")
    assert event(of_b) == ("UPDATED", "machines/m", "LIVE")
    api.machines.DeleteMachine(machines.DeleteMachineRequest(name="machines/m"))
    assert event(of_b) == ("DELETED", "machines/m", "LIVE")
    api.networks.DeleteNetwork(networks.DeleteNetworkRequest(name="networks/b"))
    while (last := event(one))[0] == "UPDATED":
        pass
    assert last[:2] == ("DELETED", "networks/b")


def test_a_client_too_slow_is_told_to_watch_again(api: Api, store: Store) -> None:
    store.hub._depth = 5
    watch = api.networks.WatchNetworks(networks.WatchNetworksRequest())
    assert next(watch).type == status_pb2.SYNCED
    (watcher,) = store.hub._watchers
    # The stream takes events as long as the connection does; hold its thread to be slow.
    with watcher._ready:
        for at in range(7):
            store.hub.publish(None, _view(store, f"n{at}"))
    with pytest.raises(grpc.RpcError) as caught:
        list(watch)
    assert caught.value.code().name == "ABORTED"
    assert "watch again" in caught.value.details()
    wait_until(lambda: not store.hub._watchers)


def _view(store: Store, name: str) -> Any:
    block = PortBlock("198.51.100.1", 1024, 2047)
    return NetworkView(Network(name, Kind.PRIVATE, "", 1, "10.0.0.0/16", "10.0.0.1", block), WAITING)


def test_health_follows_the_database(server: Database, api: Api) -> None:
    health = health_pb2_grpc.HealthStub(api.channel)

    def serving(service: str = "sluice.v1.NetworkService") -> bool:
        answer = health.Check(health_pb2.HealthCheckRequest(service=service))
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    wait_until(lambda: serving() and serving(""))
    server.kill()
    wait_until(lambda: not serving() and not serving(""))
    code, message, details = refusal(api.networks.CreateNetwork, network("n"), timeout=0.5)
    assert (code, "no answer from the database" in message) == ("UNAVAILABLE", True)
    assert details["RetryInfo"].retry_delay.ToMilliseconds() == 500
    assert refusal(api.networks.ListNetworks, networks.ListNetworksRequest(), timeout=0.5)[0] == "UNAVAILABLE"
    server.start()
    wait_until(serving)
    assert api.networks.CreateNetwork(network("n")).name == "networks/n"


def test_contents_that_cannot_be_understood_end_the_service(
    server: Database, store: Store, api: Api, caplog: pytest.LogCaptureFixture
) -> None:
    row = {"name": "n", "kind": "private", "key": 1, "prefix": "not a prefix", "mtu": 1500}
    store.client.transact([{"op": "insert", "table": "Network", "row": row}])
    code, message, _ = refusal(api.networks.CreateNetwork, network("m"))
    assert (code, "cannot understand" in message) == ("UNAVAILABLE", True)
    health = health_pb2_grpc.HealthStub(api.channel)
    status = health_pb2.HealthCheckResponse.NOT_SERVING
    wait_until(lambda: health.Check(health_pb2.HealthCheckRequest()).status == status)
    assert any("not a prefix" in str(record.exc_info) for record in caplog.records)
    assert "networks/m" not in server.dump("Network")


def test_a_stopping_server_ends_streams_and_answers_who_waits(store: Store) -> None:
    daemons = Daemons(store.config.database)
    server = ApiServer(store, store.config, daemons)
    server.start()
    with connected(store.config.api.listen[0]) as api:
        watch = api.machines.WatchMachines(machines.WatchMachinesRequest())
        assert next(watch).type == status_pb2.SYNCED
        waiting = api.networks.CreateNetwork.future(network("n", wait_live=True))
        wait_until(lambda: "n" in store.cache.networks)
        began = time.monotonic()
        server.stop(5)
        daemons.close()
        assert waiting.result().status.state == status_pb2.Status.PENDING
        assert time.monotonic() - began < 2
        with pytest.raises(grpc.RpcError) as caught:
            next(watch)
        assert caught.value.code().name == "UNAVAILABLE"
