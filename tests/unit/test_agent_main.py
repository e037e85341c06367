"""The agent as a process: configuration, start without a database, metrics, stop."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from sluice.v1 import status_pb2
from tests.agents import ROOT, Database, connected, machine, network
from tests.dummy_switch import wait_until


def run(path: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run the agent's command line to its end."""
    command = [sys.executable, "-m", "agent.main", "--config", str(path), *options]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=20, check=False)


def logged(server: Database, name: str = "agent") -> list[dict[str, Any]]:
    """The agent's log: every line is JSON."""
    return [json.loads(line) for line in (server.directory / f"{name}.log").read_text().splitlines()]


def target(server: Database, name: str = "agent") -> str:
    return f"unix:{server.directory}/{name}.sock"


def await_health(server: Database, wanted: int = health_pb2.HealthCheckResponse.SERVING) -> None:
    with connected(target(server)) as api:
        health = health_pb2_grpc.HealthStub(api.channel)

        def seen() -> bool:
            try:
                answer = health.Check(health_pb2.HealthCheckRequest(), timeout=1, wait_for_ready=True)
            except grpc.RpcError:
                return False
            return bool(answer.status == wanted)

        wait_until(seen, what="health")


def test_a_wrong_configuration_names_every_mistake_and_exits_2(tmp_path: Path) -> None:
    path = tmp_path / "sluice.toml"
    path.write_text("[gateway]\nport = ''\n[pools]\nnat = ['x']\n")
    done = run(path)
    assert done.returncode == 2
    lines = done.stderr.splitlines()
    assert len(lines) == 4
    assert all(line.startswith(f"{path}: ") for line in lines)
    assert run(tmp_path / "none.toml").returncode == 2


def test_check_only_checks() -> None:
    done = run(ROOT / "deploy" / "sluice.toml", "--check")
    assert (done.returncode, done.stdout) == (0, f"{ROOT}/deploy/sluice.toml: fine\n")


def test_an_address_in_use_ends_the_agent_with_a_reason(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        path = tmp_path / "sluice.toml"
        path.write_text(
            f'[api]\nlisten = "unix:{tmp_path}/api.sock"\nmetrics = "127.0.0.1:{taken.getsockname()[1]}"\n'
            f'[database]\npath = "{tmp_path}/db.sock"\n[bridge]\novsdb = "{tmp_path}/switch.sock"\n'
            '[gateway]\nport = "up"\naddress = "192.0.2.2/24"\nnext_hop = "192.0.2.1"\n[pools]\nnat = ["192.0.2.9"]\n'
        )
        done = run(path)
    assert done.returncode == 1
    assert any(json.loads(line)["message"] == "cannot listen" for line in done.stderr.splitlines())


def test_it_starts_without_a_database_and_serves_when_that_is_there(server: Database) -> None:
    server.kill()
    server.spawn_agent()
    await_health(server, health_pb2.HealthCheckResponse.NOT_SERVING)
    server.start()
    await_health(server)
    with connected(target(server)) as api:
        assert api.networks.CreateNetwork(network("n")).name == "networks/n"
    # The switch's database is not there at all: told, and nothing else suffers.
    wait_until(lambda: any("Open_vSwitch" in line.get("problem", "") for line in logged(server)))
    wait_until(lambda: "nat_pool" in server.dump("Appliance"))


def test_metrics_are_served(server: Database) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    server.spawn_agent(metrics=f"127.0.0.1:{port}")
    await_health(server)
    with connected(target(server)) as api:
        api.machines.CreateMachine(machine("m"))

    def text() -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            return str(answer.read().decode())

    wait_until(lambda: 'sluice_pool_size{pool="port-block"}' in text())
    found = text()
    assert 'sluice_api_calls_total{code="OK",method="CreateMachine"} 1.0' in found
    assert 'sluice_api_seconds_count{method="CreateMachine"} 1.0' in found
    assert "sluice_database_connected 1.0" in found
    assert "sluice_internal_errors_total 0.0" in found
    assert "process_resident_memory_bytes" in found


def test_sigterm_answers_who_waits_and_ends(server: Database) -> None:
    agent = server.spawn_agent()
    await_health(server)
    answers: list[Any] = []
    with connected(target(server)) as api:
        call = threading.Thread(target=lambda: answers.append(api.machines.CreateMachine(machine("m", wait_live=True))))
        call.start()
        wait_until(lambda: '"m"' in server.dump("Machine"))
        began = time.monotonic()
        agent.send_signal(signal.SIGTERM)
        assert agent.wait(10) == 0
        assert time.monotonic() - began < 3
        call.join()
    assert [answer.status.state for answer in answers] == [status_pb2.Status.PENDING]
    assert "stopping" in [line["message"] for line in logged(server)]
