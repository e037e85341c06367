"""Names of peers are asked for as long as they are wanted, and keep their addresses when nobody answers."""

from __future__ import annotations

import queue
import threading

import dns.exception
import pytest

from tests.dummy_switch import wait_until
from vpn import peer_addresses
from vpn.peer_addresses import PeerAddresses


class Answers:
    """In place of resolvers: addresses by name; None: nobody answers."""

    def __init__(self) -> None:
        self.names: dict[str, tuple[str, ...] | None] = {}
        self.asked: list[tuple[str, tuple[str, ...]]] = []

    def __call__(self, name: str, upstream: tuple[str, ...]) -> tuple[tuple[str, ...], float]:
        self.asked.append((name, upstream))
        found = self.names.get(name, ())
        if found is None:
            raise dns.exception.Timeout
        return found, 0.05


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Answers:
    one = Answers()
    monkeypatch.setattr(peer_addresses, "resolve", one)
    monkeypatch.setattr(peer_addresses, "RETRY_SECONDS", 0.05)
    return one


def test_names_are_followed_while_they_are_wanted(answers: Answers) -> None:
    told: queue.SimpleQueue[tuple[str, tuple[str, ...]]] = queue.SimpleQueue()
    one = PeerAddresses(lambda name, addresses: told.put((name, addresses)))
    try:
        answers.names["a"] = ("198.51.100.2",)
        one.set(["a"], ("192.0.2.53",))
        assert told.get(timeout=5) == ("a", ("198.51.100.2",))
        assert answers.asked[0] == ("a", ("192.0.2.53",))
        answers.names["a"] = ("198.51.100.3",)
        wait_until(lambda: told.get(timeout=5) == ("a", ("198.51.100.3",)), what="told anew")
        answers.names["a"] = None
        wait_until(lambda: answers.names["a"] is None and _quiet(told), what="silence")
        answers.names["a"] = ("198.51.100.4",)
        assert told.get(timeout=5) == ("a", ("198.51.100.4",))
        one.set(["b"], ())
        assert _first(told, "b") == ("b", ())
        asked = len([name for name, _ in answers.asked if name == "a"])
        told.get(timeout=5)
        assert len([name for name, _ in answers.asked if name == "a"]) == asked
    finally:
        one.stop()


def _quiet(told: queue.SimpleQueue[tuple[str, tuple[str, ...]]]) -> bool:
    try:
        told.get(timeout=0.3)
    except queue.Empty:
        return True
    return False


def _first(told: queue.SimpleQueue[tuple[str, tuple[str, ...]]], name: str) -> tuple[str, tuple[str, ...]]:
    while True:
        found = told.get(timeout=5)
        if found[0] == name:
            return found


def test_a_name_whose_servers_are_silent_holds_up_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    answered = threading.Event()

    def resolve(name: str, _upstream: tuple[str, ...]) -> tuple[tuple[str, ...], float]:
        if name == "silent":
            answered.wait(10)
        return ("198.51.100.2",), 10.0

    monkeypatch.setattr(peer_addresses, "resolve", resolve)
    told: queue.SimpleQueue[tuple[str, tuple[str, ...]]] = queue.SimpleQueue()
    one = PeerAddresses(lambda name, addresses: told.put((name, addresses)))
    try:
        one.set(["silent", "quick"], ())
        assert told.get(timeout=5)[0] == "quick"
        answered.set()
        assert told.get(timeout=5)[0] == "silent"
    finally:
        answered.set()
        one.stop()
