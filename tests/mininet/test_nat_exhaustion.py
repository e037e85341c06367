"""A network that uses up its port block harms only itself, and nothing leaves untranslated."""

from __future__ import annotations

import socket
import struct
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest
from gateway_watch import no_inner_source
from machines import SERVERS, Machine
from packets import Wire
from probes import ask_tcp, ask_udp
from sandbox import Sandbox
from sandboxes import SETTINGS, Tenants
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

from controller.conntrack import statistics

# Thousands of connections must be made before their ports are released.
pytestmark = pytest.mark.alone

SERVER, OTHER_SERVER = SERVERS
PREFIX = "10.77.0.0/16"
ROUTER_MAC = "02:00:00:00:ff:01"
# Nobody listens there, and the Internet's host must not answer thousands of times.
PORT = 9
FIRST_SOURCE = 20000
# Where the header behind an IPv4 header without options begins, and in it the checksum.
L4 = 34
CHECKSUM = {UDP: 6, TCP: 16}
PROTOCOL = {UDP: socket.IPPROTO_UDP, TCP: socket.IPPROTO_TCP}
BURST = 200
SECONDS = 20.0
# Open vSwitch 3.1 and the kernel look for a free port by chance, and give up a little early.
LEAST_SHARE = {"netdev": 0.9, "system": 0.95}


@pytest.fixture(scope="module", autouse=True)
def next_hop_known(sandbox: Sandbox) -> None:
    """The first packet after the start of an appliance waits for nobody: it is lost while ARP asks."""
    maker = Tenants(sandbox)
    try:
        assert SERVER in ask_udp(maker.isolated().pid, [SERVER], SECONDS)
    finally:
        maker.close()


@dataclass
class Outcome:
    """Flows started, source ports the server saw with how often, and packets counted as dropped."""

    sent: int
    seen: Counter[tuple[str, int]]
    dropped: int


@contextmanager
def silent_server(sandbox: Sandbox) -> Iterator[None]:
    """The Internet's host answers neither resets nor errors while the block runs."""
    sandbox.internet.run("ip", "address", "del", f"{SERVER}/32", "dev", "lo")
    try:
        yield
    finally:
        sandbox.internet.run("ip", "address", "add", f"{SERVER}/32", "dev", "lo")


def untranslated(sandbox: Sandbox, key: int) -> int:
    """Packets of a network dropped so far for want of a port.

    With the kernel datapath they end inside conntrack, which counts them for the whole appliance.
    """
    if sandbox.appliance.datapath == "system":
        return statistics.read()["insert_failed"]
    return sandbox.drops(key).get("not-translated", 0)


def flood(sandbox: Sandbox, tenants: Tenants, machine: Machine, kind: type[Packet], count: int) -> Outcome:
    """Start `count` flows to one port of the server, in bursts, and wait until each packet is accounted for."""
    key = tenants.network_of(machine).key
    already = untranslated(sandbox, key)
    start = Ether(src=machine.mac, dst=ROUTER_MAC) / IP(src=machine.address, dst=SERVER)
    payload = Raw(b"exhaust") if kind is UDP else Raw(b"")
    outcome = Outcome(count, Counter(), 0)
    first_frame = bytes(start / kind(sport=FIRST_SOURCE, dport=PORT) / payload)
    # Made before the first is sent: a port is free again 15 s after a datagram nobody answered.
    frames = [from_port(first_frame, kind, port) for port in range(FIRST_SOURCE, FIRST_SOURCE + count)]
    with Wire(machine.pid) as wire, Wire(sandbox.internet.pid) as server:
        for first in range(0, count, BURST):
            deadline = time.monotonic() + SECONDS
            for frame in frames[first : first + BURST]:
                wire.send(frame)
            sent = min(first + BURST, count)
            while outcome.seen.total() + outcome.dropped < sent:
                assert time.monotonic() < deadline, f"{outcome} of {sent}"
                seen = server.receive_bytes(0.05)
                if seen is None:
                    outcome.dropped = untranslated(sandbox, key) - already
                elif (sender := sender_of(seen, kind)) is not None:
                    outcome.seen[sender] += 1
    return outcome


def from_port(frame: bytes, kind: type[Packet], port: int) -> bytes:
    """The frame with another source port, and the checksum that goes with it (RFC 1624)."""
    at = L4 + CHECKSUM[kind]
    (old_port,), (old,) = struct.unpack_from("!H", frame, L4), struct.unpack_from("!H", frame, at)
    total = (~old & 0xFFFF) + (~old_port & 0xFFFF) + port
    total = (total & 0xFFFF) + (total >> 16)
    total = (total & 0xFFFF) + (total >> 16)
    changed = bytearray(frame)
    struct.pack_into("!H", changed, L4, port)
    struct.pack_into("!H", changed, at, ~total & 0xFFFF)
    return bytes(changed)


def sender_of(frame: bytes, kind: type[Packet]) -> tuple[str, int] | None:
    """Source address and port of a frame to the silent port."""
    if len(frame) < L4 + 4 or frame[12:14] != b"\x08\0" or frame[23] != PROTOCOL[kind]:
        return None
    source, target = struct.unpack_from("!HH", frame, L4)
    return (socket.inet_ntoa(frame[26:30]), source) if target == PORT else None


@pytest.mark.parametrize("kind", [UDP, TCP], ids=["udp", "tcp"])
def test_a_network_uses_its_block_and_no_more(sandbox: Sandbox, tenants: Tenants, kind: type[Packet]) -> None:
    (greedy,), (neighbour,) = tenants.private(1, PREFIX), tenants.private(1, PREFIX)
    block = tenants.network_of(greedy).port_block
    with no_inner_source(sandbox):
        with silent_server(sandbox):
            outcome = flood(sandbox, tenants, greedy, kind, SETTINGS.block_size + 500)
        allowed = {(block.address, port) for port in range(block.first_port, block.last_port + 1)}
        assert outcome.seen.keys() <= allowed
        assert outcome.seen.most_common(1)[0][1] == 1
        assert len(outcome.seen) >= LEAST_SHARE[sandbox.appliance.datapath] * SETTINGS.block_size
        assert outcome.dropped == outcome.sent - len(outcome.seen) >= 500
        # Who has not used up a block connects, to the same server as well.
        assert SERVER in ask_udp(neighbour.pid, [SERVER])
        assert SERVER in ask_tcp(neighbour.pid, [SERVER])
        # A block is used up for one port of one server at a time.
        assert OTHER_SERVER in ask_udp(greedy.pid, [OTHER_SERVER])
        assert SERVER in ask_udp(greedy.pid, [SERVER])


def test_flows_of_an_exhausted_block_go_on(sandbox: Sandbox, tenants: Tenants) -> None:
    greedy = tenants.isolated()
    frame = Ether(src=greedy.mac, dst=ROUTER_MAC) / IP(src=greedy.address, dst=SERVER) / UDP(sport=7777, dport=PORT)
    with silent_server(sandbox), Wire(greedy.pid) as wire:
        first = seen_of(sandbox, wire, frame / Raw(b"first"))
        assert first is not None, sandbox.drops(tenants.network_of(greedy).key)
        public = (first[IP].src, first[UDP].sport)
        flood(sandbox, tenants, greedy, UDP, SETTINGS.block_size + 100)
        again = seen_of(sandbox, wire, frame / Raw(b"again"))
        assert again is not None
        assert (again[IP].src, again[UDP].sport) == public
        # And its answers come in.
        answer = IP(src=SERVER, dst=public[0]) / UDP(sport=PORT, dport=public[1]) / Raw(b"answer")
        with Wire(sandbox.internet.pid) as server:
            server.send(Ether(src="02:00:00:00:fe:01", dst="02:00:00:00:ff:02") / answer)
        back = wire.receive(lambda seen: UDP in seen and seen[UDP].dport == 7777, 2)
        assert back is not None
        assert bytes(back[UDP].payload) == b"answer"


def seen_of(sandbox: Sandbox, wire: Wire, frame: Packet) -> Packet | None:
    """What the server sees of a datagram. Its socket is new: the frames of a flood are not in its queue."""
    mark = bytes(frame[UDP].payload)
    with Wire(sandbox.internet.pid) as server:
        wire.send(frame)
        return server.receive(lambda seen: UDP in seen and bytes(seen[UDP].payload) == mark, 2)
