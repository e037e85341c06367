"""OpenFlow 1.4 messages of groups (section 7.3.4.3)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

from controller.openflow import wire
from controller.pipeline.groups import Group

MULTIPART_GROUP_DESC: Final = 7
GROUP_MOD: Final = 15
_ADD, _MODIFY, _DELETE = 0, 1, 2
_FAST_FAILOVER: Final = 3
_ANY_GROUP: Final = 0xFFFFFFFF
_MOD = struct.Struct("!HBxI")
_BUCKET = struct.Struct("!HHII4x")
_DESCRIPTION = struct.Struct("!HBxI")


def buckets(group: Group) -> bytes:
    """The buckets of a group, as they are sent and as they come back."""
    found = b""
    for bucket in group.buckets:
        actions = wire.actions(bucket.actions)
        found += _BUCKET.pack(_BUCKET.size + len(actions), 0, bucket.watch, _ANY_GROUP) + actions
    return found


def add(number: int, body: bytes) -> bytes:
    """A new group with these `buckets`."""
    return _message(_ADD, number, body)


def modify(number: int, body: bytes) -> bytes:
    """Other buckets for a group that exists; flows that use it follow at once."""
    return _message(_MODIFY, number, body)


def delete(number: int) -> bytes:
    """Remove a group; the switch removes the flows that still use it, too."""
    return _message(_DELETE, number, b"")


def description_request(xid: int) -> bytes:
    """Ask for the buckets of all groups."""
    return wire.HEADER.pack(wire.VERSION, wire.MULTIPART_REQUEST, 16, xid) + struct.pack(
        "!HH4x", MULTIPART_GROUP_DESC, 0
    )


def descriptions(message: bytes) -> Iterator[tuple[int, bytes]]:
    """Ids and buckets in one part of the reply."""
    at = 16
    while at < len(message):
        size, _, number = _DESCRIPTION.unpack_from(message, at)
        yield number, message[at + _DESCRIPTION.size : at + size]
        at += size


def _message(command: int, number: int, body: bytes) -> bytes:
    size = wire.HEADER.size + _MOD.size + len(body)
    head = wire.HEADER.pack(wire.VERSION, GROUP_MOD, size, 0)
    return head + _MOD.pack(command, _FAST_FAILOVER, number) + body
