"""DHCP goes to the controller under the machine's meter; nobody else serves it."""

from __future__ import annotations

import examples
import pytest
from tracer import BROADCAST, ROUTER_MAC, Tracer, arrival, ip

from controller.pipeline.registry import MeterClass, Table, meter
from state.model import Machine

WEB = examples.ISOLATED.machines[0]
OFFICE, SHOP = examples.OFFICE.machines, examples.SHOP.machines
MACHINES = [machine for network in examples.NETWORKS for machine in network.machines]


@pytest.mark.parametrize("machine", MACHINES, ids=lambda m: m.name)
@pytest.mark.parametrize("renewal", [False, True], ids=["first", "renewal"])
def test_requests_reach_the_controller_only(tracer: Tracer, machine: Machine, renewal: bool) -> None:
    source, target, mac = (
        (machine.address, "10.0.0.1", ROUTER_MAC) if renewal else ("0.0.0.0", "255.255.255.255", BROADCAST)
    )
    verdict = tracer.trace(ip(machine, target, mac, source=source, more="udp_src=68,udp_dst=67"))
    assert verdict.controller == ((Table.PORT_SECURITY, meter(MeterClass.MACHINE_DHCP, machine.number)),)
    assert verdict.output == ()


def test_a_foreign_mac_asks_in_vain(tracer: Tracer) -> None:
    flow = ip(WEB, "255.255.255.255", BROADCAST, source="0.0.0.0", more="udp_src=68,udp_dst=67")
    verdict = tracer.trace(flow.replace(WEB.mac, OFFICE[0].mac))
    assert (verdict.controller, verdict.dropped) == ((), "source-mac")


@pytest.mark.parametrize("more", ["udp_src=68,udp_dst=69", "udp_src=1068,udp_dst=67", "udp_src=67,udp_dst=67"])
def test_only_clients_port_speaks_without_an_address(tracer: Tracer, more: str) -> None:
    assert tracer.trace(ip(OFFICE[3], "255.255.255.255", BROADCAST, source="0.0.0.0", more=more)).dropped == "source-ip"


@pytest.mark.parametrize("machine", [*OFFICE, *SHOP], ids=lambda m: m.name)
@pytest.mark.parametrize("more", ["", ",nw_frag=first"], ids=["whole", "first-fragment"])
@pytest.mark.parametrize("port", [67, 68, 6767])
def test_foreign_servers_do_not_answer(tracer: Tracer, machine: Machine, port: int, more: str) -> None:
    """Clients take offers from any port (RFC 2131 says nothing of it)."""
    for target, mac in (("255.255.255.255", BROADCAST), ("10.0.0.5", OFFICE[3].mac), ("10.0.0.3", SHOP[1].mac)):
        for source in (machine.address, "10.0.0.1"):
            verdict = tracer.trace(ip(machine, target, mac, source=source, more=f"udp_src={port},udp_dst=68{more}"))
            assert (verdict.output, verdict.controller, verdict.dropped) == ((), (), "dhcp-server")


def test_an_isolated_machine_serves_nobody(tracer: Tracer) -> None:
    for mac in (BROADCAST, OFFICE[3].mac, examples.ISOLATED_VLAN.machines[0].mac):
        verdict = tracer.trace(f"{arrival(WEB)},dl_dst={mac},udp,nw_src={WEB.address},udp_src=67,udp_dst=68,nw_ttl=64")
        assert (verdict.output, verdict.dropped) == ((), "unknown-mac")


def test_the_internet_serves_nobody(tracer: Tracer) -> None:
    for mac in (BROADCAST, WEB.mac):
        flow = f"in_port=1,dl_src=02:00:00:00:00:fe,dl_dst={mac},udp,nw_src=203.0.113.1,udp_src=67,udp_dst=68,nw_ttl=64"
        assert tracer.trace(flow).dropped == "not-for-us"
