"""A storage network with two tenants: the same prefix and addresses of machines, a drive each."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest
from frames import carries, is_error, new_mark, routed
from gateway_watch import watched
from machines import Machine, StorageHost
from namespaces import open_socket
from packets import Wire
from probes import ask_tcp, ask_udp, ping
from responders import ECHO_PORT
from sandbox import Sandbox, Wanted
from sandboxes import Tenants, network_id
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

from sluice.v1 import drive_pb2, status_pb2

STORAGE_ADDRESS, STORAGE_MAC = "10.250.0.2", "02:00:00:00:ff:03"
FILES, TILL, OTHER = "10.250.0.10", "10.250.0.11", "10.250.0.99"
PREFIX = "10.9.0.0/16"
LIVE, ERROR = (status_pb2.Status.LIVE, ""), status_pb2.Status.ERROR


@dataclass(frozen=True)
class Tenancy:
    """One tenant: two machines in a network, and its drive's host."""

    network: str
    machines: list[Machine]
    host: StorageHost
    drive: str


@dataclass(frozen=True)
class Storage:
    """Two tenants with the same prefix and the same machines' addresses, each with a drive, and others about."""

    one: Tenancy
    two: Tenancy
    other: StorageHost
    alone: Machine


@pytest.fixture(scope="module")
def stack() -> Iterator[ExitStack]:
    """What a module of tests takes away when it ends."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture(scope="module")
def storage(sandbox: Sandbox, stack: ExitStack) -> Storage:
    """Made once for a module of tests."""
    maker = Tenants(sandbox)
    stack.callback(maker.close)
    other = sandbox.add_storage_host("elsewhere", OTHER)
    stack.callback(sandbox.unplug, "elsewhere")
    tenancies = []
    for name, address in (("files", FILES), ("till", TILL)):
        host = sandbox.add_storage_host(name, address)
        stack.callback(sandbox.unplug, name)
        network = network_id(maker.network(PREFIX, tenant=name))
        machines = maker.machines([Wanted("", network), Wanted("", network)])
        sandbox.create_drive(name, network, address)
        stack.callback(sandbox.delete_drive, name)
        tenancies.append(Tenancy(network, machines, host, name))
    return Storage(*tenancies, other, maker.isolated())


def echo_of(machine: Machine, address: str) -> str | None:
    """Who answers at `address` by TCP."""
    found = ask_tcp(machine.pid, [address]).get(address)
    return found.name if found else None


def assert_prohibited(machine: Machine, address: str) -> None:
    """The machine is told that it may not (RFC 1812: 3/13), and nobody answers it."""
    mark = new_mark()
    with Wire(machine.pid) as wire:
        told = wire.exchange(routed(machine, address) / UDP(sport=700, dport=ECHO_PORT) / Raw(mark), carries(mark))
    assert told is not None, f"{address} not answered"
    assert is_error(3, 13, address)(told)
    assert ask_tcp(machine.pid, [address], seconds=0.5) == {}
    assert ask_udp(machine.pid, [address], seconds=0.3) == {}
    assert ping(machine.pid, [address], seconds=0.3) == set()


def from_host(
    host: StorageHost, to: str, mark: bytes, *, mac: str = "", source: str = "", via: str = STORAGE_MAC
) -> Packet:
    """A datagram a storage host makes by hand."""
    header = IP(src=source or host.address, dst=to)
    return Ether(src=mac or host.mac, dst=via) / header / UDP(sport=ECHO_PORT, dport=700) / Raw(mark)


def client_of(machine: Machine, address: str) -> str:
    """What the drive at `address` sees the machine as."""
    return ask_tcp(machine.pid, [address])[address].address


def wire_gets(wire: Wire, host: StorageHost, frame: Packet, mark: bytes) -> bool:
    """Whether the frame that `host` sends, with `mark` in it, arrives at `wire`."""
    with Wire(host.pid) as out:
        out.send(frame)
    return wire.receive(carries(mark), 2.0) is not None


def assert_nobody_gets(
    storage: Storage, watched: list[Machine], host: StorageHost, make: Callable[[bytes], Packet]
) -> None:
    """None of `watched` gets the frame; that all was looked at is shown by one to the host's own machine after it."""
    mark, last = new_mark(), new_mark()
    tenancy = storage.one
    own = client_of(tenancy.machines[0], FILES)
    with ExitStack() as stack:
        wires = [stack.enter_context(Wire(machine.pid)) for machine in watched]
        witness = stack.enter_context(Wire(tenancy.machines[0].pid))
        with Wire(host.pid) as out:
            out.send(make(mark))
        assert wire_gets(witness, tenancy.host, from_host(tenancy.host, own, last), last)
        for wire in wires:
            assert wire.receive(carries(mark), 0.02) is None


def drives_macs(sandbox: Sandbox) -> str:
    """The flows that hold the MACs of drives."""
    return sandbox.appliance.ofctl("dump-flows", "table=storage-out")


@pytest.fixture
def quiet_gateway(sandbox: Sandbox) -> Iterator[Callable[[], None]]:
    """Fails when a packet of storage is on the cable of the gateway."""
    with watched(sandbox, "net 10.250.0.0/24 or net 100.64.0.0/10") as watch:
        yield watch.nothing


def status(sandbox: Sandbox, drive: str) -> tuple[int, str]:
    """State and detail of a drive as the API has it."""
    found = sandbox.drives.GetDrive(drive_pb2.GetDriveRequest(name=f"drives/{drive}")).status
    return found.state, found.detail


def opened(machine: Machine, address: str) -> socket.socket:
    """A connection to the echo server, whose greeting has been read."""
    connection = open_socket(machine.pid, socket.AF_INET, socket.SOCK_STREAM)
    connection.settimeout(5)
    connection.connect((address, ECHO_PORT))
    connection.recv(2048)
    return connection


def exchange(connection: socket.socket, text: bytes) -> bool:
    connection.settimeout(1)
    try:
        connection.sendall(text)
        return connection.recv(2048) == text
    except OSError:
        return False
