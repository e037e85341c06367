"""Two gateways with the same prefixes and their peers, and what watches them, for tests of the VPN daemon."""

from __future__ import annotations

import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest
from supervisor import await_condition
from vpn_lab import Lab, Peer, lab

from state.vpn import outside_port

ONE, TWO = "203.0.113.10", "203.0.113.11"
SECOND_SITE, SECOND_ROUTER = "192.168.60.0/24", "192.168.60.1"


@dataclass
class Pair:
    """Two gateways of networks with the same prefix; the first has a second peer."""

    lab: Lab
    first: list[str]
    peer: Peer
    second_peer: Peer
    other_peer: Peer


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    with lab() as made:
        made.start()
        peer = made.peer("corp", "198.51.100.2")
        branch = made.peer("branch", "198.51.100.6", f"{SECOND_ROUTER}/24")
        other = made.peer("other", "198.51.100.10")
        peer.connect(ONE)
        branch.connect(ONE, child_local_ts=[SECOND_SITE])
        other.connect(TWO)
        first, second = made.gateway(1, ONE), made.gateway(2, TWO)
        made.connection(first, "corp", peer.address)
        made.connection(first, "branch", branch.address, remote_prefixes=(SECOND_SITE,))
        made.connection(second, "other", other.address)
        made.join(1, [peer, branch], made.machine("m1"))
        made.join(2, [other], made.machine("m2"))
        for name in ("corp", "branch", "other"):
            made.await_tunnel(name, "established")
        yield Pair(made, first, peer, branch, other)


def answers(target: str, machine: str = "m1", seconds: float = 0.5) -> bool:
    command = ["nsenter", f"--net=/run/netns/{machine}", "ping", "-c1", f"-W{seconds}", target]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def seconds_until(condition: Callable[[], bool], what: str, limit: float) -> float:
    began = time.monotonic()
    await_condition(condition, what, limit, 0.01)
    return time.monotonic() - began


@contextmanager
def pinging(machine: str, target: str) -> Iterator[Callable[[], int]]:
    """Ping every 10 ms while the block runs; the answer, after it, is how many were lost."""
    process = subprocess.Popen(
        ["nsenter", f"--net=/run/netns/{machine}", "ping", "-D", "-n", "-i", "0.01", target], stdout=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    lost: list[int] = []
    assert process.stdout is not None
    # The header, and the first answer.
    process.stdout.readline()
    process.stdout.readline()
    try:
        yield lambda: lost[0]
    finally:
        process.send_signal(signal.SIGINT)
        output = process.communicate(timeout=10)[0]
    (sent,) = map(int, re.findall(r"(\d+) packets transmitted", output))
    seen = {int(number) for number in re.findall(r"icmp_seq=(\d+).*time=", output)} | {1}
    lost.append(len(set(range(1, sent)) - seen))


@contextmanager
def nothing_clear(key: int, *, silent: bool = False) -> Iterator[None]:
    """Fails when a packet leaves by the outside leg that is neither IKE nor ESP, or has not the gateway's address.

    Some sealed ones are seen, so that it is known to look, unless the gateway is `silent`.
    """
    capture = subprocess.Popen(
        ["tcpdump", "-lnntqi", outside_port(key), "--immediate-mode", "inbound"], stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert capture.stderr is not None
    while "listening" not in capture.stderr.readline():
        pass
    try:
        yield
    finally:
        capture.send_signal(signal.SIGINT)
        lines = capture.communicate(timeout=10)[0].split("\n")
    left = [line for line in lines if line.strip()]
    gateway = re.escape({1: ONE, 2: TWO}[key])
    sealed = re.compile(rf"IP {gateway}\.(500|4500) > \S+\.(500|4500): UDP")
    assert [line for line in left if not sealed.match(line)] == []
    assert silent or left
