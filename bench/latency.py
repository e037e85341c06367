#!/usr/bin/env python3
"""Time from the gRPC call to the first answered ping, with ever more networks present.

A machine is plugged in, CreateMachine is called, and from its answer on the
machine pings a server in the Internet every half millisecond: the time counts
from the call to the first answer that came through the gateway and back by
NAT. Prints medians, and ratios to the empty appliance.

Run by `make bench`, in a private world.
"""

from __future__ import annotations

import argparse
import select
import socket
import statistics
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "proto"), str(ROOT / "mininet")]

from appliance import Settings  # noqa: E402
from machines import SERVERS, Machine  # noqa: E402
from namespaces import open_socket  # noqa: E402
from packets import ETH_P_ALL  # noqa: E402
from sandbox import CALL_SECONDS, Sandbox  # noqa: E402
from scapy.layers.inet import ICMP, IP  # noqa: E402
from scapy.layers.l2 import Ether  # noqa: E402

from sluice.v1 import machine_pb2, status_pb2  # noqa: E402

ROUTER_MAC = "02:00:00:00:ff:01"
PING_SECONDS = 0.0005
GIVE_UP_SECONDS = 10.0
VLANS = range(1, 4001)
BATCH = 500


def request(name: str, mac: str, port: str, vlan: int | None = None) -> machine_pb2.CreateMachineRequest:
    """A machine alone, hence with an isolated network of its own."""
    attachment = machine_pb2.Attachment(port=port) if vlan is None else machine_pb2.Attachment(port=port, vlan=vlan)
    return machine_pb2.CreateMachineRequest(
        machine_id=name, machine=machine_pb2.Machine(mac_address=mac, attachment=attachment)
    )


def fill(sandbox: Sandbox, present: int, wanted: int) -> float:
    """Bring the appliance from `present` to `wanted` isolated networks, all live; the seconds it took."""
    started = time.perf_counter()
    for first in range(present, wanted, BATCH):
        numbers = range(first, min(first + BATCH, wanted))
        ports = [f"fill{n // len(VLANS)}" for n in numbers]
        for port in set(ports):
            if not Path(f"/sys/class/net/{port}").exists():
                pair = ["ip", "link", "add", port, "up", "type", "veth", "peer", "name", f"{port}-far"]
                subprocess.run(pair, check=True)
                sandbox.site.bridge.attach(port)
        requests = [
            request(
                f"fill-{n}", f"02:00:01:{n >> 16:02x}:{n >> 8 & 255:02x}:{n & 255:02x}", port, VLANS[n % len(VLANS)]
            )
            for n, port in zip(numbers, ports, strict=True)
        ]
        batch = machine_pb2.BatchCreateMachinesRequest(requests=requests, wait_live=True)
        made = sandbox.machines.BatchCreateMachines(batch, timeout=CALL_SECONDS * 4).machines
        assert all(machine.status.state == status_pb2.Status.LIVE for machine in made)
    return time.perf_counter() - started


def pings(machine: Machine, address: str) -> Iterator[bytes]:
    """Echo requests from `address`, each with a sequence number of its own."""
    frame = bytearray(bytes(Ether(dst=ROUTER_MAC, src=machine.mac) / IP(src=address, dst=SERVERS[0]) / ICMP(id=7)))
    checksum, sequence = struct.Struct("!H"), 0
    while True:
        yield bytes(frame)
        sequence += 1
        struct.pack_into("!H", frame, 40, sequence)
        struct.pack_into("!H", frame, 36, 0)
        total = sum(checksum.unpack_from(frame, at)[0] for at in range(34, 42, 2))
        total = (total & 0xFFFF) + (total >> 16)
        struct.pack_into("!H", frame, 36, ~total & 0xFFFF)


def measure(sandbox: Sandbox, name: str) -> tuple[float, float]:
    """Milliseconds until the call was answered, and until the first ping was."""
    machine = sandbox.site.add_machine(name)
    raw = open_socket(machine.pid, socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    raw.bind(("eth0", ETH_P_ALL))
    try:
        started = time.perf_counter()
        made = sandbox.machines.CreateMachine(request(name, machine.mac, name), timeout=CALL_SECONDS)
        called = time.perf_counter()
        answered = first_answer(raw, pings(machine, made.address), started)
    finally:
        raw.close()
        sandbox.machines.DeleteMachine(machine_pb2.DeleteMachineRequest(name=made.name), timeout=CALL_SECONDS)
        sandbox.site.remove_machine(name)
    return (called - started) * 1e3, (answered - started) * 1e3


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


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", default="0,1000,5000", help="isolated networks present, rising (%(default)s)")
    parser.add_argument("--repetitions", type=int, default=21, help="machines created at each size (%(default)s)")
    options = parser.parse_args()
    sandbox = Sandbox(Settings(nat=("203.0.112.0/24",), block_size=1024, reuse_after_seconds=0))
    sandbox.start()
    base, present = None, 0
    try:
        for wanted in map(int, options.networks.split(",")):
            seconds = fill(sandbox, present, wanted)
            present = wanted
            measure(sandbox, "warm-up")
            results = [measure(sandbox, f"new-{wanted}-{n}") for n in range(options.repetitions)]
            call, ping = (statistics.median(column) for column in zip(*results, strict=True))
            base = base or ping
            slowest = max(ping for _, ping in results)
            print(
                f"{wanted:6} networks present: first ping answered {ping:6.1f} ms after the call "
                f"(median of {len(results)}, slowest {slowest:.1f}), the call itself {call:.1f} ms, "
                f"{ping / base:.2f}x of empty" + (f"; filling took {seconds:.1f} s" if seconds > 1 else ""),
                flush=True,
            )
    finally:
        sandbox.stop()


if __name__ == "__main__":
    main()
