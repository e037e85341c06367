"""Servers beyond tunnels, in real namespaces: equal addresses, ones made anew, and nothing left of ones gone."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import dns.message
import pytest
from appliance import run
from name_server import NameServer
from supervisor import await_condition

from resolver import message, upstream
from resolver.decide import ForwardingServer
from resolver.message import Query
from resolver.namespace import DIRECTORY, enter
from resolver.tunnels import Tunnels
from resolver.upstream import Upstream

ADDRESS = "10.99.0.53"
ONE, OTHER = "sluice-vpn-901", "sluice-vpn-902"


class Office:
    """A namespace in which a server at ADDRESS says that everything is `answer`; a device of it shows on the host."""

    def __init__(self, name: str, answer: str) -> None:
        self.name, self.device = name, f"{name[-3:]}-probe"
        run(["ip", "netns", "add", name])
        run(["ip", "-n", name, "link", "set", "lo", "up"])
        run(["ip", "-n", name, "address", "add", f"{ADDRESS}/32", "dev", "lo"])
        run(["ip", "link", "add", self.device, "type", "veth", "peer", "name", "inside", "netns", name])
        self.server = NameServer(ADDRESS, {"*.corp.example": (f"A {answer}",)}, within=self._within)

    def _within(self, call: Callable[[], list[socket.socket]]) -> list[socket.socket]:
        def inside() -> list[socket.socket]:
            with (DIRECTORY / self.name).open() as file:
                enter(file.fileno())
            return call()

        with ThreadPoolExecutor(1) as thread:
            return thread.submit(inside).result()

    def close(self) -> None:
        """End it; what is left of the namespace would keep its devices."""
        self.server.close()
        run(["ip", "netns", "delete", self.name])
        await_condition(lambda: not _on_host(self.device), "its devices gone", 5)


@pytest.fixture
def one() -> Iterator[Office]:
    office = Office(ONE, "192.168.0.1")
    yield office
    office.close()


@pytest.fixture
def other() -> Iterator[Office]:
    office = Office(OTHER, "192.168.0.2")
    yield office
    office.close()


@pytest.fixture
def tunnels() -> Iterator[Tunnels]:
    made = Tunnels()
    yield made
    made.close()


@pytest.fixture(autouse=True)
def _hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upstream, "TRY_SECONDS", 0.3)
    monkeypatch.setattr(upstream, "ALL_SECONDS", 1.0)


async def _nobody(_kind: socket.SocketKind, _source: str) -> socket.socket:
    raise AssertionError("no server is a machine")


def told(tunnels: Tunnels, namespace: str, name: str = "dc.corp.example") -> list[str]:
    """What the server beyond that tunnel says; nothing is remembered from one time to the next."""
    query = message.read(dns.message.make_query(name, "A", use_edns=0).to_wire())
    assert isinstance(query, Query)
    reply = asyncio.run(Upstream(_nobody, tunnels.client).ask(query, (ForwardingServer(ADDRESS, tunnel=namespace),)))
    if reply is None:
        return []
    answer = dns.message.from_wire(message.write(query, reply)).answer
    return [str(record) for rrset in answer for record in rrset]


def test_equal_addresses_beyond_two_tunnels_never_meet(tunnels: Tunnels, one: Office, other: Office) -> None:
    for _ in range(3):
        assert told(tunnels, ONE) == ["192.168.0.1"]
        assert told(tunnels, OTHER) == ["192.168.0.2"]
    assert (len(one.server.heard), len(other.server.heard)) == (3, 3)


def test_without_the_namespace_nobody_is_asked(tunnels: Tunnels, other: Office) -> None:
    assert told(tunnels, ONE) == []
    # A name that is left without its namespace, as after a restart of the host.
    (DIRECTORY / ONE).touch()
    assert told(tunnels, ONE) == []
    (DIRECTORY / ONE).unlink()
    assert other.server.heard == []
    assert told(tunnels, OTHER) == ["192.168.0.2"]


def test_a_server_of_the_host_is_not_asked_in_its_place(tunnels: Tunnels) -> None:
    run(["ip", "link", "set", "lo", "up"])
    run(["ip", "address", "add", f"{ADDRESS}/32", "dev", "lo"])
    host = NameServer(ADDRESS, {"*.corp.example": ("A 203.0.113.66",)})
    run(["ip", "netns", "add", ONE])
    try:
        # There is no route in it.
        assert told(tunnels, ONE) == []
        assert host.heard == []
    finally:
        host.close()
        run(["ip", "address", "delete", f"{ADDRESS}/32", "dev", "lo"])
        run(["ip", "netns", "delete", ONE])


def test_a_namespace_made_anew_is_the_one_that_is_asked(tunnels: Tunnels) -> None:
    for answer in ("192.168.0.1", "192.168.0.7"):
        office = Office(ONE, answer)
        assert told(tunnels, ONE) == [answer]
        office.close()


def test_questions_leave_no_thread_or_file(tunnels: Tunnels, one: Office) -> None:
    told(tunnels, ONE)
    before = _files(), threading.active_count()
    for number in range(30):
        told(tunnels, ONE, f"n{number}.corp.example")
        told(tunnels, f"sluice-vpn-{number}")
    assert (_files(), threading.active_count()) == before


def test_who_gives_up_leaves_no_file(tunnels: Tunnels, one: Office) -> None:
    async def impatient() -> None:
        for _ in range(50):
            task = asyncio.create_task(tunnels.client(socket.SOCK_DGRAM, ONE))
            await asyncio.sleep(0)
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                (await task).close()

    told(tunnels, ONE)
    before = _files()
    asyncio.run(impatient())
    told(tunnels, ONE)
    assert _files() == before


def _on_host(device: str) -> bool:
    return device in (name for _, name in socket.if_nameindex())


def _files() -> int:
    return len(os.listdir(Path("/proc/self/fd")))
