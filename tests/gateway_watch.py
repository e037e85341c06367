"""Watches the cable between appliance and Internet for addresses that must never be on it."""

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
MARK_SECONDS = 10.0


class LeakWatch:
    """A tcpdump on the Internet's side of the cable, and what it wrote so far.

    A mark is a packet of ours that the filter lets through: having seen it proves that
    the capture works, and that everything before it has been looked at.
    """

    def __init__(self, internet: Internet) -> None:
        wanted = " or ".join(f"src net {prefix}" for prefix in INNER)
        self._pid = internet.pid
        self._process = internet.start(
            *("tcpdump", "-n", "-l", "--immediate-mode", "-i", INTERFACE, wanted),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        self._lines: list[str] = []
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self._marks = 0

    def leaks(self) -> list[str]:
        """Packets with an inner source since the start, as tcpdump prints them. Raises AssertionError when blind."""
        self.mark()
        return [line for line in self._lines if ".4242: UDP" not in line]

    def mark(self) -> None:
        """Send a mark and wait until it is seen."""
        # Distinct lengths tell the marks apart; the destination is a neighbour that is not there.
        self._marks += 1
        packet = IP(src="10.254.254.254", dst="203.0.113.254") / UDP(sport=9, dport=4242) / Raw(bytes(self._marks))
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
def no_inner_source(sandbox: Sandbox) -> Iterator[LeakWatch]:
    """Fails when a packet with an inner source leaves by the gateway while the block runs."""
    watch = LeakWatch(sandbox.internet)
    try:
        watch.mark()
        yield watch
        assert watch.leaks() == []
    finally:
        watch.close()
