"""The router's sub-interface: ARP, echo, time exceeded, and what it does not serve."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from frames import (
    NEXT_HOP,
    ROUTER_MAC,
    answers_for,
    carries,
    counted,
    datagram,
    heard_so_far,
    is_error,
    new_mark,
    question,
    routed,
)
from machines import SERVERS, Machine
from namespaces import open_socket
from packets import Wire
from remote_machine import FAR, remote
from sandbox import Sandbox
from sandboxes import Tenants
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPerror
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Raw

SERVER = SERVERS[0]
# Of `state.model.Appliance`, which the sandbox leaves as it is.
ERRORS_A_SECOND = 20

__all__ = ["remote"]


@dataclass(frozen=True)
class Both:
    """A machine alone, and two neighbours."""

    lone: Machine
    pc: Machine
    neighbour: Machine

    def __iter__(self) -> Iterator[Machine]:
        return iter((self.lone, self.pc))


@pytest.fixture(scope="module")
def machines(sandbox: Sandbox) -> Iterator[Both]:
    maker = Tenants(sandbox)
    try:
        pc, neighbour = maker.private(2)
        yield Both(maker.isolated(), pc, neighbour)
    finally:
        maker.close()


def router_of(machine: Machine) -> str:
    assert machine.lease is not None
    return machine.lease.router


def test_the_router_answers_arp_for_itself(machines: Both) -> None:
    for machine in machines:
        router = router_of(machine)
        with Wire(machine.pid) as wire:
            reply = wire.exchange(question(machine.mac, machine.address, router), answers_for(router))
        assert reply is not None
        assert (reply[ARP].hwsrc, reply[Ether].src, reply[Ether].dst) == (ROUTER_MAC, ROUTER_MAC, machine.mac)
        assert (reply[ARP].hwdst, reply[ARP].pdst) == (machine.mac, machine.address)


def test_it_answers_arp_for_nobody_else(sandbox: Sandbox, machines: Both) -> None:
    key = Tenants(sandbox).network_of(machines.lone).key
    last_of_prefix = machines.lone.address.rsplit(".", 1)[0] + "." + str(int(machines.lone.address.split(".")[3]) + 1)
    others = [last_of_prefix, router_of(machines.pc), machines.pc.address, SERVER, NEXT_HOP]
    with Wire(machines.lone.pid) as wire:
        with counted(sandbox, key, "arp-unknown", len(others)):
            for address in others:
                wire.send(question(machines.lone.mac, machines.lone.address, address))
        assert not [frame for frame in heard_so_far(wire, machines.lone) if ARP in frame and frame[ARP].op == 2]


@pytest.mark.parametrize("size", [56, 1472, 3972, 20000])
def test_echo_also_in_fragments(machines: Both, size: int) -> None:
    for machine in machines:
        said = machine.run("ping", "-n", "-c2", "-i0.2", "-W2", "-s", str(size), router_of(machine))
        assert "2 received" in said
        assert "wrong data" not in said


def test_other_icmp_to_the_router_is_not_answered(machines: Both) -> None:
    for machine in machines:
        with Wire(machine.pid) as wire:
            marks = []
            for kind in (13, 15, 17):
                marks.append(new_mark())
                wire.send(routed(machine, router_of(machine)) / ICMP(type=kind) / Raw(marks[-1]))
            heard = heard_so_far(wire, machine)
        assert not [frame for frame in heard for mark in marks if mark in bytes(frame)]


def test_traceroute_shows_the_router_then_the_next_hop(machines: Both, remote: None) -> None:
    for machine in machines:
        for kind in ("-U", "-I"):
            said = machine.run("traceroute", "-n", kind, "-q1", "-w1", "-m5", FAR)
            hops = [line.split()[1] for line in said.splitlines()[1:]]
            assert hops == [router_of(machine), NEXT_HOP, FAR], said


@pytest.mark.parametrize("ttl", [0, 1])
def test_a_packet_that_expires_is_told(machines: Both, ttl: int) -> None:
    destinations = {machines.lone: [SERVER], machines.pc: [SERVER, machines.neighbour.address]}
    for machine, targets in destinations.items():
        for target in targets:
            mark = new_mark()
            with Wire(machine.pid) as wire:
                packet = routed(machine, target, ttl=ttl, id=77) / UDP(sport=4000, dport=9) / Raw(mark)
                told = wire.exchange(packet, is_error(11, 0, target))
            assert told is not None
            assert (told[IP].src, told[IP].dst, told[Ether].src) == (router_of(machine), machine.address, ROUTER_MAC)
            assert (told[IPerror].src, told[IPerror].ttl, told[IPerror].id) == (machine.address, 1, 77)
            assert mark in bytes(told)


def test_a_packet_with_one_hop_more_goes_on(sandbox: Sandbox, machines: Both) -> None:
    with Wire(machines.pc.pid) as wire, Wire(sandbox.internet.pid) as outside, Wire(machines.neighbour.pid) as other:
        for target, there in ((SERVER, outside), (machines.neighbour.address, other)):
            mark = new_mark()
            wire.send(routed(machines.pc, target, ttl=2) / UDP(sport=4000, dport=9) / Raw(mark))
            arrived = there.receive(carries(mark))
            assert arrived is not None
            assert arrived[IP].ttl == 1


def test_what_routers_keep_silent_about(sandbox: Sandbox, machines: Both) -> None:
    """RFC 1812 section 4.3.2.7: errors, later fragments, groups."""
    machine, mark = machines.lone, new_mark()
    error = IP(src=SERVER, dst=machine.address) / UDP() / Raw(mark)
    silent = [
        routed(machine, SERVER, ttl=1) / ICMP(type=3, code=1) / error,
        routed(machine, SERVER, ttl=1, frag=100, proto=17) / Raw(mark),
        routed(machine, "224.0.0.5", ttl=1) / UDP() / Raw(mark),
    ]
    with Wire(machine.pid) as wire, Wire(sandbox.internet.pid) as outside:
        for packet in silent:
            wire.send(packet)
        # The controller answers in the order of arrival.
        last = new_mark()
        wire.send(routed(machine, SERVER, ttl=1) / UDP(dport=9) / Raw(last))
        heard: list[bytes] = []
        assert wire.receive(lambda frame: heard.append(bytes(frame)) or carries(last)(frame), 2.0) is not None
        assert not [one for one in heard if mark in one]
        remote_mark = new_mark()
        wire.send(datagram(machine, SERVER, remote_mark))
        assert outside.receive(lambda frame: heard.append(bytes(frame)) or carries(remote_mark)(frame)) is not None
        assert not [one for one in heard if mark in one]


def test_udp_to_the_router_is_port_unreachable(machines: Both) -> None:
    for machine in machines:
        with open_socket(machine.pid, socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(2)
            client.connect((router_of(machine), 123))
            client.send(b"?")
            with pytest.raises(ConnectionRefusedError):
                client.recv(100)


def test_tcp_to_the_router_is_reset(machines: Both) -> None:
    for machine in machines:
        with open_socket(machine.pid, socket.AF_INET, socket.SOCK_STREAM) as client:
            client.settimeout(2)
            with pytest.raises(ConnectionRefusedError):
                client.connect((router_of(machine), 22))


def test_a_reset_is_not_answered_by_a_reset(machines: Both) -> None:
    machine = machines.lone
    with Wire(machine.pid) as wire:
        wire.send(routed(machine, router_of(machine)) / TCP(sport=4001, dport=22, flags="R"))
        answer = wire.exchange(
            routed(machine, router_of(machine)) / TCP(sport=4002, dport=22, flags="S", seq=7),
            lambda frame: TCP in frame and frame[TCP].sport == 22,
        )
    assert answer is not None
    assert (answer[TCP].dport, str(answer[TCP].flags), answer[TCP].ack) == (4002, "RA", 8)


def test_other_protocols_to_the_router_are_unreachable(machines: Both) -> None:
    for machine in machines:
        with Wire(machine.pid) as wire:
            packet = routed(machine, router_of(machine), proto=253) / Raw(new_mark())
            told = wire.exchange(packet, is_error(3, 2, router_of(machine)))
        assert told is not None
        assert told[IP].src == router_of(machine)


@pytest.mark.alone
def test_errors_are_limited_in_number_and_one_network_spends_only_its_own(
    sandbox: Sandbox, tenants: Tenants, machines: Both
) -> None:
    machine, sent, mark = tenants.isolated(), 500, new_mark()
    with Wire(machine.pid) as wire, Wire(machines.pc.pid) as other:
        packet = bytes(routed(machine, SERVER, ttl=1) / UDP(sport=4000, dport=9) / Raw(mark))
        began = time.monotonic()
        answers = 0
        for number in range(1, sent + 1):
            wire.send(packet)
            # More at once would overflow the socket the switch reads from.
            if number % 50 == 0:
                answers += len([frame for frame in heard_so_far(wire, machine) if mark in bytes(frame)])
        elsewhere = routed(machines.pc, SERVER, ttl=1) / UDP(sport=4000, dport=9) / Raw(new_mark())
        assert other.exchange(elsewhere, is_error(11, 0, SERVER)) is not None
        while wire.receive(carries(mark), 0.3) is not None:
            answers += 1
        took = time.monotonic() - began
    # A burst of one second's worth comes on top.
    assert ERRORS_A_SECOND <= answers <= ERRORS_A_SECOND * (took + 1) + 1
    assert took < 5
    assert tenants.drops(machine)["icmp-error-rate"] == sent - answers
    # Echo costs no error.
    assert "1 received" in machine.run("ping", "-n", "-c1", "-W1", router_of(machine))
