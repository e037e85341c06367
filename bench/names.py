#!/usr/bin/env python3
"""Names a second, beside dnsmasq: `mininet/world.py -- .venv/bin/python bench/names.py`.

One machine asks as fast as it is answered, with a fixed number of questions
under way, over the appliance's bridge: its router (names of machines, and names
outside, for the first time and again), and dnsmasq on another machine of its
network, which knows the same names and asks the same upstream. The upstream is
dnsmasq too. On a machine with few cores all of them share those. Needs Debian's
dnsmasq-base.
"""

from __future__ import annotations

import socket
import statistics
import struct
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "proto"), str(ROOT / "mininet")]

from appliance import AGENT, CONTROLLER, RESOLVER, SWITCH  # noqa: E402
from machines import Machine  # noqa: E402
from namespaces import within  # noqa: E402
from sandbox import Sandbox, Wanted  # noqa: E402
from settings import Settings  # noqa: E402
from supervisor import await_condition  # noqa: E402

SECONDS = 4.0
ROUNDS = 3
UNDER_WAY = 32
# More than are asked for in a round: none is asked for twice.
NEW = 100_000
UPSTREAM = "127.0.0.54"
OUTSIDE = "198.51.100.1"
_TICKS = 100


@dataclass(frozen=True, slots=True)
class Rate:
    """Answers a second, the median time to one in ms, and how many never came."""

    second: float
    median: float
    lost: int


def question(name: str) -> bytes:
    """A question for an address, without its id."""
    labels = b"".join(bytes((len(label),)) + label.encode() for label in name.split("."))
    return struct.pack("!HHHHH", 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack("!HH", 1, 1)


def measure(machine: Machine, server: str, names: Sequence[str], seconds: float = SECONDS) -> Rate:
    """Ask for `seconds`, with UNDER_WAY questions waiting at any time; a question without answer after 1 s is lost."""
    bodies = [question(name) for name in names]

    def ask() -> Rate:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as link:
            link.connect((server, 53))
            link.settimeout(1.0)
            sent: dict[int, float] = {}
            times: list[float] = []
            lost, number, count = 0, 0, 0
            began = time.perf_counter()
            while time.perf_counter() - began < seconds:
                while len(sent) < UNDER_WAY:
                    number = (number + 1) & 0xFFFF
                    sent[number] = time.perf_counter()
                    link.send(number.to_bytes(2, "big") + bodies[count % len(bodies)])
                    count += 1
                try:
                    answer = link.recv(4096)
                except TimeoutError:
                    lost += len(sent)
                    sent.clear()
                    continue
                asked = sent.pop(int.from_bytes(answer[:2], "big"), None)
                # NOERROR with at least one record.
                if asked is not None and not answer[3] & 15 and answer[6:8] != b"\0\0":
                    times.append(time.perf_counter() - asked)
            took = time.perf_counter() - began
        return Rate(len(times) / took, statistics.median(times) * 1000 if times else 0.0, lost)

    return within(machine.pid, ask)


@contextmanager
def dnsmasq(*arguments: str, machine: Machine | None = None) -> Iterator[None]:
    """A dnsmasq on a machine, or on the world's loopback."""
    command = [
        *("dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--pid-file=", "--no-hosts", "--no-resolv"),
        *("--cache-size=10000", "--local-ttl=300", "--dns-forward-max=1000", "--user=root", *arguments),
    ]
    process = machine.start(*command) if machine else subprocess.Popen(command)
    try:
        yield
    finally:
        process.terminate()
        process.wait()


def cpu_seconds(pid: int | None) -> float:
    """User and system time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def main() -> None:
    """Print one line a kind of question and server."""
    extra: dict[str, dict[str, object]] = {"limits": {"router_rate": 1_000_000}}
    sandbox = Sandbox(Settings(dns_upstream=(UPSTREAM,), extra=extra))
    try:
        sandbox.start()
        sandbox.create_network("office", prefix="10.0.0.0/16")
        wanted = [Wanted("pc", "office"), Wanted("peer", "office"), Wanted("db1", "office")]
        pc, peer, db1 = sandbox.create_machines(wanted)
        own = [f"{machine.name}.office.internal" for machine in (pc, peer, db1)]
        again = [f"host{number}.example.com" for number in range(500)]
        records = [f"--address=/{name}/{machine.address}" for name, machine in zip(own, (pc, peer, db1), strict=True)]
        with (
            dnsmasq(f"--listen-address={UPSTREAM}", "--bind-interfaces", f"--address=/example.com/{OUTSIDE}"),
            # The machine itself reaches the upstream's twin: its own dnsmasq has one on its loopback.
            dnsmasq(f"--listen-address={UPSTREAM}", "--bind-interfaces", f"--address=/example.com/{OUTSIDE}",
                    machine=peer),
            dnsmasq(f"--listen-address={peer.address}", "--bind-interfaces", f"--server={UPSTREAM}", *records,
                    machine=peer),
        ):  # fmt: skip
            router = pc.lease.router if pc.lease else ""
            await_condition(lambda: measure(pc, router, again, 0.5).second > 0, "upstream", 5)
            await_condition(lambda: measure(pc, peer.address, again, 0.5).second > 0, "peer", 5)
            daemons = {name: sandbox.appliance.daemon(name).pid for name in (RESOLVER, SWITCH, CONTROLLER, AGENT)}
            for what, known in (("names of machines", own), ("outside, again", again), ("outside, first time", None)):
                rounds: dict[str, list[Rate]] = {"sluice": [], "dnsmasq": []}
                used = dict.fromkeys(daemons, 0.0)
                for turn in range(ROUNDS):
                    names = known or [f"new{turn}-{number}.example.com" for number in range(NEW)]
                    before = {name: cpu_seconds(pid) for name, pid in daemons.items()}
                    rounds["sluice"].append(measure(pc, router, names))
                    for name, pid in daemons.items():
                        used[name] += cpu_seconds(pid) - before[name]
                    rounds["dnsmasq"].append(measure(pc, peer.address, names))
                best = {who: max(rates, key=lambda rate: rate.second) for who, rates in rounds.items()}
                for who, rate in best.items():
                    print(f"{what:22} {who:8} {rate.second:8,.0f} a second  median {rate.median:6.2f} ms"
                          f"  lost {sum(one.lost for one in rounds[who])}")  # fmt: skip
                ratio = best["sluice"].second / best["dnsmasq"].second
                shares = ", ".join(f"{name} {seconds / (ROUNDS * SECONDS):.0%}" for name, seconds in used.items())
                print(f"{what:22} ratio    {ratio:8.2f}            of a core: {shares}", flush=True)
    finally:
        sandbox.stop()


if __name__ == "__main__":
    main()
