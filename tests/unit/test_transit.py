"""Transit addresses: unique, and with the checksum of what they stand for."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.utils import checksum

from agent.ipam.transit_addresses import TransitPool, ones_sum

NOW = 1_000_000
inner = st.integers(0x0A000002, 0x0AFFFFFE).map(lambda value: str(ipaddress.IPv4Address(value)))


def header_checksum(address: str) -> int:
    return int(checksum(ipaddress.IPv4Address(address).packed + b"\x45\x00"))


@given(inner, st.integers(0, 300))
def test_a_transit_address_keeps_every_checksum(address: str, skip: int) -> None:
    pool = TransitPool(["224.0.0.0/3"])
    values = pool.like(address).free(NOW)
    transit = [next(values) for _ in range(skip + 1)][-1]
    assert header_checksum(transit) == header_checksum(address)
    assert ipaddress.IPv4Address(transit) in ipaddress.IPv4Network("224.0.0.0/3")
    assert pool.like(transit) is pool.like(address)


def test_the_same_address_in_many_networks_gets_as_many_transit_addresses_as_the_pool_has_16s() -> None:
    pool = TransitPool(["240.0.0.0/14", "224.1.0.0/16"])
    given_out = []
    for _ in range(5):
        value = next(pool.like("10.0.0.2").free(NOW))
        pool.use(value)
        given_out.append(value)
    assert given_out == ["224.1.42.0", "240.0.26.1", "240.1.26.0", "240.2.25.255", "240.3.25.254"]
    assert next(pool.like("10.0.0.2").free(NOW), None) is None
    assert next(pool.like("10.0.0.3").free(NOW)) == "224.1.42.1"


def test_a_released_one_stays_out_for_the_cooldown() -> None:
    pool = TransitPool(["240.0.0.0/16"], cooldown=1000)
    (only,) = pool.like("10.0.0.2").free(NOW)
    pool.use(only)
    pool.cool(only, NOW)
    pool.unuse(only)
    assert list(pool.like("10.0.0.2").free(NOW + 999)) == []
    assert list(pool.like("10.0.0.2").free(NOW + 1000)) == [only]


@pytest.mark.parametrize(
    ("address", "total"), [("0.0.0.0", 0), ("10.0.0.2", 0x0A02), ("255.255.0.0", 0), ("255.254.0.2", 1)]
)
def test_ones_sum(address: str, total: int) -> None:
    assert ones_sum(address) == total
