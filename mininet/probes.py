"""Asks who can be reached from a machine: echo servers over UDP and TCP, and ICMP echo."""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import struct
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from namespaces import within
from responders import ECHO_PORT

RETRY_SECONDS = 0.3
ICMP_ECHO_REPLY, ICMP_ECHO = 0, 8


@dataclass(frozen=True, slots=True)
class Answer:
    """Who answered, and the address and port it saw the request come from."""

    name: str
    address: str
    port: int


def read_answer(data: bytes) -> Answer:
    """The first line of an echo server's answer."""
    name, address, port = data.split(b"\n", 1)[0].decode().split()
    return Answer(name, address, int(port))


def ask_udp(pid: int, targets: Iterable[str], seconds: float = 1.0, port: int = 0) -> dict[str, Answer]:
    """Who answers on UDP port 7 of each target, asked from the namespace of `pid`, from `port` (0: any).

    Asked again every 0.3 s until `seconds` have passed; targets that do not
    answer are missing in the result.
    """

    def ask() -> dict[str, Answer]:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            client.bind(("0.0.0.0", port))

            def receive() -> tuple[str, Answer] | None:
                data, peer = client.recvfrom(2048)
                return peer[0], read_answer(data)

            return _exchange(client, targets, lambda target: client.sendto(b"?", (target, ECHO_PORT)), receive, seconds)

    return within(pid, ask)


def ping(pid: int, targets: Iterable[str], seconds: float = 1.0) -> set[str]:
    """Which targets answer an ICMP echo request sent from the namespace of `pid`."""
    identifier = int.from_bytes(os.urandom(2), "big")

    def ask() -> dict[str, Answer]:
        with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as client:

            def receive() -> tuple[str, Answer] | None:
                data, peer = client.recvfrom(2048)
                message = data[(data[0] & 15) * 4 :]
                kind, _, _, number = struct.unpack("!BBHH", message[:6])
                if kind != ICMP_ECHO_REPLY or number != identifier:
                    return None
                return peer[0], Answer("", peer[0], 0)

            request = echo_request(identifier)
            return _exchange(client, targets, lambda target: client.sendto(request, (target, 0)), receive, seconds)

    return set(within(pid, ask))


def ask_tcp(pid: int, targets: Iterable[str], seconds: float = 2.0, port: int = 0) -> dict[str, Answer]:
    """Who answers on TCP port 7 of each target, asked from the namespace of `pid`, from `port` (0: any)."""

    def ask() -> dict[str, Answer]:
        found: dict[str, Answer] = {}
        with contextlib.ExitStack() as stack, selectors.DefaultSelector() as selector:
            for target in targets:
                client = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
                client.setblocking(False)
                client.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                # No TIME_WAIT that would hold the port for a later probe.
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                client.bind(("0.0.0.0", port))
                if client.connect_ex((target, ECHO_PORT)) in (0, 115):
                    selector.register(client, selectors.EVENT_READ, target)
            deadline = time.monotonic() + seconds
            while selector.get_map() and (left := deadline - time.monotonic()) > 0:
                for key, _ in selector.select(left):
                    selector.unregister(key.fileobj)
                    with contextlib.suppress(OSError, ValueError):
                        found[key.data] = read_answer(key.fileobj.recv(2048))  # type: ignore[union-attr]
        return found

    return within(pid, ask)


def _exchange(
    client: socket.socket,
    targets: Iterable[str],
    send: Callable[[str], object],
    receive: Callable[[], tuple[str, Answer] | None],
    seconds: float,
) -> dict[str, Answer]:
    missing, found = set(targets), dict[str, Answer]()
    deadline = time.monotonic() + seconds
    while missing and (now := time.monotonic()) < deadline:
        for target in sorted(missing):
            # "No route" and an earlier target's ICMP error are answers too: nobody is there.
            with contextlib.suppress(OSError):
                send(target)
        pause = min(now + RETRY_SECONDS, deadline)
        while missing and (left := pause - time.monotonic()) > 0:
            client.settimeout(left)
            try:
                received = receive()
            except TimeoutError:
                break
            except OSError:
                continue
            if received and received[0] in missing:
                missing.discard(received[0])
                found[received[0]] = received[1]
    return found


def echo_request(identifier: int, sequence: int = 1, payload: bytes = b"sluice") -> bytes:
    """An ICMP echo request (RFC 792) with its checksum."""
    header = struct.pack("!BBHHH", ICMP_ECHO, 0, 0, identifier, sequence)
    return struct.pack("!BBHHH", ICMP_ECHO, 0, internet_checksum(header + payload), identifier, sequence) + payload


def internet_checksum(data: bytes) -> int:
    """RFC 1071."""
    padded = data + b"\0" * (len(data) % 2)
    total: int = sum(struct.unpack(f"!{len(padded) // 2}H", padded))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
