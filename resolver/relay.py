"""Relays answers of other servers without interpreting their records.

A tenant chooses servers, and names in an answer may point at one another so
that 16 KB take seconds to expand. Here the cost of an answer grows with its
bytes alone: names are stepped over, and go to the asker as they came. That
works because the question in front is as long as the one that was asked, so
that compressed names still point to the right place (RFC 1035 section 4.1.4).
"""

from __future__ import annotations

import struct
from collections import Counter
from dataclasses import dataclass, replace

from dns.rdatatype import RdataType

HEADER = struct.Struct("!HHHHHH")
ANSWER, AUTHORITY, ADDITIONAL = range(3)
# Type, class, TTL and the length of the data.
_FIXED = struct.Struct("!HHIH")
_TTL = struct.Struct("!I")
_TYPE_AND_CLASS = 4
_LONGEST_LABEL, _LONGEST_NAME = 63, 255
_POINTER = 0xC0
_EXTENDED_RCODE_SHIFT = 20
# A TTL with its highest bit set is zero (RFC 2181 section 8).
_LONGEST_TTL = 0x7FFFFFFF


class MalformedError(ValueError):
    """The bytes are no DNS message."""


@dataclass(frozen=True, slots=True)
class ResourceRecord:
    """Where a record is in the body: where its TTL stands and where it ends. `minimum` is that of an SOA."""

    section: int
    kind: int
    ttl: int
    ttl_at: int
    end: int
    minimum: int | None = None


@dataclass(frozen=True, slots=True)
class Relayed:
    """What another server said: its records without EDNS, as the bytes behind the question."""

    rcode: int
    body: bytes = b""
    records: tuple[ResourceRecord, ...] = ()

    def aged(self, seconds: int) -> Relayed:
        """The same after some time."""
        body = bytearray(self.body)
        for record in self.records:
            _TTL.pack_into(body, record.ttl_at, max(0, record.ttl - seconds))
        return replace(self, body=bytes(body))

    def within(self, room: int) -> tuple[bytes, tuple[int, int, int], bool]:
        """As many whole records as fit, how many there are of each section, and whether one was left out that counts.

        What is additional may be missing and nobody is told (RFC 2181 section 9).
        """
        fitting = [record for record in self.records if record.end <= room]
        counts = Counter(record.section for record in fitting)
        cut = any(record.section != ADDITIONAL for record in self.records[len(fitting) :])
        body = self.body[: fitting[-1].end] if fitting else b""
        return body, (counts[ANSWER], counts[AUTHORITY], counts[ADDITIONAL]), cut


def question_end(wire: bytes) -> int:
    """Where the one question of a message ends, whose name is not compressed. Raises MalformedError."""
    end = _name_end(wire, HEADER.size, compressed=False) + _TYPE_AND_CLASS
    if end > len(wire):
        raise MalformedError("the question is not whole")
    return end


def read_records(wire: bytes, start: int) -> Relayed:
    """The records behind a question that ends at `start`. Raises MalformedError."""
    _, flags, _, *counts = HEADER.unpack_from(wire)
    rcode, found, body, edns = flags & 0xF, [], bytearray(), False
    at = start
    for section, count in enumerate(counts):
        for _ in range(count):
            data_at, (kind, _, ttl, length) = _fields(wire, at)
            end = data_at + length
            if end > len(wire):
                raise MalformedError("a record is not whole")
            if kind == RdataType.OPT:
                if edns or section != ADDITIONAL:
                    raise MalformedError("EDNS twice, or in the wrong place")
                rcode |= ttl >> _EXTENDED_RCODE_SHIFT & 0xFF0
                edns = True
            elif not edns:
                # What is behind EDNS, and can only be additional, would move with what it points to.
                body += wire[at:end]
                minimum = _minimum(wire, data_at, end) if kind == RdataType.SOA and section == AUTHORITY else None
                real = ttl if ttl <= _LONGEST_TTL else 0
                ttl_at = data_at - _FIXED.size + _TYPE_AND_CLASS - start
                found.append(ResourceRecord(section, kind, real, ttl_at, end - start, minimum))
            at = end
    if at != len(wire):
        raise MalformedError("there is more than the header says")
    return Relayed(rcode, bytes(body), tuple(found))


def _fields(wire: bytes, at: int) -> tuple[int, tuple[int, int, int, int]]:
    """Where the data of the record at `at` begins, and the fixed fields before it."""
    after = _name_end(wire, at)
    if after + _FIXED.size > len(wire):
        raise MalformedError("a record is not whole")
    return after + _FIXED.size, _FIXED.unpack_from(wire, after)


def _name_end(wire: bytes, at: int, *, compressed: bool = True) -> int:
    """Where the name at `at` ends; what it points to is not looked at."""
    start = at
    while at < len(wire) and at - start < _LONGEST_NAME:
        length = wire[at]
        if not length:
            return at + 1
        if compressed and length >= _POINTER:
            return at + 2
        if length > _LONGEST_LABEL:
            raise MalformedError("a label is too long, or compressed where none may be")
        at += 1 + length
    raise MalformedError("a name is too long, or not whole")


def _minimum(wire: bytes, at: int, end: int) -> int:
    """The last field of an SOA."""
    if end - at < _TTL.size:
        raise MalformedError("an SOA is not whole")
    found: int = _TTL.unpack_from(wire, end - _TTL.size)[0]
    return found
