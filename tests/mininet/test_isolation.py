"""Tenants reach neither each other nor the appliance; the Internet reaches nobody who did not ask."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest
from frames import (
    EVERYBODY,
    GATEWAY,
    GATEWAY_MAC,
    INTERNET_MAC,
    NEXT_HOP,
    ROUTER_MAC,
    answers_for,
    carries,
    counted,
    datagram,
    heard_so_far,
    internet_heard_so_far,
    is_echo_reply,
    is_error,
    new_mark,
    question,
    routed,
)
from machines import MANAGEMENT, SERVERS, Machine
from packets import Wire
from probes import ask_udp, ping
from sandbox import Sandbox, Wanted
from sandboxes import Tenants
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.packet import Packet, Raw

from controller import explain
from controller.pipeline.registry import Table

SERVER = SERVERS[0]
SHARED = ("203.0.113.64", "203.0.113.70", "203.0.113.79")
NOBODY = 0


@dataclass(frozen=True)
class World:
    """An attacker alone and one with a neighbour, and what both are after."""

    lone: Machine
    pc: Machine
    victims: tuple[Machine, ...]

    @property
    def attackers(self) -> tuple[Machine, Machine]:
        return self.lone, self.pc


@pytest.fixture(scope="module")
def world(sandbox: Sandbox) -> Iterator[World]:
    maker = Tenants(sandbox)
    try:
        pc, _ = maker.private(2)
        yield World(maker.isolated(), pc, (maker.isolated(), *maker.private(2), maker.machine(Wanted("", vlan=81))))
    finally:
        maker.close()


def transit_of(sandbox: Sandbox, machine: Machine) -> str:
    """The address a machine has in the conntrack zone, which nobody but the switch knows."""
    for record in explain.parse_dump(sandbox.appliance.ofctl("dump-flows")):
        found = re.match(r"set_field:([0-9.]+)->ip_src", record.actions)
        if record.table is Table.TRANSIT and record.match.endswith(f"nw_src={machine.address}") and found:
            return found[1]
    raise LookupError(f"{machine.address} has no transit address")


# From machines: layer 2.


def test_frames_to_anothers_mac_do_not_arrive(sandbox: Sandbox, world: World) -> None:
    for attacker in world.attackers:
        key = Tenants(sandbox).network_of(attacker).key
        for victim in world.victims:
            mark = new_mark()
            own = IP(src=attacker.address, dst=victim.address) / UDP(sport=4000, dport=7) / Raw(mark)
            group = IP(src=attacker.address, dst="255.255.255.255") / UDP(sport=4000, dport=7) / Raw(mark)
            with Wire(attacker.pid) as wire, Wire(victim.pid) as theirs:
                with counted(sandbox, key, "unknown-mac", 2):
                    wire.send(Ether(src=attacker.mac, dst=victim.mac) / own)
                    wire.send(Ether(src=attacker.mac, dst=victim.mac) / group)
                heard = heard_so_far(theirs, victim) + heard_so_far(wire, attacker)
            assert not [frame.summary() for frame in heard if mark in bytes(frame)]


def test_broadcasts_and_forged_arp_do_not_arrive(world: World) -> None:
    for attacker in world.attackers:
        for victim in world.victims:
            assert victim.lease is not None
            mark = new_mark()
            poison = ARP(op=2, hwsrc=attacker.mac, psrc=victim.lease.router, hwdst=victim.mac, pdst=victim.address)
            with Wire(attacker.pid) as wire, Wire(victim.pid) as theirs:
                wire.send(Ether(src=attacker.mac, dst=victim.mac) / poison / Raw(mark))
                wire.send(Ether(src=attacker.mac, dst=EVERYBODY) / poison / Raw(mark))
                wire.send(question(attacker.mac, attacker.address, victim.address) / Raw(mark))
                everybody = Ether(src=attacker.mac, dst=EVERYBODY) / IP(src=attacker.address, dst="255.255.255.255")
                wire.send(everybody / UDP(sport=4000, dport=7) / Raw(mark))
                answered = [f for f in heard_so_far(wire, attacker) if ARP in f and f[ARP].psrc == victim.address]
                arrived = [frame for frame in heard_so_far(theirs, victim) if mark in bytes(frame)]
            assert (answered, arrived) == ([], [])


def test_a_tag_leads_to_no_other_network(sandbox: Sandbox, world: World) -> None:
    attacker, victim = world.lone, world.victims[-1]
    mark = new_mark()
    with Wire(attacker.pid) as wire, Wire(victim.pid) as theirs:
        with counted(sandbox, NOBODY, "no-network", 2):
            for source in (attacker, victim):
                tagged = Ether(src=source.mac, dst=ROUTER_MAC) / Dot1Q(vlan=81)
                wire.send(tagged / IP(src=source.address, dst=SERVER) / UDP(sport=4000, dport=7) / Raw(mark))
        with Wire(sandbox.internet.pid) as outside:
            assert not [frame for frame in internet_heard_so_far(outside) if mark in bytes(frame)]
        assert not [frame for frame in heard_so_far(theirs, victim) if mark in bytes(frame)]


# From machines: layer 3.


def test_no_machine_reaches_another_network(sandbox: Sandbox, world: World) -> None:
    for attacker in world.attackers:
        for victim in world.victims:
            assert victim.lease is not None
            targets = {victim.address, victim.lease.router, transit_of(sandbox, victim) if is_private(victim) else ""}
            for target in targets - {"", attacker.address}:
                mark = new_mark()
                packets = [
                    datagram(attacker, target, mark, port=7),
                    routed(attacker, target) / TCP(sport=4000, dport=7) / Raw(mark),
                    routed(attacker, target) / ICMP(id=1) / Raw(mark),
                    routed(attacker, target, proto=47) / Raw(mark),
                ]
                with Wire(attacker.pid) as wire, Wire(victim.pid) as theirs, Wire(sandbox.internet.pid) as outside:
                    for packet in packets:
                        wire.send(packet)
                    arrived = [f for f in heard_so_far(theirs, victim) if mark in bytes(f)]
                    back = [f for f in heard_so_far(wire, attacker) if mark in bytes(f) and not is_refusal(f)]
                    out = [f for f in internet_heard_so_far(outside) if mark in bytes(f)]
                assert (arrived, back, out) == ([], [], [])


def is_private(machine: Machine) -> bool:
    return machine.lease is not None and machine.lease.prefix_length == 16


def is_refusal(frame: Packet) -> bool:
    return ICMP in frame and frame[ICMP].type == 3


def test_no_machine_reaches_the_appliance(sandbox: Sandbox, world: World) -> None:
    host = [GATEWAY, NEXT_HOP, MANAGEMENT, "192.0.2.200", *SHARED]
    for attacker in world.attackers:
        # The next hop belongs to the Internet, and shows that this way of asking finds who is there.
        assert ping(attacker.pid, host, 0.6) == {NEXT_HOP}
        assert set(ask_udp(attacker.pid, host, 0.6)) == {NEXT_HOP}


# From the Internet.


def incoming(to: str, mark: bytes, source: str = NEXT_HOP, ttl: int = 64, mac: str = GATEWAY_MAC) -> Packet:
    return Ether(src=INTERNET_MAC, dst=mac) / IP(src=source, dst=to, ttl=ttl) / UDP(sport=9, dport=7) / Raw(mark)


def test_inner_addresses_are_not_routed_in(sandbox: Sandbox, world: World) -> None:
    machines = (*world.attackers, *world.victims)
    mark = new_mark()
    frames = []
    for machine in machines:
        assert machine.lease is not None
        targets = [machine.address, machine.lease.router]
        if is_private(machine):
            targets.append(transit_of(sandbox, machine))
        # Not by the machine's or the router's MAC either.
        for target, mac in itertools.product(targets, (GATEWAY_MAC, machine.mac, ROUTER_MAC)):
            frames.append(incoming(target, mark, mac=mac))
    with ExitStack() as stack:
        outside = stack.enter_context(Wire(sandbox.internet.pid))
        wires = [stack.enter_context(Wire(machine.pid)) for machine in machines]
        with counted(sandbox, NOBODY, "not-for-us", len(frames)):
            for frame in frames:
                outside.send(frame)
        heard = internet_heard_so_far(outside)
        for wire, machine in zip(wires, machines, strict=True):
            heard += heard_so_far(wire, machine)
    assert not [frame.summary() for frame in heard if mark in bytes(frame)]


BOGONS = ["10.1.2.3", "172.16.0.2", "192.168.3.4", "127.0.0.1", "169.254.1.1", "100.64.0.1", "0.0.0.0", "224.0.0.1",
          "255.255.255.255", "240.0.0.5", MANAGEMENT, GATEWAY, SHARED[0]]  # fmt: skip


@pytest.mark.parametrize("source", BOGONS)
def test_sources_that_cannot_be_there(sandbox: Sandbox, world: World, source: str) -> None:
    victim = world.victims[1]
    public = ask_udp(victim.pid, [SERVER])[SERVER]
    mark = new_mark()
    with Wire(sandbox.internet.pid) as outside, Wire(victim.pid) as theirs:
        with counted(sandbox, NOBODY, "bogon-source", 3):
            outside.send(incoming(public.address, mark, source))
            outside.send(incoming(GATEWAY, mark, source))
            outside.send(Ether(src=INTERNET_MAC, dst=GATEWAY_MAC) / IP(src=source, dst=GATEWAY) / ICMP() / Raw(mark))
        heard = heard_so_far(theirs, victim) + internet_heard_so_far(outside)
    assert not [frame.summary() for frame in heard if mark in bytes(frame)]


def test_nobody_in_the_internet_reaches_a_shared_address_unasked(sandbox: Sandbox, world: World) -> None:
    machines = (*world.attackers, *world.victims)
    used = {ask_udp(machine.pid, [SERVER])[SERVER] for machine in machines}
    mark = new_mark()
    packets = []
    for address, port in [(one.address, one.port) for one in used] + [(address, 5000) for address in SHARED]:
        head = Ether(src=INTERNET_MAC, dst=GATEWAY_MAC) / IP(src="198.51.100.77", dst=address)
        packets += [
            head / UDP(sport=7, dport=port) / Raw(mark),
            head / TCP(sport=7, dport=port, flags="S") / Raw(mark),
            head / TCP(sport=7, dport=port, flags="A") / Raw(mark),
            head / ICMP(type=8) / Raw(mark),
            head / ICMP(type=0, id=port) / Raw(mark),
            Ether(src=INTERNET_MAC, dst=GATEWAY_MAC) / IP(src="198.51.100.77", dst=address, proto=47) / Raw(mark),
        ]
    with ExitStack() as stack:
        outside = stack.enter_context(Wire(sandbox.internet.pid))
        wires = [stack.enter_context(Wire(machine.pid)) for machine in machines]
        with counted(sandbox, NOBODY, "unsolicited", len(packets)):
            for packet in packets:
                outside.send(packet)
        heard = internet_heard_so_far(outside)
        for wire, machine in zip(wires, machines, strict=True):
            heard += heard_so_far(wire, machine)
    assert not [frame.summary() for frame in heard if mark in bytes(frame)]
    # Who was asked may answer: the very same way in, from whom it was asked.
    assert all(SERVER in ask_udp(machine.pid, [SERVER]) for machine in machines)


def test_icmp_that_redirects_neither_comes_from_the_internet_nor_goes_there(sandbox: Sandbox, maker: Tenants) -> None:
    holder, victim = maker.isolated(), maker.isolated()
    public = maker.public_address(holder).address
    known = ask_udp(victim.pid, [SERVER])[SERVER]
    mark = new_mark()
    inward, outward = [], []
    for kind in (4, 5, 9, 10):
        for address, port in ((public, 4000), (known.address, known.port)):
            about = IP(src=address, dst=SERVER) / UDP(sport=port, dport=7) / Raw(mark)
            head = Ether(src=INTERNET_MAC, dst=GATEWAY_MAC) / IP(src=NEXT_HOP, dst=address)
            inward.append(head / ICMP(type=kind, gw=NEXT_HOP) / about)
        about = IP(src=SERVER, dst=holder.address) / UDP(sport=7, dport=4000) / Raw(mark)
        outward.append(routed(holder, SERVER) / ICMP(type=kind, gw=holder.address) / about)
    with Wire(sandbox.internet.pid) as outside, Wire(holder.pid) as ours, Wire(victim.pid) as theirs:
        with counted(sandbox, NOBODY, "icmp-redirect", len(inward)):
            for packet in inward:
                outside.send(packet)
        with counted(sandbox, maker.network_of(holder).key, "icmp-redirect", len(outward)):
            for packet in outward:
                ours.send(packet)
        heard = heard_so_far(ours, holder) + heard_so_far(theirs, victim) + internet_heard_so_far(outside)
    assert not [frame.summary() for frame in heard if mark in bytes(frame)]


def test_a_packet_that_expires_on_arrival_is_told(sandbox: Sandbox) -> None:
    with Wire(sandbox.internet.pid) as outside:
        mark = new_mark()
        told = outside.exchange(incoming(SHARED[0], mark, ttl=1), is_error(11, 0, SHARED[0]))
        assert told is not None
        assert (told[IP].src, told[IP].dst, told[Ether].src) == (GATEWAY, NEXT_HOP, GATEWAY_MAC)
        assert mark in bytes(told)
        # The gateway's own address is no hop further.
        assert outside.exchange(
            Ether(src=INTERNET_MAC, dst=GATEWAY_MAC) / IP(src=NEXT_HOP, dst=GATEWAY, ttl=1) / ICMP(id=7),
            is_echo_reply(GATEWAY),
        )
        with counted(sandbox, NOBODY, "ttl", 1):
            outside.send(incoming(SHARED[0], mark, ttl=0))


def test_arp_is_answered_for_owned_addresses_only(sandbox: Sandbox, world: World) -> None:
    others = ["203.0.113.3", "203.0.113.63", "203.0.113.80", "203.0.113.200", MANAGEMENT, SERVER]
    others += [machine.address for machine in (*world.attackers, *world.victims)]
    with Wire(sandbox.internet.pid) as outside:
        for address in (GATEWAY, *SHARED):
            reply = outside.exchange(question(INTERNET_MAC, NEXT_HOP, address), answers_for(address))
            assert reply is not None
            assert (reply[ARP].hwsrc, reply[Ether].src, reply[ARP].hwdst) == (GATEWAY_MAC, GATEWAY_MAC, INTERNET_MAC)
        for address in others:
            outside.send(question(INTERNET_MAC, NEXT_HOP, address))
        heard = internet_heard_so_far(outside)
    assert not [frame.summary() for frame in heard if ARP in frame and frame[ARP].op == 2]


def test_the_gateway_address_answers_echo_only(sandbox: Sandbox) -> None:
    internet = sandbox.internet
    assert "2 received" in internet.run("ping", "-n", "-c2", "-i0.2", "-W1", "-s3000", GATEWAY)
    head = Ether(src=INTERNET_MAC, dst=GATEWAY_MAC) / IP(src=NEXT_HOP, dst=GATEWAY)
    mark = new_mark()
    packets = [head / UDP(sport=9, dport=port) / Raw(mark) for port in (7, 22, 53, 67, 9464)]
    packets += [head / TCP(sport=9, dport=port, flags="S") / Raw(mark) for port in (7, 22, 80, 443, 6653, 9464)]
    packets += [head / ICMP(type=kind) / Raw(mark) for kind in (0, 13, 17)]
    with Wire(internet.pid) as outside:
        with counted(sandbox, NOBODY, "to-gateway", len(packets)):
            for packet in packets:
                outside.send(packet)
        heard = internet_heard_so_far(outside)
    assert not [frame.summary() for frame in heard if IP in frame and frame[IP].src == GATEWAY]


def test_tagged_frames_from_the_internet_belong_to_nobody(sandbox: Sandbox, world: World) -> None:
    victim, mark = world.victims[-1], new_mark()
    with Wire(sandbox.internet.pid) as outside, Wire(victim.pid) as theirs:
        with counted(sandbox, NOBODY, "no-network", 2):
            for mac in (GATEWAY_MAC, victim.mac):
                frame = Ether(src=INTERNET_MAC, dst=mac) / Dot1Q(vlan=81) / IP(src=NEXT_HOP, dst=victim.address)
                outside.send(frame / UDP(sport=9, dport=7) / Raw(mark))
        heard = heard_so_far(theirs, victim) + internet_heard_so_far(outside)
    assert not [frame.summary() for frame in heard if mark in bytes(frame)]


def test_the_internet_still_answers_those_who_ask(sandbox: Sandbox, world: World) -> None:
    with Wire(sandbox.internet.pid) as outside:
        for machine in (*world.attackers, *world.victims):
            mark = new_mark()
            with Wire(machine.pid) as wire:
                wire.send(datagram(machine, SERVER, mark, port=7))
                seen = outside.receive(carries(mark))
                assert seen is not None
                assert seen[IP].src.startswith("203.0.113.")
                assert seen[IP].ttl == 63
                back = wire.receive(carries(mark))
                assert back is not None
                assert (back[IP].src, back[IP].dst, back[Ether].src) == (SERVER, machine.address, ROUTER_MAC)
                assert back[IP].ttl == 63
