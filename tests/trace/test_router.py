"""The router's own address, ARP, and the TTL."""

from __future__ import annotations

import examples
import pytest
from tracer import BROADCAST, INTERNET, ROUTER_MAC, Tracer, arp, echo, ip, out_of, path

from controller.pipeline.registry import Table
from state.model import Kind, Machine, Network

WEB = examples.ISOLATED.machines[0]
OFFICE, SHOP = examples.OFFICE.machines, examples.SHOP.machines
MACHINES = [(network, machine) for network in examples.NETWORKS for machine in network.machines]
EACH = pytest.mark.parametrize(("network", "machine"), MACHINES, ids=lambda value: value.name)


@EACH
@pytest.mark.parametrize("mac", [BROADCAST, ROUTER_MAC], ids=["broadcast", "unicast"])
def test_arp_for_the_router(tracer: Tracer, network: Network, machine: Machine, mac: str) -> None:
    verdict = tracer.trace(arp(machine, network.router, mac=mac))
    assert verdict.tables == path("classify", "port-security", "arp", "arp-reply", "switch")
    assert verdict.output == out_of(machine)
    sent = verdict.final_flow
    assert (sent["dl_src"], sent["dl_dst"], sent["arp_op"]) == (ROUTER_MAC, machine.mac, "2")
    assert (sent["arp_sha"], sent["arp_spa"]) == (ROUTER_MAC, network.router)
    assert (sent["arp_tha"], sent["arp_tpa"]) == (machine.mac, machine.address)


@EACH
def test_arp_for_others_is_not_answered(tracer: Tracer, network: Network, machine: Machine) -> None:
    for target in (
        "10.0.0.200",
        "172.16.0.13",
        INTERNET,
        "203.0.113.1",
        "203.0.113.2",
        "203.0.113.64",
        machine.transit,
    ):
        if target != machine.address:
            verdict = tracer.trace(arp(machine, target))
            assert (verdict.output, verdict.dropped, verdict.dropped_by) == ((), "arp-unknown", network.key)
    verdict = tracer.trace(arp(machine, network.router, operation=2))
    assert (verdict.dropped, verdict.dropped_by) == ("arp-unknown", network.key)


@pytest.mark.parametrize(
    ("asker", "asked"),
    [(OFFICE[0], OFFICE[2]), (OFFICE[2], OFFICE[3]), (OFFICE[3], OFFICE[1]), (SHOP[0], SHOP[1]), (SHOP[1], SHOP[0])],
    ids=lambda machine: machine.name,
)
def test_arp_for_a_neighbour(tracer: Tracer, asker: Machine, asked: Machine) -> None:
    for mac in (BROADCAST, asked.mac):
        verdict = tracer.trace(arp(asker, asked.address, mac=mac))
        assert verdict.output == out_of(asker)
        sent = verdict.final_flow
        assert (sent["arp_sha"], sent["arp_spa"], sent["arp_op"]) == (asked.mac, asked.address, "2")
        assert (sent["dl_src"], sent["dl_dst"]) == (asked.mac, asker.mac)


@EACH
def test_a_probe_is_answered_as_a_request_is(tracer: Tracer, network: Network, machine: Machine) -> None:
    """RFC 5227 section 2.1.1: whoever has the address answers a request of 0.0.0.0."""
    others = [other for other in network.machines if other.attachment != machine.attachment]
    owners = [(network.router, ROUTER_MAC), *((other.address, other.mac) for other in others)]
    for address, mac in owners:
        verdict = tracer.trace(arp(machine, address, sender="0.0.0.0"))
        assert (verdict.output, verdict.dropped) == (out_of(machine), None)
        sent = verdict.final_flow
        assert (sent["arp_sha"], sent["arp_spa"], sent["arp_op"]) == (mac, address, "2")
    # Nobody else has its own address, and none of these counts as forged.
    own = tracer.trace(arp(machine, machine.address, sender="0.0.0.0"))
    assert (own.output, own.dropped) == ((), "same-segment" if network.kind is Kind.PRIVATE else "arp-probe")
    nobody = tracer.trace(arp(machine, "10.0.99.99", sender="0.0.0.0"))
    assert (nobody.output, nobody.dropped) == ((), "arp-probe")
    as_reply = tracer.trace(arp(machine, network.router, sender="0.0.0.0", operation=2))
    assert (as_reply.output, as_reply.dropped) == ((), "arp-sender")
    with_another_mac = arp(machine, network.router, sender="0.0.0.0").replace(machine.mac, "02:00:00:00:99:99", 1)
    assert tracer.trace(with_another_mac).dropped == "source-mac"


def test_arp_within_one_attachment_is_left_to_who_is_asked(tracer: Tracer) -> None:
    for asker, asked in ((OFFICE[0], OFFICE[1]), (OFFICE[1], OFFICE[0])):
        verdict = tracer.trace(arp(asker, asked.address))
        assert (verdict.output, verdict.dropped) == ((), "same-segment")


@EACH
def test_an_announcement_does_not_come_back(tracer: Tracer, network: Network, machine: Machine) -> None:
    """With the machine's MAC as sender it would have switches learn the MAC in the wrong place."""
    private = network.kind is Kind.PRIVATE
    verdict = tracer.trace(arp(machine, machine.address))
    assert (verdict.output, verdict.dropped) == ((), "same-segment" if private else "arp-unknown")
    assert tracer.trace(arp(machine, machine.address, operation=2)).dropped == "arp-unknown"


def test_arp_of_one_tenant_never_names_anothers_machine(tracer: Tracer) -> None:
    assert tracer.trace(arp(SHOP[0], "10.0.0.4")).dropped == "arp-unknown"
    assert tracer.trace(arp(SHOP[0], "10.0.0.3")).final_flow["arp_sha"] == SHOP[1].mac
    assert tracer.trace(arp(WEB, examples.ISOLATED_VLAN.router)).dropped == "arp-unknown"


@EACH
@pytest.mark.parametrize("ttl", [1, 64])
def test_echo_of_the_router(tracer: Tracer, network: Network, machine: Machine, ttl: int) -> None:
    verdict = tracer.trace(echo(machine, network.router, ttl=ttl))
    assert verdict.tables == path(
        "classify", "port-security", "forward", "router", "services", "router-local", "switch"
    )
    assert (verdict.output, verdict.controller) == (out_of(machine), ())
    sent = verdict.final_flow
    assert (sent["dl_src"], sent["dl_dst"]) == (ROUTER_MAC, machine.mac)
    assert (sent["nw_src"], sent["nw_dst"], sent["nw_ttl"]) == (network.router, machine.address, "64")
    assert (sent["icmp_type"], sent["icmp_code"]) == ("0", "0")


@pytest.mark.parametrize("fragment", ["first", "later"])
def test_echo_in_fragments(tracer: Tracer, fragment: str) -> None:
    header = "icmp_type=8,icmp_code=0," if fragment == "first" else ""
    verdict = tracer.trace(ip(OFFICE[3], "10.0.0.1", kind="icmp", more=f"{header}nw_frag={fragment}"))
    assert (verdict.output, verdict.controller) == (out_of(OFFICE[3]), ())
    assert (verdict.final_flow["nw_src"], verdict.final_flow["nw_frag"]) == ("10.0.0.1", fragment)
    assert verdict.final_flow.get("icmp_type", "0") == "0"


@EACH
@pytest.mark.parametrize(
    ("kind", "more"),
    [
        ("udp", "udp_dst=123"), ("tcp", "tcp_dst=22"), ("ip", "nw_proto=47"), ("icmp", "icmp_type=13"),
        ("icmp", "icmp_type=8,icmp_code=1"), ("udp", "nw_frag=later"),
    ],
)  # fmt: skip
def test_the_router_offers_nothing_else(
    tracer: Tracer, network: Network, machine: Machine, kind: str, more: str
) -> None:
    verdict = tracer.trace(ip(machine, network.router, kind=kind, more=more))
    assert (verdict.controller, verdict.output) == (((Table.ROUTER_LOCAL, network.key),), ())


def test_routers_of_others_are_not_there(tracer: Tracer) -> None:
    for machine, router in ((WEB, "172.16.0.9"), (WEB, "10.0.0.1"), (OFFICE[0], "172.16.0.5"), (SHOP[0], "172.16.0.5")):
        verdict = tracer.trace(echo(machine, router))
        assert [table for table, _ in verdict.controller] == [Table.UNROUTABLE]
        assert verdict.output == ()


@EACH
@pytest.mark.parametrize("target", [INTERNET, "10.0.0.3", "172.16.0.6"])
def test_ttl(tracer: Tracer, network: Network, machine: Machine, target: str) -> None:
    for ttl in (0, 1):
        last = tracer.trace(ip(machine, target, ttl=ttl))
        assert (last.controller, last.output) == (((Table.TTL, network.key),), ())
        assert last.tables[-1] is Table.TTL
    more = tracer.trace(ip(machine, target, ttl=2))
    assert Table.ROUTE in more.tables
    assert more.final_flow["nw_ttl"] == "1"
