"""Shared drives: reached by the machines of their own network, by the storage port alone."""

from __future__ import annotations

import examples
import pytest
from tracer import INTERNET, ROUTER_MAC, Out, Tracer, arrival, echo, ip, out_of, outside, path

from controller.pipeline.match import mac_to_int
from controller.pipeline.registry import STORAGE_METER, STORAGE_NEWS_METER, MeterClass, Table, meter
from state.model import Drive, Machine, Network
from state.storage import client_address

STORAGE = examples.APPLIANCE.storage
assert STORAGE is not None
PORT = examples.SITE.ports["storage"]
FILES, TILL = examples.OFFICE.drives[0], examples.SHOP.drives[0]
OWNED = [(n, m, d) for n in examples.NETWORKS for m in n.machines for d in n.drives]
EACH = pytest.mark.parametrize(("network", "machine", "drive"), OWNED, ids=lambda value: value.name)
MACHINES = [(network, machine) for network in examples.NETWORKS for machine in network.machines]


def mac_of(drive: Drive) -> str:
    return examples.SITE.neighbors[drive.address]


def client(machine: Machine) -> str:
    assert STORAGE is not None
    return client_address(STORAGE, machine.number)


def from_storage(drive: Drive, destination: str, *, kind: str = "tcp", ttl: int = 64, mac: str = "", to: str = "",
                 source: str = "", more: str = "") -> str:  # fmt: skip
    """A packet from the storage port, from that drive where nothing else is said."""
    assert STORAGE is not None
    more = f",{more}" if more else ""
    return (
        f"in_port={PORT},dl_src={mac or mac_of(drive)},dl_dst={to or STORAGE.mac},{kind},"
        f"nw_src={source or drive.address},nw_dst={destination},nw_ttl={ttl}{more}"
    )


@EACH
@pytest.mark.parametrize("kind", ["tcp", "udp", "icmp"])
def test_machines_reach_their_drives_as_themselves(
    tracer: Tracer, network: Network, machine: Machine, drive: Drive, kind: str
) -> None:
    assert STORAGE is not None
    verdict = tracer.trace(ip(machine, drive.address, kind=kind))
    assert verdict.output == (Out("storage"),)
    assert verdict.tables[-4:] == path("ttl", "route", "storage", "storage-out")
    if verdict.controller:
        return  # Behind check_pkt_larger a trace does not tell the final flow.
    final = verdict.final_flow
    assert (final["nw_src"], final["dl_src"], final["dl_dst"]) == (client(machine), STORAGE.mac, mac_of(drive))
    assert (final["nw_dst"], final["nw_ttl"]) == (drive.address, "63")
    assert verdict.nat is None


@EACH
def test_drives_answer_the_machine(tracer: Tracer, network: Network, machine: Machine, drive: Drive) -> None:
    verdict = tracer.trace(from_storage(drive, client(machine)))
    assert verdict.output == out_of(machine)
    if verdict.controller:
        return  # Behind check_pkt_larger a trace does not tell the final flow.
    final = verdict.final_flow
    assert (final["nw_dst"], final["dl_src"], final["dl_dst"]) == (machine.address, ROUTER_MAC, machine.mac)
    assert (final["nw_src"], final["nw_ttl"]) == (drive.address, "63")


@pytest.mark.parametrize(("network", "machine"), MACHINES, ids=lambda value: value.name)
@pytest.mark.parametrize(
    "target", [FILES.address, TILL.address, "10.250.0.1", "10.250.0.2", "10.250.0.99", "10.250.0.255", "100.64.0.10"]
)
def test_nothing_else_of_the_storage_network_is_reached(
    tracer: Tracer, network: Network, machine: Machine, target: str
) -> None:
    if target in {drive.address for drive in network.drives}:
        return
    verdict = tracer.trace(echo(machine, target))
    assert verdict.controller == ((Table.UNROUTABLE, network.key),)
    assert verdict.output == ()


@pytest.mark.parametrize(("network", "machine"), MACHINES, ids=lambda value: value.name)
@pytest.mark.parametrize("drive", [FILES, TILL], ids=lambda d: d.name)
def test_drives_reach_their_own_network_only(tracer: Tracer, network: Network, machine: Machine, drive: Drive) -> None:
    verdict = tracer.trace(from_storage(drive, client(machine)))
    if drive in network.drives:
        assert verdict.output == out_of(machine)
    else:
        assert (verdict.output, verdict.dropped) == ((), "no-machine")
    for inner in (machine.address, machine.transit):
        verdict = tracer.trace(from_storage(drive, inner))
        assert (verdict.output, verdict.dropped, verdict.dropped_by) == ((), "not-a-drive", 0)


@pytest.mark.parametrize(
    "packet",
    [
        pytest.param(from_storage(FILES, INTERNET), id="to the Internet"),
        pytest.param(from_storage(FILES, "203.0.113.64"), id="to a shared address"),
        pytest.param(from_storage(FILES, "203.0.113.2"), id="to the gateway address"),
        pytest.param(from_storage(FILES, "10.250.0.2"), id="to the storage address"),
        pytest.param(from_storage(FILES, "10.0.0.1"), id="to a router"),
        pytest.param(from_storage(FILES, TILL.address), id="to another drive"),
        pytest.param(from_storage(FILES, "100.64.0.10", source="10.250.0.99"), id="from no drive"),
        pytest.param(from_storage(FILES, "100.64.0.10", source=INTERNET), id="from the Internet's address"),
        pytest.param(from_storage(FILES, "100.64.0.20", mac=mac_of(FILES), source=TILL.address), id="as another drive"),
        pytest.param(from_storage(FILES, "100.64.0.10", mac="02:00:00:00:d0:99"), id="by a wrong MAC"),
        pytest.param(from_storage(FILES, "100.64.0.10", to="02:00:00:00:ff:02"), id="to the gateway's MAC"),
        pytest.param(from_storage(FILES, "100.64.0.10", to="02:00:00:00:ff:01"), id="to the router's MAC"),
        pytest.param(from_storage(FILES, "100.64.0.10", to="ff:ff:ff:ff:ff:ff"), id="broadcast"),
    ],
)
def test_the_storage_port_lets_nothing_else_in(tracer: Tracer, packet: str) -> None:
    verdict = tracer.trace(packet)
    assert (verdict.output, verdict.controller, verdict.dropped) == ((), (), "not-a-drive")


def test_expired_packets_and_fragments_are_counted(tracer: Tracer) -> None:
    clerk = examples.OFFICE.machines[0]
    for ttl in (0, 1):
        assert tracer.trace(from_storage(FILES, client(clerk), ttl=ttl)).dropped == "ttl"
    for part in ("first", "later"):
        frag = f"nw_frag={part}"
        assert tracer.trace(from_storage(FILES, client(clerk), kind="ip,nw_proto=6", more=frag)).dropped == "fragment"
        verdict = tracer.trace(ip(clerk, FILES.address, kind="ip,nw_proto=6", more=frag))
        assert (verdict.dropped, verdict.dropped_by) == ("fragment", examples.OFFICE.key)


def test_tagged_frames_of_the_storage_port_are_nobodys(tracer: Tracer) -> None:
    packet = from_storage(FILES, "100.64.0.10").replace(",dl_src", ",dl_vlan=7,dl_src")
    assert tracer.trace(packet).dropped == "no-network"


@pytest.mark.parametrize("kind", [3, 11, 12])
def test_icmp_errors_go_by_the_controller(tracer: Tracer, kind: int) -> None:
    clerk, more = examples.OFFICE.machines[0], f"icmp_type={kind},icmp_code=0"
    errors = meter(MeterClass.NETWORK_ERRORS, examples.OFFICE.key)
    for packet in (
        ip(clerk, FILES.address, kind="icmp", more=more),
        from_storage(FILES, client(clerk), kind="icmp", more=more),
    ):
        verdict = tracer.trace(packet)
        assert (set(verdict.controller), verdict.output) == ({(Table.STORAGE_ERROR, errors)}, ())


def test_too_large_packets_are_found_on_the_way_that_is_narrower(tracer: Tracer) -> None:
    assert "check_pkt_larger" not in flow_to(tracer, examples.OFFICE, Table.ROUTE)
    assert "check_pkt_larger(1414)" in flow_to(tracer, examples.OFFICE, Table.STORAGE_IN)
    assert "check_pkt_larger(1514)" in flow_to(tracer, examples.SHOP, Table.ROUTE)
    assert "check_pkt_larger" not in flow_to(tracer, examples.SHOP, Table.STORAGE_IN)


def flow_to(tracer: Tracer, network: Network, table: Table) -> str:
    drive = network.drives[0]
    compiled = next(one for one in tracer.compiled if one.key == network.key)
    return next(f.text() for f in compiled.flows.values() if f.table is table and f"drive {drive.name}" in f.why)


def arp_from(operation: int, target: str, to: str, sender: str = FILES.address) -> str:
    return (
        f"in_port={PORT},dl_src={mac_of(FILES)},dl_dst={to},arp,arp_op={operation},arp_spa={sender},"
        f"arp_tpa={target},arp_sha={mac_of(FILES)}"
    )


def test_arp_of_the_storage_network(tracer: Tracer) -> None:
    assert STORAGE is not None
    everybody = "ff:ff:ff:ff:ff:ff"
    verdict = tracer.trace(arp_from(1, STORAGE.ip, everybody))
    assert verdict.final_flow["arp_sha"] == STORAGE.mac
    assert mac_to_int(verdict.final_flow["dl_dst"]) == mac_to_int(mac_of(FILES))
    assert verdict.tables[-2:] == path("arp-reply", "switch")
    assert tracer.trace(arp_from(2, STORAGE.ip, STORAGE.mac)).controller == ((Table.STORAGE_IN, STORAGE_METER),)
    news = ((Table.STORAGE_IN, STORAGE_NEWS_METER),)
    assert tracer.trace(arp_from(1, FILES.address, everybody)).controller == news
    for target in ("100.64.0.10", "203.0.113.64", "10.0.0.1"):
        assert tracer.trace(arp_from(1, target, everybody)).output == ()
        assert tracer.trace(arp_from(2, target, STORAGE.mac)).dropped == "not-a-drive"


def test_addresses_of_storage_are_not_in_the_internet(tracer: Tracer) -> None:
    for source in (FILES.address, "10.250.0.99", client(examples.OFFICE.machines[0])):
        assert tracer.trace(outside("203.0.113.64", source)).dropped == "bogon-source"


def test_a_machine_does_not_speak_for_a_drive_or_a_client(tracer: Tracer) -> None:
    clerk = examples.OFFICE.machines[0]
    for source in (FILES.address, client(clerk), "10.0.0.9"):
        assert tracer.trace(ip(clerk, FILES.address, source=source)).dropped == "source-ip"
    assert tracer.trace(f"{arrival(clerk)},dl_dst={mac_of(FILES)},tcp,nw_src={clerk.address},nw_dst={FILES.address},"
                        "nw_ttl=64").dropped == "unknown-mac"  # fmt: skip
