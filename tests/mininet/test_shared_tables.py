"""Conntrack's tables are shared: what fills them from one network, or from outside, is cut off and counted there."""

from __future__ import annotations

import re
import struct
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest
from machines import SERVERS, Machine
from packets import Wire
from probes import ask_udp
from sandbox import Sandbox
from sandboxes import Tenants
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether
from scapy.packet import Raw

from agent.config.sections import DEFAULTS, USERSPACE_FRAGMENT_RATE
from controller import explain
from controller.pipeline.meters import Rate, connections, fragments
from controller.pipeline.registry import MeterClass, meter

# The rates are those of a second.
pytestmark = pytest.mark.alone

SERVER = SERVERS[0]
NEXT_HOP_MAC, GATEWAY_MAC, ROUTER_MAC = "02:00:00:00:fe:01", "02:00:00:00:ff:02", "02:00:00:00:ff:01"
SHARED_ADDRESS = "203.0.113.64"
PORT = 5555
# Where the destination port of UDP is, behind an IPv4 header without options.
TARGET_PORT = 36
SECONDS = 20.0
# 10,000 a second.
AT_ONCE, PAUSE = 100, 0.01


def rates(sandbox: Sandbox) -> tuple[Rate, Rate]:
    """What one network may send: new connections, and fragments."""
    fragment_rate = DEFAULTS.fragment_rate if sandbox.appliance.datapath == "system" else USERSPACE_FRAGMENT_RATE
    return connections(DEFAULTS.connection_rate), fragments(fragment_rate)


def flood(host: Machine, frames: Sequence[bytes]) -> None:
    """Send them at a rate that the switch still takes."""
    with Wire(host.pid) as wire:
        for first in range(0, len(frames), AT_ONCE):
            for frame in frames[first : first + AT_ONCE]:
                wire.send(frame)
            time.sleep(PAUSE)


def passed(sandbox: Sandbox, number: int) -> int:
    """How many packets a meter has let through."""
    text = sandbox.appliance.ofctl("meter-stats")
    came = re.search(rf"meter:{number} .*packet_in_count:(\d+)", text)
    assert came is not None
    return int(came[1]) - explain.parse_meters(text)[number][0]


def within(limit: Rate, seconds: float) -> float:
    """The most that a meter may let through in this time; meters count in whole intervals."""
    return limit.burst + limit.value * (seconds + 1)


def to_ports(machine: Machine, count: int) -> list[bytes]:
    """Datagrams to as many ports of the server, each the first of a connection; no checksum of UDP."""
    start = Ether(src=machine.mac, dst=ROUTER_MAC) / IP(src=machine.address, dst=SERVER)
    frame = bytearray(bytes(start / UDP(sport=4000, dport=0, chksum=0) / Raw(b"new")))
    frames = []
    for port in range(1, count + 1):
        struct.pack_into("!H", frame, TARGET_PORT, port)
        frames.append(bytes(frame))
    return frames


def unfinished(source: str, source_mac: str, target: str, target_mac: str, count: int) -> list[bytes]:
    """First fragments of datagrams whose rest never comes."""
    part = UDP(sport=PORT, dport=PORT, len=3000, chksum=0) / Raw(bytes(1272))
    frames = []
    for identification in range(count):
        packet = IP(src=source, dst=target, flags="MF", id=identification) / part
        frames.append(bytes(Ether(src=source_mac, dst=target_mac) / packet))
    return frames


def large_echoes(machine: Machine, count: int = 8) -> int:
    """How many echoes in three fragments each are answered."""
    printed = machine.run("sh", "-c", f"ping -n -q -c {count} -i 0.1 -W 3 -s 3000 {SERVER}; true")
    return int(printed.partition(" packets transmitted, ")[2].partition(" ")[0])


@contextmanager
def no_drops(sandbox: Sandbox, tenants: Tenants, machine: Machine) -> Iterator[None]:
    """The machine's network loses nothing while the block runs."""
    key = tenants.network_of(machine).key
    before = sandbox.drops(key)
    yield
    assert sandbox.drops(key) == before


def test_new_connections_of_a_network_have_a_rate(sandbox: Sandbox, tenants: Tenants) -> None:
    greedy, neighbour = tenants.isolated(), tenants.isolated()
    key, limit = tenants.network_of(greedy).key, rates(sandbox)[0]
    assert SERVER in ask_udp(greedy.pid, [SERVER], SECONDS)
    began = time.monotonic()
    with no_drops(sandbox, tenants, neighbour):
        flood(greedy, to_ports(greedy, 4 * limit.burst))
        # At once after the flood: what the rate leaves out is not held against others.
        assert SERVER in ask_udp(neighbour.pid, [SERVER])
    assert passed(sandbox, meter(MeterClass.NETWORK_CONNECTIONS, key)) <= within(limit, time.monotonic() - began)
    assert sandbox.drops(key)["connection-rate"] > limit.burst


def test_connections_that_are_known_go_on_at_the_rate(sandbox: Sandbox, tenants: Tenants) -> None:
    """Also one that is never answered, of which every packet is the first to conntrack."""
    greedy = tenants.isolated()
    assert SERVER in ask_udp(greedy.pid, [SERVER], SECONDS)
    key, limit = tenants.network_of(greedy).key, rates(sandbox)[0]
    one = to_ports(greedy, 1)
    with Wire(sandbox.internet.pid) as server, Wire(greedy.pid) as wire:
        wire.send(one[0])
        assert server.receive(lambda seen: UDP in seen and seen[UDP].dport == 1, SECONDS) is not None
        flood(greedy, to_ports(greedy, 4 * limit.burst))
        before = sandbox.drops(key)["connection-rate"]
        flood(greedy, one * 500)
        assert sandbox.drops(key)["connection-rate"] == before


def test_fragments_of_a_network_have_a_rate(sandbox: Sandbox, tenants: Tenants) -> None:
    greedy, neighbour = tenants.isolated(), tenants.isolated()
    key, limit = tenants.network_of(greedy).key, rates(sandbox)[1]
    assert SERVER in ask_udp(greedy.pid, [SERVER], SECONDS)
    frames = unfinished(greedy.address, greedy.mac, SERVER, ROUTER_MAC, 6 * limit.burst)
    began = time.monotonic()
    with no_drops(sandbox, tenants, neighbour):
        flood(greedy, frames)
        assert large_echoes(neighbour) == 8
    assert passed(sandbox, meter(MeterClass.NETWORK_FRAGMENTS, key)) <= within(limit, time.monotonic() - began)
    assert sandbox.drops(key)["fragment-rate"] > limit.burst


def test_fragments_from_outside_have_a_rate_by_sender(sandbox: Sandbox, tenants: Tenants) -> None:
    """Whoever sends them, those of others still come: conntrack has room, and their senders a rate of their own."""
    machine = tenants.isolated()
    assert SERVER in ask_udp(machine.pid, [SERVER], SECONDS)
    before = sandbox.drops(0).get("sender-fragment-rate", 0)
    frames = unfinished("198.51.100.77", NEXT_HOP_MAC, SHARED_ADDRESS, GATEWAY_MAC, 6 * rates(sandbox)[1].burst)
    with no_drops(sandbox, tenants, machine):
        flood(sandbox.internet, frames)
        assert large_echoes(machine) == 8
    assert sandbox.drops(0)["sender-fragment-rate"] > before


def test_fragments_from_everywhere_leave_room_for_those_of_networks(sandbox: Sandbox, tenants: Tenants) -> None:
    machine = tenants.isolated()
    assert SERVER in ask_udp(machine.pid, [SERVER], SECONDS)
    before = sandbox.drops(0).get("outside-fragment-rate", 0)
    senders = [f"198.51.100.{last}" for last in range(64, 127)]
    each = 4 * fragments(2 * rates(sandbox)[1].value).burst // len(senders)
    flood(sandbox.internet, [
        frame for sender in senders for frame in unfinished(sender, NEXT_HOP_MAC, SHARED_ADDRESS, GATEWAY_MAC, each)
    ])  # fmt: skip
    with no_drops(sandbox, tenants, machine), Wire(sandbox.internet.pid) as server:
        machine.run("sh", "-c", f"ping -n -c 1 -W 1 -s 3000 {SERVER}; true")
        assert server.receive(lambda seen: IP in seen and seen[IP].dst == SERVER and seen[IP].frag > 0, 2) is not None
    assert sandbox.drops(0)["outside-fragment-rate"] > before
