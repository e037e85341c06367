#!/usr/bin/env python3
"""What an attacker takes from others: `mininet/world.py -- .venv/bin/python bench/attacks.py`.

A tenant pings, sends in fragments, asks names and opens connections, and a client
calls the API, before, during and after each attack of another tenant, of somebody
in the Internet or of another client. Printed are what was lost and the median
time; `docs/security.md` holds a run.
"""

from __future__ import annotations

import itertools
import socket
import statistics
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "proto"), str(ROOT / "mininet")]

import grpc  # noqa: E402
from machines import SERVERS, Machine  # noqa: E402
from namespaces import within  # noqa: E402
from packets import Wire  # noqa: E402
from probes import ECHO_PORT  # noqa: E402
from sandbox import Sandbox, Wanted  # noqa: E402
from settings import Settings  # noqa: E402

from sluice.v1 import network_pb2, network_pb2_grpc  # noqa: E402

SECONDS = 8.0
SERVER = SERVERS[0]
ROUTER_MAC, GATEWAY_MAC, NEXT_HOP_MAC = (
    bytes.fromhex(mac.replace(":", "")) for mac in ("02:00:00:00:ff:01", "02:00:00:00:ff:02", "02:00:00:00:fe:01")
)
LONGEST_NAME = b"\1a" * 127 + b"\0"
NAME = b"\6victim\6victim\10internal\0"
_INTERVAL = 0.02
FRAGMENTS = "in fragments"


@dataclass
class Tries:
    """What one thing the victim does came to: how long each took in ms, and how many failed."""

    times: list[float] = field(default_factory=list)
    failed: int = 0

    def __str__(self) -> str:
        tried = len(self.times) + self.failed
        lost = 100 * self.failed / tried if tried else 0.0
        return f"{lost:.1f} %, {statistics.median(self.times):.1f} ms" if self.times else "all lost"


Try = Callable[[], None]


def repeat(what: Try, seconds: float, interval: float = _INTERVAL) -> Tries:
    """Do it again and again; each try raises OSError or grpc.RpcError when it fails."""
    tries, end = Tries(), time.monotonic() + seconds
    while (began := time.monotonic()) < end:
        try:
            what()
            tries.times.append((time.monotonic() - began) * 1000)
        except (OSError, grpc.RpcError):
            tries.failed += 1
        time.sleep(max(0.0, began + interval - time.monotonic()))
    return tries


def datagram(machine: Machine, size: int) -> Try:
    """One datagram to the echo server and its answer, from one port: a new one each time would use up the block."""
    link = within(machine.pid, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    link.settimeout(1.0)
    numbers = itertools.count(1)

    def one() -> None:
        number = struct.pack("!Q", next(numbers))
        link.sendto(number + bytes(size), (SERVER, ECHO_PORT))
        # One that came too late for an earlier try is not this one's.
        while number not in link.recv(65536):
            pass

    return one


def connection(machine: Machine) -> Try:
    """One TCP connection to the echo server and its first answer."""

    def one() -> None:
        with within(machine.pid, socket.socket) as link:
            link.settimeout(1.0)
            link.connect((SERVER, ECHO_PORT))
            link.sendall(b"x")
            link.recv(64)

    return one


def name(machine: Machine, router: str) -> Try:
    """One question for the machine's own name."""
    question = struct.pack("!HHHHHH", 7, 0x0100, 1, 0, 0, 0) + NAME + struct.pack("!HH", 1, 1)

    def one() -> None:
        with within(machine.pid, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as link:
            link.settimeout(1.0)
            link.sendto(question, (router, 53))
            link.recv(4096)

    return one


def checksum(header: bytes) -> int:
    """That of an IPv4 header without one (RFC 1071)."""
    total = sum(struct.unpack(f"!{len(header) // 2}H", header))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def frame(
    source: tuple[bytes, str], target: tuple[bytes, str], payload: bytes, *, number: int = 0, flags: int = 0
) -> bytes:
    """An Ethernet frame with a UDP packet or a part of one; `source` and `target` are MAC and address."""
    addresses = socket.inet_aton(source[1]) + socket.inet_aton(target[1])
    start = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(payload), number & 0xFFFF, flags, 64, 17, 0)
    header = start[:10] + struct.pack("!H", checksum(start + addresses)) + addresses
    return target[0] + source[0] + b"\x08\0" + header + payload


class Attack:
    """Something that goes on in a thread until it is stopped."""

    def __init__(self, what: Callable[[threading.Event], None]) -> None:
        self._stop = threading.Event()
        self._thread = threading.Thread(target=what, args=(self._stop,), daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(10)


def frames(host: Machine, a_second: int, made: Callable[[int], bytes]) -> Callable[[threading.Event], None]:
    """Sends frames, at most so many a second."""

    def send(stop: threading.Event) -> None:
        with Wire(host.pid) as wire:
            began, count = time.monotonic(), 0
            while not stop.is_set():
                for _ in range(max(1, a_second // 100)):
                    wire.send(made(count))
                    count += 1
                stop.wait(max(0.0, began + count / a_second - time.monotonic()))

    return send


def mac(machine: Machine) -> bytes:
    """Its Ethernet address."""
    return bytes.fromhex(machine.mac.replace(":", ""))


def unfinished(host: Machine, source: tuple[bytes, str], target: tuple[bytes, str], a_second: int):  # type: ignore[no-untyped-def]
    """First fragments whose rest never comes."""
    part = struct.pack("!HHHH", 5, 6, 3000, 0) + bytes(1272)
    return frames(host, a_second, lambda count: frame(source, target, part, number=count, flags=0x2000))


def new_connections(machine: Machine, a_second: int):  # type: ignore[no-untyped-def]
    """Datagrams to ever new ports."""
    return frames(machine, a_second, lambda count: frame(
        (mac(machine), machine.address), (ROUTER_MAC, SERVER),
        struct.pack("!HHHH", 1024 + count // 60000 % 60000, 1 + count % 60000, 11, 0) + b"new",
    ))  # fmt: skip


def bombs(machine: Machine, router: str):  # type: ignore[no-untyped-def]
    """Questions whose additional records point into one name of 127 labels, over UDP and over TCP."""

    def records(room: int) -> bytes:
        out, count = bytearray(LONGEST_NAME + struct.pack("!HH", 2, 1)), 0
        while len(out) < room:
            at = 0xC000 | 12 + 2 * (count % 40)
            out += struct.pack("!HHHIHH", at, 2, 1, count & 0xFF, 2, 0xC000 | 12 + 2 * (count // 40 % 40))
            count += 1
        return struct.pack("!HHHHHH", 1, 0x0100, 1, 0, 0, count) + bytes(out)

    small, large = records(1200), records(65000)

    def send(stop: threading.Event) -> None:
        while not stop.is_set():
            try:
                with within(machine.pid, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as link:
                    for _ in range(20):
                        link.sendto(small, (router, 53))
                with within(machine.pid, socket.socket) as link:
                    link.settimeout(1.0)
                    link.connect((router, 53))
                    link.sendall(struct.pack("!H", len(large)) + large)
            except OSError:
                pass
            stop.wait(0.1)

    return send


def pipelined(machine: Machine, router: str):  # type: ignore[no-untyped-def]
    """Questions for names nobody has, on eight connections, as fast as they are taken."""
    question = struct.pack("!HHHHHH", 1, 0x0100, 1, 0, 0, 0) + b"\6nobody\10internal\0" + struct.pack("!HH", 1, 1)
    many = (struct.pack("!H", len(question)) + question) * 500

    def send(stop: threading.Event) -> None:
        def one() -> None:
            while not stop.is_set():
                try:
                    with within(machine.pid, socket.socket) as link:
                        link.settimeout(0.5)
                        link.connect((router, 53))
                        while not stop.is_set():
                            link.sendall(many)
                            link.recv(1 << 20)
                except OSError:
                    stop.wait(0.05)

        threads = [threading.Thread(target=one, daemon=True) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    return send


def silent_calls(api: str):  # type: ignore[no-untyped-def]
    """400 calls of the API whose request never comes."""

    def hold(stop: threading.Event) -> None:
        def nothing() -> Iterator[bytes]:
            stop.wait()
            yield from ()

        with grpc.insecure_channel(api) as channel:
            method = channel.stream_unary("/sluice.v1.NetworkService/GetNetwork")
            calls = [method.future(nothing()) for _ in range(400)]
            stop.wait()
            for call in calls:
                call.cancel()

    return hold


@contextmanager
def world() -> Iterator[tuple[Sandbox, Machine, Machine]]:
    """A sandbox with a victim and an attacker, each a tenant of its own."""
    sandbox = Sandbox(Settings(usage_seconds=60))
    sandbox.start()
    try:
        yield (
            sandbox,
            sandbox.create_machine(Wanted("victim", tenant="v")),
            sandbox.create_machine(Wanted("attacker", tenant="a")),
        )
    finally:
        sandbox.stop()


def main() -> None:
    """Measure and print."""
    version = subprocess.run(["ovs-vswitchd", "--version"], capture_output=True, text=True, check=True).stdout.split(
        "\n"
    )[0]
    with world() as (sandbox, victim, attacker):
        api = sandbox.appliance.paths.api
        stub = network_pb2_grpc.NetworkServiceStub(grpc.insecure_channel(api))
        router, theirs = (sandbox.network(one).router_address for one in ("victim", "attacker"))
        does: dict[str, Try] = {
            "datagram": datagram(victim, 100), FRAGMENTS: datagram(victim, 3000),
            "TCP connection": connection(victim), "name": name(victim, router),
            "API call": lambda: stub.ListNetworks(network_pb2.ListNetworksRequest(), timeout=1) and None,
        }  # fmt: skip
        own, shared = (mac(attacker), attacker.address), (GATEWAY_MAC, "203.0.113.64")
        attacks = {
            "names that point into names": bombs(attacker, theirs),
            "questions on eight connections": pipelined(attacker, theirs),
            "unfinished fragments of a machine, 1,000/s": unfinished(attacker, own, (ROUTER_MAC, SERVER), 1000),
            "unfinished fragments from the Internet, 1,000/s": unfinished(
                sandbox.internet, (NEXT_HOP_MAC, "198.51.100.77"), shared, 1000
            ),
            "new connections of a machine, 10,000/s": new_connections(attacker, 10000),
            "400 calls without a request": silent_calls(api),
        }  # fmt: skip
        print(f"{version}, {sandbox.appliance.datapath} datapath, {SECONDS:g} s each: lost and median\n")
        print("| attack | what | before | during | after |\n|---|---|---|---|---|")
        for title, attack in attacks.items():
            before = measure(does)
            with Attack(attack):
                time.sleep(1)
                during = measure(does)
            time.sleep(1)
            after = measure(does)
            for what in does:
                print(f"| {title} | {what} | {before[what]} | {during[what]} | {after[what]} |", flush=True)
                title = ""
        for whose, key in (("the attacker", sandbox.network("attacker").key), ("the appliance", 0)):
            counted = {word: count for word, count in sandbox.drops(key).items() if count and "rate" in word}
            print(f"\nDropped for {whose}: " + ", ".join(f"{count} {word}" for word, count in sorted(counted.items())))


def measure(does: dict[str, Try]) -> dict[str, Tries]:
    """All the victim does at once, for `SECONDS`."""
    found: dict[str, Tries] = {}

    def one(what: str) -> None:
        # Fragments stay within the network's own rate: three each, five times a second.
        found[what] = repeat(does[what], SECONDS, 0.2 if what == FRAGMENTS else _INTERVAL)

    threads = [threading.Thread(target=one, args=(what,)) for what in does]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


if __name__ == "__main__":
    main()
