"""How much of desired state the switch has, as the API says: every command counts, of any agent."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from agent import metrics
from agent.housekeeping import Housekeeping
from agent.requests import Idempotency, NetworkSpec
from agent.store import Store
from sluice.v1 import appliance_pb2, status_pb2
from sluice.v1 import machine_pb2 as machines
from sluice.v1 import network_pb2 as networks
from state.heartbeat import Heartbeat, Name
from state.model import NetworkStatus, State
from state.ovsdb import OvsdbClient
from tests.agents import Api, Controller, Database, machine, network, opened, refusal, served
from tests.dummy_switch import wait_until


@pytest.fixture
def client(server: Database) -> Iterator[OvsdbClient]:
    made = OvsdbClient(server.socket)
    made.wait_connected(5)
    yield made
    made.close()


@pytest.fixture
def api(store: Store) -> Iterator[Api]:
    with served(store) as made:
        yield made


def told(api: Api) -> appliance_pb2.Realization:
    return api.appliance.GetAppliance(appliance_pb2.GetApplianceRequest()).realization


def realize(client: OvsdbClient, revision: int, pending: int = 0) -> None:
    """What the controller writes."""
    row = {"realized": revision, "pending": pending}
    client.transact([{"op": "update", "table": "Revision", "where": [], "row": row}], durable=False)


def test_every_command_makes_a_revision_and_what_changes_nothing_makes_none(api: Api, store: Store) -> None:
    assert told(api).desired_revision == 0
    Housekeeping(store).once()
    assert told(api).desired_revision == 1, "the appliance's settings"
    Housekeeping(store).once()
    api.networks.CreateNetwork(network("n"))
    assert told(api).desired_revision == 2
    assert refusal(api.networks.CreateNetwork, network("n"))[0] == "ALREADY_EXISTS"
    same = networks.UpdateNetworkRequest(network=networks.Network(name="networks/n"), update_mask={"paths": ["limits"]})
    api.networks.UpdateNetwork(same)
    assert told(api).desired_revision == 2
    api.networks.DeleteNetwork(networks.DeleteNetworkRequest(name="networks/n"))
    assert told(api).desired_revision == 3
    Housekeeping(store).once()
    assert metrics.DESIRED._value.get() == 3


def test_it_is_settled_when_the_controller_works_and_has_realized_the_last_revision(
    api: Api, client: OvsdbClient
) -> None:
    api.networks.CreateNetwork(network("n"))
    realize(client, 1)
    assert not told(api).settled, "no controller runs"
    heartbeat = Heartbeat(client, Name.CONTROLLER)
    heartbeat.start()
    heartbeat.mark()
    wait_until(lambda: told(api).settled, what="settled")
    api.networks.CreateNetwork(network("m"))
    now = told(api)
    assert (now.settled, now.realized_revision, now.desired_revision) == (False, 1, 2), "at once"
    realize(client, 0, 2)
    wait_until(lambda: told(api).pending_networks == 2, what="told")
    assert not told(api).settled
    realize(client, 2)
    wait_until(lambda: told(api).settled, what="settled again")
    heartbeat.stop()
    wait_until(lambda: not told(api).settled, what="the controller ended")


def test_what_has_no_link_is_degraded_until_it_has_one(api: Api, server: Database) -> None:
    controller = Controller(server)

    def state(name: str) -> str:
        found = api.machines.GetMachine(machines.GetMachineRequest(name=f"machines/{name}")).status
        return f"{status_pb2.Status.State.Name(found.state)} {found.detail}".strip()

    api.networks.CreateNetwork(network("n"))
    for number, name in enumerate(("a", "b", "c"), 1):
        api.machines.CreateMachine(machine(name, "n", number))
    controller.report("n", State.LIVE, degraded={"a": "port a has no link"}, machines={"b": "no port"})
    wait_until(lambda: state("c") == "LIVE", what="reported")
    assert (state("a"), state("b")) == ("DEGRADED port a has no link", "ERROR no port")
    controller.report("n", State.LIVE)
    wait_until(lambda: (state("a"), state("b"), state("c")) == ("LIVE", "LIVE", "LIVE"), what="live")
    controller.close()


def test_the_appliance_s_own_ports_are_told(api: Api, server: Database, store: Store) -> None:
    def ports() -> dict[str, str]:
        answer = api.appliance.GetAppliance(appliance_pb2.GetApplianceRequest())
        return {port.name: port.problem for port in answer.ports}

    assert ports() == {"uplink": "", "disks": ""}
    controller = Controller(server)
    controller.report_peerings(NetworkStatus(0, State.LIVE, degraded={"ports/disks": "no link"}))
    wait_until(lambda: ports() == {"uplink": "", "disks": "no link"}, what="told")
    controller.report_peerings(NetworkStatus(0, State.LIVE))
    wait_until(lambda: ports() == {"uplink": "", "disks": ""}, what="well again")
    controller.close()


def test_agents_that_begin_at_once_count_together(server: Database) -> None:
    """The first command of each makes the row; one of them has to try again."""
    with opened(server) as one, opened(server) as other, served(one) as api:
        stores = [one, other]

        def create(number: int) -> None:
            stores[number % 2].create_network(NetworkSpec(f"n{number}"), Idempotency(), 10)

        with ThreadPoolExecutor(8) as callers:
            list(callers.map(create, range(40)))
        assert told(api).desired_revision == 40
    with opened(server) as again:
        assert again.realization().desired == 40, "after a restart"
