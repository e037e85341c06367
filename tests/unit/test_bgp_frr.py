"""What is read of bgpd's log of notifications: each line once, and no more of it than is needed is kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from bgp.frr import Frr
from bgp.namespace import InterconnectNamespace


@pytest.fixture
def log(tmp_path: Path) -> Path:
    file = tmp_path / "bgpd.log"
    file.touch()
    return file


@pytest.fixture
def frr(tmp_path: Path) -> Frr:
    return Frr(tmp_path, InterconnectNamespace(1))


def append(log: Path, text: bytes) -> None:
    with log.open("ab") as file:
        file.write(text)


def test_each_line_once_and_only_whole(frr: Frr, log: Path) -> None:
    assert frr.notifications() == []
    append(log, b"one\ntw")
    assert frr.notifications() == ["one\n"]
    assert frr.notifications() == []
    append(log, b"o\n\xff\n")
    assert frr.notifications() == ["two\n", "�\n"]


def test_the_log_does_not_grow(frr: Frr, log: Path) -> None:
    for number in range(100):
        append(log, b"x" * 2000 + b"\n")
        assert len(frr.notifications()) == 1, number
    assert log.stat().st_size < 1 << 17
