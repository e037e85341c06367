"""ICMP redirects, router discovery and source quench pass in no direction, and count for the network they came from."""

from __future__ import annotations

import examples
import pytest
from interconnect_packets import come
from tracer import BROADCAST, INTERNET, SHARED_ADDRESS, Tracer, Verdict, ip, out_of, outside, reply
from vpn_packets import ARCHIVE, BRANCH, CLIENT, GATEWAYS, from_drive, from_inside

from controller.features.icmp_redirect import TYPES
from controller.pipeline.registry import Table
from state.interconnect import Interconnect
from state.model import Machine, Network
from state.storage import client_address

MACHINES = [(network, machine) for network in examples.ALL_NETWORKS for machine in network.machines]
EACH_MACHINE = pytest.mark.parametrize(("network", "machine"), MACHINES, ids=lambda value: value.name)
EACH_TYPE = pytest.mark.parametrize("kind", TYPES)
CLINIC = examples.INTERCONNECT_NETWORKS[0]
LINKS = [*((one, CLINIC.key) for one in CLINIC.interconnects), *((one, 0) for one in examples.PEERINGS)]
OFFICE = examples.OFFICE.machines
PUBLIC = examples.PUBLIC_NETWORKS[0].machines[0]
STORAGE = examples.APPLIANCE.storage
assert STORAGE is not None


def refused(verdict: Verdict, key: int) -> bool:
    found = (verdict.output, verdict.controller, verdict.dropped, verdict.dropped_by, verdict.tables[-1])
    return found == ((), (), "icmp-redirect", key, Table.ICMP_REDIRECT)


def icmp(kind: int) -> dict[str, str]:
    return {"kind": "icmp", "more": f"icmp_type={kind},icmp_code=1"}


@EACH_TYPE
@EACH_MACHINE
def test_no_machine_sends_one(tracer: Tracer, network: Network, machine: Machine, kind: int) -> None:
    targets = ["10.0.0.3", network.router, INTERNET, SHARED_ADDRESS, "10.250.0.13", "192.168.50.1", "10.77.1.1"]
    for target in targets:
        assert refused(tracer.trace(ip(machine, target, **icmp(kind))), network.key)
    for mac, target in (
        (BROADCAST, "255.255.255.255"),
        ("01:00:5e:00:00:01", "224.0.0.1"),
        (OFFICE[3].mac, "10.0.0.5"),
    ):
        assert refused(tracer.trace(ip(machine, target, mac, **icmp(kind))), network.key)
    # Not in the name of the router either, and not in the first of several fragments.
    assert refused(tracer.trace(ip(machine, "10.0.0.3", source=network.router, **icmp(kind))), network.key)
    first = f"icmp_type={kind},icmp_code=1,nw_frag=first"
    assert refused(tracer.trace(ip(machine, INTERNET, kind="icmp", more=first)), network.key)


@EACH_TYPE
@pytest.mark.parametrize("source", [INTERNET, "203.0.113.1"])
@pytest.mark.parametrize("destination", [PUBLIC.public, SHARED_ADDRESS, "203.0.113.2", GATEWAYS[BRANCH.key].address])
def test_none_comes_from_the_internet(tracer: Tracer, destination: str, source: str, kind: int) -> None:
    assert refused(tracer.trace(outside(destination, source, **icmp(kind))), 0)


@EACH_TYPE
def test_none_comes_about_a_known_connection(tracer: Tracer, kind: int) -> None:
    for machine in (examples.ISOLATED.machines[0], OFFICE[0]):
        quoting = outside(SHARED_ADDRESS, **icmp(kind))
        assert refused(tracer.trace(quoting, ct=("trk", "rel", "dnat")), 0)
        # What is an error about one comes in.
        assert tracer.trace(reply(machine, "rel|dnat", kind="icmp", more="icmp_type=3")).dropped is None


@EACH_TYPE
@pytest.mark.parametrize(("one", "key"), LINKS, ids=lambda value: getattr(value, "name", ""))
def test_none_comes_by_an_interconnect(tracer: Tracer, one: Interconnect, key: int, kind: int) -> None:
    for destination in (CLINIC.machines[0].address, PUBLIC.public, one.local_ip):
        for source in ("192.168.50.9", "151.101.0.1", one.peer_address):
            assert refused(tracer.trace(come(one, source, destination, **icmp(kind))), key)


@EACH_TYPE
def test_none_comes_out_of_a_tunnel(tracer: Tracer, kind: int) -> None:
    for destination in (BRANCH.machines[0].address, ARCHIVE.address, BRANCH.router):
        for source in ("192.168.4.4", BRANCH.router):
            assert refused(tracer.trace(from_inside(BRANCH, destination, source, **icmp(kind))), BRANCH.key)


@EACH_TYPE
def test_none_comes_from_a_drive(tracer: Tracer, kind: int) -> None:
    assert STORAGE is not None
    for destination in (client_address(STORAGE, BRANCH.machines[0].number), CLIENT):
        assert refused(tracer.trace(from_drive(destination, **icmp(kind))), BRANCH.key)


@pytest.mark.parametrize("kind", [0, 3, 8, 11, 12, 13, 14])
def test_other_icmp_passes_as_before(tracer: Tracer, kind: int) -> None:
    neighbour = OFFICE[3]
    assert tracer.trace(ip(OFFICE[2], neighbour.address, neighbour.mac, **icmp(kind))).output == out_of(neighbour)
    sent = tracer.trace(ip(examples.ISOLATED.machines[0], INTERNET, **icmp(kind)))
    assert sent.dropped is None
    come_in = tracer.trace(outside(PUBLIC.public, **icmp(kind)))
    assert come_in.dropped is None
