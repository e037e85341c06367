#!/usr/bin/env python3
"""First answered ping of a new machine, Sluice beside OVN: each in a world of its own, one after the other.

Prints a table with ratios; judges nothing. OVN gets fewer sizes and repetitions,
because it takes long: `--ovn ""` leaves it out.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
WORLD = [sys.executable, str(ROOT / "mininet" / "world.py"), "--", sys.executable]


def measure(script: str, networks: str, repetitions: int) -> Iterator[dict[str, Any]]:
    """The reports of one script, as they come. Raises CalledProcessError."""
    command = [*WORLD, str(ROOT / "bench" / script), "--networks", networks, "--repetitions", str(repetitions)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield from map(json.loads, process.stdout)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sluice", default="0,1000,5000", help="networks present (%(default)s)")
    parser.add_argument("--ovn", default="0,1000", help="networks present (%(default)s)")
    options = parser.parse_args()
    print("networks   first ping    to empty   slowest      flows   per network   against Sluice")
    empty: dict[str, float] = {}
    ours: dict[int, float] = {}
    for name, script, sizes, repetitions in (
        ("Sluice", "latency.py", options.sluice, 21),
        ("OVN", "latency_ovn.py", options.ovn, 5),
    ):
        if not sizes:
            continue
        print(name)
        for report in measure(script, sizes, repetitions):
            networks, ping, flows = report["networks"], report["first_ping_ms"], report["flows"]
            first = empty.setdefault(name, ping)
            empty.setdefault(f"{name} flows", flows)
            each = f"{(flows - empty[f'{name} flows']) / networks:.1f}" if networks else ""
            peer = "" if name == "Sluice" or networks not in ours else f"{ping / ours[networks]:.1f}x"
            ours.setdefault(networks, ping)
            print(
                f"{networks:8} {ping:9.1f} ms {ping / first:9.2f}x {report['slowest_ms']:6.1f} ms {flows:10}"
                f" {each:>13} {peer:>16}",
                flush=True,
            )


if __name__ == "__main__":
    main()
