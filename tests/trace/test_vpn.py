"""VPN gateways, inside: machines and offices reach each other by the tunnel, and nobody else does."""

from __future__ import annotations

import examples
import pytest
from tracer import (
    GATEWAY_MAC,
    INTERNET,
    NEW,
    ROUTER_MAC,
    SHARED_ADDRESS,
    Out,
    Tracer,
    echo,
    ip,
    out_of,
    path,
)
from vpn_packets import (
    ARCHIVE,
    BRANCH,
    BUREAU,
    DEPOT,
    HQ,
    OFFICE,
    REMOTE,
    STORAGE,
    STRANGER,
    fields,
    from_inside,
    macs,
    refused,
    written,
)

from controller.pipeline.registry import MeterClass, Table, meter
from state.model import Machine, Network
from state.storage import client_address
from state.vpn import INSIDE_MAC, inside_port, outside_port

WITH_LEGS = [(n, m) for n in (BRANCH, BUREAU) for m in n.machines]
EACH = pytest.mark.parametrize(("network", "machine"), WITH_LEGS, ids=lambda value: value.name)
NETWORK = pytest.mark.parametrize("network", [BRANCH, BUREAU], ids=lambda network: network.name)
KINDS = pytest.mark.parametrize(
    ("kind", "more"),
    [("tcp", "tcp_dst=22"), ("udp", "udp_dst=53"), ("icmp", "icmp_type=8,icmp_code=0"), ("icmp", "icmp_type=3"),
     ("ip", "nw_proto=47"), ("udp", "nw_frag=later")],
)  # fmt: skip


@EACH
@KINDS
def test_a_machine_reaches_the_office_by_the_tunnel(
    tracer: Tracer, network: Network, machine: Machine, kind: str, more: str
) -> None:
    for office in REMOTE[network.key]:
        verdict = tracer.trace(ip(machine, office, kind=kind, more=more))
        assert verdict.output == (Out(inside_port(network.key)),)
        assert verdict.tables[-4:] == path("ttl", "route", "remote-route", "vpn-leg")
        assert macs(verdict) == written(ROUTER_MAC, INSIDE_MAC)
        assert fields(verdict, "nw_src", "nw_dst", "nw_ttl") == (machine.address, office, "63")
        assert verdict.nat is None
        assert verdict.meters == (meter(MeterClass.NETWORK_VPN_OUT, network.key),)


@EACH
@KINDS
def test_the_office_reaches_a_machine(tracer: Tracer, network: Network, machine: Machine, kind: str, more: str) -> None:
    for office in REMOTE[network.key]:
        verdict = tracer.trace(from_inside(network, machine.address, office, kind=kind, more=more))
        assert verdict.output == out_of(machine)
        assert verdict.tables == path("classify", "vpn-inside", "remote-machine", "switch")
        assert macs(verdict) == written(ROUTER_MAC, machine.mac)
        assert fields(verdict, "nw_src", "nw_dst") == (office, machine.address)
        assert (verdict.nat, verdict.tracked) == (None, None)
        assert verdict.meters == (meter(MeterClass.NETWORK_VPN_IN, network.key),)


@EACH
@pytest.mark.parametrize("kind", [3, 11, 12])
def test_the_gateway_tells_machines_of_errors_in_the_routers_name(
    tracer: Tracer, network: Network, machine: Machine, kind: int
) -> None:
    error = from_inside(network, machine.address, network.router, kind="icmp", more=f"icmp_type={kind}")
    assert tracer.trace(error).output == out_of(machine)


@EACH
@pytest.mark.parametrize(("kind", "more"), [("icmp", "icmp_type=8"), ("icmp", "icmp_type=0"), ("tcp", ""), ("udp", "")])
def test_the_gateway_says_nothing_else_in_the_routers_name(
    tracer: Tracer, network: Network, machine: Machine, kind: str, more: str
) -> None:
    packet = from_inside(network, machine.address, network.router, kind=kind, more=more)
    assert refused(tracer.trace(packet), "vpn-source", network)


@EACH
@pytest.mark.parametrize(
    "source",
    [INTERNET, STRANGER, "10.0.0.2", "10.0.0.3", "10.0.9.9", "192.169.0.1", "10.250.0.12", "100.64.0.49",
     "203.0.113.132", "203.0.113.64", "203.0.113.2", "198.18.0.1", "127.0.0.1", "0.0.0.0", "255.255.255.255"],
)  # fmt: skip
def test_out_of_a_tunnel_comes_no_source_that_is_not_beyond_it(
    tracer: Tracer, network: Network, machine: Machine, source: str
) -> None:
    for destination in (machine.address, ARCHIVE.address, INTERNET):
        assert refused(tracer.trace(from_inside(network, destination, source)), "vpn-source", network)


def test_a_prefix_of_another_networks_connections_is_no_source(tracer: Tracer) -> None:
    for source in ("10.77.1.1", "172.20.0.9"):
        packet = from_inside(BUREAU, BUREAU.machines[0].address, source)
        assert refused(tracer.trace(packet), "vpn-source", BUREAU)


def test_arp_and_other_protocols_do_not_come_out_of_a_leg(tracer: Tracer) -> None:
    for leg, why in ((inside_port, "vpn-source"), (outside_port, "vpn-cleartext")):
        port = examples.SITE.ports[leg(BRANCH.key)]
        for frame in ("dl_dst=ff:ff:ff:ff:ff:ff,arp,arp_op=1,arp_spa=10.0.0.1,arp_tpa=10.0.0.2",
                      f"dl_dst={ROUTER_MAC},dl_type=0x86dd", "dl_dst=ff:ff:ff:ff:ff:ff,dl_type=0x88cc"):  # fmt: skip
            verdict = tracer.trace(f"in_port={port},dl_src={INSIDE_MAC},{frame}")
            assert refused(verdict, why, BRANCH)
        tagged = f"in_port={port},dl_vlan=71,dl_src={BRANCH.machines[0].mac},dl_dst={ROUTER_MAC},ip"
        assert tracer.trace(tagged).dropped == "no-network"


# A broadcast address of the network, its router, addresses of nobody, of the appliance and of others.
ELSEWHERE = [
    "10.0.255.255", "10.0.0.1", "10.0.0.99", "255.255.255.255", "224.0.0.1", "203.0.113.2", "203.0.113.1",
    SHARED_ADDRESS, "203.0.113.130", "203.0.113.132", "10.250.0.2", "10.250.0.1", "198.18.0.1", INTERNET, HQ,
    OFFICE, "192.168.9.9",
    *(machine.address for machine in (examples.ISOLATED.machines[0], examples.ISOLATED_VLAN.machines[0])),
    *(machine.transit for machine in (examples.ISOLATED.machines[0], examples.OFFICE.machines[0], BRANCH.machines[0])),
    *(client_address(STORAGE, number) for number in (10, BRANCH.machines[0].number, BRANCH.vpn.number)),
]  # fmt: skip


@NETWORK
@pytest.mark.parametrize("destination", ELSEWHERE)
@pytest.mark.parametrize("mac", [ROUTER_MAC, GATEWAY_MAC, "ff:ff:ff:ff:ff:ff", examples.OFFICE.machines[0].mac])
def test_a_tunnel_leads_to_machines_of_its_network_and_nowhere_else(
    tracer: Tracer, network: Network, destination: str, mac: str
) -> None:
    assert refused(tracer.trace(from_inside(network, destination, mac=mac)), "no-machine", network)


def test_equal_networks_with_equal_offices_never_meet(tracer: Tracer) -> None:
    mine, other = BRANCH.machines[0], BUREAU.machines[0]
    assert mine.address == other.address
    assert tracer.trace(from_inside(BRANCH, mine.address)).output == out_of(mine)
    assert tracer.trace(from_inside(BUREAU, other.address)).output == out_of(other)
    assert tracer.trace(ip(mine, OFFICE)).output == (Out("vpn7-in"),)
    assert tracer.trace(ip(other, OFFICE)).output == (Out("vpn8-in"),)
    # An address that only the other network has.
    assert refused(tracer.trace(from_inside(BUREAU, BRANCH.machines[1].address)), "no-machine", BUREAU)


@pytest.mark.parametrize(
    "machine",
    [examples.ISOLATED.machines[0], examples.ISOLATED_VLAN.machines[0], examples.OFFICE.machines[0],
     examples.SHOP.machines[0], examples.PUBLIC_WEB.machines[0], examples.PUBLIC_LAB.machines[0]],
    ids=lambda machine: machine.name,
)  # fmt: skip
def test_machines_of_other_networks_do_not_reach_the_office(tracer: Tracer, machine: Machine) -> None:
    for office in REMOTE[BRANCH.key]:
        verdict = tracer.trace(echo(machine, office))
        assert verdict.output == ()
        assert {table for table, _ in verdict.controller} == {Table.UNROUTABLE}


def test_a_machine_may_not_pretend_to_be_the_office(tracer: Tracer) -> None:
    one, other = BRANCH.machines
    assert refused(tracer.trace(ip(one, other.address, source=OFFICE)), "source-ip", BRANCH)
    assert refused(tracer.trace(ip(one, ARCHIVE.address, source=OFFICE)), "source-ip", BRANCH)


@pytest.mark.parametrize("office", ["192.168.0.1", OFFICE, "192.168.255.255"])
@KINDS
def test_without_its_gateway_a_remote_prefix_leads_nowhere(tracer: Tracer, office: str, kind: str, more: str) -> None:
    verdict = tracer.trace(ip(DEPOT.machines[0], office, kind=kind, more=more))
    assert refused(verdict, "vpn-down", DEPOT)
    assert verdict.tables[-3:] == path("route", "remote-route", "vpn-leg")


@EACH
def test_the_internet_is_reached_as_without_a_gateway(tracer: Tracer, network: Network, machine: Machine) -> None:
    for target in (INTERNET, HQ):
        verdict = tracer.trace(ip(machine, target), NEW)
        assert verdict.output == (Out("uplink"),)
        assert verdict.final_flow["nw_src"] == SHARED_ADDRESS


@EACH
def test_the_last_hop_of_a_machine_ends_at_its_router(tracer: Tracer, network: Network, machine: Machine) -> None:
    verdict = tracer.trace(echo(machine, OFFICE, ttl=1))
    assert (verdict.output, [table for table, _ in verdict.controller]) == ((), [Table.TTL])
