"""Machines on another host, behind a VXLAN port: the VNI says whose they are."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest
from frames import (
    EVERYBODY,
    ROUTER_MAC,
    carries,
    counted,
    heard_so_far,
    heard_until,
    new_mark,
)
from machines import SERVERS, Machine
from packets import Wire
from probes import ask_tcp, ask_udp, ping
from sandbox import Sandbox, Wanted
from sandboxes import Tenants, network_id
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Dot1Q, Ether
from scapy.packet import Raw

SERVER = SERVERS[0]
# 50 bytes of headers around a frame.
MTU = 1450
OURS, THEIRS, NOBODYS = 300, 301, 302
NOBODY = 0


@dataclass(frozen=True)
class Offices:
    """Two tenants with the same prefix; each has a machine here and one behind the tunnel."""

    here: Machine
    remote: Machine
    other_here: Machine
    other_remote: Machine
    stranger: Machine


@pytest.fixture(scope="module")
def offices(sandbox: Sandbox) -> Iterator[Offices]:
    maker = Tenants(sandbox)

    def office(vni: int) -> list[Machine]:
        network = network_id(maker.network("10.44.0.0/16", mtu=MTU))
        return maker.machines([Wanted("", network), Wanted("", network, vni=vni)])

    stranger = sandbox.plug(Wanted("stranger", vni=NOBODYS))
    try:
        yield Offices(*office(OURS), *office(THEIRS), stranger)
    finally:
        maker.close()
        sandbox.unplug(stranger.name)


def test_both_tenants_have_the_same_addresses(offices: Offices) -> None:
    assert offices.here.address == offices.other_here.address == "10.44.0.2"
    assert offices.remote.address == offices.other_remote.address == "10.44.0.3"


def test_neighbours_and_the_internet_are_reached_through_the_tunnel(offices: Offices) -> None:
    for here, remote in ((offices.here, offices.remote), (offices.other_here, offices.other_remote)):
        for machine, neighbour in itertools.permutations((here, remote)):
            to = neighbour.address
            assert ask_udp(machine.pid, [to])[to].name == neighbour.name
            assert ask_tcp(machine.pid, [to])[to].name == neighbour.name
            assert to in ping(machine.pid, [to])
        assert remote.lease is not None
        assert ping(remote.pid, [remote.lease.router, SERVER]) == {remote.lease.router, SERVER}
        assert SERVER in ask_tcp(remote.pid, [SERVER])
        full = ["ping", "-n", "-c1", "-W1", "-Mdo", "-s", str(MTU - 28)]
        assert "1 received" in remote.run(*full, here.address)


def test_broadcast_crosses_the_tunnel_once_and_within_the_network_only(offices: Offices) -> None:
    pairs = [(offices.here, offices.remote), (offices.other_here, offices.other_remote)]
    everybody = [machine for pair in pairs for machine in pair]
    for sender, neighbour in [*pairs, *((remote, here) for here, remote in pairs)]:
        mark, last = new_mark(), new_mark()
        with ExitStack() as stack:
            wires = {machine: stack.enter_context(Wire(machine.pid)) for machine in everybody}
            for payload in (mark, last):
                packet = Ether(src=sender.mac, dst=EVERYBODY) / IP(src=sender.address, dst="255.255.255.255")
                wires[sender].send(packet / UDP(sport=4000, dport=9) / Raw(payload))
            heard = heard_until(wires[neighbour], carries(last))
            assert sum(mark in bytes(frame) for frame in heard) == 1
            for other in everybody:
                if other is not neighbour:
                    assert not [frame for frame in heard_so_far(wires[other], other) if mark in bytes(frame)]


def test_a_machine_behind_the_tunnel_is_held_to_its_own_addresses(sandbox: Sandbox, offices: Offices) -> None:
    remote, mark = offices.remote, new_mark()
    key = sandbox.network(sandbox.machine(remote.name).network.removeprefix("networks/")).key
    own = Ether(src=remote.mac, dst=ROUTER_MAC) / IP(src=remote.address, dst=offices.here.address)
    foreign_ip, foreign_mac = own.copy(), own.copy()
    foreign_ip[IP].src = "10.44.0.9"
    # The other tenant's machine on the same port has this MAC.
    foreign_mac[Ether].src = offices.other_remote.mac
    with Wire(remote.pid) as wire, Wire(offices.here.pid) as here, Wire(offices.other_here.pid) as other:
        for forged, reason in ((foreign_ip, "source-ip"), (foreign_mac, "source-mac")):
            with counted(sandbox, key, reason, 3):
                for _ in range(3):
                    wire.send(forged / UDP(sport=4000, dport=9) / Raw(mark))
        heard = heard_so_far(here, offices.here) + heard_so_far(other, offices.other_here)
    assert not [frame.summary() for frame in heard if mark in bytes(frame)]


def test_a_vni_of_nobody_leads_nowhere(sandbox: Sandbox, offices: Offices) -> None:
    mark = new_mark()
    with Wire(offices.stranger.pid) as wire, Wire(offices.here.pid) as here:
        with counted(sandbox, NOBODY, "no-network", 3):
            for source in (offices.stranger, offices.remote, offices.other_remote):
                frame = Ether(src=source.mac, dst=EVERYBODY) / IP(src=offices.remote.address, dst="255.255.255.255")
                wire.send(frame / UDP(sport=4000, dport=9) / Raw(mark))
        assert not [frame for frame in heard_so_far(here, offices.here) if mark in bytes(frame)]


def test_a_tag_inside_the_tunnel_leads_nowhere(sandbox: Sandbox, offices: Offices) -> None:
    mark = new_mark()
    with Wire(offices.remote.pid) as wire, Wire(offices.here.pid) as here:
        with counted(sandbox, NOBODY, "no-network", 2):
            for _ in range(2):
                frame = Ether(src=offices.remote.mac, dst=offices.here.mac) / Dot1Q(vlan=7)
                packet = IP(src=offices.remote.address, dst=offices.here.address) / UDP(sport=4000, dport=9)
                wire.send(frame / packet / Raw(mark))
        assert not [frame for frame in heard_so_far(here, offices.here) if mark in bytes(frame)]
