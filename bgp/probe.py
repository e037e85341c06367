"""Probes the peer of a link through the kernel: its Ethernet address, and its answer to TCP."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import select
import socket
import struct
from pathlib import Path

from daemons.namespaces import NetworkNamespace

# A handshake on a link takes milliseconds; lost packets are sent again after 1 s.
_SILENT_SECONDS = 1.5
_COMPLETE = 0x2
_BGP = 179
# <linux/sockios.h>, and struct arpreq of arp(7): two addresses, flags, a mask, and the device.
_SIOCDARP, _ARPREQ = 0x8953, "=HH4s8x16xi16x16s"
_MD5 = ("TCPMD5Failure", "TCPMD5NotFound", "TCPMD5Unexpected")


def arp(process: Path, address: str) -> tuple[bool | None, str]:
    """Whether an address answers ARP (None: nobody asked), and its Ethernet address, in a process's namespace."""
    with contextlib.suppress(OSError):
        for line in (process / "net/arp").read_text().splitlines()[1:]:
            found, _, flags, mac, *_ = line.split()
            if found == address:
                complete = bool(int(flags, 16) & _COMPLETE)
                return complete, mac if complete else ""
    return None, ""


def md5_refused(process: Path) -> tuple[int, int, int]:
    """Segments refused in a process's namespace: signed by another password, not signed, signed unexpectedly."""
    with contextlib.suppress(OSError, ValueError):
        lines = (process / "net/netstat").read_text().splitlines()
        found = dict(zip(lines[0].split(), lines[1].split(), strict=False))
        one, two, three = (int(found.get(name, 0)) for name in _MD5)
        return one, two, three
    return 0, 0, 0


class Probe:
    """Tries now and then whether a peer answers ARP and TCP to BGP's port, without a password; sends no data."""

    def __init__(self, namespace: NetworkNamespace, device: str) -> None:
        self._namespace, self._device = namespace, device.encode()
        self._link: socket.socket | None = None
        self._began = 0.0
        self.result = ""

    def look(self, local: str, peer: str, now: float, every: float) -> None:
        """Begin to try, unless it was begun less than `every` seconds ago, or see what came of it. Raises OSError."""
        if self._link is None and now >= self._began + every:
            self._link = self._namespace.within(lambda: socket.socket(socket.AF_INET))
            self._began = now
            self._link.setblocking(False)
            # No words at the end either: a reset.
            self._link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
            with contextlib.suppress(OSError):
                self._link.bind((local, 0))
                # What is remembered of the peer may be older than what happened to it.
                request = struct.pack(_ARPREQ, socket.AF_INET, 0, socket.inet_aton(peer), 0, self._device)
                fcntl.ioctl(self._link, _SIOCDARP, request)
            if self._link.connect_ex((peer, _BGP)) not in (errno.EINPROGRESS, 0):
                self._end("silent")
        if self._link is not None:
            waiting = select.poll()
            waiting.register(self._link, select.POLLOUT)
            if waiting.poll(0):
                code = self._link.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                self._end({0: "open", errno.ECONNREFUSED: "refused"}.get(code, "silent"))
            elif now > self._began + _SILENT_SECONDS:
                self._end("silent")

    def forget(self) -> None:
        """Give up, and know nothing."""
        self._end("")

    def _end(self, result: str) -> None:
        if self._link is not None:
            self._link.close()
            self._link = None
        self.result = result
