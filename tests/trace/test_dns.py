"""Names: what goes to the resolver and comes from it, and what does not."""

from __future__ import annotations

import examples
import pytest
from tracer import INTERNET, ROUTER_MAC, Out, Tracer, ip, out_of, outside, path

from controller.pipeline.registry import Table
from state import resolver
from state.model import Machine, Network

WEB = examples.ISOLATED.machines[0]
OFFICE, SHOP = examples.OFFICE.machines, examples.SHOP.machines
MACHINES = [(network, machine) for network in examples.NETWORKS for machine in network.machines]
EACH = pytest.mark.parametrize(("network", "machine"), MACHINES, ids=lambda value: value.name)
MESSAGES = pytest.mark.parametrize(
    ("kind", "ports"),
    [
        ("udp", "udp_src=40000,udp_dst=53"), ("tcp", "tcp_src=40000,tcp_dst=53"),
        ("udp", "udp_src=53,udp_dst=40000"), ("tcp", "tcp_src=53,tcp_dst=40000"),
    ],
)  # fmt: skip
PREFIX = resolver.stand_in(examples.APPLIANCE)


def from_resolver(source: str, destination: str, kind: str, more: str) -> str:
    """A packet that comes by the resolver's port."""
    return (
        f"in_port={examples.SITE.ports['names']},dl_src={resolver.MAC},dl_dst={ROUTER_MAC},{kind},"
        f"nw_src={source},nw_dst={destination},nw_ttl=64,{more}"
    )


@EACH
@MESSAGES
def test_messages_to_the_router_go_to_the_resolver(
    tracer: Tracer, network: Network, machine: Machine, kind: str, ports: str
) -> None:
    verdict = tracer.trace(ip(machine, network.router, kind=kind, more=ports))
    assert verdict.tables == path(
        "classify", "port-security", "forward", "router", "services", "transit", "snat", "resolver-out"
    )
    assert (verdict.output, verdict.controller) == ((Out("names"),), ())
    sent = verdict.final_flow
    assert (sent["nw_src"], sent["nw_dst"]) == (resolver.seen_as(machine.transit, PREFIX), network.router)
    assert (sent["dl_src"], sent["dl_dst"]) == (ROUTER_MAC, resolver.MAC)


def test_machines_with_one_address_are_two_to_the_resolver(tracer: Tracer) -> None:
    assert OFFICE[0].address == SHOP[0].address
    asked = [tracer.trace(ip(machine, "10.0.0.1", more="udp_dst=53")) for machine in (OFFICE[0], SHOP[0])]
    assert len({verdict.final_flow["nw_src"] for verdict in asked}) == 2


@EACH
@MESSAGES
def test_messages_of_the_resolver_reach_the_machine(
    tracer: Tracer, network: Network, machine: Machine, kind: str, ports: str
) -> None:
    seen = resolver.seen_as(machine.transit, PREFIX)
    verdict = tracer.trace(from_resolver(network.router, seen, kind, ports))
    assert verdict.output == out_of(machine)
    sent = verdict.final_flow
    assert (sent["nw_src"], sent["nw_dst"]) == (network.router, machine.address)
    assert (sent["dl_src"], sent["dl_dst"]) == (ROUTER_MAC, machine.mac)


def test_transit_addresses_that_linux_refuses_come_as_others(tracer: Tracer) -> None:
    """By the masked rewrite itself: transit addresses of the examples need none."""
    asked = from_resolver("10.0.0.1", "16.3.25.254", "udp", "udp_src=53,udp_dst=40000")
    verdict = tracer.trace(asked)
    assert (verdict.output, verdict.dropped) == ((), "no-machine")
    assert verdict.final_flow["nw_dst"] == "224.3.25.254"


@pytest.mark.parametrize(
    ("kind", "more"),
    [
        ("tcp", "tcp_src=40000,tcp_dst=22"), ("udp", "udp_src=40000,udp_dst=5353"), ("udp", "udp_src=5353,udp_dst=1"),
        ("icmp", "icmp_type=13"), ("icmp", "icmp_type=3,icmp_code=3"), ("udp", "nw_frag=first,udp_dst=53"),
        ("udp", "nw_frag=later"), ("ip", "nw_proto=47"),
    ],
)  # fmt: skip
def test_nothing_else_reaches_the_resolver(tracer: Tracer, kind: str, more: str) -> None:
    for network, machine in MACHINES:
        verdict = tracer.trace(ip(machine, network.router, kind=kind, more=more))
        assert (verdict.output, verdict.controller) == ((), ((Table.ROUTER_LOCAL, network.key),))


@pytest.mark.parametrize(
    ("kind", "more"),
    [
        ("tcp", "tcp_src=22,tcp_dst=40000"), ("udp", "udp_src=40000,udp_dst=5353"), ("icmp", "icmp_type=8"),
        ("icmp", "icmp_type=3,icmp_code=3"), ("udp", "nw_frag=first,udp_src=53"), ("ip", "nw_proto=47"),
    ],
)  # fmt: skip
def test_the_resolver_sends_nothing_else(tracer: Tracer, kind: str, more: str) -> None:
    verdict = tracer.trace(from_resolver("10.0.0.1", OFFICE[0].transit, kind, more))
    assert (verdict.output, verdict.controller, verdict.dropped) == ((), (), "not-names")


@pytest.mark.parametrize("destination", [INTERNET, "203.0.113.2", "10.0.0.2", "198.18.0.1", "172.16.0.5"])
def test_the_resolver_reaches_machines_only(tracer: Tracer, destination: str) -> None:
    verdict = tracer.trace(from_resolver("10.0.0.1", destination, "udp", "udp_src=53"))
    assert (verdict.output, verdict.controller, verdict.dropped) == ((), (), "no-machine")


@pytest.mark.parametrize("destination", ["172.16.0.9", "10.0.0.1", "10.0.0.3", INTERNET])
def test_only_the_own_router_is_asked(tracer: Tracer, destination: str) -> None:
    verdict = tracer.trace(ip(WEB, destination, more="udp_src=1,udp_dst=53"))
    assert Table.RESOLVER_OUT not in verdict.tables


def test_from_outside_nobody_asks(tracer: Tracer) -> None:
    for destination in ("203.0.113.2", "203.0.113.64", "172.16.0.5", "10.0.0.1"):
        for state in ("", ",ct_state=trk|new", ",ct_state=trk|inv"):
            verdict = tracer.trace(outside(destination, more=f"udp_src=40000,udp_dst=53{state}"))
            assert verdict.output == ()
            assert Table.RESOLVER_OUT not in verdict.tables


@pytest.mark.parametrize("machine", [*OFFICE, *SHOP], ids=lambda machine: machine.name)
def test_an_answer_in_the_routers_name_is_dropped(tracer: Tracer, machine: Machine) -> None:
    for target in (OFFICE[1], SHOP[1]):
        verdict = tracer.trace(ip(machine, target.address, target.mac, source="10.0.0.1", more="udp_src=53"))
        assert (verdict.output, verdict.dropped) == ((), "source-ip")
