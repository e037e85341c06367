"""Answers questions about a network's own names.

A machine is HOSTNAME.NETWORK.DOMAIN, and its address names it in return. The
zones exist for each network by itself: of the names of others there is no trace.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import dns.name
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rrset
from dns.rcode import Rcode
from dns.rdatatype import RdataType
from dns.rdtypes.ANY.HINFO import HINFO
from dns.rdtypes.ANY.NS import NS
from dns.rdtypes.ANY.PTR import PTR
from dns.rdtypes.ANY.SOA import SOA
from dns.rdtypes.IN.A import A
from dns.rdtypes.IN.AAAA import AAAA

from state.model import Network

IN = dns.rdataclass.IN
TTL = 10
"""Seconds others may remember an answer, or that there is none: a renamed machine is soon known."""

_REFRESH, _RETRY, _EXPIRE = 3600, 600, 86400

Labels = tuple[bytes, ...]
"""A name's labels in lower case, the most specific first, without the root."""


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked, of class IN: `name` as it was written, `labels` as it is compared."""

    name: dns.name.Name
    labels: Labels
    kind: RdataType


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer by its sections; `own` where it is said with authority."""

    rcode: Rcode
    answer: tuple[dns.rrset.RRset, ...] = ()
    authority: tuple[dns.rrset.RRset, ...] = ()
    additional: tuple[dns.rrset.RRset, ...] = ()
    own: bool = False


def labels_of(name: str) -> Labels:
    """The labels of a name written without the dot at its end; none for the root."""
    return tuple(label.lower().encode() for label in name.split(".") if label)


def _private_reverse() -> Iterator[Labels]:
    arpa = (b"in-addr", b"arpa")
    yield from ((first, *arpa) for first in (b"0", b"10", b"127"))
    yield from ((str(second).encode(), b"172", *arpa) for second in range(16, 32))
    yield from ((str(second).encode(), b"100", *arpa) for second in range(64, 128))
    yield (b"168", b"192", *arpa)
    yield (b"254", b"169", *arpa)
    yield (b"255", b"255", b"255", b"255", *arpa)
    ip6 = (b"ip6", b"arpa")
    yield from (zone + ip6 for zone in ((b"c", b"f"), (b"d", b"f")))
    yield from ((digit, b"e", b"f", *ip6) for digit in (b"8", b"9", b"a", b"b"))


PRIVATE_REVERSE = frozenset(_private_reverse())
"""Zones of private addresses: nobody outside knows of them, and nobody is asked (RFC 6303, RFC 7793)."""

_LOCALHOST: Labels = (b"localhost",)
SPECIAL_USE = frozenset(
    {_LOCALHOST, (b"local",), (b"onion",), (b"test",), (b"invalid",), (b"home", b"arpa"), (b"resolver", b"arpa")}
)
"""Names that are never in the DNS of the Internet, so that nobody there is told who asks for them.

RFC 6761 (localhost, test, invalid), RFC 6762 (local), RFC 7686 (onion), RFC 8375
(home.arpa), RFC 9462 (resolver.arpa). A network's forwarding rule for such a
name, or one in it such as corp.local, comes first.
"""


class Zones:
    """The zones of one network: its own, its prefix's, and those above them, which hold nothing else."""

    def __init__(self, network: Network, domain: str) -> None:
        above = labels_of(domain)
        prefix, _, length = network.prefix.partition("/")
        octets = prefix.split(".")[: int(length) // 8]
        self._network = network
        self._own: Labels = (network.name.lower().encode(), *above)
        self._reverse: Labels = (*(octet.encode() for octet in reversed(octets)), b"in-addr", b"arpa")
        self._apexes = {self._own, self._reverse, above}
        self._addresses = {machine.hostname.lower().encode(): machine.address for machine in network.machines}
        self._hostnames = {machine.address: machine.hostname for machine in network.machines}

    def holds(self, apex: Labels) -> bool:
        """Whether a zone of that name is answered from here."""
        return apex in self._apexes or apex in PRIVATE_REVERSE or apex in SPECIAL_USE

    def answer(self, question: Question, apex: Labels) -> Reply:
        """The answer to a question about a name in the zone `apex`, which `holds` knows."""
        inner = question.labels[: len(question.labels) - len(apex)]
        if apex == _LOCALHOST and apex not in self._apexes:
            return self._loopback(question, apex)
        if not inner:
            return self._at_apex(question, apex)
        if apex == self._own:
            address = self._addresses.get(inner[0]) if len(inner) == 1 else None
            return self._found(question, apex, None if address is None else _record(A, address))
        if apex == self._reverse:
            return self._address(question, apex)
        # The zone of the network is in that of all, and that of its prefix may be in one of RFC 6303.
        if any(zone[-len(question.labels) :] == question.labels for zone in (self._own, self._reverse)):
            return self._none(question, apex)
        return self._none(question, apex, exists=False)

    def _at_apex(self, question: Question, apex: Labels) -> Reply:
        records: dict[RdataType, dns.rdata.Rdata] = {RdataType.SOA: self._soa()}
        if apex in (self._own, self._reverse):
            records[RdataType.NS] = _record(NS, _name(self._own))
        if apex == self._own:
            records[RdataType.A] = _record(A, self._network.router)
        found = records.get(question.kind)
        if found is None and question.kind is not RdataType.ANY:
            return self._none(question, apex)
        return self._found(question, apex, found or records[RdataType.SOA])

    def _loopback(self, question: Question, apex: Labels) -> Reply:
        """localhost and all in it are the asker itself (RFC 6761 section 6.3)."""
        found = _record(AAAA, "::1") if question.kind is RdataType.AAAA else _record(A, "127.0.0.1")
        return self._found(question, apex, found)

    def _address(self, question: Question, apex: Labels) -> Reply:
        """A name in the prefix's reverse zone: four labels make an address, fewer are on the way to some."""
        octets = question.labels[: -len((b"in-addr", b"arpa"))]
        text = ".".join(octet.decode("ascii", "replace") for octet in reversed(octets))
        if len(octets) < 4:
            return self._none(question, apex, exists=any(a.startswith(f"{text}.") for a in self._hostnames))
        target = None
        if text == self._network.router:
            target = _name(self._own)
        elif text in self._hostnames:
            target = _name((self._hostnames[text].encode(), *self._own))
        return self._found(question, apex, None if target is None else _record(PTR, target))

    def _found(self, question: Question, apex: Labels, record: dns.rdata.Rdata | None) -> Reply:
        if record is None:
            return self._none(question, apex, exists=False)
        if question.kind is RdataType.ANY:
            # One record instead of all (RFC 8482 section 4.2).
            record = _record(HINFO, b"RFC8482", b"")
        elif question.kind is not record.rdtype:
            return self._none(question, apex)
        return Reply(Rcode.NOERROR, (dns.rrset.from_rdata(question.name, TTL, record),), own=True)

    def _none(self, question: Question, apex: Labels, *, exists: bool = True) -> Reply:
        """Nothing of that kind, or no such name; the zone's SOA says for how long (RFC 2308)."""
        inner = len(question.labels) - len(apex)
        # As it was written, so that the name is compressed and its case kept.
        zone = dns.name.Name(question.name.labels[inner:])
        authority = (dns.rrset.from_rdata(zone, TTL, self._soa()),)
        return Reply(Rcode.NOERROR if exists else Rcode.NXDOMAIN, authority=authority, own=True)

    def _soa(self) -> dns.rdata.Rdata:
        serial = self._network.revision & 0xFFFFFFFF
        contact = dns.name.Name((b"hostmaster", *self._own, b""))
        return _record(SOA, _name(self._own), contact, serial, _REFRESH, _RETRY, _EXPIRE, TTL)


def _name(labels: Labels) -> dns.name.Name:
    return dns.name.Name((*labels, b""))


def _record(kind: type[dns.rdata.Rdata], *fields: object) -> dns.rdata.Rdata:
    """A record's data; the library's constructors have no types."""
    make: Callable[..., dns.rdata.Rdata] = kind
    return make(IN, RdataType[kind.__name__], *fields)
