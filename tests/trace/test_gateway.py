"""What the gateway port lets in: ARP for our addresses, echo of the gateway address, and what goes to conntrack."""

from __future__ import annotations

import examples
import pytest
from test_route import APPLIANCE, BOGONS, OTHER_TENANTS
from tracer import (
    BROADCAST,
    GATEWAY_MAC,
    INTERNET,
    NEXT_HOP_MAC,
    ROUTER_MAC,
    SHARED_ADDRESS,
    Out,
    Tracer,
    outside,
    path,
)

from controller.pipeline.registry import FRAGMENTS_METER, GATEWAY_METER, NEXT_HOP_METER, Table, sender_meter
from state.model import Machine

GATEWAY = "203.0.113.2"
NEXT_HOP = "203.0.113.1"
MACHINES = [machine for network in examples.NETWORKS for machine in network.machines]
UNSOLICITED = ("trk", "new")


def ask(target: str, *, sender: str = NEXT_HOP, mac: str = BROADCAST, operation: int = 1) -> str:
    """ARP from the next hop."""
    return (
        f"in_port=1,dl_src={NEXT_HOP_MAC},dl_dst={mac},arp,arp_op={operation},arp_spa={sender},arp_tpa={target},"
        f"arp_sha={NEXT_HOP_MAC}"
    )


@pytest.mark.parametrize("target", [GATEWAY, "203.0.113.64", "203.0.113.70", "203.0.113.79"])
@pytest.mark.parametrize("mac", [BROADCAST, GATEWAY_MAC], ids=["broadcast", "unicast"])
@pytest.mark.parametrize("sender", [NEXT_HOP, "0.0.0.0"])
def test_arp_for_our_addresses(tracer: Tracer, target: str, mac: str, sender: str) -> None:
    verdict = tracer.trace(ask(target, mac=mac, sender=sender))
    assert verdict.tables == path("classify", "gateway", "arp-reply", "switch")
    assert verdict.output == (Out("uplink"),)
    sent = verdict.final_flow
    assert (sent["dl_src"], sent["dl_dst"], sent["arp_op"]) == (GATEWAY_MAC, NEXT_HOP_MAC, "2")
    assert (sent["arp_sha"], sent["arp_spa"]) == (GATEWAY_MAC, target)
    assert (sent["arp_tha"], sent["arp_tpa"]) == (NEXT_HOP_MAC, sender)


@pytest.mark.parametrize(
    "target",
    [NEXT_HOP, "203.0.113.3", "203.0.113.63", "203.0.113.80", "10.0.0.1", "10.0.0.2", "172.16.0.5", "172.16.0.6"]
    + [machine.transit for machine in MACHINES],
)
def test_arp_for_other_addresses(tracer: Tracer, target: str) -> None:
    verdict = tracer.trace(ask(target))
    assert (verdict.output, verdict.controller, verdict.dropped) == ((), (), "not-for-us")


def test_the_next_hop_is_learned_from_its_answer_to_us_only(tracer: Tracer) -> None:
    answer = ask(GATEWAY, mac=GATEWAY_MAC, operation=2)
    assert tracer.trace(answer).controller == ((Table.GATEWAY, NEXT_HOP_METER),)
    for other in (
        ask(GATEWAY, mac=BROADCAST, operation=2),
        ask(GATEWAY, mac=GATEWAY_MAC, operation=2, sender="203.0.113.3"),
        ask(NEXT_HOP, mac=BROADCAST),
    ):
        assert tracer.trace(other).controller == ()


@pytest.mark.parametrize("ttl", [1, 64])
def test_echo_of_the_gateway_address(tracer: Tracer, ttl: int) -> None:
    verdict = tracer.trace(outside(GATEWAY, kind="icmp", ttl=ttl, more="icmp_type=8,icmp_code=0"))
    assert verdict.tables == path("classify", "gateway", "gateway-local", "router-local", "switch")
    assert (verdict.output, verdict.controller) == ((Out("uplink"),), ())
    sent = verdict.final_flow
    assert (sent["dl_src"], sent["dl_dst"]) == (GATEWAY_MAC, NEXT_HOP_MAC)
    assert (sent["nw_src"], sent["nw_dst"], sent["nw_ttl"]) == (GATEWAY, INTERNET, "64")
    assert sent["icmp_type"] == "0"


def test_echo_of_the_gateway_address_in_fragments(tracer: Tracer) -> None:
    verdict = tracer.trace(outside(GATEWAY, kind="icmp", more="nw_frag=later"))
    assert verdict.output == (Out("uplink"),)
    assert (verdict.final_flow["dl_src"], verdict.final_flow["nw_src"]) == (GATEWAY_MAC, GATEWAY)


@pytest.mark.parametrize(
    ("kind", "more"),
    [
        ("tcp", "tcp_dst=22"), ("udp", "udp_dst=53"), ("ip", "nw_proto=47"), ("icmp", "icmp_type=3"),
        ("icmp", "icmp_type=13"), ("icmp", "icmp_type=0"), ("icmp", "icmp_type=8,icmp_code=1"),
        ("udp", "nw_frag=later"),
    ],
)  # fmt: skip
def test_the_gateway_address_offers_nothing_else(tracer: Tracer, kind: str, more: str) -> None:
    verdict = tracer.trace(outside(GATEWAY, kind=kind, more=more))
    assert (verdict.output, verdict.controller, verdict.dropped) == ((), (), "to-gateway")


@pytest.mark.parametrize("source", [*BOGONS, *OTHER_TENANTS, *APPLIANCE])
@pytest.mark.parametrize("target", [GATEWAY, SHARED_ADDRESS])
@pytest.mark.parametrize("ttl", [1, 64])
def test_bogons_do_not_come_in(tracer: Tracer, source: str, target: str, ttl: int) -> None:
    verdict = tracer.trace(outside(target, source, kind="icmp", ttl=ttl, more="icmp_type=8,icmp_code=0"))
    assert (verdict.tables, verdict.dropped) == (path("classify", "gateway"), "bogon-source")
    assert (verdict.output, verdict.controller) == ((), ())


@pytest.mark.parametrize("source", ["8.8.8.8", "192.0.2.80", NEXT_HOP, "203.0.113.3", "198.18.1.1", "223.255.255.1"])
def test_other_sources_come_as_far_as_conntrack(tracer: Tracer, source: str) -> None:
    verdict = tracer.trace(outside(SHARED_ADDRESS, source), ct=UNSOLICITED)
    assert verdict.tables == path("classify", "gateway", "gateway-local", "gateway-track")
    assert (verdict.output, verdict.controller, verdict.dropped) == ((), (), "unsolicited")


@pytest.mark.parametrize("state", ["trk,new", "trk,inv", "trk,new,rel", "trk,est", "trk,est,rpl", "trk,rel"])
@pytest.mark.parametrize("target", ["203.0.113.64", "203.0.113.79"])
@pytest.mark.parametrize("kind", ["tcp", "udp", "icmp", "ip"])
def test_unsolicited_packets_end(tracer: Tracer, state: str, target: str, kind: str) -> None:
    assert tracer.trace(outside(target, kind=kind), ct=tuple(state.split(","))).dropped == "unsolicited"


def test_a_packet_untranslated_for_a_shared_address_ends(tracer: Tracer) -> None:
    assert tracer.trace(outside(SHARED_ADDRESS), ct=("trk", "est", "rpl", "dnat")).dropped == "no-machine"


@pytest.mark.parametrize(
    "target",
    [*(m.address for m in MACHINES), *(m.transit for m in MACHINES), "172.16.0.5", "10.0.0.1", "203.0.113.3", NEXT_HOP,
     "203.0.113.63", "203.0.113.80", "198.18.0.1", INTERNET, "255.255.255.255", "224.0.0.1"],
)  # fmt: skip
def test_inner_and_foreign_addresses_are_not_reached_from_outside(tracer: Tracer, target: str) -> None:
    verdict = tracer.trace(outside(target), ct=("trk", "est", "rpl", "dnat"))
    assert (verdict.output, verdict.controller, verdict.dropped) == ((), (), "not-for-us")
    assert verdict.tables[-1] is Table.GATEWAY_LOCAL


@pytest.mark.parametrize(
    "mac", [BROADCAST, "01:00:5e:00:00:01", ROUTER_MAC, NEXT_HOP_MAC, *(machine.mac for machine in MACHINES)]
)
@pytest.mark.parametrize("ttl", [1, 64])
def test_only_frames_for_the_gateways_mac_count(tracer: Tracer, mac: str, ttl: int) -> None:
    for target in (GATEWAY, SHARED_ADDRESS, MACHINES[0].address):
        verdict = tracer.trace(outside(target, mac=mac, ttl=ttl))
        assert (verdict.output, verdict.controller, verdict.dropped) == ((), (), "not-for-us")


@pytest.mark.parametrize("machine", MACHINES, ids=lambda m: m.name)
def test_a_machines_mac_counts_for_nothing_here(tracer: Tracer, machine: Machine) -> None:
    spoofed = outside(INTERNET, machine.address).replace(NEXT_HOP_MAC, machine.mac)
    assert tracer.trace(spoofed).dropped == "bogon-source"
    other = tracer.trace(outside(SHARED_ADDRESS).replace(NEXT_HOP_MAC, machine.mac), ct=UNSOLICITED)
    assert other.dropped == "unsolicited"
    assert "metadata" not in other.final_flow


def test_ttl_from_outside(tracer: Tracer) -> None:
    last = tracer.trace(outside(SHARED_ADDRESS, ttl=1))
    assert (last.controller, last.output) == (((Table.GATEWAY, GATEWAY_METER),), ())
    assert tracer.trace(outside(SHARED_ADDRESS, ttl=0)).dropped == "ttl"


@pytest.mark.parametrize(
    "kind", ["ipv6,ipv6_dst=ff02::1", "dl_type=0x88cc", "dl_type=0x8100", "dl_type=0x8863", "rarp"]
)
@pytest.mark.parametrize("mac", [GATEWAY_MAC, BROADCAST, "01:80:c2:00:00:0e"])
def test_nothing_but_ipv4_and_arp(tracer: Tracer, kind: str, mac: str) -> None:
    verdict = tracer.trace(f"in_port=1,dl_src={NEXT_HOP_MAC},dl_dst={mac},{kind}")
    assert (verdict.tables, verdict.dropped) == (path("classify", "gateway"), "not-for-us")


@pytest.mark.parametrize("part", ["first", "later"])
def test_fragments_for_shared_addresses_meet_the_rates_of_their_sender_and_of_all(tracer: Tracer, part: str) -> None:
    for last in (0, 1, 63, 64, 255):
        verdict = tracer.trace(outside(SHARED_ADDRESS, f"198.51.100.{last}", more=f"nw_frag={part}"), ct=UNSOLICITED)
        assert verdict.meters == (sender_meter(last % 64), FRAGMENTS_METER)
        assert verdict.dropped == "unsolicited"
    assert tracer.trace(outside(SHARED_ADDRESS), ct=UNSOLICITED).meters == ()
