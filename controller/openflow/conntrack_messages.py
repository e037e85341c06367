"""OpenFlow messages that flush conntrack entries (Nicira extension, nicira-ext.h)."""

from __future__ import annotations

import socket
import struct
from typing import Final

from controller.openflow import wire

_CT_FLUSH: Final = 32
_CT_FLUSH_ZONE: Final = 29


def flush(zone: int, source: str) -> bytes:
    """Forget the connections in `zone` that were opened from the IPv4 address `source` (NXT_CT_FLUSH, OVS 3.1).

    The switch walks all of its connections for each such message.
    """
    # Addresses go as IPv6; no protocol and no other field: any.
    address = b"\0" * 10 + b"\xff\xff" + socket.inet_aton(source)
    origin = wire.padded(struct.pack("!HH", 0, 4 + len(address)) + address)
    body = bytes(8) + struct.pack("!HH4x", 0, 8 + len(origin)) + origin + struct.pack("!HHH2x", 2, 8, zone)
    head = struct.pack("!BBHIII", wire.VERSION, wire.EXPERIMENTER, 16 + len(body), 0, wire.NICIRA, _CT_FLUSH)
    return head + body


def flush_zone(zone: int) -> bytes:
    """Forget the connections in `zone` (NXT_CT_FLUSH_ZONE); the switch walks all of its connections."""
    return struct.pack("!BBHIII6xH", wire.VERSION, wire.EXPERIMENTER, 24, 0, wire.NICIRA, _CT_FLUSH_ZONE, zone)
