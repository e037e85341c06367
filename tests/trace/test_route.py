"""Where a machine's packets may go: its own network, the Internet, or nowhere."""

from __future__ import annotations

import dataclasses

import examples
import pytest
from tracer import INTERNET, NEXT_HOP_MAC, ROUTER_MAC, Out, Tracer, arrival, echo, ip, out_of, path

from controller.pipeline.registry import Table
from controller.reconcile.compile import compile_shared
from state.model import Kind, Machine, Network

WEB, TAGGED = examples.ISOLATED.machines[0], examples.ISOLATED_VLAN.machines[0]
OFFICE, SHOP = examples.OFFICE.machines, examples.SHOP.machines
MACHINES = [(network, machine) for network in examples.NETWORKS for machine in network.machines]
EACH = pytest.mark.parametrize(("network", "machine"), MACHINES, ids=lambda value: value.name)

BOGONS = [
    "0.0.0.0", "0.1.2.3", "10.1.0.1", "10.255.255.255", "100.64.0.1", "100.127.255.254", "127.0.0.1", "169.254.169.254",
    "172.16.0.1", "172.31.255.254", "192.168.0.1", "192.168.255.1", "224.0.0.1", "224.0.0.251", "239.255.255.250",
    "240.0.0.1", "255.255.255.255",
]  # fmt: skip
OTHER_TENANTS = [
    WEB.address, TAGGED.address, examples.ISOLATED.router, examples.ISOLATED_VLAN.router, OFFICE[0].transit,
    OFFICE[3].transit, SHOP[0].transit, SHOP[1].transit,
]  # fmt: skip
APPLIANCE = ["198.18.0.1", "198.18.0.255", "203.0.113.2", "203.0.113.64", "203.0.113.79"]


@EACH
@pytest.mark.parametrize("target", [*BOGONS, *OTHER_TENANTS, *APPLIANCE])
def test_nowhere(tracer: Tracer, network: Network, machine: Machine, target: str) -> None:
    verdict = tracer.trace(ip(machine, target))
    if target == network.router:
        assert Table.ROUTER_LOCAL in verdict.tables
    else:
        assert verdict.tables[-3:] == path("ttl", "route", "unroutable")
        assert verdict.controller == ((Table.UNROUTABLE, network.key),)
    assert all(out in out_of(machine) for out in verdict.output)


@pytest.mark.parametrize("target", ["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.5"])
@pytest.mark.parametrize("machine", [WEB, TAGGED], ids=lambda m: m.name)
def test_isolated_machines_do_not_reach_private_networks(tracer: Tracer, machine: Machine, target: str) -> None:
    verdict = tracer.trace(echo(machine, target))
    assert (verdict.tables[-1], verdict.output) == (Table.UNROUTABLE, ())


@EACH
@pytest.mark.parametrize(
    "target",
    [INTERNET, "8.8.8.8", "1.0.0.1", "192.0.2.80", "203.0.113.1", "203.0.113.3", "203.0.113.63", "223.255.255.1"],
)
def test_the_internet_and_the_next_hop(tracer: Tracer, network: Network, machine: Machine, target: str) -> None:
    verdict = tracer.trace(ip(machine, target))
    assert verdict.output == (Out("uplink"),)
    assert verdict.final_flow["dl_dst"] == NEXT_HOP_MAC
    assert verdict.final_flow["nw_dst"] == target


@pytest.mark.parametrize("network", [examples.OFFICE, examples.SHOP], ids=lambda n: n.name)
def test_private_machines_by_the_router(tracer: Tracer, network: Network) -> None:
    """The same addresses twice: each network reaches its own machines, whoever else has the address."""
    sender = network.machines[0]
    for machine in network.machines:
        verdict = tracer.trace(echo(sender, machine.address))
        assert verdict.tables[-5:] == path("route", "deliver", "neighbor-in", "neighbor-out", "switch")
        assert verdict.output == out_of(machine)
        sent = verdict.final_flow
        assert (sent["dl_src"], sent["dl_dst"]) == (ROUTER_MAC, machine.mac)
        assert (sent["nw_src"], sent["nw_dst"], sent["nw_ttl"]) == (sender.address, machine.address, "63")


@pytest.mark.parametrize("network", [examples.OFFICE, examples.SHOP], ids=lambda n: n.name)
@pytest.mark.parametrize("target", ["10.0.0.200", "10.0.255.254", "10.0.0.0", "10.0.255.255"])
def test_hosts_nobody_is(tracer: Tracer, network: Network, target: str) -> None:
    verdict = tracer.trace(echo(network.machines[0], target))
    assert verdict.tables[-2:] == path("route", "deliver")
    assert (verdict.controller, verdict.output) == (((Table.DELIVER, network.key),), ())


def test_addresses_only_another_tenant_has(tracer: Tracer) -> None:
    assert tracer.trace(echo(SHOP[0], OFFICE[3].address)).controller == ((Table.DELIVER, examples.SHOP.key),)


@EACH
@pytest.mark.parametrize("other", [machine for _, machine in MACHINES], ids=lambda m: m.name)
def test_the_mac_of_another_network_leads_nowhere(
    tracer: Tracer, network: Network, machine: Machine, other: Machine
) -> None:
    verdict = tracer.trace(ip(machine, other.address, other.mac))
    if other in network.machines:
        assert set(verdict.output) <= set(out_of(other))
    else:
        assert (verdict.output, verdict.dropped) == ((), "unknown-mac")


@EACH
def test_groups_by_the_routers_mac_are_not_routed(tracer: Tracer, network: Network, machine: Machine) -> None:
    for target in ("224.0.0.251", "239.1.2.3", "255.255.255.255"):
        verdict = tracer.trace(ip(machine, target))
        assert (verdict.output, verdict.tables[-1]) == ((), Table.UNROUTABLE)
    if network.kind is Kind.PRIVATE:
        assert tracer.trace(ip(machine, "10.0.255.255")).output == ()


@EACH
@pytest.mark.parametrize("mac", [examples.APPLIANCE.gateway.mac, NEXT_HOP_MAC, "00:00:00:00:00:00"])
def test_the_gateways_macs_are_not_there(tracer: Tracer, network: Network, machine: Machine, mac: str) -> None:
    for target in (INTERNET, "203.0.113.2", "10.0.0.3"):
        assert tracer.trace(ip(machine, target, mac)).dropped == "unknown-mac"
        assert tracer.trace(f"{arrival(machine)},dl_dst={mac},arp,arp_op=2,arp_spa=203.0.113.1").dropped == "arp-sender"


def test_pools_of_other_prefixes_are_held_apart_too() -> None:
    """An operator may give isolated machines a prefix that is otherwise the Internet's."""
    appliance = dataclasses.replace(
        examples.APPLIANCE, isolated_pool=("198.51.100.0/24",), private_pool=("192.0.2.0/24",)
    )
    site = dataclasses.replace(examples.SITE, appliance=appliance)
    texts = {flow.text(names=True) for flow in compile_shared(site).flows.values()}
    for prefix in ("198.51.100.0/24", "192.0.2.0/24"):
        assert f"table=route,priority=100,ip,nw_dst={prefix} actions=goto_table:unroutable" in texts
        assert f"table=gateway,priority=200,ip,nw_src={prefix} actions=drop" in texts
