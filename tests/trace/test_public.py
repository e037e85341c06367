"""Public addresses: out, in, and back in for what is here; and what never gets anywhere."""

from __future__ import annotations

import examples
import pytest
from tracer import (
    GATEWAY_MAC,
    INTERNET,
    NEW,
    NEXT_HOP_MAC,
    ROUTER_MAC,
    SHARED_ADDRESS,
    Out,
    Tracer,
    Verdict,
    arrival,
    echo,
    ip,
    out_of,
    outside,
    path,
)

from controller.pipeline.registry import Mark, MeterClass, Table, meter
from state.model import Machine, Network

HOLDERS = [(network, network.machines[0]) for network in examples.PUBLIC_NETWORKS]
EACH = pytest.mark.parametrize(("network", "machine"), HOLDERS, ids=lambda value: value.name)
WITHOUT = [examples.PUBLIC_LAB.machines[1], examples.ISOLATED.machines[0], examples.OFFICE.machines[0]]
OTHERS = pytest.mark.parametrize("machine", WITHOUT, ids=lambda value: value.name)
KINDS = pytest.mark.parametrize(
    ("kind", "more"),
    [("tcp", "tcp_dst=22"), ("udp", "udp_dst=53"), ("icmp", "icmp_type=8,icmp_code=0"), ("ip", "nw_proto=47")],
)
UNASSIGNED = "203.0.113.135"
ERRORS = (3, 11, 12)


def fields(verdict: Verdict, *names: str) -> tuple[str, ...]:
    return tuple(verdict.final_flow[name] for name in names)


@EACH
@KINDS
def test_a_machine_leaves_with_its_public_address(
    tracer: Tracer, network: Network, machine: Machine, kind: str, more: str
) -> None:
    verdict = tracer.trace(ip(machine, INTERNET, kind=kind, more=more))
    assert verdict.tables[-3:] == path("public-kind", "public-out", "gateway-out")
    assert (verdict.output, verdict.nat) == ((Out("uplink"),), None)
    assert fields(verdict, "dl_src", "dl_dst") == (GATEWAY_MAC, NEXT_HOP_MAC)
    assert fields(verdict, "nw_src", "nw_dst", "nw_ttl") == (machine.public, INTERNET, "63")


@OTHERS
def test_a_neighbour_without_one_leaves_by_the_shared_address(tracer: Tracer, machine: Machine) -> None:
    verdict = tracer.trace(ip(machine, INTERNET), NEW)
    assert Table.TRANSIT in verdict.tables
    assert (verdict.output, verdict.final_flow["nw_src"]) == ((Out("uplink"),), SHARED_ADDRESS)


@EACH
@KINDS
def test_the_internet_reaches_the_machine(
    tracer: Tracer, network: Network, machine: Machine, kind: str, more: str
) -> None:
    verdict = tracer.trace(outside(machine.public, kind=kind, more=more))
    assert (verdict.output, verdict.nat, verdict.tracked) == (out_of(machine), None, None)
    assert fields(verdict, "dl_src", "dl_dst") == (ROUTER_MAC, machine.mac)
    assert fields(verdict, "nw_src", "nw_dst", "nw_ttl") == (INTERNET, machine.address, "63")


@EACH
@pytest.mark.parametrize("fragment", ["first", "later"])
def test_fragments_are_translated_by_conntrack_in_a_zone_of_their_own(
    tracer: Tracer, network: Network, machine: Machine, fragment: str
) -> None:
    verdict = tracer.trace(ip(machine, INTERNET, more=f"nw_frag={fragment}"))
    assert (verdict.nat, verdict.output) == (machine.public, (Out("uplink"),))
    for state in ("trk,new", "trk,inv", "trk,new,rel,snat", "trk,new,dnat"):
        assert tracer.trace(ip(machine, INTERNET, more=f"nw_frag={fragment}"), ct=tuple(state.split(","))).output == ()


@EACH
@pytest.mark.parametrize(("mark", "tracked"), [(Mark.PUBLIC_FRAGMENT, True), (Mark.PUBLIC_WHOLE, False)])
def test_what_conntrack_put_together_goes_in_as_fragments_do(
    tracer: Tracer, network: Network, machine: Machine, mark: Mark, tracked: bool
) -> None:
    """Behind the sender's translation it is a whole packet with the kernel datapath; the answer is in fragments."""
    packet = f"{arrival(machine)},dl_dst={ROUTER_MAC},udp,nw_src=203.0.113.64,nw_dst={machine.public}"
    verdict = tracer.trace(f"{packet},ct_state=trk|new|snat,reg3={mark.value}", ct=("trk", "new", "dnat"))
    assert (Table.PUBLIC_IN_CHECK in verdict.tables, verdict.output) == (tracked, out_of(machine))


@EACH
@pytest.mark.parametrize("kind", ERRORS)
def test_icmp_errors_go_by_the_controller_under_the_networks_rate(
    tracer: Tracer, network: Network, machine: Machine, kind: int
) -> None:
    rate = meter(MeterClass.NETWORK_ERRORS, network.key)
    out = tracer.trace(ip(machine, INTERNET, kind="icmp", more=f"icmp_type={kind}"))
    assert (out.output, out.controller) == ((), ((Table.PUBLIC_OUT, rate),))
    inward = tracer.trace(outside(machine.public, kind="icmp", more=f"icmp_type={kind}"))
    assert (inward.output, inward.controller) == ((), ((Table.PUBLIC_IN, rate),))


@pytest.mark.parametrize("fragment", ["no", "first", "later"])
def test_an_address_that_nobody_has_is_silent(tracer: Tracer, fragment: str) -> None:
    verdict = tracer.trace(outside(UNASSIGNED, more=f"nw_frag={fragment}"))
    assert (verdict.output, verdict.controller) == ((), ())
    assert (verdict.tables[-1], verdict.dropped, verdict.dropped_by) == (Table.PUBLIC_IN, "not-for-us", 0)


@EACH
def test_the_last_hop_is_answered_by_the_gateway(tracer: Tracer, network: Network, machine: Machine) -> None:
    verdict = tracer.trace(outside(machine.public, ttl=1))
    assert (verdict.output, [table for table, _ in verdict.controller]) == ((), [Table.GATEWAY])


@EACH
def test_outside_nobody_may_pretend_to_be_one_of_ours(tracer: Tracer, network: Network, machine: Machine) -> None:
    for source in (machine.public, UNASSIGNED):
        for target in (machine.public, SHARED_ADDRESS, "203.0.113.2"):
            verdict = tracer.trace(outside(target, source))
            assert (verdict.output, verdict.dropped) == ((), "bogon-source")


@EACH
def test_a_machine_may_not_write_a_public_address_itself(tracer: Tracer, network: Network, machine: Machine) -> None:
    for source in (machine.public, UNASSIGNED):
        for target in (INTERNET, machine.public):
            verdict = tracer.trace(ip(machine, target, source=source))
            assert (verdict.output, verdict.dropped, verdict.dropped_by) == ((), "source-ip", network.key)


@pytest.mark.parametrize("sender", [machine for _, machine in HOLDERS], ids=lambda machine: machine.name)
@EACH
def test_public_addresses_reach_each_other_and_themselves(
    tracer: Tracer, network: Network, machine: Machine, sender: Machine
) -> None:
    verdict = tracer.trace(echo(sender, machine.public))
    assert (verdict.output, verdict.nat) == (out_of(machine), None)
    # One router, one hop.
    assert fields(verdict, "nw_src", "nw_dst", "nw_ttl") == (sender.public, machine.address, "63")
    assert fields(verdict, "dl_src", "dl_dst", "metadata") == (ROUTER_MAC, machine.mac, f"{network.key:#x}")


@pytest.mark.parametrize("sender", WITHOUT, ids=lambda machine: machine.name)
@EACH
def test_a_machine_without_one_reaches_them_as_a_shared_address(
    tracer: Tracer, network: Network, machine: Machine, sender: Machine
) -> None:
    verdict = tracer.trace(ip(sender, machine.public, kind="tcp"), NEW)
    assert verdict.output == out_of(machine)
    assert fields(verdict, "nw_src", "nw_dst") == (SHARED_ADDRESS, machine.address)
    assert verdict.final_flow.get("ct_state", "0") == "0"


@EACH
def test_a_public_address_may_answer_a_shared_one(tracer: Tracer, network: Network, machine: Machine) -> None:
    question = ip(machine, SHARED_ADDRESS, kind="tcp")
    answer = tracer.trace(question, ct=("trk", "est", "rpl", "dnat"))
    assert answer.tables[-4:] == path("gateway-out", "gateway-local", "gateway-track", "inbound")
    assert answer.final_flow["nw_src"] == machine.public
    new = tracer.trace(question, ct=("trk", "new"))
    assert (new.output, new.dropped) == ((), "unsolicited")


@OTHERS
@pytest.mark.parametrize("target", [SHARED_ADDRESS, "203.0.113.2"])
def test_a_machine_without_one_may_not_send_to_shared_addresses(tracer: Tracer, machine: Machine, target: str) -> None:
    verdict = tracer.trace(ip(machine, target))
    assert (verdict.output, verdict.nat) == ((), None)
    assert [table for table, _ in verdict.controller] == [Table.UNROUTABLE]


@EACH
def test_nobody_sends_to_the_gateway_address(tracer: Tracer, network: Network, machine: Machine) -> None:
    verdict = tracer.trace(echo(machine, "203.0.113.2"))
    assert (verdict.output, [table for table, _ in verdict.controller]) == ((), [Table.UNROUTABLE])


@EACH
def test_an_address_that_nobody_has_is_silent_inside_too(tracer: Tracer, network: Network, machine: Machine) -> None:
    verdict = tracer.trace(echo(machine, UNASSIGNED))
    assert (verdict.output, verdict.controller, verdict.dropped) == ((), (), "not-for-us")


def test_the_gateway_answers_arp_for_public_addresses(tracer: Tracer) -> None:
    for target in ("203.0.113.131", UNASSIGNED):
        question = (
            f"in_port=1,dl_src={NEXT_HOP_MAC},dl_dst=ff:ff:ff:ff:ff:ff,arp,arp_op=1,arp_spa=203.0.113.1,"
            f"arp_tpa={target},arp_sha={NEXT_HOP_MAC}"
        )
        verdict = tracer.trace(question)
        assert verdict.output == (Out("uplink"),)
        assert fields(verdict, "arp_op", "arp_spa", "arp_sha") == ("2", target, GATEWAY_MAC)


@EACH
@pytest.mark.parametrize("state", [("trk", "est", "rpl", "dnat"), ("trk", "rel", "dnat"), NEW])
def test_a_ttl_that_ends_on_the_way_back_in(
    tracer: Tracer, network: Network, machine: Machine, state: tuple[str, ...]
) -> None:
    verdict = tracer.trace(ip(machine, SHARED_ADDRESS, ttl=2), ct=state)
    assert (verdict.tables[-1], verdict.output, verdict.controller) == (Table.GATEWAY_TRACK, (), ())
    assert verdict.dropped == "ttl"
    assert tracer.trace(ip(machine, SHARED_ADDRESS, ttl=3), ct=("trk", "est", "rpl", "dnat")).dropped != "ttl"
