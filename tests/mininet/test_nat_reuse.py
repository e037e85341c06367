"""Addresses and port blocks given out again come without the connections of who had them before."""

from __future__ import annotations

import re
import socket
import subprocess
import time
from collections.abc import Callable

import pytest
from appliance import CONTROLLER, SWITCH
from machines import SERVERS, Machine
from namespaces import within
from probes import ask_udp
from responders import ECHO_PORT
from sandbox import Sandbox
from sandboxes import SETTINGS, Tenants
from supervisor import await_condition

SERVER = SERVERS[0]
CONNECTIONS = 20
ATTEMPTS = 10
SECONDS = 10.0


def entries(sandbox: Sandbox, source: str) -> list[str]:
    """Conntrack entries of a machine, by its address in the conntrack zone."""
    control = sandbox.appliance.paths.run / f"{SWITCH}.ctl"
    command = ["ovs-appctl", "-t", str(control), "dpctl/dump-conntrack"]
    dump = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return [line for line in dump.splitlines() if f"orig=(src={source}," in line]


def transit_of(sandbox: Sandbox, machine: Machine) -> str:
    """The address of a private network's machine in the conntrack zone: what its inbound flow matches."""
    dump = sandbox.appliance.ofctl("dump-flows")
    (line,) = (
        line for line in dump.splitlines() if "table=inbound" in line and f"set_field:{machine.mac}->eth_dst" in line
    )
    found = re.search(r"nw_dst=([\d.]+)", line)
    assert found is not None
    return found[1]


def connect(machine: Machine, count: int) -> None:
    """Talk to a server from ever new ports; conntrack remembers each for its timeout."""

    def make() -> None:
        for _ in range(count):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
                client.settimeout(SECONDS)
                client.sendto(b"?", (SERVER, ECHO_PORT))
                client.recv(100)

    within(machine.pid, make)


Deletion = Callable[[Sandbox, str], None]


def delete(sandbox: Sandbox, name: str) -> None:
    sandbox.delete_machine(name)


def delete_without_a_controller(sandbox: Sandbox, name: str) -> None:
    sandbox.appliance.stop(CONTROLLER)
    try:
        sandbox.delete_machine(name)
    finally:
        sandbox.appliance.start_one(CONTROLLER)
    sandbox.appliance.wait_ready()


@pytest.mark.parametrize("deletion", [delete, delete_without_a_controller])
@pytest.mark.parametrize("kind", ["isolated", "private"])
def test_a_deleted_machine_leaves_no_connection(
    sandbox: Sandbox, tenants: Tenants, kind: str, deletion: Deletion
) -> None:
    bystander = tenants.isolated()
    if kind == "isolated":
        machine = tenants.isolated()
        source = machine.address
    else:
        machine, _ = tenants.private(2)
        source = transit_of(sandbox, machine)
    assert SERVER in ask_udp(machine.pid, [SERVER], SECONDS)
    assert SERVER in ask_udp(bystander.pid, [SERVER], SECONDS)
    connect(machine, CONNECTIONS)
    connect(bystander, CONNECTIONS)
    assert len(entries(sandbox, source)) >= CONNECTIONS
    deletion(sandbox, machine.name)
    await_condition(lambda: entries(sandbox, source) == [], "connections forgotten", SECONDS)
    # Nobody else's are. What is forgotten never comes back; a dump taken while others go may miss some.
    await_condition(lambda: len(entries(sandbox, bystander.address)) >= CONNECTIONS, "all of the others", SECONDS)


def test_the_next_holder_of_an_address_gets_nothing_meant_for_the_last(sandbox: Sandbox, tenants: Tenants) -> None:
    first = tenants.isolated()
    assert SERVER in ask_udp(first.pid, [SERVER], SECONDS)

    def server() -> socket.socket:
        one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        one.settimeout(SECONDS)
        one.bind((SERVER, 0))
        return one

    with within(sandbox.internet.pid, server) as talker:
        port = talker.getsockname()[1]

        def call() -> int:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
                client.sendto(b"hello", (SERVER, port))
                return int(client.getsockname()[1])

        inner = within(first.pid, call)
        _, public = talker.recvfrom(100)
        address = first.address
        sandbox.delete_machine(first.name)
        second = heir(tenants, address)

        def listen() -> socket.socket:
            one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            one.settimeout(0.5)
            one.bind(("0.0.0.0", inner))
            return one

        with within(second.pid, listen) as ear:
            before = sandbox.drops(0).get("unsolicited", 0)
            talker.sendto(b"private matter of the first", public)
            with pytest.raises(TimeoutError):
                ear.recv(100)
            assert sandbox.drops(0)["unsolicited"] == before + 1


def heir(tenants: Tenants, address: str) -> Machine:
    """A new machine that was given a released address."""
    for _ in range(ATTEMPTS):
        # Released addresses rest for that long.
        time.sleep(SETTINGS.reuse_after_seconds)
        machine = tenants.isolated()
        if machine.address == address:
            return machine
    raise AssertionError(f"{address} was not given out again")
