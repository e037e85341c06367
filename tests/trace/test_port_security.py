"""A machine sends with its own IP and ARP sender only, and nothing but IPv4 and ARP."""

from __future__ import annotations

import examples
import pytest
from tracer import BROADCAST, INTERNET, Tracer, arp, arrival, ip, path

from state.model import Machine

WEB, TAGGED = examples.ISOLATED.machines[0], examples.ISOLATED_VLAN.machines[0]
OFFICE, SHOP = examples.OFFICE.machines, examples.SHOP.machines
EACH = pytest.mark.parametrize("machine", [WEB, TAGGED, OFFICE[0], OFFICE[2], SHOP[0]], ids=lambda m: m.name)


@EACH
def test_the_own_address_passes(tracer: Tracer, machine: Machine) -> None:
    assert tracer.trace(ip(machine, INTERNET)).tables[2] in path("forward")
    assert tracer.trace(arp(machine, INTERNET)).tables[2] in path("arp")


@EACH
@pytest.mark.parametrize(
    "source",
    [
        "10.0.0.200", "10.0.0.1", "172.16.0.5", "172.16.0.200", INTERNET, "203.0.113.2", "203.0.113.64", "0.0.0.0",
        "127.0.0.1", "255.255.255.255", "198.18.0.5", OFFICE[3].transit, SHOP[1].transit, "10.0.0.5", "169.254.1.1",
    ],
)  # fmt: skip
def test_no_other_address_passes(tracer: Tracer, machine: Machine, source: str) -> None:
    verdict = tracer.trace(ip(machine, INTERNET, source=source))
    assert (verdict.tables, verdict.dropped) == (path("classify", "port-security"), "source-ip")
    assert verdict.dropped_by == next(n.key for n in examples.NETWORKS if machine in n.machines)
    verdict = tracer.trace(arp(machine, "10.0.0.1", sender=source))
    if source != "0.0.0.0":
        assert (verdict.tables, verdict.dropped) == (path("classify", "port-security"), "arp-sender")


@EACH
def test_a_neighbours_mac_in_arp_is_dropped(tracer: Tracer, machine: Machine) -> None:
    for operation in (1, 2):
        verdict = tracer.trace(arp(machine, "10.0.0.1", operation=operation, hardware=OFFICE[3].mac))
        assert verdict.dropped == "arp-sender"


def test_neighbours_behind_one_vni_cannot_be_mixed(tracer: Tracer) -> None:
    first, second = OFFICE[:2]
    assert tracer.trace(ip(first, INTERNET, source=second.address)).dropped == "source-ip"
    assert tracer.trace(ip(second, INTERNET, source=first.address)).dropped == "source-ip"


@EACH
@pytest.mark.parametrize(
    "kind",
    [
        "dl_type=0x86dd", "ipv6,ipv6_src=fe80::1,ipv6_dst=ff02::1", "icmp6,icmpv6_type=134", "udp6,udp_src=547",
        "dl_type=0x88cc", "dl_type=0x88a8", "dl_type=0x8100", "dl_type=0x8847", "dl_type=0x8863", "dl_type=0x05ff",
        "dl_type=0x88f7", "rarp",
    ],
)  # fmt: skip
def test_nothing_but_ipv4_and_arp(tracer: Tracer, machine: Machine, kind: str) -> None:
    for mac in (BROADCAST, "01:80:c2:00:00:0e", OFFICE[3].mac, examples.APPLIANCE.router_mac):
        verdict = tracer.trace(f"{arrival(machine)},dl_dst={mac},{kind}")
        assert (verdict.tables, verdict.dropped) == (path("classify", "port-security"), "protocol")


def test_later_fragments_are_held_to_the_address_too(tracer: Tracer) -> None:
    assert tracer.trace(ip(WEB, INTERNET, more="nw_frag=later")).output
    assert tracer.trace(ip(WEB, INTERNET, more="nw_frag=later", source=TAGGED.address)).dropped == "source-ip"
