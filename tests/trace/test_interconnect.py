"""Direct Connect and peering: who reaches whom by them, by which of several, and what is dropped."""

from __future__ import annotations

import examples
import pytest
from interconnect_packets import come, from_leg
from tracer import GATEWAY_MAC, NEXT_HOP_MAC, ROUTER_MAC, Out, Tracer, Verdict, ip, out_of, path
from vpn_packets import fields, macs, refused, written

from controller.pipeline.registry import GATEWAY_METER, MeterClass, Table, meter
from state.interconnect import INTERCONNECT_MAC, Interconnect, leg_port
from state.model import Network
from state.storage import client_address

CLINIC, STUDIO = examples.INTERCONNECT_NETWORKS
FIRST, SECOND = CLINIC.interconnects
UNLEARNED = STUDIO.interconnects[0]
CARRIER, EXCHANGE = examples.PEERINGS
EVERY = [(one, CLINIC) for one in CLINIC.interconnects] + [(UNLEARNED, STUDIO), (CARRIER, None), (EXCHANGE, None)]
EACH = pytest.mark.parametrize(("one", "network"), EVERY, ids=lambda value: value.name if value else "")
OURS = pytest.mark.parametrize("one", CLINIC.interconnects, ids=lambda one: one.name)
MACHINE = CLINIC.machines[0]
RECORDS = CLINIC.drives[0]
HERE = "203.0.113.130"
STORAGE = examples.APPLIANCE.storage
assert STORAGE is not None


def key(network: Network | None) -> int:
    return 0 if network is None else network.key


def dropped(verdict: Verdict, why: str, of: int) -> bool:
    return (verdict.output, verdict.controller, verdict.dropped, verdict.dropped_by) == ((), (), why, of)


@pytest.mark.parametrize(
    ("destination", "port", "vlan"),
    [
        ("192.168.50.1", "cross1", 41),
        ("192.168.50.129", "cross2", 42),
        ("192.168.51.1", "cross1", 41),
        ("10.20.1.1", "cross1", 41),
    ],
)
def test_the_longest_prefix_and_then_the_better_interconnect(
    tracer: Tracer, destination: str, port: str, vlan: int
) -> None:
    verdict = tracer.trace(ip(MACHINE, destination, kind="tcp"))
    assert verdict.output == (Out(port, vlan),)
    assert verdict.tables[-4:] == path("ttl", "route", "remote-route", "interconnect-out")
    assert fields(verdict, "nw_src", "nw_dst", "nw_ttl") == (MACHINE.address, destination, "63")
    assert verdict.meters == (meter(MeterClass.INTERCONNECT_OUT, vlan),)


@pytest.mark.parametrize("destination", ["172.21.0.1", "192.168.99.1"])
def test_what_no_interconnect_learned_goes_by_the_tunnel_that_has_it(tracer: Tracer, destination: str) -> None:
    assert tracer.trace(ip(MACHINE, destination)).output == (Out("vpn40-in"),)


@pytest.mark.parametrize("destination", ["10.21.0.1", "10.255.255.255"])
def test_what_nobody_learned_goes_nowhere(tracer: Tracer, destination: str) -> None:
    verdict = tracer.trace(ip(MACHINE, destination))
    assert (verdict.output, [table for table, _ in verdict.controller]) == ((), [Table.REMOTE_ROUTE])
    verdict = tracer.trace(ip(STUDIO.machines[0], "192.168.50.1"))
    assert (verdict.output, [table for table, _ in verdict.controller]) == ((), [Table.REMOTE_ROUTE])


def test_what_is_here_is_nearer_than_a_prefix_around_it(tracer: Tracer) -> None:
    assert tracer.trace(ip(MACHINE, CLINIC.machines[1].address)).output == out_of(CLINIC.machines[1])
    assert tracer.trace(ip(MACHINE, RECORDS.address, kind="tcp")).output == (Out("storage"),)


@pytest.mark.parametrize("network", examples.NETWORKS[2:], ids=lambda network: network.name)
def test_other_networks_do_not_reach_it(tracer: Tracer, network: Network) -> None:
    for destination in ("192.168.50.1", "10.20.1.1"):
        verdict = tracer.trace(ip(network.machines[0], destination))
        assert not [out for out in verdict.output if out.port.startswith("cross")]


@OURS
@pytest.mark.parametrize("source", ["192.168.50.9", "192.168.99.9", "10.20.0.9"])
def test_a_customer_reaches_machines(tracer: Tracer, one: Interconnect, source: str) -> None:
    for machine in CLINIC.machines:
        verdict = tracer.trace(come(one, source, machine.address, kind="tcp"))
        assert verdict.output == out_of(machine)
        assert verdict.tables == path(
            "classify", "interconnect-link", "interconnect-source", "interconnect-ttl", "remote-machine", "switch"
        )
        assert macs(verdict) == written(ROUTER_MAC, machine.mac)
        assert fields(verdict, "nw_src", "nw_dst", "nw_ttl") == (source, machine.address, "63")
        assert verdict.meters == (meter(MeterClass.INTERCONNECT_IN, one.number),)


def test_what_is_larger_than_the_networks_mtu_is_for_the_controller_to_tell_of(tracer: Tracer) -> None:
    machine = STUDIO.machines[0]
    verdict = tracer.trace(come(UNLEARNED, "192.168.50.9", machine.address))
    # A trace shows the ways of large and other packets.
    assert [table for table, _ in verdict.controller] == [Table.REMOTE_MACHINE]
    assert verdict.output == out_of(machine)


@OURS
@pytest.mark.parametrize("kind", ["tcp", "udp", "icmp"])
def test_a_customer_reaches_drives_as_one_client(tracer: Tracer, one: Interconnect, kind: str) -> None:
    assert STORAGE is not None
    client = client_address(STORAGE, FIRST.client)
    verdict = tracer.trace(come(one, "192.168.50.9", RECORDS.address, kind=kind))
    assert (verdict.output, verdict.nat) == ((Out("storage"),), client)
    assert refused(
        tracer.trace(come(one, "192.168.50.9", RECORDS.address), ct=("trk", "new")), "not-translated", CLINIC
    )


def test_a_drive_answers_by_the_longest_prefix(tracer: Tracer) -> None:
    # A trace cannot undo NAT: what it shows is where the untranslated address would go, which is beyond, and nowhere.
    assert STORAGE is not None
    client = client_address(STORAGE, FIRST.client)
    mac = examples.SITE.neighbors[RECORDS.address]
    packet = f"in_port=3,dl_src={mac},dl_dst={STORAGE.mac},tcp,nw_src={RECORDS.address},nw_dst={client},nw_ttl=64"
    verdict = tracer.trace(packet, ct=("trk", "est", "rpl", "dnat"))
    assert verdict.tables[-4:] == path("storage-in", "storage-machine", "remote-drive-reply", "remote-route")
    assert refused(tracer.trace(packet, ct=("trk", "new")), "remote-unsolicited", CLINIC)


@OURS
@pytest.mark.parametrize(
    "source", ["10.0.0.2", "10.0.5.5", "10.250.0.13", "172.21.0.9", "151.101.0.1", "203.0.113.130", "127.0.0.1",
               "169.254.41.2", "100.64.0.141"],
)  # fmt: skip
def test_a_customer_has_no_other_source(tracer: Tracer, one: Interconnect, source: str) -> None:
    for destination in (MACHINE.address, RECORDS.address, "151.101.0.1", HERE):
        assert refused(tracer.trace(come(one, source, destination)), "interconnect-source", CLINIC)


@OURS
@pytest.mark.parametrize(
    "destination",
    ["10.0.0.1", "10.0.0.99", "151.101.0.1", HERE, "203.0.113.2", "203.0.113.64", "10.250.0.12", "10.250.0.10",
     "172.16.0.6", "192.168.50.1", "192.168.50.129", "172.21.0.1", "198.18.0.1", "224.0.0.5", "255.255.255.255"],
)  # fmt: skip
def test_a_customer_reaches_nothing_else(tracer: Tracer, one: Interconnect, destination: str) -> None:
    assert refused(tracer.trace(come(one, "192.168.50.9", destination)), "no-machine", CLINIC)


def test_equal_prefixes_do_not_meet(tracer: Tracer) -> None:
    machine = STUDIO.machines[0]
    assert machine.address == MACHINE.address
    assert tracer.trace(come(UNLEARNED, "192.168.50.9", machine.address)).output == out_of(machine)
    assert tracer.trace(come(FIRST, "192.168.50.9", machine.address)).output == out_of(MACHINE)


@EACH
@pytest.mark.parametrize(
    ("kind", "more"),
    [("tcp", "tcp_dst=179"), ("tcp", "tcp_src=179"), ("udp", "udp_dst=3784"), ("icmp", "icmp_type=8")],
)
def test_the_link_itself_is_for_the_leg(
    tracer: Tracer, one: Interconnect, network: Network | None, kind: str, more: str
) -> None:
    verdict = tracer.trace(come(one, one.peer_address, one.local_ip, kind=kind, more=more, ttl=1))
    assert verdict.output == (Out(leg_port(one.number)),)
    assert verdict.meters == (meter(MeterClass.INTERCONNECT_LINK, one.number),)
    stranger = come(one, "192.168.50.9", one.local_ip, kind=kind, more=more)
    assert dropped(tracer.trace(stranger), "link-address", key(network))


@EACH
@pytest.mark.parametrize(
    ("kind", "more"), [("tcp", "tcp_dst=22"), ("udp", "udp_dst=53"), ("udp", "udp_dst=4784"), ("tcp", "tcp_dst=2605")]
)
def test_nothing_else_of_the_peer_reaches_the_leg(
    tracer: Tracer, one: Interconnect, network: Network | None, kind: str, more: str
) -> None:
    verdict = tracer.trace(come(one, one.peer_address, one.local_ip, kind=kind, more=more))
    assert dropped(verdict, "link-address", key(network))


@EACH
def test_arp_of_both_ends_and_nothing_else_leaves_the_leg(
    tracer: Tracer, one: Interconnect, network: Network | None
) -> None:
    there = (Out(one.port, one.vlan),)
    port, leg = examples.SITE.ports[one.port], Out(leg_port(one.number))
    tag = f",dl_vlan={one.vlan}" if one.vlan else ""
    question = f"in_port={port}{tag},dl_src=02:00:00:00:cc:99,dl_dst=ff:ff:ff:ff:ff:ff,arp,arp_op=1"
    assert tracer.trace(f"{question},arp_spa={one.peer_address},arp_tpa={one.local_ip}").output == (leg,)
    assert tracer.trace(from_leg(one, "arp", f"arp_op=1,arp_tpa={one.peer_address}")).output == there
    assert tracer.trace(from_leg(one, "tcp", f"nw_src={one.local_ip},nw_dst={one.peer_address}")).output == there
    for source in ("10.0.0.2", "192.168.50.1", HERE, one.peer_address):
        assert dropped(tracer.trace(from_leg(one, "tcp", f"nw_src={source}")), "link-address", key(network))


@EACH
def test_an_ending_ttl_is_for_the_controller_to_tell_of(
    tracer: Tracer, one: Interconnect, network: Network | None
) -> None:
    source = "151.101.0.9" if network is None else "192.168.50.9"
    table, rate = (Table.INTERCONNECT_TTL, network.key) if network else (Table.PEERING_IN, GATEWAY_METER)
    # Also for what nobody has.
    for destination in (MACHINE.address, HERE, "203.0.113.64", "10.0.0.99", one.peer_address, "224.0.0.5"):
        verdict = tracer.trace(come(one, source, destination, ttl=1))
        assert (verdict.output, verdict.controller) == ((), ((table, rate),))
        assert verdict.meters[0] == meter(MeterClass.INTERCONNECT_IN, one.number)
        assert dropped(tracer.trace(come(one, source, destination, ttl=0)), "ttl", key(network))


@EACH
@pytest.mark.parametrize("ttl", [0, 1])
@pytest.mark.parametrize("source", ["10.250.0.13", "172.16.0.6", "203.0.113.130", "127.0.0.1", "169.254.1.1"])
def test_nobody_is_told_of_a_ttl_whose_source_is_not_the_peers(
    tracer: Tracer, one: Interconnect, network: Network | None, source: str, ttl: int
) -> None:
    verdict = tracer.trace(come(one, source, MACHINE.address, ttl=ttl))
    assert dropped(verdict, "interconnect-source" if network else "bogon-source", key(network))


@EACH
@pytest.mark.parametrize("ttl", [0, 1, 64, 255])
def test_only_the_peers_address_reaches_the_leg(
    tracer: Tracer, one: Interconnect, network: Network | None, ttl: int
) -> None:
    port, leg = examples.SITE.ports[one.port], Out(leg_port(one.number))
    tag = f",dl_vlan={one.vlan}" if one.vlan else ""
    for source in ("192.168.50.9", "151.101.0.9", "8.8.8.8", one.local_ip, "0.0.0.0", "10.0.0.2"):
        for kind, more in (("udp", ""), ("icmp", "icmp_type=8"), ("tcp", "tcp_dst=179"), ("udp", "udp_dst=3784")):
            for destination in (one.local_ip, MACHINE.address, HERE, one.peer_address, "255.255.255.255", "224.0.0.5"):
                verdict = tracer.trace(come(one, source, destination, kind=kind, more=more, ttl=ttl))
                assert leg not in verdict.output
        question = f"in_port={port}{tag},dl_src=02:00:00:00:cc:99,dl_dst=ff:ff:ff:ff:ff:ff,arp,arp_op=1"
        verdict = tracer.trace(f"{question},arp_spa={source},arp_tpa={one.local_ip}")
        assert dropped(verdict, "not-for-us", key(network))


@EACH
def test_frames_for_others_count_for_the_peers_network(
    tracer: Tracer, one: Interconnect, network: Network | None
) -> None:
    for mac in (ROUTER_MAC, "02:00:00:00:cc:01", "ff:ff:ff:ff:ff:ff"):
        verdict = tracer.trace(come(one, "192.168.50.9", MACHINE.address, mac=mac))
        assert dropped(verdict, "not-for-us", key(network))
    verdict = tracer.trace(come(one, "192.168.50.9", MACHINE.address).partition(",udp")[0] + ",dl_type=0x86dd")
    assert dropped(verdict, "not-for-us", key(network))


@OURS
def test_the_peers_own_icmp_errors_come_in(tracer: Tracer, one: Interconnect) -> None:
    for kind in (3, 11):
        error = come(one, one.peer_address, MACHINE.address, kind="icmp", more=f"icmp_type={kind}")
        assert tracer.trace(error).output == out_of(MACHINE)
    echo = come(one, one.peer_address, MACHINE.address, kind="icmp", more="icmp_type=8")
    assert refused(tracer.trace(echo), "interconnect-source", CLINIC)


def test_another_vlan_or_none_is_nobodys(tracer: Tracer) -> None:
    port = examples.SITE.ports[FIRST.port]
    for tag in ("", ",dl_vlan=99", ",dl_vlan=42"):
        packet = f"in_port={port}{tag},dl_dst={INTERCONNECT_MAC},udp,nw_src=192.168.50.9,nw_dst={MACHINE.address}"
        assert dropped(tracer.trace(packet), "no-network", 0)


WEB, LAB = examples.PUBLIC_NETWORKS


@pytest.mark.parametrize("network", [WEB, LAB], ids=lambda network: network.name)
@pytest.mark.parametrize(
    ("destination", "port", "number"), [("151.101.0.1", "cross2", 45), ("151.102.0.1", "cross1", 44)]
)
def test_a_peering_is_a_better_way_than_the_gateway(
    tracer: Tracer, network: Network, destination: str, port: str, number: int
) -> None:
    machine = network.machines[0]
    verdict = tracer.trace(ip(machine, destination, kind="tcp"))
    assert verdict.output == (Out(port, number),)
    assert verdict.tables[-3:] == path("public-out", "gateway-out", "interconnect-out")
    assert fields(verdict, "nw_src") == (machine.public,)
    # Shared addresses are announced too: who has none of his own is translated, and leaves by the same way.
    assert tracer.trace(ip(examples.ISOLATED.machines[0], destination, kind="tcp")).output == (Out(port, number),)


def test_all_else_goes_by_the_gateway(tracer: Tracer) -> None:
    verdict = tracer.trace(ip(WEB.machines[0], "151.103.0.1"))
    assert verdict.output == (Out("uplink"),)
    assert macs(verdict) == written(GATEWAY_MAC, NEXT_HOP_MAC)


@pytest.mark.parametrize(("one", "source"), [(CARRIER, "8.8.8.8"), (EXCHANGE, "151.101.0.1")])
@pytest.mark.parametrize("network", [WEB, LAB], ids=lambda network: network.name)
def test_a_peer_reaches_what_has_a_public_address(
    tracer: Tracer, one: Interconnect, source: str, network: Network
) -> None:
    machine = network.machines[0]
    verdict = tracer.trace(come(one, source, machine.public, kind="tcp"))
    assert verdict.output == out_of(machine)
    assert fields(verdict, "nw_src", "nw_dst", "nw_ttl") == (source, machine.address, "63")
    assert verdict.meters[0] == meter(MeterClass.INTERCONNECT_IN, one.number)


@pytest.mark.parametrize(
    "destination",
    ["172.16.0.6", "10.0.0.2", "10.250.0.13", "203.0.113.2", "203.0.113.1", "151.102.0.1", "169.254.45.1",
     "192.168.50.1", "8.8.4.4", "224.0.0.1"],
)  # fmt: skip
def test_a_peer_reaches_nothing_else(tracer: Tracer, destination: str) -> None:
    assert dropped(tracer.trace(come(CARRIER, "8.8.8.8", destination)), "not-for-us", 0)


def test_a_shared_address_takes_replies_only(tracer: Tracer) -> None:
    verdict = tracer.trace(come(CARRIER, "8.8.8.8", "203.0.113.64"), ct=("trk", "new"))
    assert (verdict.tables[-1], verdict.output) == (Table.GATEWAY_TRACK, ())


@pytest.mark.parametrize(
    "source", ["10.0.0.2", "172.16.0.6", "192.168.1.1", "203.0.113.130", "203.0.113.64", "203.0.113.2", "100.64.0.1",
               "127.0.0.1", "224.0.0.1", "198.18.0.1", "10.250.0.13"],
)  # fmt: skip
def test_a_peer_has_no_source_that_cannot_be_there(tracer: Tracer, source: str) -> None:
    for one in (CARRIER, EXCHANGE):
        assert dropped(tracer.trace(come(one, source, HERE)), "bogon-source", 0)
    assert dropped(tracer.trace(come(EXCHANGE, "8.8.8.8", HERE)), "interconnect-source", 0)
