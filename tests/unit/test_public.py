"""Which addresses of the pools are shared or assignable, whatever of the gateway's subnet they hold."""

from __future__ import annotations

from dataclasses import replace

import pytest

from state.model import Appliance, Gateway
from state.public import assignable_prefixes, largest_public_range, public_addresses, public_prefixes


def appliance(*pool: str, address: str = "203.0.113.2/29", next_hop: str = "203.0.113.1") -> Appliance:
    return Appliance(Gateway("uplink", address, next_hop), pool)


def test_a_pool_that_is_the_gateways_subnet_leaves_out_what_is_in_use_there() -> None:
    site = appliance("203.0.113.0/29")
    assert public_addresses(site) == ("203.0.113.3", "203.0.113.4", "203.0.113.5", "203.0.113.6")
    assert public_prefixes(site) == ("203.0.113.3/32", "203.0.113.4/31", "203.0.113.6/32")
    assert largest_public_range(site) == ("203.0.113.3", "203.0.113.6")


def test_a_routed_pool_is_used_whole() -> None:
    site = appliance("198.51.100.0/30", "198.51.100.8")
    assert public_prefixes(site) == ("198.51.100.0/30", "198.51.100.8/32")
    assert largest_public_range(site) == ("198.51.100.0", "198.51.100.3")


def test_a_point_to_point_subnet_has_no_broadcast_address() -> None:
    site = appliance("203.0.113.0/31", "203.0.113.2/31", address="203.0.113.2/31", next_hop="203.0.113.3")
    assert public_prefixes(site) == ("203.0.113.0/31",)


def test_a_pool_without_a_usable_address_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"203\.0\.113\.1/32 has no usable address"):
        largest_public_range(appliance("203.0.113.1/32"))


def test_assignable_addresses_leave_out_what_the_gateways_subnet_needs() -> None:
    site = replace(appliance("198.51.100.8"), public_pool=("203.0.113.0/29", "198.51.100.16/30"))
    assert assignable_prefixes(site) == ("198.51.100.16/30", "203.0.113.3/32", "203.0.113.4/31", "203.0.113.6/32")
    assert assignable_prefixes(appliance("198.51.100.8")) == ()
