"""Names of others: asked upstream, or of the servers a network's own rules name."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import dns.message
import dns.rrset
import pytest
from appliance import RESOLVER
from digs import dig, told
from google.protobuf import field_mask_pb2
from machines import Machine
from name_server import Address, NameServer
from namespaces import within
from sandbox import CALL_SECONDS, Sandbox, Wanted
from sandboxes import Tenants, network_id
from supervisor import await_condition

from sluice.v1 import network_pb2

WWW = "198.51.100.1"
_numbers = itertools.count(1)


def fresh() -> str:
    """A name of the Internet, with the address WWW, that nobody has asked for yet."""
    return f"n{next(_numbers)}.any.example.com"


@dataclass(frozen=True, slots=True)
class Office:
    """A network with two machines."""

    network: str
    pc: Machine
    dc: Machine


def make_office(maker: Tenants) -> Office:
    network = network_id(maker.network("10.0.0.0/16"))
    return Office(network, *maker.machines([Wanted("", network), Wanted("", network)]))


@pytest.fixture(scope="module")
def office(maker: Tenants) -> Office:
    return make_office(maker)


@pytest.fixture(scope="module")
def rival(maker: Tenants) -> Office:
    return make_office(maker)


@pytest.fixture
def upstream(sandbox: Sandbox) -> Iterator[NameServer]:
    """The appliance's upstream, honest again after the test."""
    server = sandbox.upstream
    assert server is not None
    server.heard.clear()
    yield server
    server.answering = server.honest


def forward(sandbox: Sandbox, network: str, rules: dict[str, Sequence[str]]) -> None:
    """Give a network these rules and no others."""
    wanted = [network_pb2.DnsForwarding(domain=domain, servers=servers) for domain, servers in rules.items()]
    sandbox.networks.UpdateNetwork(
        network_pb2.UpdateNetworkRequest(
            network=network_pb2.Network(name=f"networks/{network}", dns_forwarding=wanted),
            update_mask=field_mask_pb2.FieldMask(paths=["dns_forwarding"]),
        ),
        timeout=CALL_SECONDS,
    )


@pytest.mark.parametrize("transport", ["+notcp", "+tcp"])
def test_names_of_the_internet(office: Office, upstream: NameServer, transport: str) -> None:
    name = fresh()
    said = told(office.pc, name, transport)
    assert (said.status, said.data) == ("NOERROR", [WWW])
    assert {"ra", "aa"} & said.flags == {"ra"}
    assert told(office.pc, name, "AAAA", transport).answer == ()
    assert told(office.pc, "mail.example.com", "MX", transport).data == ["10 www.example.com."]
    assert told(office.pc, "alias.example.com", transport).data == ["www.example.com."]
    assert told(office.pc, "nobody.example.com", transport).status == "NXDOMAIN"
    assert upstream.heard[:2] == [f"{name} a", f"{name} aaaa"]


def test_what_was_asked_a_moment_ago_is_remembered(office: Office, rival: Office, upstream: NameServer) -> None:
    name = fresh()
    assert told(office.pc, name).data == [WWW]
    upstream.answering = lambda *_: ()
    for machine in (office.pc, office.dc, rival.pc):
        assert told(machine, name).data == [WWW]
    assert upstream.heard == [f"{name} a"]
    upstream.answering = upstream.honest
    for _ in range(2):
        # What no datagram holds is not.
        assert len(told(office.pc, "large.example.com", "TXT", "+tcp").answer) == 20
    assert upstream.heard.count("large.example.com txt") == 2


def test_a_large_answer_is_cut_and_then_asked_for_over_tcp(office: Office) -> None:
    cut = told(office.pc, "large.example.com", "TXT", "+ignore")
    assert "tc" in cut.flags
    whole = told(office.pc, "large.example.com", "TXT")
    assert len(whole.answer) == 20
    assert "tc" not in whole.flags
    small = told(office.pc, "large.example.com", "TXT", "+ignore", "+noedns")
    assert "tc" in small.flags


def test_what_is_private_is_never_asked_outside(office: Office, upstream: NameServer) -> None:
    for question in (("-x", "192.168.3.4"), ("-x", "10.200.3.4"), ("-x", "172.20.0.1"), ("-x", "127.0.0.1"),
                     ("db1.other.internal",), ("other.internal", "SOA"), ("internal", "NS")):  # fmt: skip
        told(office.pc, *question)
    assert upstream.heard == []


@pytest.mark.alone
def test_a_silent_upstream_is_a_failure_in_time(office: Office, upstream: NameServer) -> None:
    upstream.answering = lambda *_: ()
    began = time.monotonic()
    assert told(office.pc, fresh()).status == "SERVFAIL"
    assert time.monotonic() - began < 4.5
    # What needs nobody else is answered all the while.
    began = time.monotonic()
    assert told(office.pc, f"{office.dc.name}.{office.network}.internal").data == [office.dc.address]
    assert time.monotonic() - began < 1


def test_a_slow_upstream_is_waited_for(office: Office, upstream: NameServer) -> None:
    def late(query: dns.message.Message, link: object, asker: Address) -> Sequence[bytes]:
        time.sleep(0.6)
        return upstream.honest(query, link, asker)  # type: ignore[arg-type]

    upstream.answering = late
    assert told(office.pc, fresh()).data == [WWW]


def test_lies_are_ignored(sandbox: Sandbox, office: Office, upstream: NameServer) -> None:
    def lies(query: dns.message.Message, link: object, asker: Address) -> Sequence[bytes]:
        def lie(about: dns.message.Message, number: int) -> bytes:
            made = dns.message.make_response(about)
            made.id = number
            made.answer.append(dns.rrset.from_text(made.question[0].name, 60, "IN", "A", "203.0.113.66"))
            return made.to_wire()

        other = dns.message.make_query("www.example.net", "A", id=query.id)
        return [lie(query, query.id ^ 1), lie(other, query.id), *upstream.honest(query, link, asker)]  # type: ignore[arg-type]

    upstream.answering = lies
    before = sandbox.appliance.metrics(RESOLVER)["sluice_names_ignored_total"]
    assert told(office.pc, fresh()).data == [WWW]
    assert sandbox.appliance.metrics(RESOLVER)["sluice_names_ignored_total"] == before + 2


@pytest.fixture
def controller(office: Office) -> Iterator[NameServer]:
    """A domain controller: a DNS server on a machine of the network."""
    names = {
        "files.corp.example": ("A 10.0.9.9",),
        "large.corp.example": tuple(f'TXT "{"y" * 200}{n}"' for n in range(20)),
        "9.9.0.10.in-addr.arpa": ("PTR files.corp.example.",),
    }
    server = NameServer("0.0.0.0", names, within=lambda call: within(office.dc.pid, call))
    yield server
    server.close()


@pytest.mark.alone
def test_a_server_in_the_network(
    sandbox: Sandbox, office: Office, rival: Office, controller: NameServer, upstream: NameServer
) -> None:
    forward(sandbox, office.network, {"corp.example": [office.dc.address]})
    try:
        await_condition(lambda: told(office.pc, "files.corp.example").data == ["10.0.9.9"], "rule in force", 1)
        # The server itself asks its router, and is asked by it.
        assert told(office.dc, "files.CORP.example").data == ["10.0.9.9"]
        assert told(office.pc, "no.corp.example").status == "NXDOMAIN"
        assert len(told(office.pc, "large.corp.example", "TXT").answer) == 20
        assert told(office.pc, fresh()).data == [WWW]
        assert not [name for name in upstream.heard if "corp" in name]
        heard = len(controller.heard)
        # The same question of another network, whose machine at that address is no such server.
        assert told(rival.pc, "files.corp.example").status == "NXDOMAIN"
        assert len(controller.heard) == heard
        assert upstream.heard[-1] == "files.corp.example a"
    finally:
        forward(sandbox, office.network, {})


@pytest.mark.alone
def test_the_longest_domain_counts(
    sandbox: Sandbox, office: Office, controller: NameServer, upstream: NameServer
) -> None:
    """A reverse zone of private addresses goes where a rule says, and the prefix's own stays here."""
    forward(sandbox, office.network, {"example": ["198.51.100.2"], "corp.example": [office.dc.address],
                                      "9.0.10.in-addr.arpa": [office.dc.address]})  # fmt: skip
    try:
        await_condition(lambda: told(office.pc, "files.corp.example").data == ["10.0.9.9"], "rule in force", 1)
        assert told(office.pc, "-x", "10.0.9.9").data == ["files.corp.example."]
        assert told(office.pc, "-x", office.dc.address).data == [f"{office.dc.name}.{office.network}.internal."]
    finally:
        forward(sandbox, office.network, {})


def test_a_server_that_is_down_is_a_failure_of_its_domain_only(sandbox: Sandbox, office: Office) -> None:
    forward(sandbox, office.network, {"corp.example": [office.dc.address]})
    try:
        await_condition(lambda: told(office.pc, "files.corp.example").status == "SERVFAIL", "rule in force", 6)
        assert told(office.pc, fresh()).data == [WWW]
    finally:
        forward(sandbox, office.network, {})


def test_names_go_on_without_controller_and_agent(sandbox: Sandbox, office: Office) -> None:
    for name in ("controller", "agent"):
        sandbox.appliance.stop(name)
    try:
        assert told(office.pc, fresh()).data == [WWW]
        assert told(office.pc, "-x", office.dc.address).status == "NOERROR"
    finally:
        for name in ("controller", "agent"):
            sandbox.appliance.start_one(name)
        sandbox.appliance.wait_ready()
    assert dig(office.pc, fresh()) is not None
