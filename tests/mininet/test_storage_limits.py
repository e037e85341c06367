"""Shared drives: limits of their own, and counted as storage traffic."""

from __future__ import annotations

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from sandbox import CALL_SECONDS, Sandbox, require_live
from storage_world import FILES, Storage, stack, storage
from supervisor import await_condition
from throughput import Flow, Run

from sluice.v1 import limits_pb2, machine_pb2, network_pb2, usage_pb2

__all__ = ["stack", "storage"]

# Rates are measured.
pytestmark = pytest.mark.alone

PING_FRAME = 14 + 20 + 8 + 1000
MASK = FieldMask(paths=["limits.storage_kbps"])
LIMITS = limits_pb2.Limits(storage_kbps=10_000)


def test_storage_traffic_is_counted_as_such(sandbox: Sandbox, storage: Storage) -> None:
    one, two = storage.one.machines
    for machine, count in ((one, 20), (two, 10)):
        before = sandbox.usage(f"machines/{machine.name}").storage
        assert before == usage_pb2.Traffic()
        machine.run("ping", "-n", "-q", "-c", str(count), "-i", "0.01", "-s", "1000", FILES)
    for name, packets in ((f"machines/{one.name}", 20), (f"machines/{two.name}", 10),
                          (f"networks/{storage.one.network}", 30)):  # fmt: skip
        size = packets * PING_FRAME
        expected = usage_pb2.Traffic(bytes_in=size, bytes_out=size, packets_in=packets, packets_out=packets)
        await_condition(lambda n=name, e=expected: sandbox.usage(n).storage == e, f"usage of {name}", 15)  # type: ignore[misc]
        assert sandbox.usage(name).public == usage_pb2.Traffic()
        assert sandbox.usage(name).private == usage_pb2.Traffic()


@pytest.mark.parametrize("back", [False, True], ids=["out", "in"])
def test_a_machine_is_held_to_its_limit_with_drives(sandbox: Sandbox, storage: Storage, back: bool) -> None:
    machine = storage.one.machines[0]
    request = machine_pb2.UpdateMachineRequest(
        machine=machine_pb2.Machine(name=f"machines/{machine.name}", limits=LIMITS), update_mask=MASK, wait_live=True
    )
    require_live(sandbox.machines.UpdateMachine(request, timeout=CALL_SECONDS))
    flow = Flow(udp=True, offered=30, back=back, seconds=4)
    # A quarter of a second of burst comes on top.
    assert Run(machine, storage.one.host, FILES, flow).rate() == pytest.approx(10 * 4.25 / 4, rel=0.1)


@pytest.mark.parametrize("back", [False, True], ids=["out", "in"])
def test_a_network_is_held_to_its_limit_with_drives(sandbox: Sandbox, storage: Storage, back: bool) -> None:
    request = network_pb2.UpdateNetworkRequest(
        network=network_pb2.Network(name=f"networks/{storage.one.network}", limits=LIMITS),
        update_mask=MASK,
        wait_live=True,
    )
    require_live(sandbox.networks.UpdateNetwork(request, timeout=CALL_SECONDS))
    machine = storage.one.machines[1]
    flow = Flow(udp=True, offered=30, back=back, seconds=4)
    assert Run(machine, storage.one.host, FILES, flow).rate() == pytest.approx(10 * 4.25 / 4, rel=0.1)
