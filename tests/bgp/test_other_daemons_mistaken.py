"""Customers' routers that run another BGP daemon than FRR, with another password or AS than configured here."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import Any

import pytest
from bgp_lab import LAN, Lab
from customer_lab import Customer, customer
from customer_routers import ROUTERS

ONE, TWO = "an-MD5-password-42", "another-password-43"


@dataclass(frozen=True)
class Mistake:
    """What the customer's router has (`theirs`) beside our password `ours`, and the reasons that are right for it."""

    reasons: tuple[str, ...]
    ours: str
    theirs: Mapping[str, Any]


OTHER_AS, CONFIGURED = "wrong AS: the peer", "configured is 65001"
MISTAKES = {
    "another password": Mistake(("the password of TCP MD5 differs from the peer's",), ONE, {"password": TWO}),
    "password here": Mistake(
        (
            "the peer does not use the password of TCP MD5 that is configured here",
            "the peer 169.254.101.2 takes connections without a password only",
            "the peer 169.254.101.2 refuses connections to TCP port 179: BGP does not run there, or only connects, "
            "without the password",
        ),
        ONE,
        {"password": ""},
    ),
    "password there": Mistake(
        ("the peer uses a password of TCP MD5, and none is configured here",), "", {"password": ONE}
    ),
    # Which AS it is, is known of connections opened here.
    "AS there": Mistake(
        (f"{OTHER_AS} says it is AS 65009, {CONFIGURED}", f"{OTHER_AS} has another AS, {CONFIGURED}"),
        "",
        {"own_as": 65009},
    ),
    "long AS there": Mistake(
        (f"{OTHER_AS} says it is AS 4200000009, {CONFIGURED}", f"{OTHER_AS} has another AS, {CONFIGURED}"),
        "",
        {"own_as": 4200000009},
    ),
    "AS here": Mistake(
        ("wrong AS: the peer does not expect AS 64512, which is configured here",), "", {"peer_as": 64999}
    ),
}
# Longer than what a peer says counts for more than what is seen of it.
LOOK_SECONDS = 4.0


@pytest.fixture(scope="module", params=ROUTERS)
def customers(running: Lab, request: pytest.FixtureRequest) -> Iterator[Mapping[str, Customer]]:
    """All of `MISTAKES` at once, of one daemon: an emulated machine does not carry them all."""
    with ExitStack() as stack:
        stack.callback(running.clear)
        yield {
            name: customer(running, stack, request.param, LAN, ours=one.ours, **one.theirs)
            for name, one in MISTAKES.items()
        }


@pytest.fixture(scope="module")
def told(running: Lab, customers: Mapping[str, Customer]) -> Mapping[str, set[str]]:
    """What is told of each for some seconds, once one of its right reasons is."""
    for name, one in customers.items():
        reasons = MISTAKES[name].reasons
        with suppress(AssertionError):
            running.await_status(one.number, lambda told, to=reasons: told.session.detail in to, name, 15)  # type: ignore[misc]
    seen: dict[str, set[str]] = defaultdict(set)
    end = time.monotonic() + LOOK_SECONDS
    while time.monotonic() < end:
        for name, one in customers.items():
            seen[name].add(running.session(one.number).detail)
        time.sleep(0.1)
    return seen


@pytest.mark.parametrize("name", MISTAKES)
def test_the_reason(running: Lab, customers: Mapping[str, Customer], told: Mapping[str, set[str]], name: str) -> None:
    number = customers[name].number
    assert told[name] <= {*MISTAKES[name].reasons}
    session = running.session(number)
    assert (session.state.value, session.flaps, running.routes(number)) == ("down", 0, {})
    assert session.error == session.detail
