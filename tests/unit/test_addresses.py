"""Addresses that no longer lead to a machine, found by what the switch holds."""

from __future__ import annotations

import pytest

from controller import wire
from controller.addresses import Addresses, destination
from controller.match import match
from controller.mgmt import InstalledFlow
from controller.pipeline import Feature, Table, cookie


def inbound(key: int, address: str) -> InstalledFlow:
    """A flow of the table INBOUND as the switch gives it back."""
    detail = wire.match(match("ip", ip_dst=address))
    return InstalledFlow(Table.INBOUND.number, 100, cookie(key, Feature.TRANSIT, 7), 0, detail)


@pytest.fixture
def gone() -> list[str]:
    return []


def test_what_a_network_no_longer_has_is_gone(gone: list[str]) -> None:
    addresses = Addresses(gone.append)
    addresses.hold(1, frozenset({"172.16.0.2"}))
    addresses.hold(2, frozenset({"225.0.0.1", "225.0.0.2"}))
    addresses.hold(2, frozenset({"225.0.0.2", "225.0.0.3"}))
    assert gone == ["225.0.0.1"]
    addresses.hold(2, frozenset())
    assert gone == ["225.0.0.1", "225.0.0.2", "225.0.0.3"]
    addresses.hold(2, frozenset())
    assert len(gone) == 3


def test_flows_found_on_a_switch_count_as_held(gone: list[str]) -> None:
    addresses = Addresses(gone.append)
    addresses.hold(3, frozenset({"225.0.0.9"}))
    addresses.adopt([inbound(1, "172.16.0.2"), inbound(2, "225.0.0.1"), inbound(2, "225.0.0.2")])
    assert gone == []
    addresses.hold(1, frozenset({"172.16.0.2"}))
    addresses.hold(2, frozenset({"225.0.0.2"}))
    assert gone == ["225.0.0.1"]


def test_the_next_holder_of_a_key_does_not_hold_its_predecessors_addresses(gone: list[str]) -> None:
    addresses = Addresses(gone.append)
    addresses.hold(1, frozenset({"172.16.0.2"}))
    addresses.hold(1, frozenset({"172.16.0.6"}))
    assert gone == ["172.16.0.2"]


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
    assert wire.with_xid(wire.ct_flush(1, "224.0.0.5"), 2).hex() == told
