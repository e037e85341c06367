"""A session from what is seen of it to what is told, and when its peer is held."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from bgp.desired_state import Link
from bgp.hold_down import FIRST, FLAPS, FORGET, MOST, HoldDown, Penalty, holds
from bgp.progress import SessionObservation, SessionProgress
from state.interconnect import BfdState, BgpSession, Interconnect, InterconnectKind, Route, SessionState

NONE = HoldDown()
UP = SessionObservation(established=True)


def link(**fields: Any) -> Link:
    """An enabled interconnect with BFD."""
    one = Interconnect(
        name="i", kind=InterconnectKind.DIRECT_CONNECT, number=1, slot=1, port="xc1", vlan=7,
        local_address="192.0.2.1/30", peer_address="192.0.2.2", local_as=64512, peer_as=65001, **fields,
    )  # fmt: skip
    return Link(one, 1500, (), ())


def started(told: BgpSession | None = None, **fields: Any) -> SessionProgress:
    """A session whose bgpd was just started."""
    progress = SessionProgress(link(**fields), told or BgpSession())
    progress.started()
    return progress


def test_from_connecting_to_established_to_down() -> None:
    progress = started()
    assert progress.saw(SessionObservation()) == (False, 0)
    session = progress.status(NONE, 1000)
    assert (session.state, session.detail, session.since) == (
        SessionState.CONNECTING, "the peer has not answered yet", 1000)  # fmt: skip
    assert progress.saw(UP) == (False, 0)
    progress.met("02:00:00:00:00:02")
    progress.exchanged([Route("10.0.0.0/8"), Route("0.0.0.0/0", refusal="no")], ["10.1.0.0/16"])
    session = progress.status(NONE, 2000)
    assert (session.state, session.detail, session.since) == (SessionState.ESTABLISHED, "", 2000)
    assert (session.received, session.accepted, session.announced) == (2, 1, "10.1.0.0/16")
    assert progress.status(NONE, 3000) == session
    assert progress.saw(SessionObservation(dropped=1)) == (True, 1)
    progress.blame("BFD down", 4000, anew=True)
    session = progress.status(NONE, 4000)
    assert (session.state, session.detail, session.since, session.flaps) == (SessionState.DOWN, "BFD down", 4000, 1)
    assert (session.error, session.error_at, session.received, session.announced) == ("BFD down", 4000, 0, "")


def test_why_it_is_down_stays_until_it_is_up_and_the_error_for_ever() -> None:
    progress = started()
    progress.blame("nobody there", 1000)
    progress.saw(SessionObservation())
    assert progress.status(NONE, 2000).detail == "nobody there"
    progress.saw(UP)
    session = progress.status(NONE, 3000)
    assert (session.detail, session.error, session.error_at) == ("", "nobody there", 1000)
    progress.saw(SessionObservation(dropped=1))
    progress.blame("nobody there", 4000, anew=True)
    assert progress.status(NONE, 4000).error_at == 4000


def test_flaps_between_two_looks_count() -> None:
    progress = started()
    progress.saw(UP)
    assert progress.saw(replace(UP, dropped=3)) == (True, 3)
    assert progress.session.flaps == 3
    assert progress.up


def test_what_we_do_is_no_flap_of_the_peer() -> None:
    progress = started()
    progress.saw(UP)
    progress.replaced(link(), reset=True)
    assert progress.saw(SessionObservation(dropped=1)) == (True, 0)
    assert progress.session.flaps == 1
    progress.saw(replace(UP, dropped=1))
    assert progress.saw(SessionObservation(dropped=2)) == (True, 1)


def test_counters_and_times_go_on_with_the_next_daemon() -> None:
    told = BgpSession(SessionState.ESTABLISHED, since=500, flaps=7, error="x", error_at=400, bfd=BfdState.UP)
    progress = SessionProgress(link(), told)
    assert progress.saw(SessionObservation(established=True, dropped=7)) == (False, 0)
    assert progress.status(NONE, 9000) == told
    # It was lost while there was no daemon.
    progress = SessionProgress(link(), told)
    assert progress.saw(SessionObservation(dropped=8)) == (True, 1)
    assert progress.session.flaps == 8


def test_frr_that_ended_is_a_session_lost() -> None:
    progress = started()
    progress.saw(UP)
    progress.ended("FRR ended", 1000)
    assert progress.status(NONE, 1000).flaps == 1
    progress.ended("FRR ended", 2000)
    assert (progress.session.flaps, progress.session.detail) == (1, "FRR ended")


def test_the_mac_is_kept_while_the_session_is_up() -> None:
    progress = started()
    progress.saw(UP)
    progress.met("02:00:00:00:00:02")
    progress.met("")
    assert progress.session.peer_mac == "02:00:00:00:00:02"
    progress.met("02:00:00:00:00:03")
    assert progress.session.peer_mac == "02:00:00:00:00:03"
    progress.saw(SessionObservation(dropped=1))
    progress.met("")
    assert progress.session.peer_mac == ""


def test_bfd() -> None:
    off = started(bfd_milliseconds=0)
    off.saw_bfd("")
    assert off.session.bfd is BfdState.OFF
    progress = started()
    progress.saw_bfd("down")
    assert progress.session.bfd is BfdState.DOWN
    progress.saw(UP)
    progress.saw_bfd("down")
    assert progress.session.bfd is BfdState.SILENT
    progress.saw_bfd("up")
    assert progress.session.bfd is BfdState.UP
    progress.saw_bfd("down")
    assert progress.session.bfd is BfdState.DOWN


def test_disabled_and_held_come_first() -> None:
    progress = started(enabled=False)
    progress.blame("nobody there", 1)
    session = progress.status(NONE, 2)
    assert (session.state, session.detail) == (SessionState.DISABLED, "it is disabled")
    progress = started()
    session = progress.status(NONE.hold(Penalty.PREFIXES, "too many", 0), 2)
    assert (session.state, session.detail) == (SessionState.HELD, "too many; it is tried again at 00:01:00 UTC")


def test_a_hold_is_twice_as_long_each_time() -> None:
    now, held, lengths = 1_000_000, NONE, []
    for _ in range(7):
        held = held.hold(Penalty.PREFIXES, "too many", now)
        assert held.on
        lengths.append((held.until - now) // 60_000)
        assert held.passed(held.until - 1) is held
        now = held.until
        held = held.passed(now)
        assert not held.on
    assert lengths == [1, 2, 4, 8, 15, 15, 15]
    later = held.hold(Penalty.PREFIXES, "too many", now + FORGET)
    assert later.until - now - FORGET == FIRST


def test_flaps_far_apart_are_none() -> None:
    held = NONE
    for at in range(20):
        held = held.went_down(1, at * 20_000)
        assert not held.on
    for at in range(FLAPS - 2):
        held = held.went_down(1, 400_000 + at)
    assert held.on
    assert held.reason == "the session went down 5 times within 60 s"
    assert NONE.went_down(FLAPS, 5).on


@given(st.lists(st.tuples(st.sampled_from(["down", "hold", "pass"]), st.integers(0, 200_000)), max_size=40))
def test_a_hold_is_never_longer_than_the_longest_and_is_remembered_whole(events: list[tuple[str, int]]) -> None:
    now, held = 1_700_000_000_000, NONE
    for what, later in events:
        now += later
        match what:
            case "down":
                held = held.went_down(1, now)
            case "hold":
                held = held.hold(Penalty.PREFIXES, "too many", now)
            case _:
                held = held.passed(now)
        assert held.until <= now + MOST
        assert len(held.downs) < FLAPS
        assert holds(held.kept()) == held


def test_what_we_closed_excuses_one_loss_and_no_more() -> None:
    """A peer whose sessions end before they are seen is blamed for all but the one that we ended."""
    progress = started()
    progress.replaced(link(), reset=True)
    assert progress.saw(SessionObservation(dropped=3)) == (True, 2)
    assert progress.saw(SessionObservation(dropped=5)) == (True, 2)
