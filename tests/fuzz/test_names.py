"""Any bytes at all from machines and servers: never an exception, never an answer that is not one."""

from __future__ import annotations

from dataclasses import replace

import dns.flags
import dns.message
import dns.name
import examples
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resolver import message
from resolver.decide import Ask, ResolverView
from resolver.message import TCP_SIZE, UDP_SIZE, Query, Refusal
from resolver.zone import Reply
from state.model import Forwarding

settings.register_profile("names", max_examples=400, deadline=None)
settings.load_profile("names")

APPLIANCE = replace(examples.APPLIANCE, dns_upstream=("192.0.2.53",))
VIEW = ResolverView(replace(examples.OFFICE, dns_forwarding=(Forwarding("corp", ("9.9.9.9",)),)), APPLIANCE)

labels = st.binary(min_size=1, max_size=20) | st.sampled_from(
    [b"internal", b"office", b"office1", b"in-addr", b"arpa", b"10", b"0", b"2", b"corp", b"shop", b"web1"]
)
names = st.lists(labels, max_size=8).map(lambda parts: dns.name.Name((*parts, b"")))
questions = st.builds(
    lambda name, kind, edns, size: dns.message.make_query(name, kind, id=7, use_edns=edns, payload=size).to_wire(),
    names, st.integers(0, 65535), st.sampled_from([None, 0, 1]), st.integers(0, 65535),
)  # fmt: skip


@st.composite
def damaged(draw: st.DrawFn, whole: st.SearchStrategy[bytes]) -> bytes:
    """A message with some bytes changed, or cut, or longer."""
    wire = bytearray(draw(whole))
    for _ in range(draw(st.integers(0, 6))):
        wire[draw(st.integers(0, len(wire) - 1))] = draw(st.integers(0, 255))
    return bytes(wire[: draw(st.integers(0, len(wire)) | st.just(len(wire)))]) + draw(st.binary(max_size=8))


def respond(wire: bytes, limit: int) -> bytes:
    """What a machine is told, where nobody else has to be asked."""
    query = message.read(wire)
    if isinstance(query, Refusal):
        return query.wire
    decided = VIEW.decide(query.question)
    return b"" if isinstance(decided, Ask) else message.write(query, decided, limit)


@given(st.binary(max_size=600) | questions | damaged(questions), st.sampled_from([UDP_SIZE, TCP_SIZE]))
def test_machines_may_send_what_they_want(wire: bytes, limit: int) -> None:
    answer = respond(wire, limit)
    if answer:
        assert answer[:2] == wire[:2]
        assert answer[2] & 0x80
        assert not wire[2] & 0x80
        assert len(answer) <= (UDP_SIZE if limit == UDP_SIZE else TCP_SIZE)
        # Never a reason to go on talking.
        assert isinstance(message.read(answer), Refusal)
        assert respond(answer, limit) == b""


ASKED = message.read(dns.message.make_query("www.example.com", "A", use_edns=0).to_wire())
assert isinstance(ASKED, Query)


@st.composite
def answers(draw: st.DrawFn) -> bytes:
    made = dns.message.make_response(dns.message.from_wire(message.ask(ASKED, 7)))
    for section in (made.answer, made.authority, made.additional):
        for name in draw(st.lists(names, max_size=2)):
            rrset = dns.rrset.from_text_list(name, 60, "IN", "A", ["192.0.2.1", "192.0.2.2"])
            section.append(rrset)
    return made.to_wire()


# The library shuffles records when it writes them.
@pytest.mark.filterwarnings("ignore:Do not use the `random` module")
@given(st.binary(max_size=600) | answers() | damaged(answers()))
def test_servers_may_answer_what_they_want(wire: bytes) -> None:
    found = message.understand(wire, ASKED, 7)
    if found is None or found.reply.rcode > 15:
        return
    assert wire[:2] == b"\0\7"
    told = message.write(ASKED, found.reply)
    assert len(told) <= UDP_SIZE
    # Records go on as they came: what is in one of a type that the library knows is for the machine to judge.
    read = dns.message.from_wire(told, continue_on_error=True)
    assert read.question[0].name == ASKED.question.name


@given(questions)
def test_what_is_ours_is_never_asked_of_others(wire: bytes) -> None:
    query = message.read(wire)
    if isinstance(query, Refusal):
        return
    decided = VIEW.decide(query.question)
    last = query.question.labels[-1:]
    if last == (b"internal",) or query.question.labels[-3:] == (b"10", b"in-addr", b"arpa"):
        assert isinstance(decided, Reply)
