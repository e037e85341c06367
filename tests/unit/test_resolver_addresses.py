"""How the resolver sees machines: no address that Linux refuses, and no two alike."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network

import examples
import pytest

from state.resolver import MULTICAST, seen_as, stand_in


def test_only_what_linux_refuses_is_seen_as_something_else() -> None:
    prefix = stand_in(examples.APPLIANCE)
    assert prefix == IPv4Network("16.0.0.0/4")
    assert seen_as("224.1.2.3", prefix) == "16.1.2.3"
    assert seen_as("239.255.255.254", prefix) == "31.255.255.254"
    for same in ("240.1.2.3", "172.16.0.6"):
        assert seen_as(same, prefix) == same


def test_a_pool_that_linux_takes_is_left_alone() -> None:
    appliance = replace(examples.APPLIANCE, transit_pool=("240.0.0.0/4",))
    assert stand_in(appliance) is None
    assert seen_as("240.1.2.3", None) == "240.1.2.3"


@pytest.mark.parametrize("taken", ["16.0.0.0/16", "0.0.0.0/1", "0.0.0.0/2"])
def test_other_addresses_of_machines_are_not_taken(taken: str) -> None:
    appliance = replace(examples.APPLIANCE, isolated_pool=(taken,))
    prefix = stand_in(appliance)
    assert prefix is not None
    assert not prefix.overlaps(IPv4Network(taken))
    assert IPv4Address(seen_as("225.0.0.1", prefix)) in prefix
    assert not prefix.overlaps(MULTICAST)


def test_pools_may_leave_no_prefix() -> None:
    assert stand_in(replace(examples.APPLIANCE, isolated_pool=("0.0.0.0/1", "128.0.0.0/1"))) is None
