"""What other servers answer goes on as it came, at a cost that grows with its bytes alone."""

from __future__ import annotations

import contextlib
import struct
import sys
from collections.abc import Callable
from types import FrameType

import dns.message
import dns.rrset
import pytest
from dns.flags import Flag
from hypothesis import given
from hypothesis import strategies as st

from resolver import message
from resolver.message import TCP_SIZE, Query, Refusal
from resolver.relay import MalformedError, read_records

HEADER = struct.Struct("!HHHHHH")
# 127 labels of one octet: the longest name there is.
LONG_NAME = b"\1a" * 127 + b"\0"
LONG_QUESTION = LONG_NAME + struct.pack("!HH", 1, 1)
NS, OPT, UNKNOWN = 2, 41, 65281
STEPS_AN_OCTET = 4
"""Lines of code that may run for each octet of a message."""


def records(room: int, kind: int) -> tuple[bytes, int]:
    """Records whose owners, and targets if they are NS, point into the long name; and how many fit in `room` octets."""
    found, count = bytearray(), 0
    while True:
        data = struct.pack("!H", 0xC000 | HEADER.size + 2 * (count // 40 % 40)) if kind == NS else b""
        owner = struct.pack("!H", 0xC000 | HEADER.size + 2 * (count % 40))
        record = owner + struct.pack("!HHIH", kind, 1, 60, len(data)) + data
        if len(found) + len(record) > room:
            return bytes(found), count
        found += record
        count += 1


def lines_run(work: Callable[[], object]) -> int:
    """Lines of Python that ran: a measure of time that is the same on every machine."""
    count = 0

    def trace(_frame: FrameType, event: str, _argument: object) -> Callable[..., object]:
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
    return count


@pytest.mark.parametrize("kind", [NS, UNKNOWN])
@pytest.mark.parametrize("size", [512, 1232, 16000, 65535])
def test_a_question_with_records_is_refused_before_they_are_read(size: int, kind: int) -> None:
    more, count = records(size - HEADER.size - len(LONG_QUESTION), kind)
    for counts in ((1, 0, 0, count), (1, count, 0, 0), (1, 0, count, 0), (count, 0, 0, 0)):
        wire = HEADER.pack(7, Flag.RD, *counts) + LONG_QUESTION + more

        def read(wire: bytes = wire) -> None:
            found = message.read(wire)
            assert isinstance(found, Refusal)
            assert found.what == "formerr"

        assert lines_run(read) < 600


def test_options_of_a_question_cost_nothing() -> None:
    def read(options: int) -> None:
        added = struct.pack("!HH", 65001, 0) * options
        edns = struct.pack("!BHHIH", 0, OPT, 1232, 0, len(added)) + added
        query = message.read(HEADER.pack(7, Flag.RD, 1, 0, 0, 1) + LONG_QUESTION + edns)
        assert isinstance(query, Query)
        assert query.size == 1232

    read(0)
    assert lines_run(lambda: read(16000)) == lines_run(lambda: read(1))


@pytest.mark.parametrize("kind", [NS, UNKNOWN])
@pytest.mark.parametrize("section", [0, 1, 2])
def test_an_answer_costs_what_its_octets_do(kind: int, section: int) -> None:
    query = message.read(HEADER.pack(7, Flag.RD, 1, 0, 0, 0) + LONG_QUESTION)
    assert isinstance(query, Query)
    more, count = records(16000, kind)
    counts = [0, 0, 0]
    counts[section] = count
    wire = HEADER.pack(7, Flag.QR, 1, *counts) + LONG_QUESTION + more

    def pass_on() -> None:
        found = message.understand(wire, query, 7)
        assert found is not None
        assert message.write(query, found.reply.aged(1), TCP_SIZE)

    assert lines_run(pass_on) < STEPS_AN_OCTET * len(wire)


NAMES = st.lists(st.sampled_from(["www", "a", "b", "mail"]), max_size=4).map(
    lambda labels: ".".join([*labels, "example."])
)
RECORDS = st.one_of(
    st.tuples(NAMES, st.just("A"), st.just("198.51.100.1")),
    st.tuples(NAMES, st.just("CNAME"), NAMES),
    st.tuples(NAMES, st.just("MX"), NAMES.map(lambda name: f"10 {name}")),
    st.tuples(NAMES, st.just("TXT"), st.just('"some text"')),
    st.tuples(NAMES, st.just("SOA"), NAMES.map(lambda name: f"{name} {name} 1 2 3 4 50")),
)


def rrsets(rows: list[tuple[str, str, str]]) -> list[dns.rrset.RRset]:
    return [dns.rrset.from_text(name, 60, "IN", kind, data) for name, kind, data in rows]


@given(name=NAMES, sections=st.tuples(*[st.lists(RECORDS, max_size=5)] * 3), edns=st.booleans(), age=st.integers(0, 90))
def test_records_are_those_the_server_sent(
    name: str, sections: tuple[list[tuple[str, str, str]], ...], edns: bool, age: int
) -> None:
    asked = dns.message.make_query(name, "A", use_edns=0 if edns else None)
    query = message.read(asked.to_wire())
    assert isinstance(query, Query)
    said = dns.message.make_response(dns.message.from_wire(message.ask(query, 9)))
    said.answer, said.authority, said.additional = map(rrsets, sections)
    found = message.understand(said.to_wire(), query, 9)
    assert found is not None
    told = dns.message.from_wire(message.write(query, found.reply.aged(age), TCP_SIZE))
    assert (told.id, told.question, told.edns >= 0) == (asked.id, asked.question, edns)
    sent = dns.message.from_wire(said.to_wire())
    for before, after in zip(
        (sent.answer, sent.authority, sent.additional), (told.answer, told.authority, told.additional), strict=True
    ):
        assert before == after
        assert {rrset.ttl for rrset in after} <= {max(0, 60 - age)}


@pytest.mark.parametrize("limit", [512, 600, 1232])
def test_what_does_not_fit_is_left_out_and_said(limit: int) -> None:
    asked = dns.message.make_query("www.example.", "TXT", use_edns=0, payload=limit)
    query = message.read(asked.to_wire())
    assert isinstance(query, Query)
    said = dns.message.make_response(asked)
    said.answer = [dns.rrset.from_text_list("www.example.", 60, "IN", "TXT", [f'"{n:0100}"' for n in range(20)])]
    found = message.understand(said.to_wire(max_size=TCP_SIZE), query, asked.id)
    assert found is not None
    wire = message.write(query, found.reply, limit)
    told = dns.message.from_wire(wire)
    assert len(wire) <= limit
    assert told.flags & Flag.TC
    assert 0 < len(told.answer[0]) < 20
    # Of what is additional nobody is told.
    said.answer, said.additional = [], [dns.rrset.from_text_list("a.example.", 60, "IN", "TXT", [f'"{"x" * 200}"'] * 1)]
    said.additional += [dns.rrset.from_text(f"b{n}.example.", 60, "IN", "TXT", f'"{"x" * 200}"') for n in range(20)]
    found = message.understand(said.to_wire(max_size=TCP_SIZE), query, asked.id)
    assert found is not None
    told = dns.message.from_wire(message.write(query, found.reply, limit))
    assert not told.flags & Flag.TC
    assert told.additional


@given(st.binary(max_size=200))
def test_whatever_comes_is_read_or_malformed(octets: bytes) -> None:
    wire = HEADER.pack(7, Flag.QR, 1, 2, 2, 2) + LONG_QUESTION + octets
    with contextlib.suppress(MalformedError):
        read_records(wire, HEADER.size + len(LONG_QUESTION))
