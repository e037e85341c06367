"""VPN gateways, outside: they and their peers exchange IKE and ESP, and nothing else."""

from __future__ import annotations

import examples
import pytest
from tracer import (
    GATEWAY_MAC,
    INTERNET,
    NEW,
    NEXT_HOP_MAC,
    SHARED_ADDRESS,
    Out,
    Tracer,
    ip,
    outside,
    path,
)
from vpn_packets import (
    BRANCH,
    BUREAU,
    DEPOT,
    GATEWAYS,
    HQ,
    IPSEC,
    OFFICE,
    PLANT,
    PLANT_AGAIN,
    STRANGER,
    fields,
    from_outside,
    macs,
    refused,
    written,
)

from state.model import Machine, Network
from state.vpn import OUTSIDE_MAC, outside_port

NETWORK = pytest.mark.parametrize("network", [BRANCH, BUREAU], ids=lambda network: network.name)


@pytest.mark.parametrize(("kind", "port"), IPSEC)
@pytest.mark.parametrize("peer", [HQ, PLANT, PLANT_AGAIN])
def test_a_gateway_and_its_peers_exchange_ike_and_esp(tracer: Tracer, peer: str, kind: str, port: int | None) -> None:
    for others in (port, 31000) if port else (None,):
        more = f"udp_src={port},udp_dst={others}" if port else ""
        verdict = tracer.trace(from_outside(BRANCH, peer, kind=kind, more=more))
        assert (verdict.output, verdict.nat) == ((Out("uplink"),), None)
        assert verdict.tables == path("classify", "vpn-outside", "gateway-out")
        assert macs(verdict) == written(GATEWAY_MAC, NEXT_HOP_MAC)
        assert fields(verdict, "nw_src", "nw_dst") == (GATEWAYS[BRANCH.key].address, peer)
        back = f"udp_src={others},udp_dst={port}" if port else ""
        verdict = tracer.trace(outside(GATEWAYS[BRANCH.key].address, peer, kind=kind, more=back))
        assert verdict.output == (Out("vpn7-out"),)
        assert verdict.tables[-2:] == path("public-in", "vpn-gateway")
        assert macs(verdict) == written(GATEWAY_MAC, OUTSIDE_MAC)
        assert fields(verdict, "nw_src", "nw_dst", "nw_ttl") == (peer, GATEWAYS[BRANCH.key].address, "63")
        assert (verdict.nat, verdict.tracked) == (None, None)


CLEARTEXT = [
    ("tcp", "tcp_src=500,tcp_dst=500"),
    ("tcp", "tcp_src=4500"),
    ("udp", "udp_src=53,udp_dst=500"),
    ("udp", "udp_src=1701,udp_dst=4500"),
    ("icmp", "icmp_type=8"),
    ("icmp", "icmp_type=3"),
    ("ip,nw_proto=51", ""),
    ("ip,nw_proto=4", ""),
    ("ip,nw_proto=47", ""),
    ("tcp,nw_frag=later", ""),
    ("ip,nw_proto=1,nw_frag=later", ""),
]


@NETWORK
@pytest.mark.parametrize(("kind", "more"), CLEARTEXT)
def test_nothing_but_ike_and_esp_leaves_a_gateway(tracer: Tracer, network: Network, kind: str, more: str) -> None:
    for target in (HQ, STRANGER, INTERNET):
        assert refused(tracer.trace(from_outside(network, target, kind=kind, more=more)), "vpn-cleartext", network)


@NETWORK
@pytest.mark.parametrize(("kind", "port"), IPSEC)
@pytest.mark.parametrize(
    "source",
    [
        "10.0.0.2",
        OFFICE,
        "10.0.0.1",
        "203.0.113.2",
        SHARED_ADDRESS,
        "203.0.113.130",
        "203.0.113.134",
        "169.254.0.1",
        HQ,
    ],
)
def test_nothing_leaves_with_another_source(
    tracer: Tracer, network: Network, kind: str, port: int | None, source: str
) -> None:
    more = f"udp_src={port}" if port else ""
    verdict = tracer.trace(from_outside(network, HQ, source, kind=kind, more=more))
    assert refused(verdict, "vpn-cleartext", network)


@pytest.mark.parametrize(("kind", "port"), IPSEC)
def test_nothing_leaves_to_who_is_no_peer(tracer: Tracer, kind: str, port: int | None) -> None:
    more = f"udp_src={port}" if port else ""
    for target in (
        STRANGER,
        INTERNET,
        OFFICE,
        "10.0.0.2",
        "198.18.0.1",
        "203.0.113.2",
        SHARED_ADDRESS,
        "203.0.113.130",
    ):
        assert refused(tracer.trace(from_outside(BRANCH, target, kind=kind, more=more)), "vpn-cleartext", BRANCH)


@pytest.mark.parametrize(("kind", "port"), IPSEC)
def test_a_peer_of_any_address_is_in_the_internet(tracer: Tracer, kind: str, port: int | None) -> None:
    more = f"udp_src={port}" if port else ""
    for peer in (STRANGER, HQ):
        assert tracer.trace(from_outside(BUREAU, peer, kind=kind, more=more)).output == (Out("uplink"),)
    for target in (OFFICE, "10.0.0.2", "10.250.0.12", "198.18.0.1", "203.0.113.2", "127.0.0.1", "224.0.0.1"):
        verdict = tracer.trace(from_outside(BUREAU, target, kind=kind, more=more))
        assert refused(verdict, "vpn-not-internet", BUREAU)


@pytest.mark.parametrize(("kind", "port"), IPSEC)
def test_who_is_no_peer_does_not_come_in_to_a_gateway(tracer: Tracer, kind: str, port: int | None) -> None:
    more = f"udp_dst={port}" if port else ""
    branch, bureau = GATEWAYS[BRANCH.key].address, GATEWAYS[BUREAU.key].address
    assert refused(tracer.trace(outside(branch, STRANGER, kind=kind, more=more)), "vpn-peer", BRANCH)
    assert tracer.trace(outside(bureau, STRANGER, kind=kind, more=more)).output == (Out("vpn8-out"),)
    for bogon in (OFFICE, "10.0.0.2", "198.18.0.1", branch, bureau):
        verdict = tracer.trace(outside(bureau, bogon, kind=kind, more=more))
        assert (verdict.output, verdict.dropped) == ((), "bogon-source")


@NETWORK
@pytest.mark.parametrize(
    ("kind", "more"),
    [("tcp", "tcp_dst=500"), ("tcp", "tcp_dst=22"), ("udp", "udp_src=500,udp_dst=53"), ("icmp", "icmp_type=8"),
     ("icmp", "icmp_type=12"), ("ip,nw_proto=51", ""), ("ip,nw_proto=4", ""),
     ("tcp,nw_frag=later", "")],
)  # fmt: skip
def test_peers_too_send_a_gateway_ike_and_esp_alone(tracer: Tracer, network: Network, kind: str, more: str) -> None:
    for source in (HQ, STRANGER):
        packet = outside(GATEWAYS[network.key].address, source, kind=kind, more=more)
        assert refused(tracer.trace(packet), "vpn-peer", network)


@NETWORK
@pytest.mark.parametrize("kind", [3, 11])
def test_the_path_to_a_peer_may_tell_of_errors(tracer: Tracer, network: Network, kind: int) -> None:
    packet = outside(GATEWAYS[network.key].address, STRANGER, kind="icmp", more=f"icmp_type={kind}")
    assert tracer.trace(packet).output == (Out(outside_port(network.key)),)


def test_a_gateway_whose_leg_is_missing_is_silent(tracer: Tracer) -> None:
    for source in ("198.51.100.40", STRANGER):
        verdict = tracer.trace(outside(GATEWAYS[DEPOT.key].address, source, more="udp_dst=500"))
        assert refused(verdict, "vpn-down", DEPOT)


def test_two_gateways_of_this_appliance_reach_each_other_without_the_next_hop(tracer: Tracer) -> None:
    address = GATEWAYS[BRANCH.key].address
    verdict = tracer.trace(from_outside(BUREAU, address, more="udp_src=500,udp_dst=500"))
    # The branch has no such peer.
    assert refused(verdict, "vpn-peer", BRANCH)
    assert verdict.tables[-4:] == path("gateway-out", "gateway-local", "public-in", "vpn-gateway")


@pytest.mark.parametrize("machine", [examples.ISOLATED.machines[0], examples.OFFICE.machines[0], BRANCH.machines[0]])
def test_machines_meet_gateways_as_the_internet_does(tracer: Tracer, machine: Machine) -> None:
    branch, bureau = GATEWAYS[BRANCH.key].address, GATEWAYS[BUREAU.key].address
    assert refused(tracer.trace(ip(machine, branch, more="udp_dst=500")), "vpn-peer", BRANCH)
    verdict = tracer.trace(ip(machine, bureau, more="udp_dst=500"), NEW)
    assert verdict.output == (Out("vpn8-out"),)
    assert verdict.final_flow["nw_src"] == SHARED_ADDRESS
    assert refused(tracer.trace(ip(machine, bureau, kind="tcp", more="tcp_dst=22")), "vpn-peer", BUREAU)
