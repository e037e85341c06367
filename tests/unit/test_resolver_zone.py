"""A network's own names: what is answered, and what there is none of."""

from __future__ import annotations

from dataclasses import replace

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import examples
import pytest

from resolver import message
from resolver.decide import Ask, ForwardingServer, ResolverView
from resolver.message import TCP_SIZE, UDP_SIZE, Query, Refusal
from resolver.zone import TTL, Reply
from state.model import Attachment, Forwarding, Network

APPLIANCE = replace(examples.APPLIANCE, dns_upstream=("192.0.2.53",))
OFFICE = replace(examples.OFFICE, revision=77)
VIEW = ResolverView(OFFICE, APPLIANCE)
WEB = ResolverView(examples.ISOLATED, APPLIANCE)


def read(wire: bytes) -> Query:
    query = message.read(wire)
    assert isinstance(query, Query)
    return query


def asked(name: str, kind: str = "A", **more: int) -> Query:
    return read(dns.message.make_query(name, kind, **more).to_wire())  # type: ignore[arg-type]


def answer(name: str, kind: str = "A", view: ResolverView = VIEW) -> dns.message.Message:
    query = asked(name, kind, use_edns=0)
    decided = view.decide(query.question)
    assert isinstance(decided, Reply), decided
    return dns.message.from_wire(message.write(query, decided))


def records(found: dns.message.Message) -> list[str]:
    return [line for rrset in found.answer for line in rrset.to_text().splitlines()]


def outcome(name: str, kind: str = "A", view: ResolverView = VIEW) -> str:
    found = answer(name, kind, view)
    if found.answer:
        return "found"
    # RFC 2308: nothing there is said with the SOA.
    assert [rrset.rdtype for rrset in found.authority] == [dns.rdatatype.SOA]
    assert found.authority[0].ttl == TTL
    return "nodata" if found.rcode() == dns.rcode.NOERROR else dns.rcode.to_text(found.rcode()).lower()


@pytest.mark.parametrize(
    ("name", "kind", "expected"),
    [
        ("office2.office.internal", "A", f"office2.office.internal. {TTL} IN A 10.0.0.3"),
        ("oFFice2.OFFice.InterNal", "A", f"oFFice2.OFFice.InterNal. {TTL} IN A 10.0.0.3"),
        ("office.internal", "A", f"office.internal. {TTL} IN A 10.0.0.1"),
        ("office.internal", "NS", f"office.internal. {TTL} IN NS office.internal."),
        ("3.0.0.10.in-addr.arpa", "PTR", f"3.0.0.10.in-addr.arpa. {TTL} IN PTR office2.office.internal."),
        ("1.0.0.10.in-addr.arpa", "PTR", f"1.0.0.10.in-addr.arpa. {TTL} IN PTR office.internal."),
        ("3.0.0.10.IN-ADDR.arpa", "PTR", f"3.0.0.10.IN-ADDR.arpa. {TTL} IN PTR office2.office.internal."),
        ("office2.office.internal", "ANY", f'office2.office.internal. {TTL} IN HINFO "RFC8482" ""'),
        ("3.0.0.10.in-addr.arpa", "ANY", f'3.0.0.10.in-addr.arpa. {TTL} IN HINFO "RFC8482" ""'),
        ("office.internal", "ANY", f'office.internal. {TTL} IN HINFO "RFC8482" ""'),
    ],
)
def test_what_there_is(name: str, kind: str, expected: str) -> None:
    found = answer(name, kind)
    assert records(found) == [expected]
    assert found.flags & dns.flags.AA
    assert found.question[0].name.to_text(omit_final_dot=True) == name


def test_the_soa_grows_with_the_network() -> None:
    for apex in ("office.internal", "0.10.in-addr.arpa", "internal", "16.172.in-addr.arpa"):
        (soa,) = records(answer(apex, "SOA"))
        assert soa == f"{apex}. {TTL} IN SOA office.internal. hostmaster.office.internal. 77 3600 600 86400 {TTL}"


@pytest.mark.parametrize(
    ("name", "kind", "expected"),
    [
        ("office2.office.internal", "AAAA", "nodata"),
        ("office2.office.internal", "PTR", "nodata"),
        ("office2.office.internal", "HINFO", "nodata"),
        ("office.internal", "AAAA", "nodata"),
        ("internal", "A", "nodata"),
        ("internal", "NS", "nodata"),
        ("3.0.0.10.in-addr.arpa", "A", "nodata"),
        ("0.0.10.in-addr.arpa", "PTR", "nodata"),
        ("0.10.in-addr.arpa", "PTR", "nodata"),
        ("10.in-addr.arpa", "PTR", "nodata"),
        ("nobody.office.internal", "A", "nxdomain"),
        ("nobody.office.internal", "ANY", "nxdomain"),
        ("a.office2.office.internal", "A", "nxdomain"),
        ("web1.web1.internal", "A", "nxdomain"),
        ("web1.internal", "A", "nxdomain"),
        ("shop1.shop.internal", "A", "nxdomain"),
        ("office2.shop.internal", "A", "nxdomain"),
        ("9.0.0.10.in-addr.arpa", "PTR", "nxdomain"),
        ("7.0.10.in-addr.arpa", "PTR", "nxdomain"),
        ("x.3.0.0.10.in-addr.arpa", "PTR", "nxdomain"),
        ("x.0.10.in-addr.arpa", "PTR", "nxdomain"),
        ("\\255.0.0.10.in-addr.arpa", "PTR", "nxdomain"),
        ("03.0.0.10.in-addr.arpa", "PTR", "nxdomain"),
        ("6.0.16.172.in-addr.arpa", "PTR", "nxdomain"),
        ("1.1.168.192.in-addr.arpa", "PTR", "nxdomain"),
        ("1.0.0.127.in-addr.arpa", "PTR", "nxdomain"),
        ("1.0.64.100.in-addr.arpa", "PTR", "nxdomain"),
    ],
)
def test_what_there_is_not(name: str, kind: str, expected: str) -> None:
    assert outcome(name, kind) == expected


def test_an_isolated_machine_knows_itself_and_nobody_else() -> None:
    assert records(answer("web1.web1.internal", view=WEB)) == [f"web1.web1.internal. {TTL} IN A 172.16.0.6"]
    assert records(answer("6.0.16.172.in-addr.arpa", "PTR", WEB))[0].endswith("PTR web1.web1.internal.")
    assert outcome("10.0.16.172.in-addr.arpa", "PTR", WEB) == "nxdomain"
    assert outcome("web2.web2.internal", view=WEB) == "nxdomain"
    assert outcome("office2.office.internal", view=WEB) == "nxdomain"


@pytest.mark.parametrize("name", ["www.example.com", "example", ".", "internal.example.com", "4.3.2.9.in-addr.arpa",
                                  "notinternal", "1.100.in-addr.arpa"])  # fmt: skip
def test_all_else_is_asked_upstream(name: str) -> None:
    assert VIEW.decide(asked(name).question) == Ask((ForwardingServer("192.0.2.53"),))


def ruled(*rules: tuple[str, str], network: Network = OFFICE) -> ResolverView:
    return ResolverView(
        replace(network, dns_forwarding=tuple(Forwarding(domain, (server,)) for domain, server in rules)), APPLIANCE
    )


def server_for(view: ResolverView, name: str) -> str:
    decided = view.decide(asked(name).question)
    return decided.servers[0].address if isinstance(decided, Ask) else "own"


def test_the_longest_domain_counts() -> None:
    view = ruled(("corp.example", "9.0.0.1"), ("ad.corp.example", "9.0.0.2"), ("10.in-addr.arpa", "9.0.0.3"))
    assert server_for(view, "corp.example") == "9.0.0.1"
    assert server_for(view, "x.CORP.example") == "9.0.0.1"
    assert server_for(view, "dc.ad.corp.example") == "9.0.0.2"
    assert server_for(view, "xcorp.example") == "192.0.2.53"
    assert server_for(view, "1.2.3.10.in-addr.arpa") == "9.0.0.3"
    # The network's own prefix is longer.
    assert server_for(view, "3.0.0.10.in-addr.arpa") == "own"
    assert server_for(view, "office2.office.internal") == "own"


def test_a_networks_own_rule_counts_before_the_zones_made_for_it() -> None:
    view = ruled(("0.10.in-addr.arpa", "9.0.0.1"), ("internal", "9.0.0.2"))
    assert server_for(view, "3.0.0.10.in-addr.arpa") == "9.0.0.1"
    assert server_for(view, "other.internal") == "9.0.0.2"
    assert server_for(view, "office2.office.internal") == "own"
    assert server_for(VIEW, "other.internal") == "own"


def test_a_server_in_the_network_is_asked_from_its_router() -> None:
    view = ruled(("corp.example", "10.0.0.3"))
    decided = view.decide(asked("x.corp.example").question)
    assert decided == Ask((ForwardingServer(OFFICE.machines[1].transit, "10.0.0.1"),))


@pytest.mark.parametrize(
    "server",
    ["10.0.0.1", "10.0.0.200", "10.9.9.9", "127.0.0.1", "198.18.0.1", "203.0.113.2", "203.0.113.64", "172.16.0.6",
     "169.254.169.254", "192.168.1.1", "240.3.25.254"],
)  # fmt: skip
def test_what_a_machine_may_not_reach_is_not_asked_for_it(server: str) -> None:
    """The resolver asks from the host, which reaches the host's own networks."""
    assert ruled(("corp.example", server)).decide(asked("x.corp.example").question) == Ask(())


def test_hostnames_are_compared_without_case() -> None:
    machine = replace(OFFICE.machines[0], hostname="DB1")
    view = ResolverView(replace(OFFICE, machines=(machine,)), APPLIANCE)
    assert outcome("db1.office.internal", view=view) == "found"
    assert records(answer("2.0.0.10.in-addr.arpa", "PTR", view))[0].endswith("PTR DB1.office.internal.")


def test_a_domain_of_the_operators_own() -> None:
    view = ResolverView(OFFICE, replace(APPLIANCE, domain="cloud.example"))
    assert outcome("office2.office.cloud.example", view=view) == "found"
    assert outcome("x.cloud.example", view=view) == "nxdomain"
    assert isinstance(view.decide(asked("x.example").question), Ask)
    assert isinstance(view.decide(asked("office2.office.internal").question), Ask)


def refusal(wire: bytes) -> tuple[str, dns.message.Message | None]:
    found = message.read(wire)
    assert isinstance(found, Refusal), found
    return found.what, dns.message.from_wire(found.wire) if found.wire else None


def test_what_is_no_question_gets_no_answer() -> None:
    wire = dns.message.make_query("a.example", "A").to_wire()
    for silent in (b"", wire[:11], wire[:2] + bytes([wire[2] | 0x80]) + wire[3:]):
        assert refusal(silent)[1] is None


def test_errors_say_whose_question_it_was() -> None:
    wire = dns.message.make_query("a.example", "A", id=0x1234).to_wire()
    for broken, expected in (
        (wire[:-1], dns.rcode.FORMERR),
        (wire + b"x", dns.rcode.FORMERR),
        (wire[:4] + b"\0\0" + wire[6:12], dns.rcode.FORMERR),
        (wire[:4] + b"\0\2" + wire[6:] + wire[12:], dns.rcode.FORMERR),
        (wire[:2] + b"\x10\0" + wire[4:], dns.rcode.NOTIMP),
        (wire[:2] + b"\x28\0" + wire[4:], dns.rcode.NOTIMP),
    ):
        found = message.read(broken)
        assert isinstance(found, Refusal)
        assert (found.wire[:2], found.wire[2] & 0x80, found.wire[3] & 0xF) == (b"\x12\x34", 0x80, expected)


@pytest.mark.parametrize(
    ("kind", "expected"), [("AXFR", "REFUSED"), ("IXFR", "REFUSED"), ("MAILB", "NOTIMP"), ("TKEY", "NOTIMP")]
)
def test_questions_nobody_answers(kind: str, expected: str) -> None:
    if kind == "IXFR":
        wire = dns.message.make_query("office.internal", "A").to_wire()
        wire = wire[:-4] + b"\0\xfb" + wire[-2:]
    else:
        wire = dns.message.make_query("office.internal", kind).to_wire()
    _, found = refusal(wire)
    assert found is not None
    assert dns.rcode.to_text(found.rcode()) == expected


@pytest.mark.parametrize("rdclass", ["CH", "ANY", "HS"])
def test_only_the_internet_class(rdclass: str) -> None:
    _, found = refusal(dns.message.make_query("version.bind", "TXT", rdclass).to_wire())
    assert found is not None
    assert found.rcode() == dns.rcode.REFUSED
    assert found.question[0].name == dns.name.from_text("version.bind")


def test_edns_is_answered_with_edns() -> None:
    reply = VIEW.decide(asked("office2.office.internal").question)
    assert isinstance(reply, Reply)
    plain = dns.message.from_wire(message.write(asked("office2.office.internal"), reply))
    assert plain.edns == -1
    query = read(dns.message.make_query("office2.office.internal", "A", use_edns=0, payload=4096, want_dnssec=True,
                                        options=[dns.edns.GenericOption(65001, b"x")]).to_wire())  # fmt: skip
    found = dns.message.from_wire(message.write(query, reply))
    assert (found.edns, found.payload, found.options) == (0, UDP_SIZE, ())
    assert found.ednsflags & dns.flags.DO
    _, refused = refusal(dns.message.make_query("office2.office.internal", "A", use_edns=1).to_wire())
    assert refused is not None
    assert (refused.rcode(), refused.edns) == (dns.rcode.BADVERS, 0)


def test_flags() -> None:
    query = dns.message.make_query("office2.office.internal", "A")
    query.flags = dns.flags.Flag.CD | dns.flags.AD
    reply = VIEW.decide(read(query.to_wire()).question)
    assert isinstance(reply, Reply)
    found = dns.message.from_wire(message.write(read(query.to_wire()), reply))
    assert found.flags == dns.flags.QR | dns.flags.AA | dns.flags.RA | dns.flags.CD
    assert found.id == query.id


@pytest.mark.parametrize(
    ("size", "limit", "most"),
    [
        (None, UDP_SIZE, 512),
        (100, UDP_SIZE, 512),
        (800, UDP_SIZE, 800),
        (4096, UDP_SIZE, 1232),
        (None, TCP_SIZE, 65535),
    ],
)
def test_what_does_not_fit_is_cut(size: int | None, limit: int, most: int) -> None:
    more = {} if size is None else {"use_edns": 0, "payload": size}
    query = asked("large.example", "TXT", **more)
    rrset = dns.rrset.from_text("large.example.", 60, "IN", "TXT", *(f'"{n:03} {"x" * 200}"' for n in range(20)))
    wire = message.write(query, Reply(dns.rcode.NOERROR, (rrset,)), limit)
    found = dns.message.from_wire(wire)
    assert len(wire) <= most
    assert bool(found.flags & dns.flags.TC) == (limit == UDP_SIZE)
    assert len(found.answer) == (limit == TCP_SIZE)


def test_an_answer_fits_into_a_packet_of_the_network() -> None:
    assert ResolverView(replace(OFFICE, mtu=1500), APPLIANCE).udp_size == UDP_SIZE
    assert ResolverView(replace(OFFICE, mtu=576), APPLIANCE).udp_size == 548
    rrset = dns.rrset.from_text("large.example.", 60, "IN", "TXT", *(f'"{n:03} {"x" * 200}"' for n in range(20)))
    query = asked("large.example", "TXT", use_edns=0, payload=4096)
    wire = message.write(query, Reply(dns.rcode.NOERROR, (rrset,)), 548)
    assert len(wire) <= 548
    assert dns.message.from_wire(wire).flags & dns.flags.TC


def test_what_is_asked_of_others() -> None:
    sent = dns.message.from_wire(message.ask(asked("A.example", use_edns=0, payload=512), 0x4711))
    assert (sent.id, sent.flags, sent.payload) == (0x4711, dns.flags.RD, UDP_SIZE)
    assert sent.question[0].name.to_text() == "A.example."


def test_only_answers_to_the_question_are_believed() -> None:
    query = asked("www.example.com")
    right = dns.message.make_response(dns.message.from_wire(message.ask(query, 7)))
    right.answer.append(dns.rrset.from_text("www.example.com.", 60, "IN", "A", "198.51.100.1"))
    good = message.understand(right.to_wire(), query, 7)
    assert good is not None
    told = dns.message.from_wire(message.write(query, good.reply))
    assert [str(rrset) for rrset in told.answer] == ["www.example.com. 60 IN A 198.51.100.1"]
    assert not told.flags & dns.flags.AA
    other = dns.message.make_response(dns.message.make_query("www.example.net", "A", id=7))
    kind = dns.message.make_response(dns.message.make_query("www.example.com", "AAAA", id=7))
    nothing = dns.message.make_response(dns.message.from_wire(message.ask(query, 7)))
    nothing.question = []
    for wrong in (other.to_wire(), kind.to_wire(), nothing.to_wire(), message.ask(query, 7), right.to_wire()[:-1],
                  b"", right.to_wire() + b"x"):  # fmt: skip
        assert message.understand(wrong, query, 7) is None
    assert message.understand(right.to_wire(), query, 8) is None


def test_a_machine_without_its_port_still_has_its_name() -> None:
    machine = replace(OFFICE.machines[0], attachment=Attachment("nowhere"))
    view = ResolverView(replace(OFFICE, machines=(machine,)), APPLIANCE)
    assert outcome("office1.office.internal", view=view) == "found"


@pytest.mark.parametrize("name", ["localhost", "a.LocalHost"])
def test_localhost_is_who_asks(name: str) -> None:
    assert records(answer(name)) == [f"{name}. {TTL} IN A 127.0.0.1"]
    assert records(answer(name, "AAAA")) == [f"{name}. {TTL} IN AAAA ::1"]
    assert outcome(name, "MX") == "nodata"


@pytest.mark.parametrize(
    "name", ["printer.local", "x.onion", "x.test", "a.b.invalid", "tv.home.arpa", "_dns.resolver.arpa"]
)
def test_names_of_special_use_are_asked_of_nobody(name: str) -> None:
    assert outcome(name) == "nxdomain"


def test_a_forwarding_rule_in_a_name_of_special_use_comes_first() -> None:
    rules = (Forwarding("corp.local", ("198.18.0.53",)), Forwarding("test", ("9.9.9.9",)))
    view = ResolverView(replace(OFFICE, dns_forwarding=rules), APPLIANCE)
    assert isinstance(view.decide(asked("dc.corp.local").question), Ask)
    assert view.decide(asked("x.test").question) == Ask((ForwardingServer("9.9.9.9"),))
    assert outcome("printer.local", view=view) == "nxdomain"


def test_names_that_only_look_so_are_asked() -> None:
    for name in ("localhost.example", "mylocal", "test.example", "arpa", "example.arpa"):
        assert VIEW.decide(asked(name).question) == Ask((ForwardingServer("192.0.2.53"),))
