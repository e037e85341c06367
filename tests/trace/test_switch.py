"""Inside a private network: unicast to the attachment of a MAC, broadcast and multicast to all of its own."""

from __future__ import annotations

import examples
import pytest
from tracer import BROADCAST, Out, Tracer, arrival, echo, ip, out_of, path

from state.model import Machine, Network

WEB, TAGGED = examples.ISOLATED.machines[0], examples.ISOLATED_VLAN.machines[0]
OFFICE, SHOP = examples.OFFICE.machines, examples.SHOP.machines
GROUPS = [
    (BROADCAST, "255.255.255.255"), (BROADCAST, "10.0.255.255"), ("01:00:5e:00:00:fb", "224.0.0.251"),
    ("01:00:5e:7f:ff:fa", "239.255.255.250"), ("01:80:c2:00:00:00", "224.0.0.1"), (BROADCAST, "10.0.0.3"),
]  # fmt: skip
PAIRS = [(a, b) for network in (OFFICE, SHOP) for a in network for b in network if a.attachment != b.attachment]


@pytest.mark.parametrize(("sender", "receiver"), PAIRS, ids=lambda m: m.name)
@pytest.mark.parametrize("ttl", [1, 64])
def test_neighbours_reach_each_other_as_they_are(tracer: Tracer, sender: Machine, receiver: Machine, ttl: int) -> None:
    verdict = tracer.trace(echo(sender, receiver.address, receiver.mac, ttl=ttl))
    assert verdict.tables == path("classify", "port-security", "forward", "neighbor-in", "neighbor-out", "switch")
    assert verdict.output == out_of(receiver)
    sent = verdict.final_flow
    assert (sent["dl_src"], sent["dl_dst"], sent["nw_ttl"]) == (sender.mac, receiver.mac, str(ttl))


def test_machines_behind_one_vni_do_not_hear_each_other_twice(tracer: Tracer) -> None:
    for sender, receiver in ((OFFICE[0], OFFICE[1]), (OFFICE[1], OFFICE[0])):
        verdict = tracer.trace(echo(sender, receiver.address, receiver.mac))
        assert (verdict.output, verdict.dropped) == ((), "same-segment")
        by_router = tracer.trace(echo(sender, receiver.address))
        assert by_router.output == (Out("vxlan", vni=300),)


@pytest.mark.parametrize(("mac", "target"), GROUPS)
@pytest.mark.parametrize(
    ("sender", "others"),
    [
        (OFFICE[0], {Out("trunk", 30), Out("db1")}),
        (OFFICE[1], {Out("trunk", 30), Out("db1")}),
        (OFFICE[2], {Out("vxlan", vni=300), Out("db1")}),
        (OFFICE[3], {Out("vxlan", vni=300), Out("trunk", 30)}),
        (SHOP[0], {Out("trunk", 42)}),
        (SHOP[1], {Out("trunk", 41)}),
    ],
    ids=lambda value: value.name if isinstance(value, Machine) else "",
)
def test_groups_reach_all_other_attachments_once(
    tracer: Tracer, sender: Machine, others: set[Out], mac: str, target: str
) -> None:
    verdict = tracer.trace(ip(sender, target, mac))
    assert set(verdict.output) == others
    assert len(verdict.output) == len(others)
    assert verdict.controller == ()


@pytest.mark.parametrize(("mac", "target"), GROUPS)
@pytest.mark.parametrize("machine", [WEB, TAGGED], ids=lambda m: m.name)
def test_isolated_machines_have_nobody_to_call(tracer: Tracer, machine: Machine, mac: str, target: str) -> None:
    verdict = tracer.trace(ip(machine, target, mac))
    assert (verdict.output, verdict.dropped) == ((), "unknown-mac")


@pytest.mark.parametrize("network", [examples.OFFICE, examples.SHOP], ids=lambda n: n.name)
def test_unknown_macs_are_not_flooded(tracer: Tracer, network: Network) -> None:
    for mac in ("02:00:00:99:99:99", WEB.mac, "02:00:00:00:ff:02"):
        assert tracer.trace(ip(network.machines[0], "10.0.0.3", mac)).dropped == "unknown-mac"


def test_arp_is_never_flooded(tracer: Tracer) -> None:
    for mac in (BROADCAST, "01:00:5e:00:00:01", OFFICE[3].mac):
        flow = f"{arrival(OFFICE[2])},dl_dst={mac},arp,arp_spa=10.0.0.4,arp_sha={OFFICE[2].mac},arp_tpa=10.0.0.9"
        for operation in (1, 2, 3, 8):
            assert tracer.trace(f"{flow},arp_op={operation}").output == ()


@pytest.mark.parametrize("fragment", ["first", "later"])
def test_fragments_between_neighbours(tracer: Tracer, fragment: str) -> None:
    assert tracer.trace(ip(SHOP[0], "10.0.0.3", SHOP[1].mac, more=f"nw_frag={fragment}")).output == out_of(SHOP[1])
