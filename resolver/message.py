"""DNS messages between bytes and values: what is asked, and how an answer is written (RFC 1035, RFC 6891)."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rdataclass
import dns.rdatatype
import dns.rrset
from dns.flags import EDNSFlag, Flag
from dns.opcode import Opcode
from dns.rcode import Rcode
from dns.rdatatype import RdataType

from resolver.relay import HEADER, MalformedError, Relayed, question_end, read_records
from resolver.zone import IN, Question, Reply

UDP_SIZE = 1232
"""Bytes of the largest message over UDP, asked for and sent: it passes everywhere without fragments."""

TCP_SIZE = 65535
CHECKING_DISABLED = Flag.CD
_SMALLEST = 512
# A root name, type OPT, the size, extended rcode, version and flags, and no options (RFC 6891 section 6.1.2).
_OPT = struct.Struct("!BHHIH")
_EDNS_VERSION = 0
# Zone transfers, and types that only make sense in a message of their own (RFC 6895 section 3.1).
_REFUSED = (RdataType.AXFR, RdataType.IXFR)
_FIRST_META, _LAST_META = 128, 255


@dataclass(frozen=True, slots=True)
class Query:
    """A question as it came. `size` is the largest answer the asker takes over UDP, None without EDNS."""

    id: int
    question: Question
    flags: int
    size: int | None = None
    dnssec: bool = False


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a message gets no answer but an error, or, where `wire` is empty, nothing at all."""

    what: str
    wire: bytes = b""


def read(wire: bytes) -> Query | Refusal:
    """What a message from a machine asks.

    Nothing is said to what is no question: two who answer each other's
    answers would never end.
    """
    if len(wire) < HEADER.size:
        return Refusal("malformed")
    number, flags, *counts = HEADER.unpack_from(wire)
    if flags & Flag.QR:
        return Refusal("response")
    if dns.opcode.from_flags(flags) is not Opcode.QUERY:
        return _refuse("notimp", Rcode.NOTIMP, number, flags)
    try:
        message = dns.message.from_wire(_plain(wire, counts))
    except (dns.exception.DNSException, ValueError):
        return _refuse("formerr", Rcode.FORMERR, number, flags)
    asked = message.question[0]
    question = Question(asked.name, tuple(label.lower() for label in asked.name.labels[:-1]), asked.rdtype)
    edns = message.edns >= 0
    size = max(_SMALLEST, message.payload) if edns else None
    query = Query(number, question, message.flags, size, bool(message.ednsflags & EDNSFlag.DO))
    if message.edns > _EDNS_VERSION:
        return Refusal("badvers", write(query, Reply(Rcode.BADVERS)))
    if asked.rdclass is not IN:
        return Refusal("refused", _echo(wire, asked, number, flags, Rcode.REFUSED))
    if asked.rdtype in _REFUSED:
        return Refusal("refused", write(query, Reply(Rcode.REFUSED)))
    if asked.rdtype is RdataType.OPT or (
        _FIRST_META <= asked.rdtype <= _LAST_META and asked.rdtype is not RdataType.ANY
    ):
        return Refusal("notimp", write(query, Reply(Rcode.NOTIMP)))
    return query


def _plain(wire: bytes, counts: Sequence[int]) -> bytes:
    """The message without options of EDNS, none of which is used. Raises MalformedError.

    Whatever else is in it is refused before anybody expands names: records in
    a question can be made to cost a second and more.
    """
    *records, additional = counts
    if records != [1, 0, 0] or additional > 1:
        raise MalformedError("not one question and EDNS")
    end = question_end(wire)
    if additional:
        root, kind, _, _, length = _OPT.unpack_from(wire.ljust(end + _OPT.size, b"\xff"), end)
        if root or kind != RdataType.OPT or end + _OPT.size + length != len(wire):
            raise MalformedError("not EDNS")
        return wire[: end + _OPT.size - 2] + bytes(2)
    return wire


def _refuse(what: str, rcode: Rcode, number: int, flags: int) -> Refusal:
    """An error by the header alone: the rest was not understood."""
    return Refusal(what, HEADER.pack(number, _error_flags(flags, rcode), 0, 0, 0, 0))


def _error_flags(flags: int, rcode: Rcode) -> int:
    return Flag.QR | flags & (0x7800 | Flag.RD) | rcode


def _echo(wire: bytes, asked: dns.rrset.RRset, number: int, flags: int, rcode: Rcode) -> bytes:
    length = len(asked.name.to_wire() or b"") + 4
    return HEADER.pack(number, _error_flags(flags, rcode), 1, 0, 0, 0) + wire[HEADER.size : HEADER.size + length]


def write(query: Query, reply: Reply | Relayed, limit: int = UDP_SIZE) -> bytes:
    """The answer to `query` in at most `limit` bytes; what does not fit is left out, and TC says so.

    Over UDP, where `limit` is at most UDP_SIZE, the asker's own limit holds as well.
    """
    if limit <= UDP_SIZE:
        limit = min(limit, query.size or _SMALLEST)
    if isinstance(reply, Relayed):
        return _relay(query, reply, limit)
    message = dns.message.QueryMessage(id=query.id)
    message.flags = Flag.QR | Flag.RA | query.flags & (Flag.RD | Flag.CD)
    if reply.own:
        message.flags |= Flag.AA
    if query.size is not None:
        message.use_edns(_EDNS_VERSION, _do(query), UDP_SIZE)
    message.set_rcode(reply.rcode)
    message.question = [dns.rrset.RRset(query.question.name, IN, query.question.kind)]
    message.answer = list(reply.answer)
    message.authority = list(reply.authority)
    message.additional = list(reply.additional)
    return message.to_wire(max_size=limit, prefer_truncation=True)


def _relay(query: Query, reply: Relayed, limit: int) -> bytes:
    question = _question_of(query)
    edns = b"" if query.size is None else _OPT.pack(0, RdataType.OPT, UDP_SIZE, _do(query), 0)
    body, (answer, authority, additional), cut = reply.within(limit - HEADER.size - len(question) - len(edns))
    flags = Flag.QR | Flag.RA | query.flags & (Flag.RD | Flag.CD) | (Flag.TC if cut else 0) | reply.rcode & 0xF
    return HEADER.pack(query.id, flags, 1, answer, authority, additional + bool(edns)) + question + body + edns


def _question_of(query: Query) -> bytes:
    return (query.question.name.to_wire() or b"") + struct.pack("!HH", query.question.kind, IN)


def _do(query: Query) -> int:
    return EDNSFlag.DO if query.dnssec else 0


def ask(query: Query, number: int) -> bytes:
    """The same question for another server, with another id."""
    # Always of this shape: several times as fast as by the library.
    header = HEADER.pack(number, Flag.RD | query.flags & Flag.CD, 1, 0, 0, 1)
    question = _question_of(query)
    edns = _OPT.pack(0, RdataType.OPT, UDP_SIZE, _do(query), 0)
    return header + question + edns


@dataclass(frozen=True, slots=True)
class Answered:
    """What another server said, in `size` bytes; `truncated`: not all of it."""

    reply: Relayed
    truncated: bool
    size: int


def understand(wire: bytes, query: Query, number: int) -> Answered | None:
    """What a server answered to `ask(query, number)`; None for what is no answer to that."""
    if len(wire) < HEADER.size:
        return None
    found, flags, questions, *_ = HEADER.unpack_from(wire)
    if found != number or not flags & Flag.QR or dns.opcode.from_flags(flags) is not Opcode.QUERY or questions > 1:
        return None
    try:
        end = question_end(wire) if questions else HEADER.size
        reply = read_records(wire, end)
    except MalformedError:
        return None
    if questions:
        asked = _question_of(query)
        if wire[HEADER.size : end - 4].lower() != asked[:-4].lower() or wire[end - 4 : end] != asked[-4:]:
            return None
    elif reply.rcode in (Rcode.NOERROR, Rcode.NXDOMAIN):
        return None
    else:
        # Names in its records, if any, would point to another place.
        reply = Relayed(reply.rcode)
    return Answered(reply, bool(flags & Flag.TC), len(wire))
