"""Interconnects and two agents at once: no number and no place is given twice."""

from __future__ import annotations

import threading
from itertools import product

import pytest

from agent.errors import AlreadyExists
from agent.requests import AttachmentSpec, Idempotency, InterconnectSpec, MachineSpec, NetworkSpec, VpnGatewaySpec
from agent.store import Store
from agent.transaction import TransactionBuilder
from state.ovsdb import TransactionRefused
from tests.agents import Database, opened, served
from tests.dummy_switch import wait_until
from tests.interconnect_calls import update


def new(name: str, vlan: int = 0, kind: str = "DIRECT_CONNECT") -> InterconnectSpec:
    """A direct connect of `office`, or a peering."""
    return InterconnectSpec(
        name, kind, "networks/office" if kind == "DIRECT_CONNECT" else "", "xc1", vlan, "169.254.1.1/30",
        "169.254.1.2", 64512, 65001, accept=("192.168.0.0/16",) if kind == "DIRECT_CONNECT" else (),
    )  # fmt: skip


MACHINE = MachineSpec("pc", mac="02:00:00:00:00:01", attachment=AttachmentSpec("xc1"))


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("machine", "interconnect"),
        ("gateway", "interconnect"),
        ("interconnect", "interconnect"),
        ("interconnect", "machine"),
        ("interconnect", "gateway"),
    ],
)
def test_two_agents_give_no_number_twice(server: Database, first: str, second: str) -> None:
    nothing = Idempotency()

    def make(store: Store, what: str, vlan: int) -> None:
        if what == "machine":
            store.create_machines([MACHINE], nothing, 5, batch=False)
        elif what == "gateway":
            store.create_vpn_gateway(VpnGatewaySpec("gw", "networks/office"), nothing, 5)
        else:
            store.create_interconnect(new(f"dc{vlan}", vlan), nothing, 5)

    with opened(server) as one, opened(server) as other:
        one.create_network(NetworkSpec("office"), nothing, 5)
        wait_until(lambda: "office" in other.cache.networks)
        with other.cache.lock:
            transaction = TransactionBuilder(other.cache, other.config.appliance, other.clock)
            if second == "machine":
                transaction.create_machine(MACHINE)
            elif second == "gateway":
                transaction.create_vpn_gateway(VpnGatewaySpec("gw", "networks/office"))
            else:
                transaction.create_interconnect(new("dc2", 2), lambda: other.seal)
        make(one, first, 1)
        # Planned before it knew; what it plans now has another number.
        with pytest.raises(TransactionRefused):
            other.client.transact(transaction.operations)
        make(other, second, 2)
        found = [record.machine.number for record in other.cache.machines.values()]
        found += [record.gateway.number for record in other.cache.vpn.gateways.values()]
        found += [record.interconnect.client for record in other.cache.interconnects.by_name.values()]
        assert sorted(found) == [1, 2]


@pytest.mark.parametrize(
    ("first", "second"),
    [pair for pair in product(["machine", "direct", "peering"], repeat=2) if set(pair) != {"machine"}],
)
def test_of_two_agents_one_wins_port_and_vlan(server: Database, first: str, second: str) -> None:
    nothing = Idempotency()
    kinds = {"direct": "DIRECT_CONNECT", "peering": "PEERING"}
    with opened(server) as one, opened(server) as other:
        one.create_network(NetworkSpec("office"), nothing, 5)
        wait_until(lambda: "office" in other.cache.networks)
        with other.cache.lock:
            transaction = TransactionBuilder(other.cache, other.config.appliance, other.clock)
            if second == "machine":
                transaction.create_machine(MACHINE)
            else:
                transaction.create_interconnect(new("b", kind=kinds[second]), lambda: other.seal)

        def make(store: Store, what: str, name: str) -> None:
            if what == "machine":
                store.create_machines([MACHINE], nothing, 5, batch=False)
            else:
                store.create_interconnect(new(name, kind=kinds[what]), nothing, 5)

        make(one, first, "a")
        with pytest.raises(TransactionRefused):
            other.client.transact(transaction.operations)
        with pytest.raises(AlreadyExists, match="machines/pc" if first == "machine" else "interconnects/a"):
            make(other, second, "b")


def test_two_agents_race(server: Database) -> None:
    with opened(server) as one, opened(server) as other:
        nothing = Idempotency()
        one.create_network(NetworkSpec("office"), nothing, 5)
        wait_until(lambda: "office" in other.cache.networks)
        outcomes: list[str] = []

        def run(store: Store, which: int) -> None:
            for at in range(10):
                kind = ("DIRECT_CONNECT", "PEERING")[(at + which) % 2]
                try:
                    store.create_interconnect(new(f"c{at}-{which}", at, kind), nothing, 10)
                    outcomes.append("made")
                except AlreadyExists:
                    outcomes.append("taken")

        threads = [threading.Thread(target=run, args=(store, at)) for at, store in enumerate((one, other))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(outcomes) == ["made"] * 10 + ["taken"] * 10
        values = [record.interconnect for record in one.cache.interconnects.by_name.values()]
        assert sorted(value.number for value in values) == list(range(1, 11))


def test_of_two_agents_one_changes_a_peering(server: Database) -> None:
    """What was planned on a peering as it was is planned again on what it has become."""
    nothing = Idempotency()
    with opened(server) as one, opened(server) as other:
        one.create_interconnect(new("ix", kind="PEERING"), nothing, 5)
        wait_until(lambda: "ix" in other.cache.interconnects.by_name)
        with other.cache.lock:
            transaction = TransactionBuilder(other.cache, other.config.appliance, other.clock)
            transaction.delete_interconnect("ix")
        with served(one) as api:
            update(api, "ix", vlan=9)
        with pytest.raises(TransactionRefused):
            other.client.transact(transaction.operations)
        other.delete_interconnect("ix", 5)
        wait_until(lambda: "ix" not in one.cache.interconnects.by_name)
        one.create_interconnect(new("a", 9, "PEERING"), nothing, 5)
