"""Servers beyond a tunnel: who they are, that they are asked there and nowhere else, and for whom answers are kept."""

from __future__ import annotations

import asyncio
import secrets
import socket
from collections.abc import Iterator
from dataclasses import replace

import dns.message
import dns.rrset
import examples
import pytest
from name_server import NameServer

from resolver import message, upstream
from resolver.cache import AnswerCache
from resolver.decide import Ask, ForwardingServer, ResolverView
from resolver.message import Query
from resolver.upstream import Upstream
from state.model import Forwarding, Network

PORT = 20000 + secrets.randbelow(8000)
BRANCH, BUREAU = examples.BRANCH, examples.BUREAU
OFFICE_SERVER = "192.168.0.53"


def asked(name: str) -> Query:
    query = message.read(dns.message.make_query(name, "A", use_edns=0).to_wire())
    assert isinstance(query, Query)
    return query


def servers(network: Network, *addresses: str) -> tuple[ForwardingServer, ...]:
    """Whom the machines' questions for corp.example go to."""
    ruled = replace(network, dns_forwarding=(Forwarding("corp.example", addresses),))
    decided = ResolverView(ruled, examples.APPLIANCE).decide(asked("dc.corp.example").question)
    assert isinstance(decided, Ask)
    return decided.servers


@pytest.fixture(autouse=True)
def _hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upstream, "TRY_SECONDS", 0.1)
    monkeypatch.setattr(upstream, "ALL_SECONDS", 0.5)


@pytest.fixture
def first() -> Iterator[NameServer]:
    server = NameServer("127.0.6.1", port=PORT)
    yield server
    server.close()


@pytest.mark.parametrize("address", [OFFICE_SERVER, "10.77.0.1", "172.20.255.254"])
def test_a_server_in_a_remote_prefix_is_asked_in_the_gateways_namespace(address: str) -> None:
    assert servers(BRANCH, address) == (ForwardingServer(address, tunnel="sluice-vpn-7"),)


def test_networks_with_equal_offices_ask_each_by_its_own_tunnel() -> None:
    assert servers(BRANCH, OFFICE_SERVER) != servers(BUREAU, OFFICE_SERVER)
    assert servers(BUREAU, OFFICE_SERVER) == (ForwardingServer(OFFICE_SERVER, tunnel="sluice-vpn-8"),)


@pytest.mark.parametrize("network", [BUREAU, examples.OFFICE, examples.ISOLATED, replace(BRANCH, vpn=None)],
                         ids=lambda network: network.name)  # fmt: skip
def test_a_prefix_beyond_anothers_tunnel_is_nowhere(network: Network) -> None:
    assert servers(network, "10.77.0.1") == ()


def test_a_remote_prefix_of_the_internet_is_not_asked_from_the_host() -> None:
    assert BRANCH.vpn is not None
    hq = replace(BRANCH.vpn.connections[0], remote_prefixes=("192.0.2.0/24",))
    network = replace(BRANCH, vpn=replace(BRANCH.vpn, connections=(hq,)))
    assert [server.tunnel for server in servers(network, "192.0.2.53", "9.9.9.9")] == ["sluice-vpn-7", ""]


def test_a_machine_is_asked_as_a_machine() -> None:
    (server,) = servers(BRANCH, BRANCH.machines[1].address)
    assert (server.source, server.tunnel) == (BRANCH.router, "")


async def nowhere(_kind: socket.SocketKind, _place: str) -> socket.socket:
    raise AssertionError("not to be asked from there")


def test_it_is_asked_by_a_socket_of_the_namespace_over_udp_and_tcp(first: NameServer) -> None:
    opened: list[tuple[socket.SocketKind, str]] = []

    async def remote(kind: socket.SocketKind, namespace: str) -> socket.socket:
        opened.append((kind, namespace))
        return socket.socket(socket.AF_INET, kind | socket.SOCK_NONBLOCK)

    one = Upstream(nowhere, remote, PORT)
    server = ForwardingServer("127.0.6.1", tunnel="sluice-vpn-7")
    query = message.read(dns.message.make_query("large.example.com", "TXT", use_edns=0).to_wire())
    assert isinstance(query, Query)
    assert asyncio.run(one.ask(query, (server,))) is not None
    assert opened == [(socket.SOCK_DGRAM, "sluice-vpn-7"), (socket.SOCK_STREAM, "sluice-vpn-7")]


def test_without_the_namespace_it_is_silent_and_the_next_is_asked(first: NameServer) -> None:
    async def missing(_kind: socket.SocketKind, namespace: str) -> socket.socket:
        raise FileNotFoundError(namespace)

    one = Upstream(nowhere, missing, PORT)
    gone = ForwardingServer("127.0.6.1", tunnel="sluice-vpn-7")
    assert asyncio.run(one.ask(asked("www.example.com"), (gone,))) is None
    assert first.heard == []
    assert asyncio.run(one.ask(asked("www.example.com"), (gone, ForwardingServer("127.0.6.1")))) is not None
    assert len(first.heard) == 1


def test_what_it_said_is_kept_for_its_network_and_its_gateway_alone() -> None:
    memory = AnswerCache()
    query = asked("dc.corp.example")
    wire = dns.message.make_response(dns.message.from_wire(message.ask(query, 7)))
    wire.answer = [dns.rrset.from_text("dc.corp.example.", 30, "IN", "A", "192.168.0.9")]
    answered = message.understand(wire.to_wire(), query, 7)
    assert answered is not None
    said = answered.reply
    mine = servers(BRANCH, OFFICE_SERVER)
    memory.keep(asked("dc.corp.example"), mine, said, 1000.0)
    assert memory.recall(asked("dc.corp.example"), mine, 1001.0) is not None
    assert BRANCH.vpn is not None
    later = replace(BRANCH, vpn=replace(BRANCH.vpn, created_at=BRANCH.vpn.created_at + 1))
    for others in (servers(BUREAU, OFFICE_SERVER), servers(later, OFFICE_SERVER), (ForwardingServer(OFFICE_SERVER),)):
        assert memory.recall(asked("dc.corp.example"), others, 1001.0) is None
