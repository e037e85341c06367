"""'Settled' means that everything acknowledged is on the switch, whatever is under way, frozen or killed."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from appliance import AGENT, CONTROLLER, DATABASE, SWITCH
from dummy_switch import wait_until
from sandbox import Sandbox, Wanted

from sluice.v1 import appliance_pb2, machine_pb2, network_pb2, status_pb2

SECONDS = 30.0
MACHINES, NETWORKS, CALLERS = 500, 4, 8


def realization(sandbox: Sandbox) -> appliance_pb2.Realization:
    return sandbox.daemons.GetAppliance(appliance_pb2.GetApplianceRequest(), timeout=5).realization


def settled(sandbox: Sandbox) -> bool:
    """Whether it is; not while the agent or the database comes back."""
    try:
        return realization(sandbox).settled
    except grpc.RpcError:
        return False


def create(sandbox: Sandbox, name: str) -> str:
    request = network_pb2.CreateNetworkRequest(network_id=name, network=network_pb2.Network())
    return sandbox.networks.CreateNetwork(request, timeout=SECONDS).name


def delete(sandbox: Sandbox, name: str) -> None:
    sandbox.networks.DeleteNetwork(network_pb2.DeleteNetworkRequest(name=name), timeout=SECONDS)


def live(sandbox: Sandbox, name: str) -> bool:
    made = sandbox.networks.GetNetwork(network_pb2.GetNetworkRequest(name=name), timeout=SECONDS)
    return made.status.state == status_pb2.Status.LIVE


@pytest.fixture
def network(sandbox: Sandbox) -> Iterator[str]:
    """The name of a network the test creates."""
    wait_until(lambda: settled(sandbox), what="settled before", timeout=SECONDS)
    yield "last"
    delete(sandbox, "networks/last")


@pytest.fixture
def networks(sandbox: Sandbox) -> Iterator[list[str]]:
    """Networks on the trunk `settled`."""
    sandbox.plug(Wanted("settled"))
    made = [create(sandbox, f"settled{number}") for number in range(NETWORKS)]
    wait_until(lambda: settled(sandbox), what="settled before", timeout=SECONDS)
    yield made
    for name in made:
        delete(sandbox, name)
    sandbox.unplug("settled")


def test_status_never_says_settled_before_the_last_acknowledged_machine_is_live(
    sandbox: Sandbox, networks: list[str]
) -> None:
    before = realization(sandbox).desired_revision
    acknowledged: list[str] = []
    wrong: list[str] = []
    finished = threading.Event()
    seen: set[bool] = set()

    def is_live(name: str) -> bool:
        return sandbox.machine(name).status.state == status_pb2.Status.LIVE

    def add(number: int) -> str:
        at = machine_pb2.Attachment(port="settled", vlan=1 + number % NETWORKS)
        mac = f"02:00:00:01:{number // 256:02x}:{number % 256:02x}"
        machine = machine_pb2.Machine(network=networks[number % NETWORKS], mac_address=mac, attachment=at)
        request = machine_pb2.CreateMachineRequest(machine_id=f"settled{number}", machine=machine)
        sandbox.machines.CreateMachine(request, timeout=SECONDS)
        return f"settled{number}"

    def remove(number: int) -> None:
        request = machine_pb2.DeleteMachineRequest(name=f"machines/settled{number}")
        sandbox.machines.DeleteMachine(request, timeout=SECONDS)

    def watch() -> None:
        while not finished.is_set():
            known = acknowledged[-CALLERS:]
            now = realization(sandbox)
            seen.add(now.settled)
            if now.settled:
                assert now.realized_revision == now.desired_revision
                wrong.extend(name for name in known if not is_live(name))

    with ThreadPoolExecutor(CALLERS + 1) as callers:
        watching = callers.submit(watch)
        try:
            for name in callers.map(add, range(MACHINES)):
                acknowledged.append(name)
            wait_until(lambda: settled(sandbox), what="settled after", timeout=SECONDS)
            assert all(is_live(name) for name in acknowledged)
            assert realization(sandbox).desired_revision == before + MACHINES
        finally:
            finished.set()
            watching.result()
            list(callers.map(remove, range(MACHINES)))
    assert wrong == []
    assert False in seen


def test_a_frozen_controller_is_never_settled_with_what_it_has_not_heard(sandbox: Sandbox, network: str) -> None:
    sandbox.appliance.kill(CONTROLLER, signal.SIGSTOP)
    try:
        name = create(sandbox, network)
        now = realization(sandbox)
        assert (now.settled, now.realized_revision) == (False, now.desired_revision - 1)
        assert not live(sandbox, name)
    finally:
        sandbox.appliance.kill(CONTROLLER, signal.SIGCONT)
    wait_until(lambda: settled(sandbox), what="settled", timeout=SECONDS)
    assert live(sandbox, name)


@pytest.mark.parametrize("daemon", [CONTROLLER, SWITCH, DATABASE, AGENT])
def test_it_settles_after_a_kill(sandbox: Sandbox, network: str, daemon: str) -> None:
    name = create(sandbox, network)
    deaths = len(sandbox.appliance.daemon(daemon).deaths)
    sandbox.appliance.kill(daemon)
    sandbox.appliance.await_restart(daemon, deaths)
    wait_until(lambda: settled(sandbox), what="settled", timeout=SECONDS)
    assert live(sandbox, name)


def test_without_a_switch_nothing_is_settled(sandbox: Sandbox) -> None:
    wait_until(lambda: settled(sandbox), what="settled before", timeout=SECONDS)
    sandbox.appliance.stop(SWITCH)
    try:
        wait_until(lambda: realization(sandbox).realized_revision == 0, what="not known", timeout=SECONDS)
        assert not settled(sandbox)
    finally:
        sandbox.appliance.start_one(SWITCH)
    wait_until(lambda: settled(sandbox), what="settled", timeout=SECONDS)
