"""Out to the Internet and back: transit addresses, port blocks, and what conntrack says."""

from __future__ import annotations

import examples
import pytest
from tracer import (
    GATEWAY_MAC,
    INTERNET,
    KNOWN,
    NEW,
    NEXT_HOP_MAC,
    ROUTER_MAC,
    Out,
    Tracer,
    arrival,
    ip,
    out_of,
    path,
    reply,
)

from controller.pipeline.registry import MeterClass, Table, meter
from state.model import Kind, Machine, Network

MACHINES = [(network, machine) for network in examples.NETWORKS for machine in network.machines]
PRIVATE = [(network, machine) for network, machine in MACHINES if network.kind is Kind.PRIVATE]
ISOLATED = [(network, machine) for network, machine in MACHINES if network.kind is Kind.ISOLATED]
WHO = ("network", "machine")
EACH = pytest.mark.parametrize(WHO, MACHINES, ids=lambda value: value.name)
POOL = "203.0.113.64-203.0.113.79"
ERRORS = (3, 11, 12)


@EACH
@pytest.mark.parametrize("kind", ["tcp", "udp"])
@pytest.mark.parametrize("fragment", ["no", "first", "later"])
def test_tcp_and_udp_leave_by_the_networks_block(
    tracer: Tracer, network: Network, machine: Machine, kind: str, fragment: str
) -> None:
    verdict = tracer.trace(ip(machine, INTERNET, kind=kind, more=f"nw_frag={fragment}"), NEW)
    assert verdict.tables[-3:] == path("snat-ports", "snat-check", "gateway-out")
    assert verdict.nat == str(network.block)
    assert verdict.output == (Out("uplink"),)
    sent = verdict.final_flow
    assert (sent["dl_src"], sent["dl_dst"]) == (GATEWAY_MAC, NEXT_HOP_MAC)
    assert (sent["nw_src"], sent["nw_dst"], sent["nw_ttl"]) == (network.block.address, INTERNET, "63")
    assert sent["vlan_tci"] == "0x0000"


@EACH
@pytest.mark.parametrize(
    ("kind", "more"),
    [("icmp", "icmp_type=8,icmp_code=0"), ("ip", "nw_proto=47"), ("ip", "nw_proto=50"), ("ip", "nw_proto=132")],
)
def test_what_has_no_ports_leaves_by_the_networks_address_as_well(
    tracer: Tracer, network: Network, machine: Machine, kind: str, more: str
) -> None:
    verdict = tracer.trace(ip(machine, INTERNET, kind=kind, more=more), NEW)
    assert (verdict.nat, verdict.output) == (str(network.block), (Out("uplink"),))


@EACH
def test_what_may_be_an_icmp_error_leaves_as_what_it_is_about(
    tracer: Tracer, network: Network, machine: Machine
) -> None:
    if machine.transit == machine.address:
        verdict = tracer.trace(ip(machine, INTERNET, kind="icmp", more="icmp_type=3,icmp_code=3"), ("trk", "rel"))
        assert (verdict.nat, verdict.output) == (POOL, (Out("uplink"),))


@EACH
def test_conntrack_never_sees_an_address_two_machines_have(tracer: Tracer, network: Network, machine: Machine) -> None:
    assert tracer.trace(ip(machine, INTERNET), NEW).tracked == machine.transit
    assert [other for _, other in MACHINES if other.transit == machine.transit] == [machine]


@EACH
@pytest.mark.parametrize(
    "state", ["trk,new", "trk,est", "trk,inv", "trk,new,dnat", "trk,est,rpl,dnat", "trk,rel", "trk,new,rel"]
)
@pytest.mark.parametrize("kind", ["tcp", "udp", "icmp", "gre"])
def test_nothing_leaves_untranslated(tracer: Tracer, network: Network, machine: Machine, state: str, kind: str) -> None:
    """At exhaustion conntrack hands the packet back as it was (`+new` without `+snat`)."""
    packet = ip(machine, INTERNET, kind="ip", more="nw_proto=47") if kind == "gre" else ip(machine, INTERNET, kind=kind)
    said = tuple(state.split(","))
    verdict = tracer.trace(packet, said, said)
    assert (verdict.output, verdict.dropped) == ((), "not-translated")
    # What has no ports is tried by further addresses.
    before = Table.SNAT_TRY_4 if kind in ("icmp", "gre") and state in ("trk,new", "trk,new,dnat") else Table.SNAT_CHECK
    assert verdict.tables[-2:] == (before, Table.NOT_TRANSLATED)
    assert verdict.dropped_by == network.key


@EACH
@pytest.mark.parametrize("state", ["trk,est,snat", "trk,new,snat", "trk,est,rpl,snat"])
def test_known_connections_go_on(tracer: Tracer, network: Network, machine: Machine, state: str) -> None:
    assert tracer.trace(ip(machine, INTERNET, kind="tcp"), ct=tuple(state.split(","))).output == (Out("uplink"),)


@EACH
def test_only_what_is_new_counts_against_the_networks_rate(tracer: Tracer, network: Network, machine: Machine) -> None:
    rate = meter(MeterClass.NETWORK_CONNECTIONS, network.key)
    assert tracer.trace(ip(machine, INTERNET), NEW).meters[-1] == rate
    for state in ("trk,est,snat", "trk,new,snat", "trk,rel,snat", "trk,inv"):
        assert rate not in tracer.trace(ip(machine, INTERNET), tuple(state.split(","))).meters


@EACH
def test_what_is_known_and_not_answered_is_translated_as_before(
    tracer: Tracer, network: Network, machine: Machine
) -> None:
    """The kernel translates such a packet only where it is committed; its connection has the network's mark."""
    fields = f"metadata={network.key},ct_state=trk|new,ct_mark={network.key},nw_src={machine.transit}"
    packet = f"{arrival(machine)},dl_dst={ROUTER_MAC},udp,nw_dst={INTERNET},nw_ttl=64,{fields}"
    verdict = tracer.trace(packet, KNOWN)
    assert (verdict.output, verdict.meters) == ((Out("uplink"),), ())
    unmarked = tracer.trace(packet.replace(f"ct_mark={network.key}", "ct_mark=0"), KNOWN)
    assert unmarked.meters == (meter(MeterClass.NETWORK_CONNECTIONS, network.key),)


@EACH
@pytest.mark.parametrize("part", ["first", "later"])
def test_fragments_count_against_the_networks_rate(
    tracer: Tracer, network: Network, machine: Machine, part: str
) -> None:
    rate = meter(MeterClass.NETWORK_FRAGMENTS, network.key)
    assert rate in tracer.trace(ip(machine, INTERNET, more=f"nw_frag={part}")).meters
    assert rate not in tracer.trace(ip(machine, INTERNET)).meters


def about(network: Network, machine: Machine, mark: int, state: str = "rel|rpl|snat") -> str:
    """An ICMP error of `machine` behind conntrack, about a connection with a mark."""
    fields = f"metadata={network.key},ct_state=trk|{state},ct_mark={mark}"
    return f"{arrival(machine)},dl_dst={ROUTER_MAC},icmp,icmp_type=3,nw_src=203.0.113.64,nw_dst={INTERNET},{fields}"


@EACH
def test_an_error_leaves_about_a_connection_of_its_network_only(
    tracer: Tracer, network: Network, machine: Machine
) -> None:
    assert tracer.trace(about(network, machine, network.key)).output == (Out("uplink"),)
    for state in ("rel|rpl", "rel|rpl|inv|snat", "rel|rpl|dnat"):
        # One that is invalid is not asked about again.
        said = ("trk", *state.split("|")) if "inv" not in state else KNOWN
        assert tracer.trace(about(network, machine, network.key, state), said, said).dropped == "not-translated"
    # 0: a connection that was not marked.
    for mark in {0} | {other.key for other, _ in MACHINES} - {network.key}:
        verdict = tracer.trace(about(network, machine, mark))
        assert (verdict.output, verdict.dropped) == ((), "not-translated")


@pytest.mark.parametrize(WHO, PRIVATE, ids=lambda value: value.name)
@pytest.mark.parametrize("kind", ERRORS)
def test_errors_of_private_machines_go_by_the_controller(
    tracer: Tracer, network: Network, machine: Machine, kind: int
) -> None:
    verdict = tracer.trace(ip(machine, INTERNET, kind="icmp", more=f"icmp_type={kind}"))
    assert (verdict.controller[-1], verdict.output) == (
        (Table.TRANSIT, meter(MeterClass.NETWORK_ERRORS, network.key)),
        (),
    )


@EACH
@pytest.mark.parametrize("kind", ["tcp", "udp", "icmp", "ip"])
@pytest.mark.parametrize("more", ["", "nw_frag=first", "nw_frag=later"])
def test_replies_reach_their_machine(tracer: Tracer, network: Network, machine: Machine, kind: str, more: str) -> None:
    verdict = tracer.trace(reply(machine, kind=kind, more=more))
    assert verdict.output == out_of(machine)
    sent = verdict.final_flow
    assert (sent["dl_src"], sent["dl_dst"]) == (ROUTER_MAC, machine.mac)
    assert (sent["nw_src"], sent["nw_dst"], sent["nw_ttl"]) == (INTERNET, machine.address, "63")
    assert int(sent["metadata"], 16) == network.key


@EACH
@pytest.mark.parametrize(
    "state",
    [
        "new",
        "new|dnat",
        "new|rel",
        "inv",
        "est|inv|dnat",
        "rel|inv|dnat",
        "est|rpl",
        "est",
        "rel|rpl",
        "est|snat",
        "dnat",
    ],
)
def test_nothing_else_comes_in(tracer: Tracer, network: Network, machine: Machine, state: str) -> None:
    verdict = tracer.trace(reply(machine, state))
    assert (verdict.output, verdict.controller, verdict.dropped) == ((), (), "unsolicited")


@pytest.mark.parametrize(WHO, ISOLATED, ids=lambda value: value.name)
@pytest.mark.parametrize("kind", ERRORS)
def test_errors_for_isolated_machines_come_in_as_they_are(
    tracer: Tracer, network: Network, machine: Machine, kind: int
) -> None:
    verdict = tracer.trace(reply(machine, "rel|rpl|dnat", kind="icmp", more=f"icmp_type={kind}"))
    assert (verdict.output, verdict.controller) == (out_of(machine), ())


@pytest.mark.parametrize(WHO, PRIVATE, ids=lambda value: value.name)
@pytest.mark.parametrize("kind", ERRORS)
def test_errors_for_private_machines_go_by_the_controller(
    tracer: Tracer, network: Network, machine: Machine, kind: int
) -> None:
    verdict = tracer.trace(reply(machine, "rel|rpl|dnat", kind="icmp", more=f"icmp_type={kind}"))
    assert (verdict.output, verdict.controller) == (
        (),
        ((Table.INBOUND_MTU, meter(MeterClass.NETWORK_ERRORS, network.key)),),
    )
    assert verdict.final_flow["nw_dst"] == machine.address


@pytest.mark.parametrize("target", ["10.0.0.2", "240.9.9.9", "172.16.0.14", "203.0.113.64", INTERNET])
def test_a_reply_for_nobody_ends(tracer: Tracer, target: str) -> None:
    machine = examples.ISOLATED.machines[0]
    verdict = tracer.trace(reply(machine).replace(f"nw_dst={machine.transit}", f"nw_dst={target}"))
    assert (verdict.output, verdict.dropped) == ((), "no-machine")
    assert verdict.tables[-1] is Table.INBOUND


@EACH
def test_a_reply_arrives_with_its_last_hop_spent(tracer: Tracer, network: Network, machine: Machine) -> None:
    assert tracer.trace(reply(machine, ttl=2)).final_flow["nw_ttl"] == "1"
