"""What a call returned is there after `kill -9` of everything at the moment it returned."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator

import grpc
import pytest

from sluice.v1 import machine_pb2 as machines
from sluice.v1 import network_pb2 as networks
from tests.agents import Api, Database, connected, database
from tests.dummy_switch import wait_until

ROUNDS = 6


def answers(api: Api) -> bool:
    """Whether the agent serves, from its database."""
    try:
        api.networks.ListNetworks(networks.ListNetworksRequest(page_size=1), timeout=2)
    except grpc.RpcError:
        return False
    return True


class Victim:
    """A database and an agent that can be killed together."""

    def __init__(self, server: Database) -> None:
        self._server = server
        self._agent = server.spawn_agent()

    @property
    def target(self) -> str:
        """Where the agent serves."""
        return f"unix:{self._server.directory}/agent.sock"

    def kill(self) -> None:
        """SIGKILL both, the agent first so that it can tell nobody anything more."""
        self._agent.kill()
        self._server.kill()
        self._agent.wait()

    def start(self) -> None:
        """Start both again."""
        self._server.start()
        self._agent = self._server.spawn_agent()

    def await_answer(self, api: Api) -> None:
        """Wait until the agent answers."""
        wait_until(lambda: answers(api), what="agent answers")


@pytest.fixture
def victim() -> Iterator[Victim]:
    with database() as server:
        yield Victim(server)


def create(name: str, network: str, number: int) -> machines.CreateMachineRequest:
    machine = machines.Machine(
        network=network and f"networks/{network}",
        mac_address=f"02:00:00:00:01:{number:02x}",
        attachment=machines.Attachment(port="trunk", vlan=number + 1),
    )
    return machines.CreateMachineRequest(machine_id=name, machine=machine)


def test_objects_survive_kill_9_of_everything_the_moment_the_call_returned(victim: Victim) -> None:
    expected: dict[str, machines.Machine] = {}
    for at in range(ROUNDS):
        with connected(victim.target) as api:
            victim.await_answer(api)
            if at == 0:
                api.networks.CreateNetwork(
                    networks.CreateNetworkRequest(network_id="office", network=networks.Network())
                )
            made = api.machines.CreateMachine(create(f"m{at}", "office" if at % 2 else "", at))
            victim.kill()
        expected[made.name] = made
        victim.start()
        with connected(victim.target) as api:
            victim.await_answer(api)
            found = api.machines.ListMachines(machines.ListMachinesRequest()).machines
            assert {m.name: m for m in found} == expected


def test_a_delete_survives_too_and_what_it_released_still_rests(victim: Victim) -> None:
    with connected(victim.target) as api:
        victim.await_answer(api)
        made = api.machines.CreateMachine(create("m", "", 1))
        api.machines.DeleteMachine(machines.DeleteMachineRequest(name="machines/m"))
        victim.kill()
    victim.start()
    with connected(victim.target) as api:
        victim.await_answer(api)
        assert not api.machines.ListMachines(machines.ListMachinesRequest()).machines
        assert api.machines.CreateMachine(create("m", "", 1)).address != made.address


def test_a_repeated_request_after_a_kill_in_mid_call_makes_one_object(victim: Victim) -> None:
    """Whether the first sending was done or not, the repetition of it settles it."""
    for at in itertools.count():
        request = create("", "", at)
        request.request_id = f"00000000-0000-4000-8000-{at:012d}"
        with connected(victim.target) as api:
            victim.await_answer(api)
            call = api.machines.CreateMachine.future(request)
            # Nothing tells when the agent is in the midst of it: a little later each time.
            time.sleep(0.0005 * at)
            victim.kill()
            outcome = call.exception()
        victim.start()
        with connected(victim.target) as api:
            victim.await_answer(api)
            made = api.machines.CreateMachine(request)
            found = api.machines.ListMachines(machines.ListMachinesRequest()).machines
            assert sum(m.attachment.vlan == at + 1 for m in found) == 1
            assert made in found
        if at >= 2 and outcome is not None:
            return
        assert at < 10, "no kill ever came in mid call"
