"""Addresses that no longer lead to a machine, found by what the switch holds."""

from __future__ import annotations

import dataclasses

import examples
import pytest

from controller.conntrack.flush import (
    AddressAssignment,
    AddressTracker,
    assignment,
    assignments,
    conntrack_zone,
    destination,
    drive_zones,
    gateway_assignments,
)
from controller.openflow import conntrack_messages, wire
from controller.openflow.client import InstalledFlow
from controller.pipeline.match import match
from controller.pipeline.registry import Feature, Table, cookie
from controller.reconcile.compile import compile_network
from state.model import Network


def inbound(key: int, address: str) -> InstalledFlow:
    """A flow of the table INBOUND as the switch gives it back."""
    detail = wire.match(match("ip", ip_dst=address))
    return InstalledFlow(Table.INBOUND.number, 100, cookie(key, Feature.TRANSIT, 7), 0, detail)


def held(gone: list[str]) -> AddressTracker[str]:
    """Addresses as the committer holds them, which tell `gone`."""
    addresses = AddressTracker(destination)
    addresses.gone = gone.append
    return addresses


@pytest.fixture
def gone() -> list[str]:
    return []


def test_what_a_network_no_longer_has_is_gone(gone: list[str]) -> None:
    addresses = held(gone)
    addresses.hold(1, frozenset({"172.16.0.2"}))
    addresses.hold(2, frozenset({"225.0.0.1", "225.0.0.2"}))
    addresses.hold(2, frozenset({"225.0.0.2", "225.0.0.3"}))
    assert gone == ["225.0.0.1"]
    addresses.hold(2, frozenset())
    assert gone == ["225.0.0.1", "225.0.0.2", "225.0.0.3"]
    addresses.hold(2, frozenset())
    assert len(gone) == 3


def test_flows_found_on_a_switch_count_as_held(gone: list[str]) -> None:
    addresses = held(gone)
    addresses.hold(3, frozenset({"225.0.0.9"}))
    addresses.adopt([inbound(1, "172.16.0.2"), inbound(2, "225.0.0.1"), inbound(2, "225.0.0.2")])
    assert gone == []
    addresses.hold(1, frozenset({"172.16.0.2"}))
    addresses.hold(2, frozenset({"225.0.0.2"}))
    assert gone == ["225.0.0.1"]


def test_the_next_holder_of_a_key_does_not_hold_its_predecessors_addresses(gone: list[str]) -> None:
    addresses = held(gone)
    addresses.hold(1, frozenset({"172.16.0.2"}))
    addresses.hold(1, frozenset({"172.16.0.6"}))
    assert gone == ["172.16.0.2"]


def public_flows(network: Network, table: Table = Table.PUBLIC_IN) -> list[InstalledFlow]:
    """The flows of a network's public addresses, or of another table, as the switch gives them back."""
    return [
        InstalledFlow(f.table.number, f.priority, value, 0, wire.match(f.match) + wire.instructions(f.actions))
        for value, f in compile_network(network, examples.SITE).flows.items()
        if f.table is table
    ]


def test_assignments_found_on_a_switch_are_neither_new_nor_gone() -> None:
    told: list[AddressAssignment] = []
    found = AddressTracker(assignment)
    found.new = found.gone = told.append
    found.adopt(flow for network in examples.PUBLIC_NETWORKS for flow in public_flows(network))
    for network in examples.PUBLIC_NETWORKS:
        found.hold(network.key, assignments(network))
    assert told == []
    assert sorted(found.everything()) == [AddressAssignment("203.0.113.130", 2), AddressAssignment("203.0.113.131", 3)]


def test_an_address_that_moves_is_announced_and_its_old_zone_forgotten() -> None:
    gone: list[AddressAssignment] = []
    new: list[AddressAssignment] = []
    found = AddressTracker(assignment)
    found.gone, found.new = gone.append, new.append
    found.adopt(public_flows(examples.PUBLIC_WEB))
    found.hold(examples.PUBLIC_WEB.key, frozenset())
    found.hold(9, frozenset({AddressAssignment("203.0.113.130", 7)}))
    assert (gone, new) == ([AddressAssignment("203.0.113.130", 2)], [AddressAssignment("203.0.113.130", 7)])


def test_a_gateways_assignment_is_found_on_a_switch_and_ends_with_it() -> None:
    told: list[AddressAssignment] = []
    found = AddressTracker(assignment)
    found.new = found.gone = told.append
    networks = (examples.BRANCH, examples.BUREAU, examples.PUBLIC_LAB)
    public = [flow for network in networks for flow in public_flows(network)]
    found.adopt(public, gateway_assignments(public))
    for network in (examples.BRANCH, examples.PUBLIC_LAB):
        found.hold(network.key, assignments(network))
    assert told == []
    found.hold(examples.BRANCH.key, frozenset())
    assert told == [AddressAssignment("203.0.113.132")]


def test_the_zone_of_drives_is_found_on_a_switch_and_ends_with_what_is_beyond() -> None:
    gone: list[int] = []
    found = AddressTracker(conntrack_zone)
    found.gone = gone.append
    networks = (examples.BRANCH, examples.BUREAU, examples.CLINIC)
    found.adopt(flow for network in networks for flow in public_flows(network, Table.REMOTE_MACHINE))
    for network in networks:
        found.hold(network.key, drive_zones(network))
    assert gone == []
    # Who was made first goes on being the client, whoever comes and goes.
    found.hold(examples.CLINIC.key, drive_zones(dataclasses.replace(examples.CLINIC, vpn=None)))
    assert gone == []
    found.hold(examples.CLINIC.key, drive_zones(dataclasses.replace(examples.CLINIC, interconnects=())))
    found.hold(examples.BRANCH.key, drive_zones(None))
    assert gone == [141, 4]


def test_a_gateway_without_its_port_has_no_assignment_yet() -> None:
    assert assignments(examples.BRANCH, {"vpnGateways/branch-vpn"}) == frozenset()
    assert assignments(examples.BRANCH) == {AddressAssignment("203.0.113.132")}


def test_a_machine_without_its_port_has_no_assignment_yet() -> None:
    assert assignments(examples.PUBLIC_WEB, {"web5"}) == frozenset()
    assert assignments(None) == frozenset()


@pytest.mark.parametrize(
    ("asked", "address"),
    [
        (match("ip", ip_dst="172.16.0.2"), "172.16.0.2"),
        (match("ip", metadata=5, ip_src="10.0.0.1", ip_dst="10.0.0.2"), "10.0.0.2"),
        (match("ip", ip_dst="10.0.0.0/8"), None),
        (match("ip", ip_src="10.0.0.1"), None),
        (match(), None),
    ],
)
def test_destination_of_a_match(asked: object, address: str | None) -> None:
    assert destination(wire.match(asked)) == address  # type: ignore[arg-type]


def test_the_message_is_that_of_ovs_ofctl() -> None:
    # As sent by `ovs-ofctl -O OpenFlow14 ct-flush BRIDGE zone=1 ct_nw_src=224.0.0.5` of OVS 3.1.0.
    told = (
        "05040040000000020000232000000020000000000000000000000020000000000000001400000000000000000000ffffe0000005"
        "000000000002000800010000"
    )
    assert wire.with_xid(conntrack_messages.flush(1, "224.0.0.5"), 2).hex() == told


def test_the_message_about_a_zone_is_that_of_ovs_ofctl() -> None:
    # `struct nx_zone_id` of nicira-ext.h after the header of a Nicira extension (29).
    assert (
        wire.with_xid(conntrack_messages.flush_zone(515), 2).hex() == "0504001800000002000023200000001d0000000000000203"
    )
