"""No room for desired state: calls are refused in words, nothing changes, and it ends when there is room."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest
from appliance import AGENT, DATABASE
from machines import SERVERS
from probes import ask_udp
from sandbox import CALL_SECONDS, Sandbox
from sandboxes import Tenants

from sluice.v1 import network_pb2

SERVER = SERVERS[0]
SECONDS = 20.0
# Far above what the last block of the database's file could still hold.
ATTEMPTS = 200
CHUNK = 1 << 16


@contextmanager
def full(directory: Path) -> Iterator[None]:
    """The file system has no byte left while the block runs."""
    filler = directory / "filler"
    try:
        with filler.open("wb", buffering=0) as file:
            for size in (CHUNK, 4096, 1):
                with contextlib.suppress(OSError):
                    while True:
                        file.write(bytes(size))
        assert os.statvfs(directory).f_bavail == 0
        yield
    finally:
        filler.unlink()


def names(sandbox: Sandbox) -> set[str]:
    """All networks the API lists."""
    request = network_pb2.ListNetworksRequest(page_size=1000)
    return {network.name for network in sandbox.networks.ListNetworks(request, timeout=CALL_SECONDS).networks}


def create(sandbox: Sandbox, name: str) -> network_pb2.Network:
    """Create a network. Raises grpc.RpcError."""
    request = network_pb2.CreateNetworkRequest(
        network_id=name, network=network_pb2.Network(kind=network_pb2.Network.PRIVATE)
    )
    return sandbox.networks.CreateNetwork(request, timeout=5)


def test_a_full_disk_refuses_and_changes_nothing(sandbox: Sandbox, tenants: Tenants, state_directory: Path) -> None:
    machine = tenants.isolated()
    assert SERVER in ask_udp(machine.pid, [SERVER], 5)
    made: set[str] = set()
    try:
        with full(state_directory):
            # The file's last block may have room for some.
            with pytest.raises(grpc.RpcError) as refused:  # noqa: PT012
                for number in range(ATTEMPTS):
                    made.add(create(sandbox, f"full{number}").name)
            before = names(sandbox)
            assert made <= before
            code, text = refused.value.code(), refused.value.details()  # type: ignore[attr-defined]
            print(f"after {len(made)}: {code.name}: {text}")
            assert code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED), text
            assert text
            assert f"networks/full{len(made)}" not in before
            assert SERVER in ask_udp(machine.pid, [SERVER], 5)
        again = retried(sandbox, "after-full")
        made.add(again)
        assert names(sandbox) == before | {again}
        # What was acknowledged is on the disk.
        for name in (DATABASE, AGENT):
            deaths = len(sandbox.appliance.daemon(name).deaths)
            sandbox.appliance.kill(name)
            sandbox.appliance.await_restart(name, deaths)
        sandbox.appliance.wait_ready()
        assert names(sandbox) == before | {again}
    finally:
        for name in made:
            sandbox.delete_network(name.removeprefix("networks/"))


def retried(sandbox: Sandbox, name: str) -> str:
    """Create a network, again and again until it is accepted. Raises grpc.RpcError when it never is."""
    deadline = time.monotonic() + SECONDS
    while True:
        try:
            return create(sandbox, name).name
        except grpc.RpcError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
