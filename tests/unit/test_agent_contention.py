"""Two agents on one database at once: nothing is ever given twice, everybody gets on."""

from __future__ import annotations

import json
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import grpc
import pytest

from agent.requests import Idempotency, NetworkSpec
from agent.transaction import TransactionBuilder
from sluice.v1 import machine_pb2 as machines
from sluice.v1 import network_pb2 as networks
from state.model import Network
from state.ovsdb import TransactionRefused
from tests.agents import Api, Database, StoppedClock, connected, database, opened
from tests.dummy_switch import wait_until

SECONDS = 4.0
EXPECTED = {"ALREADY_EXISTS", "NOT_FOUND", "FAILED_PRECONDITION", "RESOURCE_EXHAUSTED", "ABORTED"}


def ready(api: Api) -> bool:
    """Whether the agent answers."""
    try:
        api.networks.ListNetworks(networks.ListNetworksRequest(page_size=1))
    except grpc.RpcError:
        return False
    return True


class Client(threading.Thread):
    """One orchestrator: creates and deletes as fast as it is answered, names picked from few to collide."""

    def __init__(self, target: str, seed: int, until: float) -> None:
        super().__init__()
        self._target, self._until = target, until
        self._random = random.Random(seed)
        self.done: Counter[str] = Counter()
        self.failed: list[str] = []

    def run(self) -> None:
        with connected(self._target) as api:
            actions: list[Callable[[Api], Any]] = [self.isolated, self.isolated, self.member, self.member, self.network,
                                                   self.batch, self.delete_machine, self.delete_network]  # fmt: skip
            while time.monotonic() < self._until:
                action = self._random.choice(actions)
                try:
                    action(api)
                    self.done[action.__name__] += 1
                except grpc.RpcError as error:
                    self.done[error.code().name] += 1
                    if error.code().name not in EXPECTED:
                        self.failed.append(f"{action.__name__}: {error.code().name} {error.details()}")

    def _machine(self, network: str = "") -> machines.CreateMachineRequest:
        number = self._random.randrange(40)
        one = machines.Machine(
            network=network,
            mac_address=f"02:00:00:00:00:{self._random.randrange(40):02x}",
            attachment=machines.Attachment(port="trunk", vni=self._random.randrange(1, 60)),
        )
        return machines.CreateMachineRequest(machine_id=f"m{number}", machine=one)

    def isolated(self, api: Api) -> None:
        api.machines.CreateMachine(self._machine())

    def member(self, api: Api) -> None:
        api.machines.CreateMachine(self._machine(f"networks/n{self._random.randrange(3)}"))

    def network(self, api: Api) -> None:
        request = networks.CreateNetworkRequest(network_id=f"n{self._random.randrange(6)}", network=networks.Network())
        api.networks.CreateNetwork(request)

    def batch(self, api: Api) -> None:
        requests = [self._machine(f"networks/n{at}") for at in range(3)]
        api.machines.BatchCreateMachines(machines.BatchCreateMachinesRequest(requests=requests))

    def delete_machine(self, api: Api) -> None:
        api.machines.DeleteMachine(machines.DeleteMachineRequest(name=f"machines/m{self._random.randrange(40)}"))

    def delete_network(self, api: Api) -> None:
        api.networks.DeleteNetwork(networks.DeleteNetworkRequest(name=f"networks/n{self._random.randrange(6)}"))


def table(server: Database, name: str) -> list[dict[str, Any]]:
    """The rows of a table."""
    dumped = json.loads(server.dump(name))
    return [dict(zip(dumped["headings"], row, strict=True)) for row in dumped["data"]]


def assert_consistent(server: Database) -> None:
    """Nothing was given twice, and allocations are exactly those of what exists."""
    found_networks, found_machines = table(server, "Network"), table(server, "Machine")
    allocations = table(server, "Allocation")
    by_uuid = {row["_uuid"][1]: row for row in found_networks}
    active = [(row["pool"], row["value"]) for row in allocations if row["released_at"] == 0]
    assert len(active) == len(set(active))

    def single(values: list[Any]) -> None:
        assert [value for value, count in Counter(values).items() if count > 1] == []

    single([row["key"] for row in found_networks])
    single([(row["block_address"], row["block_first"]) for row in found_networks])
    single([row["prefix"] for row in found_networks])
    single([row["number"] for row in found_machines])
    single([row["transit"] for row in found_machines if row["transit"] != ["set", []]])
    single([(row["network"][1], row["address"]) for row in found_machines])
    owners: dict[tuple[str, int], set[str]] = {}
    for row in found_machines:
        owners.setdefault((row["port"], row["vni"]), set()).add(row["network"][1])
    assert all(len(networks_of) == 1 for networks_of in owners.values())
    expected = set()
    for row in found_networks:
        expected.add(("port-block", f"{row['block_address']}:{row['block_first']}-{row['block_last']}"))
        pool = "isolated-prefix" if row["kind"] == "isolated" else "private-prefix"
        expected.add((pool, row["prefix"]))
    for row in found_machines:
        expected.add(("attachment", f"{row['port']}/vni={row['vni']}"))
        if by_uuid[row["network"][1]]["kind"] == "private":
            expected.add(("transit", row["transit"]))
    assert set(active) == expected


def assert_rested(server: Database, cooldown: int) -> None:
    """No address, prefix or port block was given again before it had rested `cooldown` ms."""
    given: dict[tuple[str, str], list[tuple[int, int]]] = {}
    for row in table(server, "Allocation"):
        if row["pool"] not in ("attachment", "private-prefix"):
            span = (row["allocated_at"], row["released_at"])
            given.setdefault((row["pool"], row["value"]), []).append(span)
    for value, spans in given.items():
        for (_, released), (allocated, _) in zip(sorted(spans), sorted(spans)[1:], strict=False):
            assert 0 < released <= allocated - cooldown, (value, spans)


@pytest.mark.timeout(60)
def test_two_agents_never_give_anything_twice() -> None:
    with database() as server:
        for name in ("one", "two"):
            server.spawn_agent(name)
        targets = [f"unix:{server.directory}/{name}.sock" for name in ("one", "two")]
        for target in targets:
            with connected(target) as api:
                wait_until(lambda api=api: ready(api), what=f"{target} answers")  # type: ignore[misc]
        until = time.monotonic() + SECONDS
        clients = [Client(targets[at % 2], at, until) for at in range(4)]
        for client in clients:
            client.start()
        for client in clients:
            client.join()
        done = sum((client.done for client in clients), Counter[str]())
        assert [failure for client in clients for failure in client.failed] == []
        assert min(done[name] for name in ("isolated", "member", "network", "delete_machine")) > 10, done
        assert done["ABORTED"] <= sum(done.values()) / 100, done
        assert_consistent(server)
        assert_rested(server, 60_000)
        # Both agents came to the same view.
        listed = []
        for target in targets:
            with connected(target) as api:
                answer = api.machines.ListMachines(machines.ListMachinesRequest(page_size=1000))
                listed.append([(m.name, m.network, m.address) for m in answer.machines])
        assert listed[0] == listed[1]
        logs = [(server.directory / f"{name}.log").read_text() for name in ("one", "two")]
        assert any("another writer was faster" in log for log in logs), "the agents never met; the test shows nothing"
        assert not any('"level": "error"' in log for log in logs), logs


def plan_network(transaction: TransactionBuilder) -> Network:
    return transaction.create_network(NetworkSpec("late", "PRIVATE"))


def test_what_was_given_and_taken_back_meanwhile_is_not_given_again() -> None:
    """One plans; another makes a network and deletes it; what the first planned would give its block unrested."""
    with database() as server, opened(server, StoppedClock()) as store:
        store.create_network(NetworkSpec("first"), Idempotency(), SECONDS)
        with store.cache.lock:
            transaction = TransactionBuilder(store.cache, store.config.appliance, store.clock)
            planned = plan_network(transaction)
        made = store.create_network(NetworkSpec("brief"), Idempotency(), SECONDS).network
        assert made.block == planned.block
        store.delete_network("brief", SECONDS)
        with pytest.raises(TransactionRefused, match="timed out"):
            store.client.transact(transaction.operations)
        # Planned again it gets another one.
        assert store.run(plan_network, SECONDS).block != made.block
