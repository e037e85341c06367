"""ovs-vswitchd killed under traffic: nothing goes where it should not, and NAT works again when it is back."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest
from appliance import SWITCH
from gateway_watch import no_inner_source
from machines import SERVERS, Machine
from namespaces import within
from packets import Wire
from probes import ask_tcp, ask_udp
from responders import ECHO_PORT
from sandbox import Sandbox
from sandboxes import Tenants
from scapy.layers.inet import IP
from scapy.packet import Packet

SERVER = SERVERS[0]
PREFIX = "10.77.0.0/16"
INTERVAL = 0.01
KILLS = 3
# Measured at 0.5 to 0.6 s on two shared cores, of which 0.1 s is the pause before a restart.
GAP_SECONDS = 3.0
MARK = b"of one tenant only "


@dataclass
class Asker:
    """Asks an echo server every 10 ms, and knows when each answer came."""

    machine: Machine
    target: str
    answered: list[float] = field(default_factory=list)
    wrong: list[bytes] = field(default_factory=list)
    _end: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        """Ask until `end`."""
        mark = MARK + self.machine.name.encode()

        def make() -> socket.socket:
            one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            one.setblocking(False)
            return one

        with within(self.machine.pid, make) as client:
            while not self._end.wait(INTERVAL):
                with contextlib.suppress(OSError):
                    client.sendto(mark, (self.target, ECHO_PORT))
                with contextlib.suppress(OSError):
                    while True:
                        answer = client.recv(2048)
                        self.answered.append(time.monotonic())
                        if not answer.endswith(mark):
                            self.wrong.append(answer)

    def end(self) -> None:
        """Stop asking."""
        self._end.set()

    def gap(self) -> float:
        """The longest time without an answer, in seconds."""
        return max(later - earlier for earlier, later in zip(self.answered, self.answered[1:], strict=False))


@contextmanager
def asking(machine: Machine, target: str) -> Iterator[Asker]:
    """An asker that runs while the block does, from its first answer on."""
    one = Asker(machine, target)
    thread = threading.Thread(target=one.run)
    thread.start()
    try:
        deadline = time.monotonic() + 10
        while not one.answered:
            assert time.monotonic() < deadline, "no answer at all"
            time.sleep(INTERVAL)
        yield one
        after = time.monotonic()
        while one.answered[-1] < after:
            assert time.monotonic() < after + 10, "no answer any more"
            time.sleep(INTERVAL)
    finally:
        one.end()
        thread.join()


@pytest.mark.timeout(180)
def test_nothing_goes_astray_while_the_switch_is_killed(sandbox: Sandbox, tenants: Tenants) -> None:
    (ada, ada2), (bob, _) = tenants.private(2, PREFIX), tenants.private(2, PREFIX)
    alone = tenants.isolated()
    gaps = []
    with no_inner_source(sandbox), Wire(bob.pid) as bystander:
        for _ in range(KILLS):
            pid, deaths = sandbox.appliance.daemon(SWITCH).pid, len(sandbox.appliance.daemon(SWITCH).deaths)
            restores = len(sandbox.appliance.restores)
            with asking(ada, SERVER) as out, asking(ada, ada2.address) as inside, asking(alone, SERVER) as single:
                sandbox.appliance.kill(SWITCH)
                sandbox.appliance.await_restart(SWITCH, deaths)
                sandbox.appliance.wait_ready()
            assert sandbox.appliance.daemon(SWITCH).pid != pid
            assert len(sandbox.appliance.restores) == restores + 1
            askers = (out, inside, single)
            assert [one.wrong for one in askers] == [[], [], []]
            gaps.append([one.gap() for one in askers])
        # The other tenant, with the very addresses that are being talked to, heard none of it.
        assert bystander.receive(carries_mark, 0.2) is None
    print("without an answer, in s (to the Internet, inside the network, alone):", gaps)
    assert max(map(max, gaps)) < GAP_SECONDS
    for machine in (ada, bob, alone):
        block = tenants.network_of(machine).port_block
        for seen in (ask_tcp(machine.pid, [SERVER])[SERVER], ask_udp(machine.pid, [SERVER])[SERVER]):
            assert seen.address == block.address
            assert block.first_port <= seen.port <= block.last_port


def carries_mark(frame: Packet) -> bool:
    return IP in frame and MARK in bytes(frame)


def test_a_connection_the_switch_forgot_ends_and_the_next_one_works(sandbox: Sandbox, tenants: Tenants) -> None:
    machine = tenants.isolated()
    assert SERVER in ask_udp(machine.pid, [SERVER], 5)

    def connect() -> socket.socket:
        one = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        one.settimeout(10)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        one.connect((SERVER, ECHO_PORT))
        return one

    with no_inner_source(sandbox), within(machine.pid, connect) as old:
        deaths = len(sandbox.appliance.daemon(SWITCH).deaths)
        sandbox.appliance.kill(SWITCH)
        sandbox.appliance.await_restart(SWITCH, deaths)
        sandbox.appliance.wait_ready()
        # Either it goes on, or it is refused at once; what must not be is silence.
        with contextlib.suppress(ConnectionError):
            old.sendall(b"still there?")
            while b"still there?" not in old.recv(4096):
                pass
        with within(machine.pid, connect) as new:
            assert new.recv(4096).startswith(b"internet ")
