"""Whatever flows have whatever cookies in common, the switch ends with exactly those compiled."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.openflow import wire
from controller.openflow.client import InstalledFlow
from controller.pipeline.cookies import CollisionError, identify
from controller.pipeline.flow import Flow, Output
from controller.pipeline.match import match
from controller.pipeline.registry import Feature, Priority, Table, split_cookie
from controller.reconcile.compile import Compiled
from controller.reconcile.diff import UNKNOWN, Installed, apply, diff, installed
from controller.reconcile.verify import drift

KEY = 7
Content = tuple[int, int, bytes, bytes]


def flow(table: Table, prefix: int, port: int) -> Flow:
    matched = match("ip", metadata=KEY, ip_dst=f"198.51.{prefix}.0/24")
    return Flow(table, Priority.NORMAL, matched, (Output(port),), Feature.ROUTE, KEY, "test")


def compiled(flows: Iterable[Flow], bits: int) -> Compiled:
    found = identify(flows, bits)
    return Compiled(KEY, found.flows, digests=found.digests)


# One flow a match: a switch has no two with the same table, priority and match.
matches = st.tuples(st.sampled_from((Table.ROUTE, Table.SNAT)), st.integers(0, 15))
sets = st.dictionaries(matches, st.integers(1, 3), max_size=6).map(
    lambda chosen: [flow(table, prefix, port) for (table, prefix), port in chosen.items()]
)


class Switch:
    """Flows by table, priority and match with cookie and actions, as OpenFlow 1.4 section 6.4 has them."""

    def __init__(self) -> None:
        self.flows: dict[tuple[int, int, bytes], tuple[int, bytes]] = {}

    def send(self, deletes: Iterable[tuple[int, int]], adds: Iterable[tuple[int, Flow]]) -> None:
        gone = set(deletes)
        self.flows = {key: value for key, value in self.flows.items() if (key[0], value[0]) not in gone}
        for cookie, one in adds:
            identity = (one.table.number, one.priority, wire.match(one.match))
            self.flows[identity] = (cookie, wire.instructions(one.actions))

    def contents(self) -> set[Content]:
        return {(*identity, actions) for identity, (_, actions) in self.flows.items()}

    def read(self) -> list[InstalledFlow]:
        return [InstalledFlow(table, priority, cookie, 0, matched + actions)
                for (table, priority, matched), (cookie, actions) in self.flows.items()]  # fmt: skip


def contents(flows: Iterable[Flow]) -> set[Content]:
    return {(one.table.number, one.priority, wire.match(one.match), wire.instructions(one.actions)) for one in flows}


def try_compiling(flows: list[Flow], bits: int) -> Compiled | None:
    try:
        return compiled(flows, bits)
    except CollisionError:
        return None


@given(st.lists(sets, max_size=12))
def test_any_sequence_of_changes_ends_with_exactly_the_compiled_flows(steps: list[list[Flow]]) -> None:
    """With three bits nearly every change meets flows that share a digest; what no cookie tells apart is left out."""
    switch, present = Switch(), Installed()
    for step in steps:
        desired = try_compiling(step, 3)
        if desired is None:
            continue
        difference = diff(desired, present)
        switch.send(difference.deletes, difference.adds)
        present = apply(difference, present)
        assert switch.contents() == contents(step)
        assert present == installed(desired)


@given(sets, sets)
def test_what_was_only_read_is_right_once_it_was_compared(before: list[Flow], after: list[Flow]) -> None:
    """A controller that starts knows cookies; the comparison that follows it knows flows."""
    old, new = try_compiling(before, 3), try_compiling(after, 3)
    if old is None or new is None:
        return
    switch = Switch()
    switch.send((), diff(old, Installed()).adds)
    adopted = Installed(dict.fromkeys(installed(old).flows, UNKNOWN))
    difference = diff(new, adopted)
    switch.send(difference.deletes, difference.adds)
    repair = drift(new, switch.read()).repair
    switch.send(repair.deletes, repair.adds)
    assert switch.contents() == contents(after)


@given(sets, st.randoms(use_true_random=False))
def test_cookies_depend_on_the_set_and_on_no_order(flows: list[Flow], random: object) -> None:
    for bits in (3, 40):
        found = try_compiling(flows, bits)
        assert found == try_compiling(flows[::-1], bits)


def colliding() -> list[Flow]:
    """Three flows of which two share the first twelve bits of their digests, and the third does not."""
    by_cookie: dict[int, Flow] = {}
    for port in range(1, 5000):
        one = flow(Table.ROUTE, 1, port)
        (value,) = identify([one], 12).flows
        if value in by_cookie:
            other = next(o for v, o in by_cookie.items() if v != value)
            return [by_cookie[value], one, other]
        by_cookie[value] = one
    raise AssertionError


def test_flows_that_share_a_digest_get_cookies_of_their_own_and_others_keep_theirs() -> None:
    first, second, other = colliding()
    (shared,) = identify([first], 12).flows
    (alone,) = identify([other], 12).flows
    together = identify([first, second, other], 12).flows
    assert len(together) == 3
    assert together[alone] == other
    assert shared not in together, "so that neither is taken for what the other was alone"
    assert {split_cookie(value)[:2] for value in together} == {(KEY, Feature.ROUTE)}


def test_one_of_two_that_share_a_digest_goes_and_the_other_stays() -> None:
    """Two prefixes of a peer whose digests are alike: withdrawing one leaves the flow of the other, and no more."""
    first, second, _ = colliding()
    both, one = compiled([first, second], 12), compiled([second], 12)
    difference = diff(one, installed(both))
    assert {cookie for _, cookie in difference.deletes} == both.flows.keys()
    assert [added for _, added in difference.adds] == [second]


def test_one_that_takes_the_place_of_another_with_its_cookie_is_sent() -> None:
    first, second, _ = colliding()
    difference = diff(compiled([second], 12), installed(compiled([first], 12)))
    (deleted,), ((added, sent),) = difference.deletes, difference.adds
    assert deleted[1] == added
    assert sent == second


def test_flows_without_a_cookie_of_their_own_are_an_error_that_names_one() -> None:
    with pytest.raises(CollisionError, match=r"9 flows share their cookies, one of them: table="):
        identify([flow(Table.ROUTE, prefix, 1) for prefix in range(9)], 0)


def test_the_same_flow_twice_is_one() -> None:
    one = flow(Table.ROUTE, 1, 1)
    assert list(identify([one, one]).flows.values()) == [one]
