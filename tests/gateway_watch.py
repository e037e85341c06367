"""Watches the cable between appliance and Internet for packets that must never be on it."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from machines import INTERFACE, Internet
from packets import Wire
from sandbox import Sandbox
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether
from scapy.packet import Raw

# Prefixes of machines, and the transit pool.
INNER = ("10.0.0.0/8", "100.64.0.0/10", "172.16.0.0/12", "192.168.0.0/16", "224.0.0.0/3")
# To a neighbour that is not there: no traffic of a test is like it.
NOBODY = "203.0.113.254"
MARKS = f"(dst host {NOBODY} and udp dst port 4242)"
MARK_SECONDS = 10.0


class LeakWatch:
    """A tcpdump of what matches `wanted` (pcap-filter(7)) on the Internet's side, and what it wrote so far.

    A mark is a packet of ours that the filter lets through: having seen it proves that
    the capture works, and that everything before it has been looked at.
    """

    def __init__(self, internet: Internet, wanted: str) -> None:
        self._pid = internet.pid
        self._process = internet.start(
            *("tcpdump", "-n", "-l", "--immediate-mode", "-i", INTERFACE, f"({wanted}) or {MARKS}"),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        self._lines: list[str] = []
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self._marks = 0

    def leaks(self) -> list[str]:
        """Packets seen since the start, as tcpdump prints them. Raises AssertionError when blind."""
        self.mark()
        return [line for line in self._lines if ".4242: UDP" not in line]

    def nothing(self) -> None:
        """Fail when there were any."""
        assert self.leaks() == []

    def mark(self) -> None:
        """Send a mark and wait until it is seen."""
        # Distinct lengths tell the marks apart.
        self._marks += 1
        packet = IP(src="10.254.254.254", dst=NOBODY) / UDP(sport=9, dport=4242) / Raw(bytes(self._marks))
        frame = Ether(src="02:00:00:00:fe:01", dst="02:00:00:00:fe:02") / packet
        seen = f".4242: UDP, length {self._marks}"
        with Wire(self._pid) as wire, self._changed:
            for _ in range(100):
                wire.send(frame)
                if self._changed.wait_for(lambda: any(line.endswith(seen) for line in self._lines), MARK_SECONDS / 100):
                    return
        raise AssertionError("the watch does not see its own mark")

    def close(self) -> None:
        """End the capture."""
        self._process.terminate()
        self._process.wait()
        self._reader.join()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with self._changed:
                self._lines.append(line.decode().strip())
                self._changed.notify_all()


@contextmanager
def watched(sandbox: Sandbox, wanted: str) -> Iterator[LeakWatch]:
    """A watch that sees from the beginning of the block."""
    watch = LeakWatch(sandbox.internet, wanted)
    try:
        watch.mark()
        yield watch
    finally:
        watch.close()


@contextmanager
def no_inner_source(sandbox: Sandbox) -> Iterator[LeakWatch]:
    """Fails when a packet with an inner source leaves by the gateway while the block runs."""
    with watched(sandbox, " or ".join(f"src net {prefix}" for prefix in INNER)) as watch:
        yield watch
        watch.nothing()
