"""Fixtures of packet tests: one appliance for all tests of a run, networks and machines for each."""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

import grpc
import pytest
from machines import Machine
from sandbox import Sandbox, Wanted
from settings import Settings
from supervisor import await_condition

from controller.pipeline.registry import Table
from sluice.v1 import network_pb2
from sluice.v1.public_address_pb2 import PublicAddress

_names = itertools.count(1)

SETTINGS = Settings(usage_seconds=1, reuse_after_seconds=1)


@pytest.fixture(scope="session")
def sandbox(request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    """A running appliance with the Internet behind it; the logs of a failed run stay in /tmp/sluice-test-logs."""
    one = Sandbox(SETTINGS)
    try:
        one.start()
        # Until the appliance knows the MAC of its next hop, what goes to the Internet is lost.
        await_condition(lambda: knows_next_hop(one), "MAC of the next hop known", 10)
        yield one
    finally:
        if request.session.testsfailed or one.appliance.deaths():
            keep_logs(one)
        one.stop()


def knows_next_hop(sandbox: Sandbox) -> bool:
    """Whether packets for the Internet leave."""
    return "output:" in sandbox.appliance.ofctl("dump-flows", f"table={Table.GATEWAY_OUT.number}")


def keep_logs(sandbox: Sandbox) -> None:
    """Copy the daemons' logs out of the world."""
    # Worlds side by side share /tmp: each has a directory, named after pytest-xdist's worker.
    kept = Path("/tmp/sluice-test-logs", os.environ.get("PYTEST_XDIST_WORKER", ""))
    shutil.rmtree(kept, ignore_errors=True)
    kept.mkdir(parents=True)
    for log in sandbox.appliance.paths.run.glob("*.log"):
        shutil.copy(log, kept)


@dataclass
class Tenants:
    """Makes networks and machines for one test, and takes them away after it.

    Names are new in every test, at most 15 characters, so that nothing of an
    earlier test is mistaken for them.
    """

    sandbox: Sandbox
    _undo: ExitStack = field(default_factory=ExitStack)

    def isolated(self, tenant: str = "", *, lease: bool = True, live: bool = True, mac: str = "") -> Machine:
        """A machine alone in its network, which has the machine's name."""
        return self.machines([Wanted("", tenant=tenant, mac=mac)], lease=lease, live=live)[0]

    def network(self, prefix: str = "", *, mtu: int = 0, tenant: str = "") -> network_pb2.Network:
        """An empty private network; its identifier is `network_id(network)`."""
        name = f"net{next(_names)}"
        made = self.sandbox.create_network(name, prefix=prefix, mtu=mtu, tenant=tenant)
        self._undo.callback(self._delete_network, name)
        return made

    def private(self, machines: int, prefix: str = "", *, mtu: int = 0, lease: bool = True) -> list[Machine]:
        """A private network of machines, each on its own port."""
        network = network_id(self.network(prefix, mtu=mtu))
        return self.machines([Wanted("", network) for _ in range(machines)], lease=lease)

    def machine(self, wanted: Wanted, *, lease: bool = True) -> Machine:
        """One machine, as in `machines`."""
        return self.machines([wanted], lease=lease)[0]

    def machines(self, wanted: list[Wanted], *, lease: bool = True, live: bool = True) -> list[Machine]:
        """Machines as wanted, by `Sandbox.create_machines`; those without a name get a new one."""
        named = [one if one.name else replace(one, name=f"m{next(_names)}") for one in wanted]
        for one in named:
            self._undo.callback(self._delete_machine, one.name)
        return self.sandbox.create_machines(named, lease=lease, live=live)

    def public_address(self, machine: Machine | None = None) -> PublicAddress:
        """A public address, for a machine if one is given; its identifier is `public_id(address)`."""
        name = f"ip{next(_names)}"
        self._undo.callback(lambda: _unless_gone(lambda: self.sandbox.delete_public_address(name)))
        return self.sandbox.create_public_address(name, machine=machine.name if machine else "")

    def network_of(self, machine: Machine) -> network_pb2.Network:
        """The network of a machine as the API has it."""
        name = self.sandbox.machine(machine.name).network
        return self.sandbox.network(name.removeprefix("networks/"))

    def drops(self, machine: Machine) -> dict[str, int]:
        """Packets dropped so far in a machine's network, by reason."""
        return self.sandbox.drops(self.network_of(machine).key)

    def close(self) -> None:
        """Delete everything made here, last first."""
        self._undo.close()

    def _delete_machine(self, name: str) -> None:
        _unless_gone(lambda: self.sandbox.delete_machine(name))
        if name in self.sandbox.site.machines:
            self.sandbox.unplug(name)

    def _delete_network(self, name: str) -> None:
        _unless_gone(lambda: self.sandbox.delete_network(name))


@pytest.fixture(scope="module")
def maker(sandbox: Sandbox) -> Iterator[Tenants]:
    """What makes networks and machines for all tests of a module."""
    one = Tenants(sandbox)
    try:
        yield one
    finally:
        one.close()


@pytest.fixture
def forwarding(sandbox: Sandbox) -> Iterator[None]:
    """The Internet's host is a router while the test runs, and tells as many senders as it has to."""
    sandbox.internet.run("sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv4.icmp_ratelimit=0")
    try:
        yield
    finally:
        sandbox.internet.run("sysctl", "-qw", "net.ipv4.ip_forward=0", "net.ipv4.icmp_ratelimit=1000")


def network_id(network: network_pb2.Network) -> str:
    """The identifier in a network's name."""
    return network.name.removeprefix("networks/")


def public_id(address: PublicAddress) -> str:
    """The identifier in a public address's name."""
    return address.name.removeprefix("publicAddresses/")


def _unless_gone(delete: Callable[[], None]) -> None:
    try:
        delete()
    except grpc.RpcError as error:
        if not isinstance(error, grpc.Call) or error.code() != grpc.StatusCode.NOT_FOUND:
            raise


@pytest.fixture
def tenants(sandbox: Sandbox) -> Iterator[Tenants]:
    """A maker of networks and machines that live as long as the test."""
    maker = Tenants(sandbox)
    try:
        yield maker
    finally:
        maker.close()
