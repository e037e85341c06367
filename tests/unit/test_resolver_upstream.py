"""Asking other servers: who is believed, who is asked next, and when it ends."""

from __future__ import annotations

import asyncio
import itertools
import secrets
import socket
import time
from collections.abc import Iterator

import dns.message
import dns.rcode
import dns.rrset
import pytest
from name_server import Address, NameServer

from resolver import message, upstream
from resolver.decide import ForwardingServer
from resolver.message import TCP_SIZE, Query
from resolver.relay import Relayed
from resolver.upstream import Upstream

PORT = 20000 + secrets.randbelow(8000)
FIRST, SECOND, NOBODY = ForwardingServer("127.0.5.1"), ForwardingServer("127.0.5.2"), ForwardingServer("127.0.5.3")


def asked(name: str, kind: str = "A") -> Query:
    query = message.read(dns.message.make_query(name, kind, use_edns=0).to_wire())
    assert isinstance(query, Query)
    return query


@pytest.fixture
def first() -> Iterator[NameServer]:
    server = NameServer(FIRST.address, port=PORT)
    yield server
    server.close()


@pytest.fixture
def second() -> Iterator[NameServer]:
    server = NameServer(SECOND.address, port=PORT)
    yield server
    server.close()


@pytest.fixture(autouse=True)
def _hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upstream, "TRY_SECONDS", 0.1)
    monkeypatch.setattr(upstream, "ALL_SECONDS", 0.5)


async def _nobody_inside(_kind: socket.SocketKind, _source: str) -> socket.socket:
    raise AssertionError("no server is inside")


def ask(query: Query, *servers: ForwardingServer, by: Upstream | None = None) -> Relayed | None:
    one = by or Upstream(_nobody_inside, _nobody_inside, PORT)
    return asyncio.run(one.ask(query, servers))


def answer(reply: Relayed, query: Query) -> list[dns.rrset.RRset]:
    """What an asker is told."""
    return dns.message.from_wire(message.write(query, reply, TCP_SIZE)).answer


def addresses(reply: Relayed | None) -> list[str]:
    if reply is None:
        return []
    return [str(record) for rrset in answer(reply, asked("www.example.com")) for record in rrset]


def test_an_answer(first: NameServer) -> None:
    assert addresses(ask(asked("www.example.com"), FIRST)) == ["198.51.100.1"]
    reply = ask(asked("nobody.example.com"), FIRST)
    assert reply is not None
    assert reply.rcode == dns.rcode.NXDOMAIN
    assert first.heard == ["www.example.com a", "nobody.example.com a"]


def test_what_was_cut_is_asked_again_over_tcp(first: NameServer) -> None:
    reply = ask(asked("large.example.com", "TXT"), FIRST)
    assert reply is not None
    assert len(answer(reply, asked("large.example.com", "TXT"))[0]) == 20


def test_a_silent_server_is_left_for_the_next_and_then_asked_last(first: NameServer, second: NameServer) -> None:
    first.answering = lambda *_: ()
    one = Upstream(_nobody_inside, _nobody_inside, PORT)
    assert addresses(ask(asked("www.example.com"), FIRST, SECOND, by=one)) == ["198.51.100.1"]
    assert addresses(ask(asked("www.example.com"), FIRST, SECOND, by=one)) == ["198.51.100.1"]
    assert (len(first.heard), len(second.heard)) == (1, 2)
    first.answering = first.honest
    # Where nobody else is, the silent one is asked.
    assert addresses(ask(asked("www.example.com"), FIRST, by=one)) == ["198.51.100.1"]
    ask(asked("www.example.com"), FIRST, SECOND, by=one)
    assert len(first.heard) == 3


def test_a_lost_question_is_asked_again(first: NameServer) -> None:
    def after_one(query: dns.message.Message, link: socket.socket, asker: Address) -> tuple[bytes, ...]:
        return tuple(first.honest(query, link, asker)) if len(first.heard) > 1 else ()

    first.answering = after_one
    assert addresses(ask(asked("www.example.com"), FIRST)) == ["198.51.100.1"]


def test_nobody_answers(first: NameServer) -> None:
    first.answering = lambda *_: ()
    began = time.monotonic()
    assert ask(asked("www.example.com"), FIRST, NOBODY) is None
    assert ask(asked("www.example.com")) is None
    assert time.monotonic() - began < 1
    assert len(first.heard) == 2


@pytest.mark.parametrize("rcode", ["SERVFAIL", "REFUSED", "NOTIMP", "FORMERR"])
def test_who_cannot_help_is_left_for_the_next(first: NameServer, second: NameServer, rcode: str) -> None:
    def refuse(query: dns.message.Message, _link: socket.socket, _asker: Address) -> tuple[bytes]:
        answer = dns.message.make_response(query)
        answer.set_rcode(dns.rcode.from_text(rcode))
        return (answer.to_wire(),)

    first.answering = refuse
    assert addresses(ask(asked("www.example.com"), FIRST, SECOND)) == ["198.51.100.1"]
    reply = ask(asked("www.example.com"), FIRST)
    assert reply is not None
    assert reply.rcode == dns.rcode.from_text(rcode)


def lie(query: dns.message.Message, **changed: object) -> bytes:
    answer = dns.message.make_response(query)
    answer.answer.append(dns.rrset.from_text(answer.question[0].name, 60, "IN", "A", "203.0.113.66"))
    for field, value in changed.items():
        setattr(answer, field, value)
    return answer.to_wire()


def test_lies_are_ignored_and_the_truth_is_still_heard(first: NameServer) -> None:
    def lies(query: dns.message.Message, link: socket.socket, asker: Address) -> list[bytes]:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            # The right id and question, from another address and from another port.
            stranger.bind((NOBODY.address, PORT))
            stranger.sendto(lie(query), asker)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            stranger.bind((FIRST.address, 0))
            stranger.sendto(lie(query), asker)
        other = dns.message.make_query("bank.example", "A", id=query.id)
        return [lie(query, id=query.id ^ 1), lie(other), query.to_wire(), b"", b"x" * 40, lie(query)[:-1],
                *first.honest(query, link, asker)]  # fmt: skip

    first.answering = lies
    assert addresses(ask(asked("www.example.com"), FIRST)) == ["198.51.100.1"]


def test_nothing_but_lies_is_no_answer(first: NameServer) -> None:
    first.answering = lambda query, *_: (lie(query, id=query.id ^ 1),) * 50
    assert ask(asked("www.example.com"), FIRST) is None


def test_ids_and_ports_are_not_guessed(first: NameServer) -> None:
    seen: list[tuple[int, int]] = []

    def note(query: dns.message.Message, link: socket.socket, asker: Address) -> tuple[bytes, ...]:
        seen.append((query.id, asker[1]))
        return tuple(first.honest(query, link, asker))

    first.answering = note
    for _ in range(40):
        ask(asked("www.example.com"), FIRST)
    assert len({number for number, _ in seen}) > 35
    assert len({port for _, port in seen}) > 30
    differences = {b - a for (a, _), (b, _) in itertools.pairwise(seen)}
    assert len(differences) > 30


def test_a_server_of_the_network_is_asked_from_its_router(first: NameServer) -> None:
    opened: list[str] = []

    async def inside(kind: socket.SocketKind, source: str) -> socket.socket:
        opened.append(source)
        made = socket.socket(socket.AF_INET, kind | socket.SOCK_NONBLOCK)
        made.bind(("127.0.5.9", 0))
        return made

    one = Upstream(inside, _nobody_inside, PORT)
    server = ForwardingServer(FIRST.address, "10.0.0.1")
    assert addresses(asyncio.run(one.ask(asked("www.example.com"), (server,)))) == ["198.51.100.1"]
    assert asyncio.run(one.ask(asked("large.example.com", "TXT"), (server,))) is not None
    assert opened == ["10.0.0.1"] * 3
