#!/usr/bin/env python3
"""Time from the gRPC call to the first answered ping, with ever more networks present.

A machine is plugged in, CreateMachine is called, and from its answer on the
machine pings a server in the Internet every half millisecond: the time counts
from the call to the first answer that came through the gateway and back by
NAT. `compare.py` runs this in a private world and beside OVN.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "proto"), str(ROOT / "mininet")]

from appliance import Settings  # noqa: E402
from first_ping import first_answer, packet_socket, pings  # noqa: E402
from machines import SERVERS  # noqa: E402
from sandbox import CALL_SECONDS, Sandbox  # noqa: E402

from sluice.v1 import machine_pb2, status_pb2  # noqa: E402

ROUTER_MAC = "02:00:00:00:ff:01"
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


def measure(sandbox: Sandbox, name: str) -> tuple[float, float]:
    """Milliseconds until the call was answered, and until the first ping was."""
    machine = sandbox.site.add_machine(name)
    raw = packet_socket(machine.pid)
    try:
        started = time.perf_counter()
        made = sandbox.machines.CreateMachine(request(name, machine.mac, name), timeout=CALL_SECONDS)
        called = time.perf_counter()
        answered = first_answer(raw, pings(machine.mac, ROUTER_MAC, made.address, SERVERS[0]), started)
    finally:
        raw.close()
        sandbox.machines.DeleteMachine(machine_pb2.DeleteMachineRequest(name=made.name), timeout=CALL_SECONDS)
        sandbox.site.remove_machine(name)
    return (called - started) * 1e3, (answered - started) * 1e3


def main() -> None:
    """Measure, and print a JSON object a size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", default="0,1000,5000", help="isolated networks present, rising (%(default)s)")
    parser.add_argument("--repetitions", type=int, default=21, help="machines created at each size (%(default)s)")
    options = parser.parse_args()
    sandbox = Sandbox(Settings(nat=("203.0.112.0/24",), block_size=1024, reuse_after_seconds=0))
    sandbox.start()
    present = 0
    try:
        for wanted in map(int, options.networks.split(",")):
            seconds = fill(sandbox, present, wanted)
            present = wanted
            measure(sandbox, "warm-up")
            results = [measure(sandbox, f"new-{wanted}-{n}") for n in range(options.repetitions)]
            calls, answers = zip(*results, strict=True)
            report = {
                "networks": wanted,
                "call_ms": round(statistics.median(calls), 2),
                "first_ping_ms": round(statistics.median(answers), 2),
                "slowest_ms": round(max(answers), 2),
                "repetitions": len(results),
                "fill_seconds": round(seconds, 2),
                "flows": int(sandbox.appliance.ofctl("dump-aggregate").split("flow_count=")[1]),
            }
            print(json.dumps(report), flush=True)
    finally:
        sandbox.stop()


if __name__ == "__main__":
    main()
