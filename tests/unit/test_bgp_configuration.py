"""What FRR is told of an interconnect, and the commands from one configuration to another."""

from __future__ import annotations

from typing import Any

import pytest

from bgp.configuration import Configuration, Step, configuration, resets, steps, uses_bfd
from bgp.desired_state import Link
from daemons.programs import BFDD, BGPD
from state.interconnect import Interconnect, InterconnectKind

PEER = "192.0.2.2"


def made(*announced: str, digest: str = "", closed: bool = False, bfd: bool = True, **fields: Any) -> Configuration:
    """The configuration of an interconnect from 192.0.2.1/30 in AS 64512 to 192.0.2.2 in AS 65001."""
    one = Interconnect(**{
        "name": "i", "kind": InterconnectKind.DIRECT_CONNECT, "number": 1, "slot": 1, "port": "xc1", "vlan": 7,
        "local_address": "192.0.2.1/30", "peer_address": PEER, "local_as": 64512, "peer_as": 65001, **fields,
    })  # fmt: skip
    return configuration(Link(one, 1500, announced or ("10.1.0.0/16",), ()), digest, closed=closed, bfd=bfd)


def said(old: Configuration | None, new: Configuration) -> list[str]:
    """All lines that turn one into the other."""
    return [text for step in steps(old, new) for text in step.texts]


def test_all_of_it_from_nothing() -> None:
    lines = said(None, made("10.1.0.0/16", "10.250.0.9/32", digest="d1gest", hold_seconds=9, maximum_prefixes=50))
    for line in (
        "no bgp ebgp-requires-policy", "bgp graceful-restart-disable", f"neighbor {PEER} remote-as 65001",
        f"neighbor {PEER} timers 3 9", f"neighbor {PEER} bfd profile link", "network 10.1.0.0/16",
        "network 10.250.0.9/32", f"neighbor {PEER} maximum-prefix 51", f"neighbor {PEER} filter-list own out",
        "transmit-interval 100", "receive-interval 100", "echo receive-interval disabled",
    ):  # fmt: skip
        assert line in lines
    # The map is whole before a neighbor has it.
    assert lines.index("set local-preference 0") < lines.index(f"neighbor {PEER} route-map in in")
    # Closed at first, open at last: never a session without what is to be known of it.
    assert lines.index("bgp default shutdown") < lines.index(f"neighbor {PEER} remote-as 65001")
    assert lines[-1] == f"no neighbor {PEER} shutdown"


def test_the_same_again_is_nothing() -> None:
    assert steps(made(digest="d"), made(digest="d")) == []
    assert not resets(made(digest="d"), made(digest="d"))


@pytest.mark.parametrize(
    ("before", "after", "lines"),
    [
        ({"maximum_prefixes": 50}, {"maximum_prefixes": 60}, [f"neighbor {PEER} maximum-prefix 61"]),
        ({"hold_seconds": 9}, {"hold_seconds": 30}, [f"neighbor {PEER} timers 10 30"]),
        ({"bfd_milliseconds": 100}, {"bfd_milliseconds": 50}, ["receive-interval 50", "transmit-interval 50"]),
        ({"preference": 1}, {"preference": 2}, []),
        ({"accept": ("10.0.0.0/8",)}, {"accept": ("11.0.0.0/8",)}, []),
        ({"vlan": 1}, {"vlan": 2}, []),
    ],
)
def test_changes_that_leave_the_session(before: Any, after: Any, lines: list[str]) -> None:
    assert said(made(**before), made(**after)) == lines
    assert not resets(made(**before), made(**after))


def test_another_list_is_announced_without_a_reset() -> None:
    before, after = made("10.1.0.0/24", "10.1.1.0/24"), made("10.1.1.0/24", "10.1.2.0/24")
    assert said(before, after) == ["no network 10.1.0.0/24", "network 10.1.2.0/24"]
    assert not resets(before, after)
    assert steps(before, after)[0].context == ("router bgp 64512", "address-family ipv4 unicast")


def test_bfd_begins_without_a_reset_and_ends_with_one() -> None:
    without, used = made(bfd=False), made(bfd=True)
    assert said(without, used) == [f"neighbor {PEER} bfd", f"neighbor {PEER} bfd profile link"]
    assert said(used, without) == [f"no neighbor {PEER} bfd profile link", f"no neighbor {PEER} bfd"]
    assert (uses_bfd(without), uses_bfd(used), uses_bfd(made(bfd=True, bfd_milliseconds=0))) == (False, True, False)
    assert (resets(without, used), resets(used, without)) == (False, True)
    assert {step.program for step in steps(used, made(bfd_milliseconds=0))} == {BGPD, BFDD}


def test_closed_and_opened() -> None:
    assert said(made(), made(closed=True)) == [f"neighbor {PEER} shutdown"]
    assert said(made(closed=True), made()) == [f"no neighbor {PEER} shutdown"]
    assert resets(made(), made(closed=True))


@pytest.mark.parametrize(
    "fields",
    [{"local_as": 64513}, {"peer_as": 65002}, {"peer_address": "192.0.2.1"}, {"local_address": "192.0.2.3/30"}],
)
def test_another_session_is_made_from_nothing(fields: Any) -> None:
    found = steps(made(digest="d"), made(digest="d", **fields))
    assert found[0] == Step(BGPD, (), ("no router bgp 64512",))
    assert "bgp default shutdown" in found[1].texts
    assert resets(made(digest="d"), made(digest="d", **fields))
    # What BFD does in general stays.
    assert {step.program for step in found} == {BGPD}


def test_the_password_is_never_there() -> None:
    found = [step for step in steps(None, made(digest="d1gest")) if step.secret]
    assert found == [Step(BGPD, ("router bgp 64512",), (f"neighbor {PEER} password d1gest",), secret=True)]
    assert said(made(digest="one"), made(digest="two")) == [f"neighbor {PEER} password two"]
    assert said(made(digest="one"), made()) == [f"no neighbor {PEER} password"]
    assert resets(made(digest="one"), made(digest="two"))
    assert resets(made(digest="one"), made())
