"""VPN gateways and drives: an office reaches its network's drives as the gateway, and drives answer."""

from __future__ import annotations

import examples
import pytest
from tracer import (
    ROUTER_MAC,
    Out,
    Tracer,
    out_of,
    path,
)
from vpn_packets import (
    ARCHIVE,
    BRANCH,
    BUREAU,
    CLIENT,
    GATEWAYS,
    REMOTE,
    STORAGE,
    fields,
    from_drive,
    from_inside,
    macs,
    refused,
    written,
)

from controller.pipeline.registry import Table
from state.model import Network
from state.storage import client_address
from state.vpn import INSIDE_MAC

NETWORK = pytest.mark.parametrize("network", [BRANCH, BUREAU], ids=lambda network: network.name)


@pytest.mark.parametrize("office", REMOTE[BRANCH.key])
@pytest.mark.parametrize("kind", ["tcp", "udp", "icmp"])
def test_the_office_reaches_a_drive_as_the_gateway(tracer: Tracer, office: str, kind: str) -> None:
    assert STORAGE is not None
    verdict = tracer.trace(from_inside(BRANCH, ARCHIVE.address, office, kind=kind))
    assert verdict.output == (Out("storage"),)
    assert verdict.tables == path(
        "classify", "vpn-inside", "remote-machine", "remote-drive-check", "storage-out"
    )  # fmt: skip
    assert (verdict.nat, verdict.tracked) == (CLIENT, office)
    assert macs(verdict) == written(STORAGE.mac, examples.SITE.neighbors[ARCHIVE.address])
    assert fields(verdict, "nw_src", "nw_dst") == (CLIENT, ARCHIVE.address)


@pytest.mark.parametrize("state", ["trk,new", "trk,inv", "trk,est"])
def test_what_is_not_translated_does_not_reach_a_drive(tracer: Tracer, state: str) -> None:
    verdict = tracer.trace(from_inside(BRANCH, ARCHIVE.address), ct=tuple(state.split(",")))
    assert refused(verdict, "not-translated", BRANCH)


@pytest.mark.parametrize("state", ["trk,est,rpl,dnat", "trk,rel,rpl,dnat"])
def test_a_drive_answers_the_office(tracer: Tracer, state: str) -> None:
    verdict = tracer.trace(from_drive(CLIENT), ct=tuple(state.split(",")))
    assert verdict.output == (Out("vpn7-in"),)
    assert verdict.tables[-5:] == path("storage-in", "storage-machine", "remote-drive-reply", "remote-route", "vpn-leg")
    assert macs(verdict) == written(ROUTER_MAC, INSIDE_MAC)
    error = tracer.trace(from_drive(CLIENT, kind="icmp", more="icmp_type=3"), ct=("trk", "rel", "rpl", "dnat"))
    assert (error.output, error.controller) == ((Out("vpn7-in"),), ())


@pytest.mark.parametrize("state", ["trk,new", "trk,est", "trk,inv", "trk,new,rel", "trk,est,rpl"])
def test_a_drive_opens_no_connection_to_the_office(tracer: Tracer, state: str) -> None:
    assert refused(tracer.trace(from_drive(CLIENT), ct=tuple(state.split(","))), "remote-unsolicited", BRANCH)
    for office in REMOTE[BRANCH.key]:
        assert tracer.trace(from_drive(office)).dropped == "not-a-drive"


@NETWORK
def test_drives_of_other_networks_are_not_reached(tracer: Tracer, network: Network) -> None:
    for owner in (examples.OFFICE, examples.SHOP, BRANCH):
        for drive in owner.drives:
            if drive not in network.drives:
                assert refused(tracer.trace(from_inside(network, drive.address)), "no-machine", network)


def test_a_machine_and_the_gateway_are_not_mistaken_for_each_other_by_drives(tracer: Tracer) -> None:
    clerk = BRANCH.machines[0]
    assert STORAGE is not None
    verdict = tracer.trace(from_drive(client_address(STORAGE, clerk.number)))
    assert verdict.output == out_of(clerk)
    assert Table.REMOTE_DRIVE_REPLY not in verdict.tables
    verdict = tracer.trace(from_drive(client_address(STORAGE, GATEWAYS[BUREAU.key].number)))
    assert (verdict.output, verdict.dropped) == ((), "no-machine")
