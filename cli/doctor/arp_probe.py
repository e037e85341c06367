"""An ARP probe, RFC 5227 section 2.1.1: asks who has an address, and changes no neighbour's cache."""

from __future__ import annotations

import socket
import struct
import time
from pathlib import Path

_ARP = 0x0806
_HEADER = struct.Struct("!6s6sHHHBBH6s4s6s4s")
_REQUEST, _REPLY = 1, 2
_TRIES, _SECONDS = 3, 1.0
_FRAME = 2048


def request(mac: bytes, address: str) -> bytes:
    """The frame of a probe: its sender address is all zero."""
    return _HEADER.pack(b"\xff" * 6, mac, _ARP, 1, 0x0800, 6, 4, _REQUEST, mac, bytes(4), bytes(6),
                        socket.inet_aton(address))  # fmt: skip


def sender_of(frame: bytes, address: str) -> str:
    """The MAC of an ARP reply from `address`; empty for any other frame."""
    if len(frame) < _HEADER.size:
        return ""
    fields = _HEADER.unpack_from(frame)
    if (fields[2], fields[7], fields[9]) != (_ARP, _REPLY, socket.inet_aton(address)):
        return ""
    return str(fields[8].hex(":"))


def probe(port: str, address: str) -> str:
    """The MAC that answers for `address` on the link of `port`; empty after 3 s of silence. Raises OSError."""
    mac = bytes.fromhex(Path("/sys/class/net", port, "address").read_text().strip().replace(":", ""))
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ARP)) as link:
        link.bind((port, _ARP))
        for _ in range(_TRIES):
            link.send(request(mac, address))
            until = time.monotonic() + _SECONDS
            while (left := until - time.monotonic()) > 0:
                link.settimeout(left)
                try:
                    if found := sender_of(link.recv(_FRAME), address):
                        return found
                except TimeoutError:
                    break
    return ""
