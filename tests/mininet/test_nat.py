"""NAT: tenants with the same addresses and ports are told apart, and everything finds its way back."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from frames import carries, new_mark, routed
from gateway_watch import LeakWatch, no_inner_source
from machines import SERVERS, Machine
from namespaces import within
from packets import Wire
from probes import echo_request
from responders import ECHO_PORT
from sandbox import Sandbox
from sandboxes import Tenants
from scapy.layers.inet import IP
from scapy.packet import Raw

SERVER, OTHER_SERVER = SERVERS
PREFIX = "10.77.0.0/16"
SECONDS = 5.0
ROUNDS = 20
SAME_PORT = 5555
SAME_ID = 4242
# <linux/socket.h>, <linux/icmp.h>, <linux/in.h>
SOL_RAW, ICMP_FILTER = 255, 1
IP_MTU_DISCOVER, IP_PMTUDISC_DONT = 10, 0


@dataclass(frozen=True)
class Site:
    """Two tenants with the same prefix, the first of two machines, and a machine alone."""

    sandbox: Sandbox
    tenants: Tenants
    ada: Machine
    ada2: Machine
    bob: Machine
    alone: Machine

    def block(self, machine: Machine) -> tuple[str, range]:
        """Public address and ports of a machine's network."""
        block = self.tenants.network_of(machine).port_block
        return block.address, range(block.first_port, block.last_port + 1)

    def in_block(self, machine: Machine, address: str, port: int) -> bool:
        """Whether the port block of the machine's network holds this."""
        public, ports = self.block(machine)
        return address == public and port in ports


@pytest.fixture(scope="module")
def site(sandbox: Sandbox) -> Iterator[Site]:
    maker = Tenants(sandbox)
    try:
        ada, ada2 = maker.private(2, PREFIX)
        (bob,) = maker.private(1, PREFIX)
        yield Site(sandbox, maker, ada, ada2, bob, maker.isolated())
    finally:
        maker.close()


@pytest.fixture(scope="module", autouse=True)
def watch(sandbox: Sandbox) -> Iterator[LeakWatch]:
    """No test of this file lets an inner source out."""
    with no_inner_source(sandbox) as one:
        yield one


def machine_named(site: Site, name: str) -> Machine:
    machine: Machine = getattr(site, name)
    return machine


def open_at(machine: Machine, kind: int, port: int = 0) -> socket.socket:
    """A socket of the machine, bound to `port` (0: any)."""

    def make() -> socket.socket:
        one = socket.socket(socket.AF_INET, kind)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        one.settimeout(SECONDS)
        one.bind(("0.0.0.0", port))
        return one

    return within(machine.pid, make)


def receive_line(connection: socket.socket) -> tuple[str, int]:
    """What an echo server's first line says it saw."""
    line = b""
    while not line.endswith(b"\n"):
        line += connection.recv(1)
    _, address, port = line.decode().split()
    return address, int(port)


def receive_exactly(connection: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        part = connection.recv(count - len(data))
        assert part, "closed by the other side"
        data += part
    return data


def nothing_more(*sockets: socket.socket) -> bool:
    """Whether nothing is left to read now that every answer has come."""
    return not select.select(sockets, [], [], 0.1)[0]


def pairs(site: Site) -> dict[str, tuple[Machine, Machine]]:
    return {"two tenants": (site.ada, site.bob), "one network": (site.ada, site.ada2)}


@pytest.mark.parametrize("pair", ["two tenants", "one network"])
def test_tcp_from_the_same_port_is_told_apart(site: Site, pair: str) -> None:
    machines = pairs(site)[pair]
    assert (machines[0].address == machines[1].address) == (pair == "two tenants")
    with contextlib.ExitStack() as stack:
        connections = [stack.enter_context(open_at(one, socket.SOCK_STREAM, SAME_PORT)) for one in machines]
        for one in connections:
            # No TIME_WAIT that would hold the port for the next test.
            one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            one.connect((SERVER, ECHO_PORT))
        seen = [receive_line(one) for one in connections]
        for machine, (address, port) in zip(machines, seen, strict=True):
            assert site.in_block(machine, address, port)
        assert seen[0] != seen[1]
        for count in range(ROUNDS):
            tags = [f"{machine.name}:{count}\n".encode() for machine in machines]
            for one, tag in zip(connections, tags, strict=True):
                one.sendall(tag)
            assert [receive_exactly(one, len(tag)) for one, tag in zip(connections, tags, strict=True)] == tags
        assert nothing_more(*connections)


@pytest.mark.parametrize("pair", ["two tenants", "one network"])
def test_udp_from_the_same_port_is_told_apart(site: Site, pair: str) -> None:
    machines = pairs(site)[pair]
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(open_at(one, socket.SOCK_DGRAM, SAME_PORT)) for one in machines]
        seen = set()
        for count in range(ROUNDS):
            tags = [f"{machine.name}:{count}".encode() for machine in machines]
            for one, tag in zip(sockets, tags, strict=True):
                one.sendto(tag, (SERVER, ECHO_PORT))
            for machine, one, tag in zip(machines, sockets, tags, strict=True):
                line, _, echoed = one.recv(2048).partition(b"\n")
                assert echoed == tag
                address, port = line.decode().split()[1:]
                assert site.in_block(machine, address, int(port))
                seen.add((address, port))
        assert len(seen) == 2
        assert nothing_more(*sockets)


@pytest.mark.parametrize("pair", ["two tenants", "one network"])
def test_icmp_with_the_same_identifier_is_told_apart(site: Site, pair: str) -> None:
    machines = pairs(site)[pair]
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(raw_icmp(one)) for one in machines]
        for count in range(ROUNDS):
            tags = [f"{machine.name}:{count}".encode() for machine in machines]
            for one, tag in zip(sockets, tags, strict=True):
                one.sendto(echo_request(SAME_ID, count, tag), (SERVER, 0))
            for one, tag in zip(sockets, tags, strict=True):
                assert one.recv(2048)[20:] == echo_reply_of(SAME_ID, count, tag)
        assert nothing_more(*sockets)


def test_three_machines_may_ping_with_any_identifier(site: Site) -> None:
    """Where one is given an address that is taken for its identifier, it gets another."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(raw_icmp(one)) for one in (site.ada, site.ada2, site.bob)]
        for identifier in range(SAME_ID + 1, SAME_ID + 301):
            for one in sockets:
                one.sendto(echo_request(identifier), (SERVER, 0))
            for one in sockets:
                assert one.recv(2048)[20:] == echo_reply_of(identifier, 1, b"sluice")


GRE, ESP = 47, 50
UNPORTED = {GRE: bytes.fromhex("3081880b0010000100000000"), ESP: bytes.fromhex("0000123400000001")}


@pytest.mark.parametrize("protocol", [socket.IPPROTO_ICMP, GRE, ESP])
def test_one_machine_has_one_address_outside_whatever_the_protocol(site: Site, protocol: int) -> None:
    """PPTP and IPsec without NAT-T need their TCP or UDP and their GRE or ESP from one address (RFC 4787 REQ-2)."""
    with Wire(site.alone.pid) as wire, Wire(site.sandbox.internet.pid) as server:
        mark = new_mark()
        if protocol == socket.IPPROTO_ICMP:
            wire.send(routed(site.alone, SERVER, proto=protocol) / Raw(echo_request(site.alone.pid, 1, mark)))
        else:
            wire.send(routed(site.alone, SERVER, proto=protocol) / Raw(UNPORTED[protocol] + mark))
        seen = server.receive(carries(mark), SECONDS)
    assert seen is not None
    assert seen[IP].src == site.block(site.alone)[0]


def test_two_networks_of_one_address_both_send_what_has_no_ports(site: Site) -> None:
    """The kernel lets the first of them have it; the userspace datapath gives the second another address."""
    seen = set()
    assert site.block(site.ada)[0] == site.block(site.bob)[0]
    with Wire(site.sandbox.internet.pid) as server:
        for machine in (site.ada, site.bob):
            with Wire(machine.pid) as wire:
                mark = new_mark()
                wire.send(routed(machine, OTHER_SERVER, proto=GRE) / Raw(UNPORTED[GRE] + mark))
                if machine is site.bob and site.sandbox.appliance.datapath == "system":
                    continue
                found = server.receive(carries(mark), SECONDS)
                assert found is not None
                seen.add(found[IP].src)
    assert len(seen) == (1 if site.sandbox.appliance.datapath == "system" else 2)


def raw_icmp(machine: Machine) -> socket.socket:
    """Sees the echo replies that arrive at a machine."""

    def make() -> socket.socket:
        one = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
        one.settimeout(SECONDS)
        # A bit for each type that is not wanted: all but echo replies.
        one.setsockopt(SOL_RAW, ICMP_FILTER, struct.pack("I", 0xFFFFFFFE))
        return one

    return within(machine.pid, make)


def echo_reply_of(identifier: int, sequence: int, payload: bytes) -> bytes:
    """The reply to `echo_request`: type 0 and the checksum that goes with it (RFC 1624)."""
    request = echo_request(identifier, sequence, payload)
    (checksum,) = struct.unpack("!H", request[2:4])
    total = checksum + 0x0800
    return b"\0\0" + struct.pack("!H", (total & 0xFFFF) + (total >> 16)) + request[4:]


@pytest.mark.parametrize("name", ["alone", "ada"])
@pytest.mark.parametrize("size", [1, 1472, 1473, 1481, 3000, 8000])
def test_datagrams_of_any_size_come_through_whole_both_ways(site: Site, name: str, size: int) -> None:
    payload = os.urandom(size)
    with open_at(machine_named(site, name), socket.SOCK_DGRAM) as client:
        # Otherwise Linux sets DF on what fits the link, and fragments only the rest.
        client.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DONT)
        client.sendto(payload, (SERVER, ECHO_PORT))
        line, _, echoed = client.recv(65536).partition(b"\n")
    assert echoed == payload
    address, port = line.decode().split()[1:]
    assert site.in_block(machine_named(site, name), address, int(port))


@pytest.mark.parametrize("name", ["alone", "ada"])
def test_large_pings_come_through_whole(site: Site, name: str) -> None:
    payload = os.urandom(4000)
    with raw_icmp(machine_named(site, name)) as client:
        client.sendto(echo_request(77, 1, payload), (SERVER, 0))
        assert client.recv(65536)[20:] == echo_reply_of(77, 1, payload)


def test_another_server_does_not_get_in_by_an_open_port(site: Site) -> None:
    before = site.sandbox.drops(0).get("unsolicited", 0)
    machine = site.ada
    with open_at(machine, socket.SOCK_DGRAM) as client, server_socket(site, OTHER_SERVER) as stranger:
        client.sendto(b"open", (SERVER, ECHO_PORT))
        address, port = client.recv(2048).split(b"\n")[0].decode().split()[1:]
        for target in (int(port), int(port) + 1, site.block(machine)[1][-1]):
            stranger.sendto(b"let me in", (address, target))
        await_drops(site, 0, "unsolicited", before + 3)
        assert nothing_more(client)
        # The same server by another port is a stranger as well.
        with server_socket(site, SERVER) as same:
            same.sendto(b"let me in", (address, int(port)))
            await_drops(site, 0, "unsolicited", before + 4)
        assert nothing_more(client)
        client.sendto(b"still open", (SERVER, ECHO_PORT))
        assert client.recv(2048).endswith(b"\nstill open")


def test_a_tcp_connection_from_outside_does_not_get_in(site: Site) -> None:
    address, ports = site.block(site.alone)

    def connect() -> int:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as stranger:
            stranger.bind((OTHER_SERVER, 0))
            stranger.settimeout(0.5)
            with pytest.raises(TimeoutError):
                stranger.connect((address, ports[0]))
        return 1

    before = site.sandbox.drops(0).get("unsolicited", 0)
    assert within(site.sandbox.internet.pid, connect) == 1
    await_drops(site, 0, "unsolicited", before + 1)


def server_socket(site: Site, address: str, port: int = 0) -> socket.socket:
    """A UDP socket of a server in the Internet."""

    def make() -> socket.socket:
        one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        one.settimeout(SECONDS)
        one.bind((address, port))
        return one

    return within(site.sandbox.internet.pid, make)


def await_drops(site: Site, key: int, reason: str, count: int) -> None:
    """Wait until that many packets were dropped for a reason."""
    deadline = time.monotonic() + SECONDS
    while (seen := site.sandbox.drops(key).get(reason, 0)) < count:
        assert time.monotonic() < deadline, f"{reason}: {seen} instead of {count}"
        time.sleep(0.05)
