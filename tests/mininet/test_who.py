"""Who used a public address and port, and when: what a server saw leads to the network behind it."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from machines import SERVERS, Machine
from probes import Answer, ask_tcp, ask_udp
from sandbox import Sandbox
from sandboxes import SETTINGS, Tenants

from sluice.v1 import translation_pb2

SERVER = SERVERS[0]
PREFIX = "10.77.0.0/16"
ATTEMPTS = 10


def sluicectl(sandbox: Sandbox, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command as an operator does."""
    command = [str(Path(sys.executable).parent / "sluicectl"), "--api", sandbox.appliance.paths.api, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


def who(sandbox: Sandbox, seen: Answer, at: datetime | None = None) -> translation_pb2.Translation:
    """Ask the API. Raises grpc.RpcError."""
    request = translation_pb2.LookupTranslationRequest(address=seen.address, port=seen.port)
    if at is not None:
        stamp = Timestamp()
        stamp.FromDatetime(at)
        request.time.CopyFrom(stamp)
    return sandbox.translations.LookupTranslation(request, timeout=10)


def seen_of(machine: Machine) -> Answer:
    return ask_udp(machine.pid, [SERVER], 5)[SERVER]


def test_what_the_server_saw_leads_to_the_network(sandbox: Sandbox, tenants: Tenants) -> None:
    ada = tenants.isolated(tenant="ada")
    (bob,), (eve,) = tenants.private(1, PREFIX), tenants.private(1, PREFIX)
    for machine in (ada, bob, eve):
        network = tenants.network_of(machine)
        for seen in (seen_of(machine), ask_tcp(machine.pid, [SERVER])[SERVER]):
            found = who(sandbox, seen)
            assert (found.network, found.tenant, found.prefix) == (network.name, network.tenant, network.prefix)
            assert found.port_block == network.port_block
            assert not found.HasField("release_time")
    assert who(sandbox, seen_of(ada)).tenant == "ada"


def test_sluicectl_who_says_the_same(sandbox: Sandbox, tenants: Tenants) -> None:
    machine = tenants.isolated(tenant="ada")
    seen = seen_of(machine)
    told = sluicectl(sandbox, "who", f"{seen.address}:{seen.port}")
    assert told.returncode == 0, told.stderr
    assert machine.name in told.stdout
    assert "still in use" in told.stdout
    told = sluicectl(sandbox, "who", f"{seen.address}:{seen.port}", "-o", "json")
    assert json.loads(told.stdout)["network"] == f"networks/{machine.name}"


def test_after_deletion_history_answers_for_then_and_nobody_for_now(sandbox: Sandbox, tenants: Tenants) -> None:
    machine = tenants.isolated(tenant="ada")
    then, seen = datetime.now(UTC), seen_of(machine)
    sandbox.delete_machine(machine.name)
    assert who(sandbox, seen, then).network == f"networks/{machine.name}"
    assert who(sandbox, seen, then).HasField("release_time")
    with pytest.raises(grpc.RpcError) as refused:
        who(sandbox, seen)
    assert refused.value.code() == grpc.StatusCode.NOT_FOUND  # type: ignore[attr-defined]
    endpoint = f"{seen.address}:{seen.port}"
    told = sluicectl(sandbox, "who", endpoint, "--at", then.isoformat())
    assert told.returncode == 0, told.stderr
    assert machine.name in told.stdout
    told = sluicectl(sandbox, "who", endpoint)
    assert told.returncode != 0
    assert endpoint in told.stderr


def test_nobody_had_it_before_it_was_given(sandbox: Sandbox, tenants: Tenants) -> None:
    machine = tenants.isolated()
    seen = seen_of(machine)
    given = who(sandbox, seen).allocate_time.ToDatetime(UTC)
    assert who(sandbox, seen, given).network == f"networks/{machine.name}"
    with pytest.raises(grpc.RpcError) as refused:
        who(sandbox, seen, datetime(2020, 1, 1, tzinfo=UTC))
    assert refused.value.code() == grpc.StatusCode.NOT_FOUND  # type: ignore[attr-defined]


def test_two_holders_of_one_block_are_told_apart_by_time(sandbox: Sandbox, tenants: Tenants) -> None:
    first = tenants.isolated(tenant="ada")
    block = tenants.network_of(first).port_block
    then, seen = datetime.now(UTC), seen_of(first)
    sandbox.delete_machine(first.name)
    second = heir(tenants, block)
    now = seen_of(second)
    assert now.address == seen.address
    assert block.first_port <= now.port <= block.last_port
    assert who(sandbox, seen, then).network == f"networks/{first.name}"
    # The very port the first one had: now it stands for the second.
    assert who(sandbox, seen).network == f"networks/{second.name}"
    assert who(sandbox, now, then).network == f"networks/{first.name}"


def heir(tenants: Tenants, block: object) -> Machine:
    """A machine of a new network that was given the released block."""
    for _ in range(ATTEMPTS):
        # Released blocks rest for that long.
        time.sleep(SETTINGS.reuse_after_seconds)
        machine = tenants.isolated(tenant="bob")
        if tenants.network_of(machine).port_block == block:
            return machine
    raise AssertionError(f"{block} was not given out again")
