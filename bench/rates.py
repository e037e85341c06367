#!/usr/bin/env python3
"""How exactly limits are held: `sudo .venv/bin/python mininet/world.py -- .venv/bin/python bench/rates.py`.

One machine alone sends to a server in the Internet and gets from it, by TCP and
by UDP that offers three times the limit (at most what `--most` says). Numbers
are Mbit/s of Ethernet frames that arrived, and their ratio to the limit; the
first line is what the machine carries when the limit is out of reach.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "proto"), str(ROOT / "mininet"), str(ROOT / "tests")]

from machines import SERVERS, Machine  # noqa: E402
from sandbox import CALL_SECONDS, Sandbox, Wanted, require_live  # noqa: E402
from sandboxes import knows_next_hop  # noqa: E402
from supervisor import await_condition  # noqa: E402
from throughput import Flow, Run  # noqa: E402

from sluice.v1 import limits_pb2, machine_pb2  # noqa: E402

OUT_OF_REACH = 100_000


def limit(sandbox: Sandbox, name: str, mbps: int) -> None:
    """Limit a machine's traffic with the Internet."""
    wanted = machine_pb2.Machine(name=f"machines/{name}", limits=limits_pb2.Limits(public_kbps=mbps * 1000))
    request = machine_pb2.UpdateMachineRequest(machine=wanted, wait_live=True)
    request.update_mask.paths.append("limits.public_kbps")
    require_live(sandbox.machines.UpdateMachine(request, timeout=CALL_SECONDS))


def flows(mbps: int, most: int, seconds: float) -> list[Flow]:
    """Both protocols, both ways."""
    offered = min(3 * mbps, most)
    ways = (False, True)
    return [Flow(back=back, seconds=seconds) for back in ways] + [
        Flow(udp=True, offered=offered, back=back, seconds=seconds) for back in ways
    ]


def row(sandbox: Sandbox, machine: Machine, mbps: int, options: argparse.Namespace) -> str:
    """One line of the table."""
    limit(sandbox, machine.name, mbps)
    cells = []
    for flow in flows(mbps, options.most, options.seconds):
        held = Run(machine, sandbox.internet, SERVERS[0], flow).rate()
        ratio = "       " if mbps == OUT_OF_REACH else f" ({held / mbps:.2f})"
        cells.append(f"{held:8.1f}{ratio}")
    name = "none" if mbps == OUT_OF_REACH else str(mbps)
    return f"{name:>6} " + " ".join(cells)


def main() -> None:
    """Measure and print; judges nothing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rates", default="10,100,1000", help="limits in Mbit/s (%(default)s)")
    parser.add_argument("--seconds", type=float, default=10, help="for each number (%(default)s)")
    parser.add_argument("--most", type=int, default=1200, help="Mbit/s of UDP offered at most (%(default)s)")
    options = parser.parse_args()
    sandbox = Sandbox()
    try:
        sandbox.start()
        await_condition(lambda: knows_next_hop(sandbox), "MAC of the next hop known", 10)
        machine = sandbox.create_machine(Wanted("one"))
        head = " ".join(f"{flow.name:>15}" for flow in flows(1, 1, 1))
        print(f" limit {head}", flush=True)
        for mbps in (OUT_OF_REACH, *map(int, options.rates.split(","))):
            print(row(sandbox, machine, mbps, options), flush=True)
    finally:
        sandbox.stop()


if __name__ == "__main__":
    main()
