"""Pings that go on while a test does what must not disturb them."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from machines import Machine


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
