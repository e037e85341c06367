"""Fragments IPv4 packets, and fragments further (RFC 791 section 3.2)."""

from __future__ import annotations

import struct

from controller.packet_in.packet import Ipv4, with_checksum

_MINIMAL = 20
_COPIED = 0x80
_END, _NO_OPERATION = 0, 1
_MORE_FRAGMENTS = 0x2000


def fragments(packet: Ipv4, mtu: int) -> list[bytes]:
    """The datagrams, none above `mtu` bytes, that `packet` becomes.

    Just itself where it fits; none where `mtu` has no room for eight bytes
    after the header. Whether the packet may be fragmented is not looked at.
    """
    if len(packet.datagram) <= mtu:
        return [packet.datagram]
    found: list[bytes] = []
    header, at = packet.header, 0
    while at < len(packet.payload):
        room = (mtu - len(header)) // 8 * 8
        if room <= 0:
            return []
        data = packet.payload[at : at + room]
        more = packet.more or at + len(data) < len(packet.payload)
        found.append(_placed(header, packet.offset + at, more, len(data)) + data)
        at += len(data)
        header = _later_header(packet.header)
    return found


def _placed(header: bytes, offset: int, more: bool, length: int) -> bytes:
    total = struct.pack("!H", len(header) + length)
    place = struct.pack("!H", offset // 8 | (_MORE_FRAGMENTS if more else 0))
    return with_checksum(header[:2] + total + header[4:6] + place + header[8:], 10)


def _later_header(header: bytes) -> bytes:
    """The header of every fragment but the first: of the options only those marked as copied."""
    options, kept, at = header[_MINIMAL:], b"", 0
    while at < len(options) and options[at] != _END:
        kind = options[at]
        length = 1 if kind == _NO_OPERATION else int.from_bytes(options[at + 1 : at + 2], "big")
        if length == 0:
            break
        if kind & _COPIED:
            kept += options[at : at + length]
        at += length
    kept += bytes(-len(kept) % 4)
    return bytes((0x40 | (_MINIMAL + len(kept)) // 4,)) + header[1:_MINIMAL] + kept
