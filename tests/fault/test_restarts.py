"""Agent, controller, databases and switch killed under traffic: what is lost, and what comes back."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest
from appliance import AGENT, CONTROLLER, DATABASE, SWITCH, SWITCH_DATABASE
from machines import SERVERS, Machine
from namespaces import open_socket
from pinging import INTERVAL, pinging
from probes import ask_udp
from responders import ECHO_PORT
from sandbox import Sandbox
from sandboxes import Tenants

# Measured at 0.55 s on two shared cores, of which 0.1 s is the pause before a restart.
SWITCH_GAP_SECONDS = 2.0


@dataclass
class Stream:
    """A TCP connection to an echo server that counts what came back, in order, while a test runs."""

    connection: socket.socket
    sent: int = 0
    returned: int = 0
    failure: str = ""
    _ended: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        try:
            self.connection.settimeout(10)
            greeting = b""
            while not greeting.endswith(b"\n"):
                greeting += self.connection.recv(1)
            while not self._ended.is_set():
                line = f"{self.sent:07}\n".encode()
                self.connection.sendall(line)
                self.sent += 1
                echo = b""
                while len(echo) < len(line):
                    part = self.connection.recv(len(line) - len(echo))
                    if not part:
                        raise ConnectionError("closed by the other side")
                    echo += part
                assert echo == line
                self.returned += 1
                time.sleep(INTERVAL / 2)
        except (OSError, AssertionError) as error:
            self.failure = repr(error)

    def end(self) -> None:
        self._ended.set()


@contextmanager
def streaming(host: Machine, target: str) -> Iterator[Stream]:
    """A stream that runs while the block does."""
    with open_socket(host.pid, socket.AF_INET, socket.SOCK_STREAM) as connection:
        connection.settimeout(5)
        connection.connect((target, ECHO_PORT))
        stream = Stream(connection)
        thread = threading.Thread(target=stream.run)
        thread.start()
        try:
            yield stream
        finally:
            stream.end()
            thread.join()


def bring_down(sandbox: Sandbox, names: tuple[str, ...], how: str) -> None:
    deaths = {name: len(sandbox.appliance.daemon(name).deaths) for name in names}
    for name in names:
        if how == "killed":
            sandbox.appliance.kill(name)
        else:
            sandbox.appliance.restart(name)
    if how == "killed":
        for name in names:
            sandbox.appliance.await_restart(name, deaths[name])
    sandbox.appliance.wait_ready()


@pytest.mark.parametrize("how", ["restarted", "killed"])
@pytest.mark.parametrize("names", [(AGENT,), (CONTROLLER,), (AGENT, CONTROLLER), (DATABASE,)], ids="+".join)
def test_nothing_is_lost(sandbox: Sandbox, tenants: Tenants, names: tuple[str, ...], how: str) -> None:
    alone = tenants.isolated()
    one, other = tenants.private(2)
    with (
        streaming(alone, SERVERS[0]) as stream,
        pinging(alone, SERVERS[0]) as outward,
        pinging(one, other.address) as inward,
    ):
        bring_down(sandbox, names, how)
    assert outward()[0] == 0
    assert inward()[0] == 0
    assert stream.failure == ""
    assert stream.returned == stream.sent > 10


def test_a_killed_switch_comes_back_with_its_flows(sandbox: Sandbox, tenants: Tenants) -> None:
    one, other = tenants.private(2)
    alone = tenants.isolated()
    restores = len(sandbox.appliance.restores)
    with pinging(one, other.address) as inward, pinging(alone, SERVERS[0]) as outward:
        bring_down(sandbox, (SWITCH,), "killed")
    assert len(sandbox.appliance.restores) == restores + 1
    assert inward()[1] < SWITCH_GAP_SECONDS
    assert outward()[1] < SWITCH_GAP_SECONDS


def test_a_killed_switch_lets_nothing_through_that_it_should_not(sandbox: Sandbox, tenants: Tenants) -> None:
    here, there = tenants.isolated(), tenants.isolated()
    answered: dict[str, object] = {}
    done = threading.Event()

    def try_on() -> None:
        while not done.is_set():
            answered.update(ask_udp(here.pid, [there.address], 0.3))

    thread = threading.Thread(target=try_on)
    thread.start()
    try:
        bring_down(sandbox, (SWITCH,), "killed")
    finally:
        done.set()
        thread.join()
    assert not answered
    assert SERVERS[0] in ask_udp(here.pid, [SERVERS[0]])


def test_the_switch_forwards_without_its_database(sandbox: Sandbox, tenants: Tenants) -> None:
    alone = tenants.isolated()
    with pinging(alone, SERVERS[0]) as outward:
        bring_down(sandbox, (SWITCH_DATABASE,), "killed")
    assert outward()[0] == 0


def test_machines_made_while_the_controller_is_away_go_live_with_it(sandbox: Sandbox, tenants: Tenants) -> None:
    tenants.isolated()
    sandbox.appliance.stop(CONTROLLER)
    try:
        late = tenants.isolated(lease=False, live=False)
    finally:
        sandbox.appliance.start_one(CONTROLLER)
    sandbox.appliance.wait_ready()
    late.obtain_lease()
    assert SERVERS[0] in ask_udp(late.pid, [SERVERS[0]])
