"""Heartbeats: a daemon that works is heard, one that is frozen, stuck or gone is not, and clocks do not matter."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from agent.daemon_health import SILENCE, Condition, Daemons, judge
from sluice.v1 import appliance_pb2
from state.heartbeat import Heartbeat, Name
from state.ovsdb import OvsdbClient
from tests.agents import Api, Database, Store, network, opened, served
from tests.dummy_switch import wait_until
from tests.vpn_calls import gateway

ROW = {"pid": 7, "started_at": 1000, "beats": 3, "problem": "", "remark": "somebody was here"}


@pytest.mark.parametrize(
    ("row", "silence", "wanted", "condition"),
    [
        (ROW, 0.5, True, Condition.RUNNING),
        (ROW, 0.5, False, Condition.RUNNING),
        (ROW | {"problem": "no switch"}, 0.5, True, Condition.HINDERED),
        (ROW, SILENCE + 0.1, True, Condition.SILENT),
        (ROW | {"problem": "no switch"}, SILENCE + 0.1, True, Condition.SILENT),
        (ROW, SILENCE + 0.1, False, Condition.UNUSED),
        (None, 0.0, True, Condition.STOPPED),
        (ROW | {"beats": 0, "pid": 0}, 0.0, True, Condition.STOPPED),
        (None, 0.0, False, Condition.UNUSED),
    ],
)
def test_conditions(row: dict[str, object] | None, silence: float, wanted: bool, condition: Condition) -> None:
    assert judge(Name.VPN, row, silence, wanted=wanted).condition is condition


@pytest.fixture
def client(server: Database) -> Iterator[OvsdbClient]:
    one = OvsdbClient(server.socket)
    one.wait_connected(5)
    yield one
    one.close()


def condition(daemons: Daemons, name: Name = Name.CONTROLLER) -> Condition:
    return next(daemon.condition for daemon in daemons.all(lambda _: True) if daemon.name is name)


def test_who_works_is_heard_and_who_is_stuck_is_not(
    server: Database, client: OvsdbClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("state.heartbeat.INTERVAL", 0.05)
    now = 0.0
    daemons = Daemons(server.socket, lambda: now)
    problem = ""
    heartbeat = Heartbeat(client, Name.CONTROLLER, lambda: problem)
    try:
        assert condition(daemons) is Condition.STOPPED
        heartbeat.start()
        heartbeat.mark()
        wait_until(lambda: condition(daemons) is Condition.RUNNING, what="running")
        # Nobody marks: the process lives, its work does not.
        now += SILENCE + 1
        assert condition(daemons) is Condition.SILENT
        problem = "no switch is connected"
        heartbeat.mark()
        wait_until(lambda: condition(daemons) is Condition.HINDERED, what="heard again")
        heartbeat.stop()
        wait_until(lambda: condition(daemons) is Condition.STOPPED, what="stopped")
    finally:
        daemons.close()


def test_heartbeats_cost_the_disk_nothing(
    server: Database, client: OvsdbClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("state.heartbeat.INTERVAL", 0.01)
    daemons, heartbeat = Daemons(server.socket), Heartbeat(client, Name.BGP)
    heartbeat.start()
    heartbeat.mark()
    wait_until(lambda: condition(daemons, Name.BGP) is Condition.RUNNING, what="running")
    file = server.directory / "conf.db"
    size = file.stat().st_size
    for _ in range(20):
        heartbeat.mark()
        wait_until(lambda: not heartbeat._marked.is_set(), what="told")
    heartbeat._stopped.set()
    assert file.stat().st_size == size
    daemons.close()


def test_the_api_and_health_tell(server: Database, client: OvsdbClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("state.heartbeat.INTERVAL", 0.05)

    def states(api: Api) -> dict[str, int]:
        daemons = api.appliance.GetAppliance(appliance_pb2.GetApplianceRequest()).daemons
        return {daemon.name: daemon.state for daemon in daemons}

    def health(api: Api, name: str) -> int:
        request = health_pb2.HealthCheckRequest(service=f"sluice.{name}")
        return int(health_pb2_grpc.HealthStub(api.channel).Check(request).status)

    store: Store
    with opened(server) as store, served(store) as api:
        d = appliance_pb2.Daemon
        expected = {"controller": d.STOPPED, "resolver": d.UNUSED, "vpn": d.UNUSED, "bgp": d.UNUSED}
        assert states(api) == expected
        wait_until(lambda: health(api, "controller") == health_pb2.HealthCheckResponse.NOT_SERVING, what="not serving")
        assert health(api, "vpn") == health_pb2.HealthCheckResponse.SERVING
        heartbeat = Heartbeat(client, Name.CONTROLLER)
        heartbeat.start()
        heartbeat.mark()
        wait_until(lambda: states(api) == expected | {"controller": d.RUNNING}, what="running")
        wait_until(lambda: health(api, "controller") == health_pb2.HealthCheckResponse.SERVING, what="serving")
        heartbeat.stop()
        # A gateway is work for the VPN daemon.
        api.networks.CreateNetwork(network("office"))
        api.vpn_gateways.CreateVpnGateway(gateway("gw"))
        assert states(api) == expected | {"vpn": d.STOPPED}
        wait_until(lambda: health(api, "vpn") == health_pb2.HealthCheckResponse.NOT_SERVING, what="not serving")
