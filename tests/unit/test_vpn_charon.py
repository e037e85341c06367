"""What is asked of charon over vici."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from agent.vpn.charon import Charon
from agent.vpn.namespace import Namespace


class Busy:
    """A session with a charon that is working on the SA `busy`: it leaves it out unless it may wait."""

    def __init__(self, present: tuple[str, ...], busy: str) -> None:
        self.present, self.busy = present, busy
        self.asked: list[Mapping[str, str]] = []

    def streamed_request(self, _command: str, _event: str, message: Mapping[str, str]) -> Iterator[dict[str, Any]]:
        self.asked.append(message)
        for name in self.present:
            if message.get("ike", name) == name and not ("noblock" in message and name == self.busy):
                yield {name: {"state": b"ESTABLISHED", "uniqueid": b"1"}}


def charon(tmp_path: Path, session: Busy) -> Charon:
    one = Charon(tmp_path, Namespace(1, kernel_esp=False), False, lambda name, message: None)
    one._session = session
    return one


def test_an_established_connection_that_charon_is_working_on_is_not_taken_for_closed(tmp_path: Path) -> None:
    session = Busy(("office", "plant"), busy="office")
    found = charon(tmp_path, session).security_associations(["office", "plant"])
    assert {name: one[0]["state"] for name, one in found.items()} == {"office": "ESTABLISHED", "plant": "ESTABLISHED"}
    assert session.asked == [{"noblock": "yes"}, {"ike": "office"}]


def test_a_connection_that_is_closed_is_not_there_after_waiting(tmp_path: Path) -> None:
    found = charon(tmp_path, Busy(("plant",), busy="")).security_associations(["office", "plant"])
    assert set(found) == {"plant"}


def test_nothing_is_waited_for_that_was_not_established(tmp_path: Path) -> None:
    session = Busy(("office",), busy="office")
    assert charon(tmp_path, session).security_associations() == {}
    assert session.asked == [{"noblock": "yes"}]
