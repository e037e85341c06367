"""Which network a frame belongs to: port, VLAN or VNI, and the MAC of one of its machines."""

from __future__ import annotations

import examples
import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Dot1AD, Dot1Q, Ether
from tracer import BROADCAST, INTERNET, ROUTER_MAC, Tracer, arrival, ip, path

from state.model import Machine, Network

WEB, TAGGED = examples.ISOLATED.machines[0], examples.ISOLATED_VLAN.machines[0]
OFFICE, SHOP = examples.OFFICE.machines, examples.SHOP.machines
MACHINES = [(network, machine) for network in examples.NETWORKS for machine in network.machines]


@pytest.mark.parametrize(("network", "machine"), MACHINES, ids=lambda value: value.name)
def test_every_machine_is_of_its_network(tracer: Tracer, network: Network, machine: Machine) -> None:
    verdict = tracer.trace(ip(machine, INTERNET))
    assert verdict.tables[:2] == path("classify", "port-security")
    assert int(verdict.final_flow["metadata"], 16) == network.key
    assert verdict.dropped is None


@pytest.mark.parametrize(("network", "machine"), MACHINES, ids=lambda value: value.name)
def test_a_foreign_mac_is_dropped_and_counted(tracer: Tracer, network: Network, machine: Machine) -> None:
    verdict = tracer.trace(ip(machine, INTERNET).replace(machine.mac, "02:00:00:99:99:99"))
    assert (verdict.tables, verdict.dropped) == (path("classify"), "source-mac")
    assert verdict.dropped_by == network.key


@pytest.mark.parametrize(
    ("there", "here"),
    [(WEB, TAGGED), (TAGGED, WEB), (SHOP[0], SHOP[1]), (OFFICE[3], OFFICE[2]), (OFFICE[0], SHOP[0])],
    ids=lambda machine: machine.name,
)
def test_a_machine_is_known_at_its_own_attachment_only(tracer: Tracer, there: Machine, here: Machine) -> None:
    verdict = tracer.trace(ip(here, INTERNET).replace(here.mac, there.mac))
    assert (verdict.tables, verdict.dropped) == (path("classify"), "source-mac")


def test_a_frame_with_a_priority_alone_is_untagged(tracer: Tracer) -> None:
    for priority in (0, 5):
        tagged = f"dl_vlan=0,dl_vlan_pcp={priority}"
        verdict = tracer.trace(f"{ip(WEB, INTERNET)},{tagged}")
        assert verdict.output == tracer.trace(ip(WEB, INTERNET)).output
        assert verdict.final_flow["vlan_tci"] == "0x0000"
        foreign = tracer.trace(f"{ip(WEB, INTERNET)},{tagged}".replace(WEB.mac, "02:00:00:99:99:99"))
        assert foreign.dropped == "source-mac"


@pytest.mark.parametrize("mac", [ROUTER_MAC, examples.APPLIANCE.gateway.mac, BROADCAST, "00:00:00:00:00:00"])
def test_nobody_speaks_as_the_appliance_or_a_group(tracer: Tracer, mac: str) -> None:
    assert tracer.trace(ip(WEB, INTERNET).replace(WEB.mac, mac)).dropped == "source-mac"


@pytest.mark.parametrize(
    "arrives",
    [
        f"in_port=11,dl_vlan=7,dl_src={WEB.mac}",
        f"in_port=11,dl_vlan=7,dl_src={TAGGED.mac}",
        f"in_port=12,dl_src={WEB.mac}",
        f"in_port=20,dl_src={TAGGED.mac}",
        f"in_port=20,dl_vlan=0,dl_src={TAGGED.mac}",
        f"in_port=20,dl_vlan=8,dl_src={TAGGED.mac}",
        f"in_port=20,dl_vlan=4095,dl_src={TAGGED.mac}",
        f"in_port=20,tun_id=300,dl_src={OFFICE[0].mac}",
        f"in_port=21,dl_src={OFFICE[0].mac}",
        f"in_port=21,tun_id=301,dl_src={OFFICE[0].mac}",
        f"in_port=21,tun_id=16777516,dl_src={OFFICE[0].mac}",
        f"in_port=21,tun_id=300,dl_vlan=30,dl_src={OFFICE[2].mac}",
        f"in_port=21,tun_id=300,dl_vlan=30,dl_src={OFFICE[0].mac}",
        f"in_port=1,dl_vlan=7,dl_src={TAGGED.mac}",
        f"in_port=LOCAL,dl_src={WEB.mac}",
    ],
)
def test_nobody_claims_what_comes_elsewhere(tracer: Tracer, arrives: str) -> None:
    verdict = tracer.trace(f"{arrives},dl_dst={ROUTER_MAC},udp,nw_src={WEB.address},nw_dst={INTERNET},nw_ttl=64")
    assert (verdict.tables, verdict.dropped) == (path("classify"), "no-network")


def test_a_priority_in_the_tag_changes_nothing(tracer: Tracer) -> None:
    assert tracer.trace(ip(TAGGED, INTERNET, more="dl_vlan_pcp=5")).output


@pytest.mark.parametrize("outer", [Dot1Q, Dot1AD])
@pytest.mark.parametrize("inner", [Dot1Q, Dot1AD])
def test_a_second_tag_is_not_looked_behind(tracer: Tracer, outer: type[Dot1Q], inner: type[Dot1Q]) -> None:
    payload = IP(src=TAGGED.address, dst=INTERNET) / UDP()
    frame = Ether(src=TAGGED.mac, dst=ROUTER_MAC) / outer(vlan=7) / inner(vlan=41) / payload
    assert tracer.trace("in_port=20", frame=bytes(frame)).dropped == "protocol"
    single = Ether(src=TAGGED.mac, dst=ROUTER_MAC) / Dot1Q(vlan=7) / payload
    assert tracer.trace("in_port=20", frame=bytes(single)).output


def test_what_a_frame_says_of_itself_does_not_count(tracer: Tracer) -> None:
    """Metadata and registers are empty on arrival; a trace that gives them is overruled."""
    verdict = tracer.trace(f"{arrival(WEB)},metadata=3,reg2=10,dl_dst={OFFICE[3].mac},ip,nw_src={WEB.address}")
    assert (verdict.output, verdict.dropped) == ((), "unknown-mac")
