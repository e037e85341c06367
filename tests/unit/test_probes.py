"""How often neighbours are asked for their MACs."""

from __future__ import annotations

from controller.packet_in.neighbor_probes import ASKED_AT_ONCE, NeighborProbes


def test_who_does_not_answer_is_asked_each_second() -> None:
    probes = NeighborProbes()
    asked = [now / 2 for now in range(10) if probes.due(["a"], 100 + now / 2)]
    assert asked == [0, 1, 2, 3, 4]


def test_who_answers_is_asked_each_half_minute() -> None:
    probes = NeighborProbes()
    asked = []
    for now in range(100):
        if probes.due(["a"], now):
            asked.append(now)
            probes.answered("a", now)
    assert asked == [0, 30, 60, 90]


def test_who_may_have_moved_is_asked_at_once() -> None:
    probes = NeighborProbes()
    probes.due(["a"], 0)
    probes.answered("a", 0)
    assert probes.due(["a"], 1) == []
    probes.ask("a")
    assert probes.due(["a"], 2) == ["a"]


def test_many_take_turns() -> None:
    probes = NeighborProbes()
    everybody = [f"10.250.{n // 250}.{n % 250}" for n in range(3 * ASKED_AT_ONCE)]
    seen: list[str] = []
    for now in range(3):
        asked = probes.due(everybody, now)
        assert len(asked) == ASKED_AT_ONCE
        seen += asked
    assert sorted(seen) == sorted(everybody)


def test_silent_is_who_answered_none_of_the_last_questions() -> None:
    probes = NeighborProbes()
    for now in range(4):
        assert probes.silent(3) == frozenset()
        probes.due(["a", "b"], now)
        probes.answered("b", now)
    assert probes.silent(3) == {"a"}
    assert probes.silent(4) == frozenset()
    probes.answered("a", 10)
    assert probes.silent(3) == frozenset()


def test_who_is_no_neighbour_any_more_is_forgotten() -> None:
    probes = NeighborProbes()
    for now in range(4):
        probes.due(["a"], now)
    assert probes.due([], 10) == []
    assert probes.silent(3) == frozenset()
