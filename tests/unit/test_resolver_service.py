"""The sockets machines talk to: who is answered, in what order, and how much of it at once."""

from __future__ import annotations

import asyncio
import select
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import replace

import dns.message
import dns.rcode
import examples
import pytest

from resolver import service
from resolver.decide import ForwardingServer
from resolver.directory import Directory
from resolver.message import Query
from resolver.namespace import IP_PKTINFO
from resolver.service import Service
from resolver.zone import Reply
from state.model import Network
from tests.dummy_switch import wait_until

ROUTER, MACHINE, NEIGHBOUR, STRANGER = "127.0.6.1", "127.0.6.2", "127.0.6.3", "127.0.6.9"
OFFICE = replace(
    examples.OFFICE,
    router=ROUTER,
    machines=tuple(
        replace(machine, transit=transit)
        for machine, transit in zip(examples.OFFICE.machines, (MACHINE, NEIGHBOUR), strict=False)
    ),
)
OWN = dns.message.make_query("office1.office.internal", "A", id=1).to_wire()
FORWARDED = dns.message.make_query("www.example.com", "A", id=2).to_wire()


class Slow:
    """Other servers that answer when they are let."""

    def __init__(self) -> None:
        self.asked = 0
        self.let = asyncio.Event()

    def recall(self, query: Query, servers: tuple[ForwardingServer, ...]) -> Reply | None:
        return None

    async def ask(self, query: Query, servers: tuple[ForwardingServer, ...]) -> Reply | None:
        self.asked += 1
        await self.let.wait()
        return Reply(dns.rcode.NXDOMAIN)


class Running:
    """A service on a loop of its own, as seen by a test."""

    def __init__(self) -> None:
        self.directory = Directory()
        self.directory.replace(replace(examples.APPLIANCE, dns_upstream=("192.0.2.1",)), [OFFICE])
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self.udp.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)
        self.udp.bind(("0.0.0.0", 0))
        self.tcp = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        self.tcp.bind(("0.0.0.0", 0))
        self.tcp.listen()
        self.slow = Slow()
        self.service = Service(self.directory, self.slow)  # type: ignore[arg-type]
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        self._task = self.loop.create_task(self.service.serve(self.udp, self.tcp))
        self.loop.run_until_complete(asyncio.wait([self._task]))

    def call(self, what: Callable[[], object]) -> None:
        """Run `what` on the loop's thread and wait for it."""
        done: Future[None] = Future()
        self.loop.call_soon_threadsafe(lambda: (what(), done.set_result(None)))
        done.result(5)

    def change(self, network: Network | None) -> None:
        """Have the directory know the network like this."""
        self.call(lambda: self.directory.update({OFFICE.key: network}))

    def stop(self) -> None:
        """End it."""
        self.call(self._task.cancel)
        self._thread.join(5)
        assert not self._thread.is_alive()
        self.udp.close()
        self.tcp.close()

    def client(self, source: str = MACHINE, router: str = ROUTER) -> socket.socket:
        """A UDP socket of a machine."""
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        made.settimeout(0.5)
        made.bind((source, 0))
        made.connect((router, self.udp.getsockname()[1]))
        return made

    def connection(self, source: str = MACHINE, router: str = ROUTER) -> socket.socket:
        """A TCP connection of a machine."""
        return socket.create_connection((router, self.tcp.getsockname()[1]), 2, (source, 0))


# Of a machine and of all: questions that wait, connections.
LIMITS = {"WAITING_OF_MACHINE": 3, "WAITING": 5, "CONNECTIONS_OF_MACHINE": 2}


@pytest.fixture
def running(monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    for name, limit in LIMITS.items():
        monkeypatch.setattr(service, name, limit)
    one = Running()
    yield one
    one.stop()


def rcode(wire: bytes) -> str:
    return dns.rcode.to_text(dns.message.from_wire(wire).rcode())


def say(link: socket.socket, wire: bytes) -> bytes:
    """Ask over TCP; empty when the connection ends."""
    link.sendall(struct.pack("!H", len(wire)) + wire)
    with link.makefile("rb") as reader:
        head = reader.read(2)
        return reader.read(struct.unpack("!H", head)[0]) if head else b""


def turned_away(stream: socket.socket) -> bool:
    """Whether the connection ends, one way or another, instead of an answer."""
    try:
        return not say(stream, OWN)
    except ConnectionError:
        return True


def test_the_answer_comes_from_whom_was_asked(running: Running) -> None:
    """The client's socket hears nobody else."""
    with running.client() as link:
        for number in (1, 2, 3):
            link.send(number.to_bytes(2, "big") + OWN[2:])
            answer = link.recv(2000)
            assert (answer[:2], rcode(answer)) == (number.to_bytes(2, "big"), "NOERROR")


def test_the_same_question_after_a_change(running: Running) -> None:
    with running.client() as link:
        link.send(OWN)
        assert rcode(link.recv(2000)) == "NOERROR"
        renamed = replace(OFFICE.machines[0], hostname="new")
        running.change(replace(OFFICE, machines=(renamed, *OFFICE.machines[1:])))
        link.send(OWN)
        assert rcode(link.recv(2000)) == "NXDOMAIN"


@pytest.mark.parametrize(("source", "router"), [(STRANGER, ROUTER), (MACHINE, "127.0.6.77")])
def test_strangers_and_strange_routers_are_not_answered(running: Running, source: str, router: str) -> None:
    with running.client(source, router) as link:
        link.send(OWN)
        with pytest.raises(TimeoutError):
            link.recv(2000)
    with running.connection(source, router) as stream:
        assert turned_away(stream)


def test_who_waits_keeps_nobody_else_waiting(running: Running) -> None:
    with running.client() as link, running.client(NEIGHBOUR) as other:
        for number in range(5):
            link.send(number.to_bytes(2, "big") + FORWARDED[2:])
        # The fourth and fifth are refused at once.
        refused = [link.recv(2000) for _ in range(2)]
        assert [(wire[1], rcode(wire)) for wire in refused] == [(3, "SERVFAIL"), (4, "SERVFAIL")]
        link.send(OWN)
        assert rcode(link.recv(2000)) == "NOERROR"
        other.send(OWN)
        assert rcode(other.recv(2000)) == "NOERROR"
        other.send(FORWARDED)
        other.send(OWN)
        assert rcode(other.recv(2000)) == "NOERROR"
        running.call(running.slow.let.set)
        assert {rcode(link.recv(2000)) for _ in range(3)} == {"NXDOMAIN"}
        assert rcode(other.recv(2000)) == "NXDOMAIN"
        assert running.slow.asked == 4
        # What has been answered waits no more.
        link.send(FORWARDED)
        assert rcode(link.recv(2000)) == "NXDOMAIN"


def test_a_limit_of_all(running: Running) -> None:
    with running.client() as link, running.client(NEIGHBOUR) as other:
        for _ in range(3):
            link.send(FORWARDED)
            other.send(FORWARDED)
        # Five of six wait.
        (first,) = [one for one in (link, other) if _hears(one)]
        assert rcode(first.recv(2000)) == "SERVFAIL"
        assert not any(_hears(one) for one in (link, other))


def _hears(link: socket.socket) -> bool:
    return bool(select.select([link], [], [], 0.3)[0])


def test_questions_over_tcp_one_after_the_other(running: Running) -> None:
    running.call(running.slow.let.set)
    with running.connection() as stream:
        assert rcode(say(stream, OWN)) == "NOERROR"
        assert rcode(say(stream, FORWARDED)) == "NXDOMAIN"
        assert rcode(say(stream, OWN[:-1])) == "FORMERR"
        assert say(stream, b"x") == b""


def test_connections_of_a_machine_are_limited(running: Running) -> None:
    with running.connection() as first, running.connection() as second, running.connection(NEIGHBOUR) as other:
        for stream in (first, second, other):
            assert rcode(say(stream, OWN)) == "NOERROR"
        with running.connection() as third:
            assert turned_away(third)
        first.close()

        def room() -> bool:
            with running.connection() as again:
                return not turned_away(again)

        wait_until(room)


def test_an_idle_connection_ends(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "IDLE_SECONDS", 0.1)
    with running.connection() as stream:
        stream.sendall(b"\0\x20half a question")
        assert stream.recv(100) == b""


def test_a_connection_ends_with_its_machine(running: Running) -> None:
    with running.connection() as stream:
        assert rcode(say(stream, OWN)) == "NOERROR"
        running.change(None)
        assert say(stream, OWN) == b""


def test_a_fault_ends_no_more_than_its_question(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_wire: bytes) -> None:
        raise RuntimeError("a fault")

    with running.client() as link:
        before = service.metrics.FAULTS._value.get()
        with monkeypatch.context() as patched:
            patched.setattr(service.message, "read", fail)
            link.send(FORWARDED)
            with pytest.raises(TimeoutError):
                link.recv(2000)
        assert service.metrics.FAULTS._value.get() == before + 1
        link.send(OWN)
        assert rcode(link.recv(2000)) == "NOERROR"
