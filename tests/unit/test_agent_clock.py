"""Somebody sets the time of day: released values rest as long as they should, and answers stay right."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from agent.clock import Clock
from agent.errors import InUse
from agent.housekeeping import Housekeeping
from agent.requests import AttachmentSpec, Idempotency, MachineSpec, NetworkSpec
from agent.store import Store
from tests.agents import MAC, Database, StoppedClock, opened

NONE, T, REST, HOUR, DAY = Idempotency(), 5.0, 60, 3600, 86400


@pytest.fixture
def clock() -> StoppedClock:
    return StoppedClock()


@pytest.fixture
def store(server: Database, clock: StoppedClock) -> Iterator[Store]:
    with opened(server, clock, reuse_after_seconds=REST) as made:
        yield made


def machine(name: str, network: str = "", number: int = 1, address: str = "") -> MachineSpec:
    reference = network and f"networks/{network}"
    return MachineSpec(name, reference, MAC.format(number), address, attachment=AttachmentSpec(name))


def create(store: Store, new: MachineSpec) -> str:
    (view,) = store.create_machines([new], NONE, T, batch=False)
    return view.machine.address


@pytest.mark.parametrize("seconds", [-DAY, -HOUR, HOUR, DAY])
def test_released_values_rest_as_long_as_they_should(store: Store, clock: StoppedClock, seconds: float) -> None:
    before = create(store, machine("a"))
    block = store.network("a").network.block
    store.delete_machine("a", T)
    clock.step(seconds)
    Housekeeping(store).once()
    assert create(store, machine("b")) != before
    assert store.network("b").network.block != block
    store.delete_machine("b", T)
    clock.advance(REST)
    Housekeeping(store).once()
    assert create(store, machine("c")) == before
    assert store.network("c").network.block == block


@pytest.mark.parametrize("seconds", [-DAY, HOUR])
def test_an_address_of_a_private_network_rests_as_long_as_it_should(
    store: Store, clock: StoppedClock, seconds: float
) -> None:
    store.create_network(NetworkSpec("n"), NONE, T)
    asked = create(store, machine("a", "n", 1))
    store.delete_machine("a", T)
    clock.step(seconds)
    Housekeeping(store).once()
    clock.advance(REST - 1)
    with pytest.raises(InUse, match="free again in 1 s"):
        create(store, machine("b", "n", 2, asked))
    clock.advance(1)
    assert create(store, machine("b", "n", 2, asked)) == asked


def test_a_value_rests_once_more_at_most_when_the_clock_was_set_back_before_a_start(
    server: Database, store: Store, clock: StoppedClock
) -> None:
    before = create(store, machine("a"))
    store.delete_machine("a", T)
    clock.step(-DAY)
    with opened(server, clock, reuse_after_seconds=REST) as other:
        assert create(other, machine("b")) != before
        clock.advance(REST)
        assert create(other, machine("c")) == before


def test_a_request_is_remembered_for_a_day_whatever_the_time_of_day(store: Store, clock: StoppedClock) -> None:
    request = Idempotency("11111111-1111-4111-8111-111111111111", "digest")
    made = store.create_network(NetworkSpec("n"), request, T)
    clock.step(2 * DAY)
    Housekeeping(store).once()
    assert store.create_network(NetworkSpec("n"), request, T).network.created_at == made.network.created_at
    clock.advance(DAY + 1)
    Housekeeping(store).once()
    assert store.made_before(request) is None


def test_revisions_of_a_name_grow_when_the_clock_is_set_back(store: Store, clock: StoppedClock) -> None:
    """The controller's word on a deleted network of the name must not be taken for this one's."""
    store.create_network(NetworkSpec("n"), NONE, T)
    before = store.network("n").network.revision
    store.delete_network("n", T)
    clock.step(-HOUR)
    clock.advance(1)
    store.create_network(NetworkSpec("n"), NONE, T)
    assert store.network("n").network.revision >= before
    assert store.network("n").network.created_at < before


def test_who_has_a_port_now_and_then_when_the_clock_was_set_back(store: Store, clock: StoppedClock) -> None:
    clock.advance(HOUR)
    store.create_network(NetworkSpec("n"), NONE, T)
    block = store.network("n").network.block
    clock.advance(1)
    store.delete_network("n", T)
    clock.step(-HOUR)
    clock.advance(REST)
    store.create_network(NetworkSpec("m"), NONE, T)
    assert store.network("m").network.block == block
    for moment in (None, clock.moment, clock.moment + 2 * HOUR * 1000):
        held = store.translation(block.address, block.first, moment)
        assert (held and held.network) == "m"


def test_the_steady_clock_is_that_of_the_day_until_it_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    assert abs(clock.steady() - clock.now()) < 1000
    assert abs(clock.steady_at(clock.now() - 5000) - (clock.steady() - 5000)) < 1000
    assert clock.steady_at(clock.now() + 5000) <= clock.steady()
    monkeypatch.setattr("time.time_ns", lambda: 0)
    assert clock.steady() > 0
    assert clock.now() == 0
