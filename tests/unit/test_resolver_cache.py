"""What is remembered of other servers, how long, and for whom."""

from __future__ import annotations

import dns.message
import dns.rcode
import dns.rrset
import pytest

from resolver import message
from resolver.cache import LONGEST_NOTHING, LONGEST_SECONDS, AnswerCache
from resolver.decide import ForwardingServer
from resolver.message import Query
from resolver.relay import Relayed

SERVERS = (ForwardingServer("192.0.2.53"),)
SOA = "ns.example. hostmaster.example. 1 3600 600 86400 40"


def asked(name: str = "www.example", kind: str = "A", *, dnssec: bool = False, flags: str = "RD") -> Query:
    wire = dns.message.make_query(name, kind, want_dnssec=dnssec)
    wire.flags = dns.flags.from_text(flags)
    query = message.read(wire.to_wire())
    assert isinstance(query, Query)
    return query


def reply(*records: str, rcode: str = "NOERROR", authority: tuple[str, ...] = ()) -> Relayed:
    """What a server says by records as `NAME TTL TYPE DATA`."""

    def rrset(record: str) -> dns.rrset.RRset:
        name, ttl, kind, data = record.split(" ", 3)
        return dns.rrset.from_text(name, int(ttl), "IN", kind, data)

    query = asked()
    said = dns.message.make_response(dns.message.from_wire(message.ask(query, 7)))
    said.set_rcode(dns.rcode.from_text(rcode))
    said.answer, said.authority = list(map(rrset, records)), list(map(rrset, authority))
    found = message.understand(said.to_wire(), query, 7)
    assert found is not None
    return found.reply


def kept_for(said: Relayed, query: Query | None = None) -> int:
    """Seconds a reply is remembered."""
    memory, query = AnswerCache(), query or asked()
    memory.keep(query, SERVERS, said, 1000.0)
    return next(second for second in range(1000) if memory.recall(query, SERVERS, 1000.0 + second) is None)


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        (reply("www.example. 30 A 198.51.100.1"), 30),
        (reply("www.example. 30 CNAME a.example.", "a.example. 20 A 198.51.100.1"), 20),
        (reply("www.example. 30 A 198.51.100.1", authority=("example. 10 NS ns.example.",)), 10),
        (reply("www.example. 86400 A 198.51.100.1"), LONGEST_SECONDS),
        (reply("www.example. 0 A 198.51.100.1"), 0),
        (reply(rcode="NXDOMAIN", authority=(f"example. 900 SOA {SOA}",)), 40),
        (reply(rcode="NXDOMAIN", authority=(f"example. 15 SOA {SOA}",)), 15),
        (reply(rcode="NXDOMAIN", authority=(f"example. 900 SOA {SOA.removesuffix('40')}900",)), LONGEST_NOTHING),
        (reply(authority=(f"example. 900 SOA {SOA}",)), 40),
        (reply("www.example. 5 CNAME a.example.", authority=(f"example. 900 SOA {SOA}",)), 5),
        # Without an SOA nobody knows for how long there is nothing (RFC 2308 section 5).
        (reply(rcode="NXDOMAIN"), 0),
        (reply(), 0),
        (reply("www.example. 5 CNAME a.example."), 0),
        (reply("www.example. 30 A 198.51.100.1", rcode="SERVFAIL"), 0),
        (reply(rcode="REFUSED", authority=(f"example. 900 SOA {SOA}",)), 0),
    ],
)
def test_how_long(said: Relayed, seconds: int) -> None:
    assert kept_for(said) == seconds


def test_what_is_left_of_the_time_is_said() -> None:
    memory = AnswerCache()
    memory.keep(asked(), SERVERS, reply("www.example. 30 A 198.51.100.1"), 1000.0)
    for age, left in ((0.4, 30), (1.0, 29), (29.9, 1), (3.0, 27)):
        found = memory.recall(asked("WWW.Example"), SERVERS, 1000.0 + age)
        assert found is not None
        answer = dns.message.from_wire(message.write(asked("WWW.Example"), found)).answer
        assert [str(rrset) for rrset in answer] == [f"WWW.Example. {left} IN A 198.51.100.1"]


def test_only_the_same_question_of_the_same_servers() -> None:
    memory = AnswerCache()
    memory.keep(asked(), SERVERS, reply("www.example. 30 A 198.51.100.1"), 1000.0)
    for query, servers in (
        (asked("mail.example"), SERVERS),
        (asked(kind="AAAA"), SERVERS),
        (asked(dnssec=True), SERVERS),
        (asked(flags="RD CD"), SERVERS),
        (asked(), (ForwardingServer("192.0.2.54"),)),
        (asked(), (ForwardingServer("192.0.2.53", "10.0.0.1"),)),
        (asked(), (*SERVERS, *SERVERS)),
    ):
        assert memory.recall(query, servers, 1000.0) is None
    assert memory.recall(asked(), SERVERS, 1000.0) is not None


def test_nothing_of_servers_inside_a_network() -> None:
    memory, inside = AnswerCache(), (ForwardingServer("240.1.0.5", "10.0.0.1"), ForwardingServer("9.9.9.9"))
    memory.keep(asked(), inside, reply("www.example. 30 A 10.0.0.9"), 1000.0)
    assert memory.recall(asked(), inside, 1000.0) is None


def test_the_oldest_go_first() -> None:
    memory = AnswerCache(3)
    said = reply("www.example. 30 A 198.51.100.1")
    for name in ("a", "b", "c", "a", "d"):
        memory.keep(asked(name), SERVERS, said, 1000.0)
    kept = [name for name in "abcd" if memory.recall(asked(name), SERVERS, 1001.0)]
    assert kept == ["a", "c", "d"]
