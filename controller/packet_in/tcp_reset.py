"""The TCP reset of a host on which nothing listens (RFC 9293 section 3.10.7.1)."""

from __future__ import annotations

import struct

from controller.packet_in.packet import TCP, Ipv4, checksum, pseudo_header

_TCP = struct.Struct("!HHIIBBHHH")
_FIN, _SYN, _RST, _ACK = 0x01, 0x02, 0x04, 0x10


def reset(segment: Ipv4) -> bytes | None:
    """The segment that answers `segment`, None where it is a reset itself or malformed."""
    if len(segment.payload) < _TCP.size:
        return None
    source, destination, sequence, acknowledged, offset, flags, *_ = _TCP.unpack_from(segment.payload)
    header = (offset >> 4) * 4
    if flags & _RST or not _TCP.size <= header <= len(segment.payload):
        return None
    if flags & _ACK:
        numbers, answer = (acknowledged, 0), _RST
    else:
        length = len(segment.payload) - header + bool(flags & _SYN) + bool(flags & _FIN)
        numbers, answer = (0, (sequence + length) & 0xFFFFFFFF), _RST | _ACK
    data = _TCP.pack(destination, source, *numbers, 0x50, answer, 0, 0, 0)
    total = checksum(pseudo_header(segment.destination, segment.source, TCP, len(data)) + data)
    return data[:16] + total.to_bytes(2, "big") + data[18:]
