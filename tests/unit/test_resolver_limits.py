"""What machines and networks may have of the resolver at once and in a second."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Gauge

from resolver.limits import OF_ALL, OF_MACHINE, OF_NETWORK, Places, QuestionRate, Rates


def test_places_of_a_machine_a_network_and_all() -> None:
    gauge = Gauge("taken", "Places taken.", registry=CollectorRegistry())
    places = Places(2, 3, 4, gauge)
    # Machines 1 and 2 of network 10, 3 of network 20, 4 of network 30.
    assert [places.take(1, 10), places.take(1, 10), places.take(1, 10)] == ["", "", OF_MACHINE]
    assert [places.take(2, 10), places.take(2, 10)] == ["", OF_NETWORK]
    assert [places.take(3, 20), places.take(4, 30)] == ["", OF_ALL]
    assert gauge._value.get() == 4
    places.give(1, 10)
    assert [places.take(4, 30), places.take(1, 10)] == ["", OF_ALL]
    places.give(3, 20)
    assert places.take(2, 10) == ""


def test_a_burst_and_then_the_rate() -> None:
    rate, taken = QuestionRate(), []
    for step in range(400):
        now = 100 + step / 100
        if not rate.wait(1, 10, now):
            rate.count(1, 10, now)
            taken.append(now)
    # Those of BURST_SECONDS at once, and ten in each of the four seconds.
    assert len(taken) in (59, 60, 61)
    assert taken[19] - taken[0] < 0.2
    assert rate.wait(2, 10, 100) == 0


def test_who_was_silent_is_forgotten() -> None:
    rate = QuestionRate()
    for key in range(5000):
        rate.count(key, 10, key)
    assert len(rate._due) < 1000
    assert rate.wait(0, 10, 5000) == 0


def test_what_is_refused_does_not_count() -> None:
    # Of a machine two at once, of a network ten.
    rates = Rates()
    taken = [rates.take(machine, 9, 1, 0) for machine in (1, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6)]
    assert taken == ["", "", OF_MACHINE, *[""] * 8, OF_NETWORK]
    assert rates.take(7, 8, 1, 0) == ""
    # A fifth of a second later the network has one more, and the refused one was not counted.
    assert rates.take(6, 9, 1, 0.21) == ""
    assert rates.take(6, 9, 1, 0.21) == OF_NETWORK


def test_who_can_wait_has_a_turn() -> None:
    rates = Rates()
    turns = [rates.queue(1, 9, 1, 0) for _ in range(4)]
    assert turns == [0, 0, 1, 2]
    assert rates.queue(2, 9, 1, 0) == 0
