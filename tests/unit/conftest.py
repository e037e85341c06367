"""An agent's store on a database of its own; modules that need another one have their own fixture."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fake_api import Done, Sluicectl

from agent.store import Store
from cli.main import run
from tests.agents import Api, Controller, Database, database, machine, network, opened, served
from tests.interconnect_calls import BgpDaemon
from tests.vpn_calls import Create, Daemon, connection, gateway


@pytest.fixture
def server() -> Iterator[Database]:
    with database() as made:
        yield made


@pytest.fixture
def store(server: Database) -> Iterator[Store]:
    with opened(server) as made:
        yield made


@pytest.fixture
def agent_cli(store: Store, capsys: pytest.CaptureFixture[str]) -> Sluicectl:
    """Runs sluicectl against the store's API, which the test serves."""

    def command(*arguments: str) -> Done:
        code = run([*arguments, "--api", store.config.api.listen[0]])
        written = capsys.readouterr()
        return Done(code, written.out, written.err)

    return command


@pytest.fixture
def controller(server: Database) -> Iterator[Controller]:
    made = Controller(server)
    yield made
    made.close()


@pytest.fixture
def daemon(server: Database) -> Iterator[Daemon]:
    made = Daemon(server)
    yield made
    made.close()


@pytest.fixture
def vpn_api(store: Store) -> Iterator[Api]:
    """An agent's API with gateways `gw` of the network `office` and `gw2` of `lab`."""
    with served(store) as made:
        for name, of in (("gw", "office"), ("gw2", "lab")):
            made.networks.CreateNetwork(network(of, tenant="t"))
            made.vpn_gateways.CreateVpnGateway(gateway(name, of))
        yield made


@pytest.fixture
def bgp(server: Database) -> Iterator[BgpDaemon]:
    made = BgpDaemon(server)
    yield made
    made.close()


@pytest.fixture
def bgp_api(store: Store) -> Iterator[Api]:
    """An agent's API with the networks `office` and `lab`, and the isolated machine `web`."""
    with served(store) as made:
        for name in ("office", "lab"):
            made.networks.CreateNetwork(network(name, tenant="t"))
        made.machines.CreateMachine(machine("web"))
        yield made


@pytest.fixture
def create(vpn_api: Api) -> Create:
    return lambda *asked, **fields: vpn_api.vpn_connections.CreateVpnConnection(connection(*asked, **fields))
