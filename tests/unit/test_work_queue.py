"""The work queue: who comes first, and up to which revision of desired state nothing waits."""

from __future__ import annotations

from itertools import islice

from hypothesis import given
from hypothesis import strategies as st

from controller.reconcile.work_queue import Progress, WorkQueue


def taken(queue: WorkQueue) -> list[int]:
    return [key for key, _ in queue.take()]


def test_single_changes_come_before_a_change_of_everything() -> None:
    queue = WorkQueue()
    queue.mark(range(100), 1.0)
    queue.mark([7, 200], 2.0)
    assert (queue.urgent, queue.bulk, bool(queue)) == (True, True, True)
    assert taken(queue) == [7, 200]
    assert taken(queue) == [key for key in range(100) if key != 7]
    assert not queue


def test_the_revision_is_that_before_the_oldest_change_that_waits() -> None:
    queue = WorkQueue()
    for revision, key in ((5, 1), (6, 2), (7, 1), (8, 3)):
        queue.revision = revision
        queue.mark([key], 0.0)
    assert queue.progress == Progress(4, 3)
    taken(queue)
    queue.done([1])
    assert queue.progress == Progress(5, 2)
    queue.done([2, 3])
    assert queue.progress == Progress(8, 0)


def test_what_is_taken_is_not_done_until_it_is_said() -> None:
    queue = WorkQueue()
    queue.revision = 3
    queue.mark([1], 0.0)
    assert taken(queue) == [1]
    assert queue.progress == Progress(2, 1)
    queue.mark([1], 0.0)
    queue.done([1])
    assert queue.progress == Progress(2, 1), "marked since"
    taken(queue)
    queue.done([1])
    assert queue.progress == Progress(3, 0)


def test_after_a_restart_nothing_is_known() -> None:
    queue = WorkQueue()
    queue.revision = 9
    queue.mark([4], 0.0)
    queue.restart(0, [1, 2], 0.0)
    assert queue.progress == Progress(0, 3)
    assert taken(queue) == [0]
    queue.join()
    queue.revision = 10
    queue.mark([5], 0.0)
    queue.join()
    assert (queue.urgent, taken(queue)) == (False, [5, 1, 2])
    queue.done([0, 1])
    assert queue.progress == Progress(0, 2)
    queue.done([2])
    assert queue.progress == Progress(9, 1)


@given(st.lists(st.one_of(st.sets(st.integers(0, 9), max_size=3), st.integers(1, 4)), max_size=40))
def test_no_change_above_the_revision_told_is_missing(steps: list[set[int] | int]) -> None:
    """Whatever comes while whatever is worked on."""
    queue = WorkQueue()
    last: dict[int, int] = {}
    on_switch: dict[int, int] = {}
    for step in steps:
        if isinstance(step, set):
            queue.revision += 1
            last |= dict.fromkeys(step, queue.revision)
            queue.mark(step, 0.0)
        else:
            keys = [key for key, _ in islice(queue.take(), step)]
            on_switch |= {key: last[key] for key in keys}
            queue.done(keys)
        told = queue.progress.revision
        assert all(on_switch.get(key, 0) >= revision for key, revision in last.items() if revision <= told)
        assert told == queue.revision or queue
