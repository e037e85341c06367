"""Customers' routers that run BIRD, GoBGP, OpenBGPD or ExaBGP: they open the session, or only wait for it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass

import pytest
from bgp_lab import LAN, PREFIX, Lab, drive
from customer_lab import Customer, customer
from customer_routers import ROUTERS
from supervisor import await_condition

PASSWORD = "an-MD5-password-42"
SECOND, THIRD = "172.21.0.0/24", "172.22.0.0/24"
TEXT = "maintenance of the cable, ticket 4711"


@dataclass(frozen=True)
class Case:
    """Who opens the session, and whether it has a password."""

    opens: bool
    password: bool

    def __str__(self) -> str:
        return f"{'opens' if self.opens else 'listens'}{' with a password' if self.password else ''}"


CASES = [Case(*one) for one in itertools.product((True, False), (True, False))]


@pytest.fixture(scope="module", params=ROUTERS)
def customers(running: Lab, request: pytest.FixtureRequest) -> Iterator[Mapping[Case, Customer]]:
    """All of `CASES` at once, of one daemon: an emulated machine does not carry them all."""
    with ExitStack() as stack:
        stack.callback(running.clear)
        yield {
            case: customer(
                running, stack, request.param, LAN, SECOND, only_opens=case.opens, passive=not case.opens,
                **dict.fromkeys(("ours", "password"), PASSWORD if case.password else ""),
            )
            for case in CASES
        }  # fmt: skip


of_each = pytest.mark.parametrize("case", CASES, ids=str)


@of_each
def test_routes_are_exchanged(running: Lab, customers: Mapping[Case, Customer], case: Case) -> None:
    one = customers[case]
    try:
        running.await_routes(one.number, {LAN, SECOND}, 15)
        announced = [PREFIX, f"{drive(one.number)}/32"]
        await_condition(lambda: one.router.learned() == set(announced), f"{case} learned {announced}", 10)
    except (AssertionError, TimeoutError):
        print(running.status(one.number), one.router.learned(), one.router.log())
        raise
    session = running.session(one.number)
    assert (session.state.value, session.received, session.announced.split()) == ("established", 2, announced)
    assert one.opened is case.opens


@of_each
def test_what_is_withdrawn_is_gone(running: Lab, customers: Mapping[Case, Customer], case: Case) -> None:
    one = customers[case]
    one.router.withdraw(SECOND)
    running.await_routes(one.number, {LAN})
    one.router.announce(THIRD)
    running.await_routes(one.number, {LAN, THIRD})
    assert running.session(one.number).flaps == 0


@of_each
def test_an_administrative_shutdown_is_told(running: Lab, customers: Mapping[Case, Customer], case: Case) -> None:
    one = customers[case]
    sent = one.router.shut_down(TEXT)
    reason = f"the peer closed the session: administrative shutdown: '{sent}'"
    running.await_status(one.number, lambda status: status.session.error == reason, reason, 10)
    assert running.session(one.number).flaps == 1
