"""Pools against plain models: lowest first, released ones later, in any order of rows."""

from __future__ import annotations

import ipaddress
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.ipam.pool import (
    FreeRanges,
    Pool,
    address_pool,
    blocks_per_address,
    number_pool,
    port_block_pool,
    prefix_pool,
)
from agent.ipam.transit_addresses import TransitPool, ones_sum

SIZE = 12


def only(value: str) -> range:
    """A value stands for its own number."""
    return range(int(value), int(value) + 1)


@given(st.lists(st.tuples(st.sampled_from(("take", "give", "range")), st.integers(0, SIZE - 1), st.integers(0, 4))))
def test_free_ranges_are_a_set_of_integers(steps: list[tuple[str, int, int]]) -> None:
    ranges, model = FreeRanges(SIZE), set(range(SIZE))
    for what, value, more in steps:
        match what:
            case "take":
                assert ranges.take(value) is (value in model)
                model.discard(value)
            case "give":
                assert ranges.give(value) is (value not in model)
                model.add(value)
            case "range":
                ranges.take_range(value, value + more)
                model -= set(range(value, value + more + 1))
        assert list(ranges) == sorted(model)
        assert ranges.count == len(model)
        assert [v for v in range(SIZE) if v in ranges] == sorted(model)


def free(pool: Pool, now: int = 0) -> list[str]:
    return list(pool.free(now))


def test_lowest_first_and_again_after_the_end_of_use() -> None:
    pool = number_pool("n", 4)
    pool.use("1")
    pool.use("3")
    assert free(pool) == ["2", "4"]
    pool.unuse("1")
    assert free(pool) == ["1", "2", "4"]


def test_released_values_cool_down() -> None:
    pool = address_pool("a", "10.0.0.0/29", cooldown=1000)
    assert free(pool) == ["10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5", "10.0.0.6"]
    pool.use("10.0.0.2")
    pool.cool("10.0.0.2", 5000)
    pool.unuse("10.0.0.2")
    assert "10.0.0.2" not in free(pool, 5999)
    assert pool.cooling_until("10.0.0.2", 5999) == 6000
    assert pool.next_cooled(5999) == 6000
    assert free(pool, 6000)[0] == "10.0.0.2"
    assert pool.cooling_until("10.0.0.2", 6000) is None


def test_the_latest_release_counts() -> None:
    pool = Pool("p", 2, str, only, cooldown=100)
    pool.cool("0", 1000)
    pool.cool("0", 500)
    pool.cool("0", 1050)
    assert free(pool, 1149) == ["1"]
    assert free(pool, 1150) == ["0", "1"]


def test_a_forgotten_release_frees_at_once_but_an_older_one_does_not() -> None:
    pool = Pool("p", 1, str, only, cooldown=100)
    pool.cool("0", 1000)
    pool.forget("0", 900)
    assert free(pool, 1000) == []
    pool.forget("0", 1000)
    assert free(pool, 1000) == ["0"]


def test_a_value_used_twice_is_free_after_both() -> None:
    pool = prefix_pool("p", ["10.0.0.0/15"], 16)
    pool.use("10.0.0.0/16")
    pool.use("10.0.0.0/16")
    pool.unuse("10.0.0.0/16")
    assert free(pool) == ["10.1.0.0/16"]
    pool.unuse("10.0.0.0/16")
    assert free(pool) == ["10.0.0.0/16", "10.1.0.0/16"]


def test_values_of_no_pool_are_ignored() -> None:
    pool = prefix_pool("p", ["10.0.0.0/30", "10.0.0.8/30"], 30)
    for value in ("10.0.0.4/30", "10.0.0.0/29", "9.0.0.0/30", "11.0.0.0/30"):
        pool.use(value)
        pool.cool(value, 1)
        pool.unuse(value)
    assert free(pool) == ["10.0.0.0/30", "10.0.0.8/30"]


def test_prefixes_without_the_appliance_s_own() -> None:
    pool = prefix_pool("p", ["10.0.0.0/28"], 30, without=["10.0.0.5/32", "10.0.0.12/30", "192.0.2.0/24"])
    assert (free(pool), pool.size) == (["10.0.0.0/30", "10.0.0.8/30"], 2)
    pool.use("10.0.0.4/30")
    pool.unuse("10.0.0.4/30")
    assert free(pool) == ["10.0.0.0/30", "10.0.0.8/30"]
    everything = prefix_pool("p", ["10.0.0.0/28"], 30, without=["10.0.0.0/8"])
    assert free(everything) == []


@pytest.mark.parametrize(("size", "each", "first"), [(64, 1008, 1024), (1024, 63, 1024), (4096, 15, 4096)])
def test_port_blocks_leave_out_system_ports(size: int, each: int, first: int) -> None:
    pool = port_block_pool("b", ["192.0.2.1", "192.0.2.2"], size)
    assert blocks_per_address(size) == each
    values = free(pool)
    assert values[0] == f"192.0.2.1:{first}-{first + size - 1}"
    assert values[-1] == f"192.0.2.2:{65536 - size}-65535"
    assert len(set(values)) == pool.size == 2 * each
    assert all(list(pool.covered(value)) == [at] for at, value in enumerate(values))
    assert not pool.covered(f"192.0.2.1:0-{size - 1}")
    assert not pool.covered(f"192.0.2.3:{first}-{first + size - 1}")


def test_port_blocks_of_another_size_keep_all_they_overlap() -> None:
    """An operator changed the size: no new block may share a port with an old one."""
    larger = port_block_pool("b", ["192.0.2.1"], 4096)
    larger.use("192.0.2.1:5120-6143")
    larger.use("192.0.2.1:6144-7167")
    larger.use("192.0.2.1:1024-2047")
    assert free(larger)[0] == "192.0.2.1:8192-12287"
    larger.unuse("192.0.2.1:5120-6143")
    assert free(larger)[0] == "192.0.2.1:8192-12287"
    larger.unuse("192.0.2.1:6144-7167")
    assert free(larger)[0] == "192.0.2.1:4096-8191"
    smaller = port_block_pool("b", ["192.0.2.1", "192.0.2.2"], 1024, cooldown=10)
    smaller.use("192.0.2.1:4096-8191")
    smaller.cool("192.0.2.1:4096-8191", 5)
    smaller.unuse("192.0.2.1:4096-8191")
    values = free(smaller, 14)
    assert values[2:4] == ["192.0.2.1:3072-4095", "192.0.2.1:8192-9215"]
    assert smaller.cooling_until("192.0.2.1:5120-6143", 14) == 15
    assert len(free(smaller, 15)) == smaller.size


def test_a_network_of_65536_addresses_gives_65533_to_machines() -> None:
    pool = address_pool("a", "10.5.0.0/16")
    values = free(pool)
    assert (values[0], values[-1], len(values)) == ("10.5.0.2", "10.5.255.254", 65533)
    assert "10.5.0.255" in values


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 50), st.booleans()), max_size=12), st.randoms())
def test_the_order_of_rows_does_not_matter(events: list[tuple[int, int, bool]], random: object) -> None:
    """Any order of releases and uses gives the pool that rows of the same contents give."""
    one, other = (Pool("p", 4, str, only, cooldown=20) for _ in range(2))

    def feed(pool: Pool, ordered: list[tuple[int, int, bool]]) -> None:
        for value, at, used in ordered:
            (pool.use(str(value)) if used else pool.cool(str(value), at))

    feed(one, events)
    shuffled = events[:]
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    feed(other, shuffled)
    for now in (0, 25, 45, 70):
        assert free(one, now) == free(other, now)


@given(st.integers(0, (1 << 32) - 1))
@settings(max_examples=200)
def test_transit_addresses_keep_the_checksum(number: int) -> None:
    address = str(ipaddress.IPv4Address(number))
    pool = TransitPool(["224.0.0.0/3"], cooldown=10)
    first = next(pool.like(address).free(0))
    assert ones_sum(first) == ones_sum(address)
    assert ipaddress.IPv4Address(first) in ipaddress.IPv4Network("224.0.0.0/3")
    pool.use(first)
    second = next(pool.like(address).free(0))
    assert second != first
    assert ones_sum(second) == ones_sum(address)
    pool.cool(first, 0)
    pool.unuse(first)
    assert next(pool.like(address).free(9)) == second
    assert next(pool.like(address).free(10)) == first


def test_taking_costs_no_more_with_100000_in_use() -> None:
    def seconds(pool: Pool, count: int) -> float:
        began = time.perf_counter()
        for _ in range(count):
            pool.use(next(pool.free(0)))
        return time.perf_counter() - began

    small, large = number_pool("n", 131071), number_pool("n", 131071)
    seconds(large, 100_000)
    # Every second one free: the most gaps there can be.
    for value in range(1, 100_000, 2):
        large.unuse(str(value))
    assert seconds(large, 2000) < 5 * seconds(small, 2000) + 0.05
