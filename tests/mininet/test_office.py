"""A private network as an office network: neighbours, broadcast and multicast, and nobody else's."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from appliance import run
from frames import (
    EVERYBODY,
    ROUTER_MAC,
    answers_for,
    carries,
    counted,
    heard_so_far,
    heard_until,
    internet_heard_so_far,
    new_mark,
    question,
)
from machines import RACK, Machine
from packets import Wire
from probes import ask_tcp, ask_udp, ping
from sandbox import Sandbox, Wanted
from sandboxes import Tenants, network_id
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Packet, Raw
from supervisor import await_condition

PREFIX = "10.55.0.0/16"


@dataclass(frozen=True)
class Offices:
    """Two tenants' networks with the same prefix.

    `ours`: two machines on ports, two on VLANs of the trunk, two more behind
    one further VLAN. `theirs`: one on a port, one on a VLAN.
    """

    ours: list[Machine]
    theirs: list[Machine]
    lone: Machine

    @property
    def segment(self) -> list[Machine]:
        """The two machines behind one attachment."""
        return self.ours[4:6]


@pytest.fixture(scope="module")
def offices(sandbox: Sandbox) -> Iterator[Offices]:
    maker = Tenants(sandbox)
    try:
        ours, theirs = network_id(maker.network(PREFIX)), network_id(maker.network(PREFIX))
        vlans = (None, None, 51, 52, 60, 60)
        yield Offices(
            maker.machines([Wanted("", ours, vlan=vlan) for vlan in vlans]),
            maker.machines([Wanted("", theirs), Wanted("", theirs, vlan=53)]),
            maker.isolated(),
        )
    finally:
        maker.close()


def test_the_offices_have_the_same_addresses(offices: Offices) -> None:
    assert [machine.address for machine in offices.ours] == [f"10.55.0.{host}" for host in range(2, 8)]
    assert [machine.address for machine in offices.theirs] == ["10.55.0.2", "10.55.0.3"]


def test_everybody_reaches_every_neighbour_and_nobody_else(offices: Offices) -> None:
    for office in (offices.ours, offices.theirs):
        names = {machine.address: machine.name for machine in office}
        everywhere = [f"10.55.0.{host}" for host in range(2, 9)]
        for machine in office:
            expected = {address: name for address, name in names.items() if address != machine.address}
            others = [address for address in everywhere if address != machine.address]
            # Those who are not there are waited for; once is enough for each way of asking.
            targets = others if machine is office[0] else list(expected)
            answers = ask_udp(machine.pid, targets, 1.0)
            assert {address: answer.name for address, answer in answers.items()} == expected
            assert {answer.address for answer in answers.values()} == {machine.address}
            assert {address: answer.name for address, answer in ask_tcp(machine.pid, expected).items()} == expected
            assert ping(machine.pid, targets, 1.0) == set(expected)


def test_the_appliance_answers_arp_for_neighbours_who_never_hear_it(offices: Offices) -> None:
    ours = offices.ours[:4]
    for asker, other in itertools.permutations(ours, 2):
        with Wire(asker.pid) as wire, Wire(other.pid) as theirs:
            reply = wire.exchange(question(asker.mac, asker.address, other.address), answers_for(other.address))
            assert reply is not None
            assert (reply[ARP].hwsrc, reply[Ether].dst) == (other.mac, asker.mac)
            assert not [frame for frame in heard_so_far(theirs, other) if frame.src == asker.mac]


def test_nobody_answers_arp_for_the_other_office(sandbox: Sandbox, offices: Offices) -> None:
    asker, only_ours = offices.theirs[0], offices.ours[3]
    with Wire(asker.pid) as wire, Wire(only_ours.pid) as theirs:
        with counted(sandbox, Tenants(sandbox).network_of(asker).key, "arp-unknown", 2):
            for _ in range(2):
                wire.send(question(asker.mac, asker.address, only_ours.address))
        heard = heard_so_far(wire, asker) + heard_so_far(theirs, only_ours)
    assert not [frame for frame in heard if answers_for(only_ours.address)(frame) or frame.src == asker.mac]


# name → destination MAC, destination address, UDP port
GROUPS = {
    "broadcast": (EVERYBODY, "255.255.255.255", 4444),
    "directed broadcast": (EVERYBODY, "10.55.255.255", 4444),
    "NetBIOS name": (EVERYBODY, "10.55.255.255", 137),
    "NetBIOS datagram": (EVERYBODY, "10.55.255.255", 138),
    "mDNS": ("01:00:5e:00:00:fb", "224.0.0.251", 5353),
    "LLMNR": ("01:00:5e:00:00:fc", "224.0.0.252", 5355),
    "SSDP": ("01:00:5e:7f:ff:fa", "239.255.255.250", 1900),
    "WS-Discovery": ("01:00:5e:7f:ff:fa", "239.255.255.250", 3702),
}


def group_packet(sender: Machine, group: str, mark: bytes) -> Packet:
    mac, address, port = GROUPS[group]
    head = Ether(src=sender.mac, dst=mac) / IP(src=sender.address, dst=address, ttl=1)
    return head / UDP(sport=port, dport=port) / Raw(mark)


class Listening:
    """Wires on machines; tells how often each heard a mark."""

    def __init__(self, machines: list[Machine]) -> None:
        self._wires = {machine: Wire(machine.pid) for machine in machines}

    def __enter__(self) -> Listening:
        return self

    def __exit__(self, *_: object) -> None:
        for wire in self._wires.values():
            wire.close()

    def wire(self, machine: Machine) -> Wire:
        return self._wires[machine]

    def copies(self, mark: bytes, last: bytes, hearers: list[Machine]) -> dict[str, int]:
        """Name → frames with `mark` heard before the one with `last`, of those who hear that."""
        return {
            machine.name: sum(mark in bytes(frame) for frame in heard_until(self._wires[machine], carries(last)))
            for machine in hearers
        }

    def strangers(self, mark: bytes, machines: list[Machine]) -> list[str]:
        """Who of `machines` heard it so far."""
        return [
            machine.name
            for machine in machines
            if any(mark in bytes(frame) for frame in heard_so_far(self._wires[machine], machine))
        ]


@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize("place", [0, 2, 4], ids=["port", "vlan", "segment"])
def test_groups_are_heard_once_by_every_neighbour_and_by_nobody_else(
    sandbox: Sandbox, offices: Offices, group: str, place: int
) -> None:
    sender = offices.ours[place]
    hearers = [machine for machine in offices.ours if machine is not sender]
    strangers = [*offices.theirs, offices.lone]
    mark, last = new_mark(), new_mark()
    with Listening([*offices.ours, *strangers]) as listening, Wire(sandbox.internet.pid) as outside:
        listening.wire(sender).send(group_packet(sender, group, mark))
        listening.wire(sender).send(group_packet(sender, "broadcast", last))
        assert listening.copies(mark, last, hearers) == {machine.name: 1 for machine in hearers}
        assert listening.strangers(mark, [sender, *strangers]) == []
        assert not [frame for frame in internet_heard_so_far(outside) if mark in bytes(frame)]


def test_the_other_office_has_its_own_broadcasts(offices: Offices) -> None:
    for sender, neighbour in itertools.permutations(offices.theirs):
        mark, last = new_mark(), new_mark()
        with Listening([*offices.ours, *offices.theirs]) as listening:
            listening.wire(sender).send(group_packet(sender, "mDNS", mark))
            listening.wire(sender).send(group_packet(sender, "broadcast", last))
            assert listening.copies(mark, last, [neighbour]) == {neighbour.name: 1}
            assert listening.strangers(mark, [sender, *offices.ours]) == []


def test_machines_of_one_attachment_hear_each_other_once(sandbox: Sandbox, offices: Offices) -> None:
    """Their own switch brings the frame; the appliance has it too and must not send it back."""
    key = sandbox.network(sandbox.machine(offices.ours[0].name).network.removeprefix("networks/")).key
    for sender, neighbour in itertools.permutations(offices.segment):
        others = [machine for machine in offices.ours if machine not in (sender, neighbour)]
        with Listening(offices.ours) as listening:
            marks = flooded(sandbox, key, listening.wire(sender), sender, neighbour)
            last = new_mark()
            listening.wire(sender).send(to_neighbour(sender, neighbour, last))
            heard = heard_until(listening.wire(neighbour), carries(last))
            for mark in marks:
                assert sum(mark in bytes(frame) for frame in heard) == 1
            assert not [f for other in others for f in heard_so_far(listening.wire(other), other) if IP in f]


def to_neighbour(sender: Machine, neighbour: Machine, mark: bytes) -> Packet:
    head = Ether(src=sender.mac, dst=neighbour.mac) / IP(src=sender.address, dst=neighbour.address)
    return head / UDP(sport=4000, dport=9) / Raw(mark)


def flooded(sandbox: Sandbox, key: int, wire: Wire, sender: Machine, neighbour: Machine) -> list[bytes]:
    """Marks of frames that were sent until the segment's own switch has flooded one to the appliance.

    It floods what it knows no port for, and learns the port at once from the
    neighbour's "port unreachable": so it is made to forget before each frame.
    """
    before, marks = sandbox.drops(key)["same-segment"], list[bytes]()

    def dropped() -> bool:
        run(["ovs-appctl", "fdb/flush", RACK])
        marks.append(new_mark())
        wire.send(to_neighbour(sender, neighbour, marks[-1]))
        return sandbox.drops(key)["same-segment"] > before

    await_condition(dropped, "the appliance drops what the segment has already", 5, 0.1)
    return marks


def test_unicast_is_heard_by_nobody_else(offices: Offices) -> None:
    sender, neighbour = offices.ours[0], offices.ours[2]
    mark = new_mark()
    with Listening(offices.ours) as listening:
        packet = Ether(src=sender.mac, dst=neighbour.mac) / IP(src=sender.address, dst=neighbour.address)
        listening.wire(sender).send(packet / UDP(sport=4000, dport=9) / Raw(mark))
        arrived = listening.wire(neighbour).receive(carries(mark))
        assert arrived is not None
        # Between neighbours there is no hop.
        assert (arrived[IP].ttl, arrived[Ether].src) == (64, sender.mac)
        assert listening.strangers(mark, [m for m in offices.ours if m not in (sender, neighbour)]) == []


def test_a_neighbour_is_reached_by_the_router_too(offices: Offices) -> None:
    """As by a machine whose mask is 255.255.255.255."""
    for place, other in ((0, 1), (0, 2), (2, 3), (3, 0), (2, 4), (4, 5)):
        sender, neighbour = offices.ours[place], offices.ours[other]
        mark = new_mark()
        with Wire(sender.pid) as wire, Wire(neighbour.pid) as theirs:
            packet = Ether(src=sender.mac, dst=ROUTER_MAC) / IP(src=sender.address, dst=neighbour.address, ttl=9)
            wire.send(packet / UDP(sport=4000, dport=7) / Raw(mark))
            # On a shared segment the frame to the router may be flooded to the neighbour as well.
            arrived = theirs.receive(lambda frame, mark=mark: mark in bytes(frame) and frame.src == ROUTER_MAC)
            assert arrived is not None, f"from {place} to {other}"
            assert (arrived[IP].ttl, arrived[Ether].dst) == (8, neighbour.mac)
            # The echo server's answer comes straight.
            assert wire.receive(carries(mark)) is not None


def test_a_frame_for_a_mac_nobody_has_is_dropped_and_not_flooded(sandbox: Sandbox, offices: Offices) -> None:
    sender, mark = offices.ours[0], new_mark()
    with Listening([*offices.ours, *offices.theirs]) as listening:
        packet = Ether(src=sender.mac, dst="02:00:00:00:99:99") / IP(src=sender.address, dst="10.55.0.99")
        with counted(sandbox, Tenants(sandbox).network_of(sender).key, "unknown-mac", 3):
            for _ in range(3):
                listening.wire(sender).send(packet / UDP(sport=4000, dport=9) / Raw(mark))
        assert listening.strangers(mark, [*offices.ours, *offices.theirs]) == []
