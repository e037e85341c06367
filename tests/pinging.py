"""Pings that go on while a test does what must not disturb them."""

from __future__ import annotations

import itertools
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from machines import Machine

INTERVAL = 0.01
BEFORE_SECONDS = 0.5
AFTER_SECONDS = 0.5


@contextmanager
def unbroken(machine: Machine, address: str, seconds: float) -> Iterator[None]:
    """Fails unless each ping, one every `seconds`, is answered while the block runs."""
    command = ("ping", "-n", "-q", f"-i{seconds}", address)
    with machine.start(*command, stdout=subprocess.PIPE) as pinging:
        try:
            yield
        finally:
            pinging.send_signal(signal.SIGINT)
        said = pinging.communicate(timeout=10)[0].decode()
    words = said.split("statistics ---\n")[1].split()
    sent, received = int(words[0]), int(words[3])
    assert sent > 20
    # The last one may have been under way.
    assert received >= sent - 1


@contextmanager
def pinging(host: Machine, target: str) -> Iterator[Callable[[], tuple[int, float]]]:
    """Ping every 10 ms while the block runs; the answer, after it, is lost pings and the longest gap in seconds."""
    process = host.start("ping", "-D", "-n", "-i", str(INTERVAL), target, stdout=subprocess.PIPE)
    result: list[tuple[int, float]] = []
    time.sleep(BEFORE_SECONDS)
    try:
        yield lambda: result[0]
        time.sleep(AFTER_SECONDS)
    finally:
        # SIGINT has ping print its summary; mnexec became ping by exec.
        process.send_signal(signal.SIGINT)
        output = process.communicate(timeout=10)[0].decode()
    (sent,) = map(int, re.findall(r"(\d+) packets transmitted", output))
    answered = {int(number) for number in re.findall(r"icmp_seq=(\d+).*time=", output)}
    # The very last one may have been on its way when ping was told to end.
    lost = len(set(range(1, sent)) - answered)
    times = [float(stamp) for stamp in re.findall(r"^\[([\d.]+)\].*time=", output, re.MULTILINE)]
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    result.append((lost, max(gaps, default=float("inf"))))
