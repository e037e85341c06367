"""Frames that packet tests make, and what they look for in those that arrive."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager

from machines import Machine
from packets import Matcher, Wire
from sandbox import Sandbox
from scapy.layers.inet import ICMP, IP, UDP, IPerror
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Packet, Raw
from supervisor import await_condition

ROUTER_MAC, GATEWAY_MAC, INTERNET_MAC = "02:00:00:00:ff:01", "02:00:00:00:ff:02", "02:00:00:00:fe:01"
GATEWAY, NEXT_HOP = "203.0.113.2", "203.0.113.1"
EVERYBODY = "ff:ff:ff:ff:ff:ff"

# The switch writes counters of flows back about twice a second.
COUNTED_SECONDS = 5.0

_marks = itertools.count(1)


def new_mark() -> bytes:
    """A payload that no other packet of the run has."""
    return b"mark-%d." % next(_marks)


def routed(machine: Machine, to: str, **fields: object) -> Packet:
    """Ethernet and IP of a well-behaved packet by the router; `fields` are further ones of IP."""
    return Ether(src=machine.mac, dst=ROUTER_MAC) / IP(src=machine.address, dst=to, **fields)


def question(sender_mac: str, sender: str, about: str) -> Packet:
    """An ARP request: who has the address `about`?"""
    return Ether(src=sender_mac, dst=EVERYBODY) / ARP(op=1, hwsrc=sender_mac, psrc=sender, pdst=about)


def answers_for(address: str) -> Matcher:
    """Matches an ARP reply that says who has `address`."""
    return lambda frame: ARP in frame and frame[ARP].op == 2 and frame[ARP].psrc == address


def carries(mark: bytes) -> Matcher:
    """Matches a frame with `mark` in it, also one that an ICMP error quotes."""
    return lambda frame: mark in bytes(frame)


def is_error(kind: int, code: int, about: str | None = None) -> Matcher:
    """Matches an ICMP error of this type and code; `about` is the destination of the packet it quotes."""

    def matches(frame: Packet) -> bool:
        found = ICMP in frame and (frame[ICMP].type, frame[ICMP].code) == (kind, code)
        return found and (about is None or (IPerror in frame and frame[IPerror].dst == about))

    return matches


def is_echo_reply(source: str) -> Matcher:
    """Matches an ICMP echo reply from `source`."""
    return lambda frame: ICMP in frame and frame[ICMP].type == 0 and frame[IP].src == source


def heard_until(wire: Wire, last: Matcher, seconds: float = 10.0) -> list[Packet]:
    """Every frame that arrived before the one that `last` matches, which has to arrive."""
    heard: list[Packet] = []

    def matches(frame: Packet) -> bool:
        if last(frame):
            return True
        heard.append(frame)
        return False

    assert wire.receive(matches, seconds) is not None, f"the last frame did not come, only {heard}"
    return heard


def heard_so_far(wire: Wire, machine: Machine) -> list[Packet]:
    """Every frame that has arrived at a machine, by having its router answer a last ping.

    The switch forwards one packet after the other, so what was sent earlier,
    by whomever, arrives earlier.
    """
    mark = new_mark()
    assert machine.lease is not None
    wire.send(routed(machine, machine.lease.router) / ICMP(id=1) / Raw(mark))
    return heard_until(wire, carries(mark))


def internet_heard_so_far(wire: Wire) -> list[Packet]:
    """Every frame that has arrived at the Internet, by having the gateway address answer a last ping."""
    mark = new_mark()
    echo = Ether(src=INTERNET_MAC, dst=GATEWAY_MAC) / IP(src=NEXT_HOP, dst=GATEWAY) / ICMP(id=1) / Raw(mark)
    wire.send(echo)
    return heard_until(wire, carries(mark))


@contextmanager
def counted(sandbox: Sandbox, key: int, reason: str, packets: int) -> Iterator[None]:
    """Exactly `packets` are dropped for `reason` in the network with this key by what is done inside."""

    def count() -> int:
        return sandbox.drops(key).get(reason, 0)

    before = count()
    yield
    try:
        await_condition(lambda: count() - before >= packets, reason, COUNTED_SECONDS, 0.05)
    except TimeoutError:
        seen = {word: number for word, number in sandbox.drops(key).items() if number}
        raise AssertionError(f"{reason}: {count() - before} of {packets} counted; the network has {seen}") from None
    assert count() - before == packets


def datagram(machine: Machine, to: str, mark: bytes, port: int = 9) -> Packet:
    """A UDP datagram by the router that carries `mark`."""
    return routed(machine, to) / UDP(sport=4000, dport=port) / Raw(mark)
