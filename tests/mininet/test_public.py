"""Public addresses: in both ways with all kinds of packets, and for nobody else."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from frames import (
    GATEWAY,
    GATEWAY_MAC,
    INTERNET_MAC,
    NEXT_HOP,
    ROUTER_MAC,
    carries,
    counted,
    heard_so_far,
    internet_heard_so_far,
    is_error,
    new_mark,
)
from machines import SERVERS, Machine
from namespaces import open_socket, within
from packets import Wire
from probes import ask_tcp, ask_udp, ping
from responders import ECHO_PORT
from sandbox import Sandbox, Wanted
from sandboxes import Tenants, network_id
from scapy.layers.inet import ICMP, IP, UDP, IPerror
from scapy.layers.l2 import Ether
from scapy.packet import Raw

SERVER = SERVERS[0]
SHARED = "203.0.113.64/28"
SECONDS = 5.0
SMALL, GATEWAY_MTU, HEADERS = 1400, 1500, 28
CLOSED_PORT = 99
# Not an address of any host: the Internet forwards what is for it.
REMOTE = "198.51.100.200"
# <linux/in.h>; not in Python's socket module.
IP_MTU_DISCOVER, PMTUDISC_DONT, PMTUDISC_DO = 10, 0, 2


@dataclass(frozen=True)
class Public:
    """Machines with a public address, and some without one."""

    machines: dict[str, Machine]
    addresses: dict[str, str]
    neighbour: Machine
    stranger: Machine


@pytest.fixture(scope="module")
def public(sandbox: Sandbox) -> Iterator[Public]:
    maker = Tenants(sandbox)
    try:
        network = network_id(maker.network("10.88.0.0/16", mtu=SMALL))
        private, neighbour = maker.machines([Wanted("", network), Wanted("", network)])
        machines = {"isolated": maker.isolated(), "private": private}
        addresses = {kind: maker.public_address(machine).address for kind, machine in machines.items()}
        yield Public(machines, addresses, neighbour, maker.isolated())
    finally:
        maker.close()
        sandbox.internet.run("ip", "route", "flush", "cache")


KINDS = pytest.mark.parametrize("kind", ["isolated", "private"])


def udp(pid: int, *, discover: int = PMTUDISC_DONT, at: tuple[str, int] = ("0.0.0.0", 0)) -> socket.socket:
    """A UDP socket in the namespace of a process."""
    one = open_socket(pid, socket.AF_INET, socket.SOCK_DGRAM)
    one.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, discover)
    one.settimeout(SECONDS)
    one.bind(at)
    return one


@KINDS
def test_the_internet_reaches_the_machine(sandbox: Sandbox, public: Public, kind: str) -> None:
    address, machine = public.addresses[kind], public.machines[kind]
    for answers in (ask_udp(sandbox.internet.pid, [address], SECONDS), ask_tcp(sandbox.internet.pid, [address])):
        assert (answers[address].name, answers[address].address) == (machine.name, NEXT_HOP)
    assert ping(sandbox.internet.pid, [address]) == {address}


@KINDS
def test_the_machine_leaves_with_it_and_its_own_ports(public: Public, kind: str) -> None:
    machine = public.machines[kind]
    for ask in (ask_udp, ask_tcp):
        answer = ask(machine.pid, [SERVER], SECONDS, 4321)[SERVER]
        assert (answer.address, answer.port) == (public.addresses[kind], 4321)
    assert ping(machine.pid, [SERVER]) == {SERVER}


def test_who_has_none_leaves_by_the_shared_address(public: Public) -> None:
    for machine in (public.neighbour, public.stranger):
        answers = ask_udp(machine.pid, [SERVER], SECONDS) | ask_tcp(machine.pid, [SERVER])
        assert 64 <= int(answers[SERVER].address.split(".")[3]) < 80
        assert ping(machine.pid, [SERVER]) == {SERVER}


@KINDS
def test_datagrams_in_fragments_arrive_whole_both_ways(sandbox: Sandbox, public: Public, kind: str) -> None:
    """From new ports: of OVS 3.1 a rewrite of later fragments spoils two bytes of their payload.

    Few in the private network: its MTU is smaller, so the controller cuts each
    large fragment once more, at a limited rate.
    """
    lengths = (1473, 6000) if kind == "private" else (1473, 2999, 6000, 6001, 6000)
    machine, address = public.machines[kind], public.addresses[kind]
    for pid, target in ((sandbox.internet.pid, address), (machine.pid, SERVER)):
        for length in lengths:
            with udp(pid) as client:
                payload = os.urandom(length)
                client.sendto(payload, (target, ECHO_PORT))
                answer = client.recv(65536)
                assert answer.endswith(b"\n" + payload)
                if pid == machine.pid:
                    assert answer.split()[1].decode() == address


@KINDS
def test_echo_in_fragments_both_ways(sandbox: Sandbox, public: Public, kind: str) -> None:
    machine, address = public.machines[kind], public.addresses[kind]
    for host, target in ((sandbox.internet, address), (machine, SERVER)):
        assert "1 received" in host.run("ping", "-c", "1", "-W", "3", "-s", "6000", target)


@KINDS
def test_errors_of_servers_reach_the_machine(public: Public, kind: str) -> None:
    machine = public.machines[kind]
    with Wire(machine.pid) as wire, udp(machine.pid) as client:
        client.connect((SERVER, CLOSED_PORT))
        client.send(b"anybody there?")
        # The kernel believes the error only if the quoted addresses and ports are those of this socket.
        with pytest.raises(ConnectionRefusedError):
            client.recv(100)
        seen = wire.receive(is_error(3, 3, SERVER), SECONDS)
    assert seen is not None
    assert (seen[IP].src, seen[IP].dst, seen[IPerror].src) == (SERVER, machine.address, machine.address)


@KINDS
def test_errors_of_the_machine_reach_the_internet(sandbox: Sandbox, public: Public, kind: str) -> None:
    address = public.addresses[kind]
    with Wire(sandbox.internet.pid) as wire, udp(sandbox.internet.pid) as client:
        client.connect((address, CLOSED_PORT))
        client.send(b"anybody there?")
        with pytest.raises(ConnectionRefusedError):
            client.recv(100)
        seen = wire.receive(is_error(3, 3, address), SECONDS)
    assert seen is not None
    assert seen[IP].src == address
    assert socket.inet_aton(public.machines[kind].address) not in bytes(seen)


@KINDS
def test_a_foreign_error_does_not_get_in(sandbox: Sandbox, public: Public, kind: str) -> None:
    """It quotes a packet that another address sent."""
    machine, mark = public.machines[kind], new_mark()
    quoted = IP(src="203.0.113.64", dst=SERVER) / UDP(sport=1, dport=2) / Raw(mark)
    error = IP(src=SERVER, dst=public.addresses[kind]) / ICMP(type=3, code=1) / quoted
    with Wire(machine.pid) as inside, Wire(sandbox.internet.pid) as outside:
        outside.send(Ether(src=INTERNET_MAC, dst=GATEWAY_MAC) / error)
        assert inside.receive(carries(mark), 0.5) is None


@KINDS
def test_traceroute_both_ways(sandbox: Sandbox, public: Public, forwarding: None, kind: str) -> None:
    machine, address = public.machines[kind], public.addresses[kind]
    assert machine.lease is not None
    for host, target, hops in (
        (machine, REMOTE, [machine.lease.router, NEXT_HOP]),
        (sandbox.internet, address, [GATEWAY, address]),
    ):
        lines = host.run("traceroute", "-n", "-q", "1", "-w", "2", "-m", "2", target).splitlines()[1:]
        assert [line.split()[1] for line in lines] == hops


def test_a_sender_of_too_large_packets_is_told_by_the_public_address(sandbox: Sandbox, public: Public) -> None:
    machine, address = public.machines["private"], public.addresses["private"]
    with (
        udp(sandbox.internet.pid, discover=PMTUDISC_DO) as client,
        udp(machine.pid, at=("0.0.0.0", 4000)) as server,
        Wire(sandbox.internet.pid) as wire,
    ):
        client.sendto(bytes(GATEWAY_MTU - HEADERS), (address, 4000))
        seen = wire.receive(is_error(3, 4, address), SECONDS)
        assert seen is not None
        assert (seen[IP].src, seen[IPerror].src, seen[ICMP].nexthopmtu) == (address, NEXT_HOP, SMALL)
        assert socket.inet_aton(machine.address) not in bytes(seen)
        # Its kernel believes that, and sends what fits.
        fits = os.urandom(SMALL - HEADERS)
        client.sendto(fits, (address, 4000))
        assert server.recv(2000) == fits
    with udp(sandbox.internet.pid) as client, udp(machine.pid, at=("0.0.0.0", 4000)) as server:
        large = os.urandom(GATEWAY_MTU - HEADERS)
        client.sendto(large, (address, 4000))
        assert server.recv(2000) == large


def test_an_address_without_a_machine_is_silent(sandbox: Sandbox, tenants: Tenants) -> None:
    address = tenants.public_address().address
    with Wire(sandbox.internet.pid) as wire, counted(sandbox, 0, "not-for-us", 1):
        mark = new_mark()
        packet = IP(src=NEXT_HOP, dst=address) / UDP(sport=4000, dport=ECHO_PORT) / Raw(mark)
        wire.send(Ether(src=INTERNET_MAC, dst=GATEWAY_MAC) / packet)
        assert not [frame for frame in internet_heard_so_far(wire) if mark in bytes(frame)]
    assert ping(sandbox.internet.pid, [address], 0.5) == set()


@KINDS
def test_a_machine_may_not_write_a_public_address_itself(
    sandbox: Sandbox, tenants: Tenants, public: Public, kind: str
) -> None:
    machine, mark = public.machines[kind], new_mark()
    key = tenants.network_of(machine).key
    with Wire(sandbox.internet.pid) as outside, Wire(machine.pid) as wire:
        with counted(sandbox, key, "source-ip", 2):
            for source in public.addresses.values():
                packet = IP(src=source, dst=SERVER) / UDP(sport=4000, dport=ECHO_PORT) / Raw(mark)
                wire.send(Ether(src=machine.mac, dst=ROUTER_MAC) / packet)
        assert not [frame for frame in internet_heard_so_far(outside) if mark in bytes(frame)]


@KINDS
def test_outside_nobody_may_pretend_to_be_a_public_address(sandbox: Sandbox, public: Public, kind: str) -> None:
    machine, mark = public.machines[kind], new_mark()
    with Wire(sandbox.internet.pid) as outside, Wire(machine.pid) as inside:
        with counted(sandbox, 0, "bogon-source", 2):
            for source in public.addresses.values():
                packet = IP(src=source, dst=public.addresses[kind]) / UDP(sport=4000, dport=ECHO_PORT) / Raw(mark)
                outside.send(Ether(src=INTERNET_MAC, dst=GATEWAY_MAC) / packet)
        assert not [frame for frame in heard_so_far(inside, machine) if mark in bytes(frame)]


def test_the_others_connections_are_none_of_its_business(sandbox: Sandbox, public: Public) -> None:
    """What a server answers to a shared address reaches who asked, and not who has a public address."""
    asked: list[tuple[str, int]] = []

    def server() -> socket.socket:
        return udp(sandbox.internet.pid, at=(SERVER, 0))

    with server() as talker, udp(public.neighbour.pid) as client, Wire(public.machines["private"].pid) as other:
        client.sendto(b"hello", talker.getsockname())
        asked.append(talker.recvfrom(100)[1])
        mark = new_mark()
        talker.sendto(mark, asked[0])
        assert client.recv(100) == mark
        assert not [f for f in heard_so_far(other, public.machines["private"]) if mark in bytes(f)]


def test_a_reset_is_immediate_where_nothing_listens(sandbox: Sandbox, public: Public) -> None:
    def connect() -> int:
        with socket.socket() as client:
            client.settimeout(SECONDS)
            return client.connect_ex((public.addresses["isolated"], CLOSED_PORT))

    assert os.strerror(within(sandbox.internet.pid, connect)) == "Connection refused"
