"""Rewrites an address of a datagram with every checksum that covers it."""

from __future__ import annotations

import socket

from controller.packet_in.packet import TCP, UDP, adjusted

SOURCE, DESTINATION = 12, 16
"""Where the addresses are in an IPv4 header."""

_HEADER_CHECKSUM = 10
_CHECKSUMS = {TCP: 16, UDP: 6}


def header_length(data: bytes) -> int | None:
    """Length of the IPv4 header `data` begins with, None where that is not there as a whole."""
    length = (data[0] & 0x0F) * 4 if data else 0
    return length if length >= 20 and data[0] >> 4 == 4 and len(data) >= length else None


def readdressed(datagram: bytes, at: int, address: str) -> bytes:
    """`datagram` with the address at `at` changed: the header's checksum and that of TCP or UDP follow.

    The datagram may be cut short after its header, as quotes in ICMP errors
    are. Raises ValueError where not even the header is whole.
    """
    length = header_length(datagram)
    if length is None:
        raise ValueError("no whole IPv4 header")
    changed = bytearray(datagram)
    old, new = datagram[at : at + 4], socket.inet_aton(address)
    changed[at : at + 4] = new
    _adjust(changed, _HEADER_CHECKSUM, old, new)
    protocol, offset = datagram[9], int.from_bytes(datagram[6:8], "big") & 0x1FFF
    place = _CHECKSUMS.get(protocol)
    if place is None or offset or len(datagram) < length + place + 2:
        return bytes(changed)
    place += length
    # A UDP checksum of zero means that there is none (RFC 768).
    if protocol != UDP or changed[place : place + 2] != b"\0\0":
        _adjust(changed, place, old, new)
        if protocol == UDP and changed[place : place + 2] == b"\0\0":
            changed[place : place + 2] = b"\xff\xff"
    return bytes(changed)


def _adjust(data: bytearray, at: int, old: bytes, new: bytes) -> None:
    value = adjusted(int.from_bytes(data[at : at + 2], "big"), old, new)
    data[at : at + 2] = value.to_bytes(2, "big")
