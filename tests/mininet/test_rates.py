"""Limits hold, each for who it is meant for, and change while traffic runs.

Rates are asserted where a busy machine carries them anyway: at 10 and 100
Mbit/s. What 1,000 Mbit/s come to is for `bench/rates.py`.
"""

from __future__ import annotations

from contextlib import ExitStack

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from machines import SERVERS, Machine
from pinging import unbroken
from probes import ask_udp
from sandbox import CALL_SECONDS, Sandbox, require_live
from sandboxes import Tenants, network_id
from throughput import Flow, Run

from controller.openflow.client import OpenFlowClient
from controller.pipeline.meters import limit
from controller.pipeline.registry import split_cookie
from sluice.v1 import limits_pb2, machine_pb2, network_pb2

# Rates are measured.
pytestmark = pytest.mark.alone

SERVER, OTHER_SERVER = SERVERS
TOLERANCE = 0.1
MASK = FieldMask(paths=["limits.public_kbps"])
PLENTY = 1000


class Limits:
    """Sets limits by the API; each is in force when its call returns."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox

    def of_machine(self, machine: Machine, mbps: float) -> None:
        """Limit one machine."""
        name, limits = f"machines/{machine.name}", limits_pb2.Limits(public_kbps=round(mbps * 1000))
        request = machine_pb2.UpdateMachineRequest(
            machine=machine_pb2.Machine(name=name, limits=limits), update_mask=MASK, wait_live=True
        )
        require_live(self._sandbox.machines.UpdateMachine(request, timeout=CALL_SECONDS))

    def of_network(self, name: str, mbps: float) -> None:
        """Limit one network."""
        limits = limits_pb2.Limits(public_kbps=round(mbps * 1000))
        request = network_pb2.UpdateNetworkRequest(
            network=network_pb2.Network(name=f"networks/{name}", limits=limits), update_mask=MASK, wait_live=True
        )
        require_live(self._sandbox.networks.UpdateNetwork(request, timeout=CALL_SECONDS))


@pytest.fixture
def limits(sandbox: Sandbox) -> Limits:
    return Limits(sandbox)


def rate(sandbox: Sandbox, machine: Machine, flow: Flow) -> float:
    """Mbit/s that arrive of one transfer between a machine and a server in the Internet."""
    return Run(machine, sandbox.internet, SERVER, flow).rate()


def near(mbps: float, flow: Flow, extra: float = 0.0) -> object:
    """What a limit lets through in the time of a flow; the burst at its start comes on top for UDP."""
    burst = limit(round(mbps * 1000)).burst / 1000 / flow.seconds if flow.udp else 0.0
    return pytest.approx(mbps + burst, rel=TOLERANCE + extra)


@pytest.mark.parametrize("back", [False, True], ids=["out", "in"])
@pytest.mark.parametrize(("mbps", "offered"), [(10, 30), (10, None), (100, None)], ids=["udp-10", "tcp-10", "tcp-100"])
def test_a_machine_is_held_to_its_limit(
    sandbox: Sandbox, tenants: Tenants, limits: Limits, mbps: int, offered: int | None, back: bool
) -> None:
    machine = tenants.isolated()
    limits.of_machine(machine, mbps)
    flow = Flow(udp=offered is not None, offered=offered or 0, back=back, seconds=4)
    measured = rate(sandbox, machine, flow)
    print(f"{flow.name}: {measured:.1f} of {mbps} Mbit/s")
    assert measured == near(mbps, flow)
    limited = "public-rate-in" if back else "public-rate-out"
    assert tenants.drops(machine)[limited] > 0


@pytest.mark.parametrize("back", [False, True], ids=["out", "in"])
def test_a_network_is_held_to_its_limit_over_all_its_machines(
    sandbox: Sandbox, tenants: Tenants, limits: Limits, back: bool
) -> None:
    one, two = tenants.private(2)
    limits.of_network(network_id(tenants.network_of(one)), 10)
    flow = Flow(udp=True, offered=15, back=back, seconds=4)
    with ExitStack() as stack:
        runs = [
            Run(machine, sandbox.internet, server, flow, port)
            for machine, server, port in ((one, SERVER, 5201), (two, OTHER_SERVER, 5202))
        ]
        for run in runs:
            stack.callback(run.close)
        measured = [run.rate() for run in runs]
    print(f"{flow.name}: {measured} of 10 Mbit/s")
    # They do not begin and end together: for that time one has the limit for itself.
    assert sum(measured) == near(10, flow, extra=0.1)
    limited = "network-public-rate-in" if back else "network-public-rate-out"
    assert tenants.drops(one)[limited] > 0


def test_neighbours_are_not_limited(sandbox: Sandbox, tenants: Tenants, limits: Limits) -> None:
    one, two = tenants.private(2)
    limits.of_network(network_id(tenants.network_of(one)), 1)
    limits.of_machine(one, 1)
    assert Run(one, two, two.address, Flow(udp=True, offered=10, seconds=2)).rate() > 9


def test_a_noisy_machine_takes_no_bandwidth_of_another_tenant(
    sandbox: Sandbox, tenants: Tenants, limits: Limits
) -> None:
    noisy, quiet = tenants.isolated("noisy"), tenants.isolated("quiet")
    limits.of_machine(noisy, 5)
    limits.of_machine(quiet, 10)
    with ExitStack() as stack:
        noise = Run(noisy, sandbox.internet, SERVER, Flow(udp=True, offered=50, seconds=6), 5201)
        stack.callback(noise.close)
        flow = Flow(seconds=3)
        mine = Run(quiet, sandbox.internet, OTHER_SERVER, flow, 5202)
        stack.callback(mine.close)
        assert mine.rate() == near(10, flow)
        assert noise.rate() < 6


def test_a_machine_over_its_limit_leaves_its_neighbours_their_share(
    sandbox: Sandbox, tenants: Tenants, limits: Limits
) -> None:
    """The machine's meter comes before the network's."""
    noisy, quiet = tenants.private(2)
    limits.of_network(network_id(tenants.network_of(noisy)), 20)
    limits.of_machine(noisy, 5)
    with ExitStack() as stack:
        noise = Run(noisy, sandbox.internet, SERVER, Flow(udp=True, offered=60, seconds=6), 5201)
        stack.callback(noise.close)
        flow = Flow(udp=True, offered=12, seconds=3)
        mine = Run(quiet, sandbox.internet, OTHER_SERVER, flow, 5202)
        stack.callback(mine.close)
        assert mine.rate() == pytest.approx(12, rel=TOLERANCE)
        assert noise.rate() < 7


def test_a_limit_changes_without_a_lost_packet_and_without_a_changed_flow(
    sandbox: Sandbox, tenants: Tenants, limits: Limits
) -> None:
    machine = tenants.isolated()
    assert SERVER in ask_udp(machine.pid, [SERVER])
    key = tenants.network_of(machine).key

    def flows() -> set[tuple[int, int]]:
        with OpenFlowClient(str(sandbox.appliance.paths.management_socket)) as bridge:
            return {(flow.table, flow.cookie) for flow in bridge.flows() if split_cookie(flow.cookie)[0] == key}

    before = flows()
    with unbroken(machine, SERVER, 0.005):
        for mbps in (10, 20, 1, 1000) * 15:
            limits.of_machine(machine, mbps)
    assert flows() == before


def test_a_limit_changes_under_a_running_transfer(sandbox: Sandbox, tenants: Tenants, limits: Limits) -> None:
    machine = tenants.isolated()
    limits.of_machine(machine, 50)
    with ExitStack() as stack:
        run = Run(machine, sandbox.internet, SERVER, Flow(udp=True, offered=30, seconds=6))
        stack.callback(run.close)
        limits.of_machine(machine, 10)
        flow = Flow(udp=True, offered=30, seconds=6)
        assert run.rate() == near(10, flow, 0.1)
    limits.of_machine(machine, PLENTY)
    assert rate(sandbox, machine, Flow(udp=True, offered=30, seconds=2)) > 28


def test_the_lower_limit_counts_for_a_machine_alone(sandbox: Sandbox, tenants: Tenants, limits: Limits) -> None:
    machine = tenants.isolated()
    limits.of_machine(machine, 20)
    name = network_id(tenants.network_of(machine))
    limits.of_network(name, 5)
    flow = Flow(udp=True, offered=15, seconds=4)
    assert rate(sandbox, machine, flow) == near(5, flow)
