"""The first answered ping of a machine: echo requests sent from a packet socket, no host configuration."""

from __future__ import annotations

import select
import socket
import struct
import time
from collections.abc import Iterator

from namespaces import open_socket
from packets import ETH_P_ALL
from scapy.layers.inet import ICMP, IP
from scapy.layers.l2 import Ether

PING_SECONDS = 0.0005
GIVE_UP_SECONDS = 120.0


def packet_socket(pid: int, interface: str = "eth0") -> socket.socket:
    """A packet socket on an interface of the network namespace of process `pid`."""
    raw = open_socket(pid, socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    raw.bind((interface, ETH_P_ALL))
    return raw


def pings(source_mac: str, router_mac: str, source: str, target: str) -> Iterator[bytes]:
    """Echo requests, each with a sequence number of its own."""
    frame = bytearray(bytes(Ether(dst=router_mac, src=source_mac) / IP(src=source, dst=target) / ICMP(id=7)))
    checksum, sequence = struct.Struct("!H"), 0
    while True:
        yield bytes(frame)
        sequence += 1
        struct.pack_into("!H", frame, 40, sequence)
        struct.pack_into("!H", frame, 36, 0)
        total = sum(checksum.unpack_from(frame, at)[0] for at in range(34, 42, 2))
        total = (total & 0xFFFF) + (total >> 16)
        struct.pack_into("!H", frame, 36, ~total & 0xFFFF)


def first_answer(raw: socket.socket, requests: Iterator[bytes], started: float) -> float:
    """When the first echo reply came; AssertionError when none did."""
    while time.perf_counter() - started < GIVE_UP_SECONDS:
        raw.send(next(requests))
        due = time.perf_counter() + PING_SECONDS
        while (left := due - time.perf_counter()) > 0:
            if select.select([raw], [], [], left)[0]:
                frame, (_, _, kind, *_) = raw.recvfrom(2048)
                if kind != socket.PACKET_OUTGOING and frame[12:14] == b"\x08\x00" and frame[23:24] == b"\x01":
                    assert frame[34] == 0, "not an echo reply"
                    return time.perf_counter()
    raise AssertionError("no ping was answered")
