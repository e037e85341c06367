"""The reachability matrix of the sandbox, as wide as the terminal it is drawn on."""

from __future__ import annotations

import fcntl
import io
import os
import pty
import struct
import termios
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import pytest
from grid import WIDTH, Cell, draw, legend, terminal

MACHINES = ("ada-web", "ada-mail", "bob-web", "ada-pc1", "ada-pc2", "ada-db", "bob-db", "bob-pc2")
SITES = ("ada-hq", "bob-hq", "ada-plant", "bob-plant", "files", "peer")
CHECKS = ("router", "others'", "ping", "udp", "tcp", "host")
COLUMNS = MACHINES + SITES + CHECKS
# As `make run` draws it: each row is asked of all columns but itself.
ROWS = {
    row: {column: Cell(row[:3] == column[:3], row[:3] == column[:3]) for column in COLUMNS if column != row}
    for row in (*MACHINES, *SITES[:4], "peer", "internet")
}


def test_at_80_columns_names_are_read_downwards() -> None:
    lines = draw(COLUMNS, ROWS, 80).plain.splitlines()
    assert max(map(len, lines)) <= 80
    heads, body = lines[: -len(ROWS)], lines[-len(ROWS) :]
    # One block: every name stands above the mark of its column.
    assert len(heads) == len("ada-plant")
    at = body[0].index("✓")
    assert "".join(line.ljust(80)[at] for line in heads).strip() == "ada-mail"
    assert body[1].startswith("ada-mail ")
    assert body[0].split() == ["ada-web", *("✓" if column[:3] == "ada" else "·" for column in COLUMNS[1:])]


def test_at_200_columns_names_stand_above_their_columns() -> None:
    lines = draw(COLUMNS, ROWS, 200).plain.splitlines()
    assert max(map(len, lines)) <= 200
    assert len(lines) == 1 + len(ROWS)
    assert lines[0].split() == list(COLUMNS)
    # A mark ends where the name above it ends.
    assert lines[1].index("✓") == lines[0].index("ada-mail") + len("ada-mail") - 1


def test_below_what_is_needed_it_is_drawn_in_blocks() -> None:
    lines = draw(COLUMNS, ROWS, 40).plain.splitlines()
    assert max(map(len, lines)) <= 40
    assert sum(line.startswith("internet") for line in lines) == 2
    assert sum(line.count("✓") + line.count("·") for line in lines) == sum(map(len, ROWS.values()))


@pytest.mark.parametrize("width", [80, 200])
def test_only_what_is_not_as_expected_has_an_exclamation_mark(width: int) -> None:
    rows = {**ROWS, "bob-db": {**ROWS["bob-db"], "ada-db": Cell(False, True), "udp": Cell(True, False)}}
    assert "!" not in draw(COLUMNS, ROWS, width).plain
    (wrong,) = (line for line in draw(COLUMNS, rows, width).plain.splitlines() if "!" in line)
    assert wrong.startswith("bob-db ")
    assert [mark for mark in wrong.split() if "!" in mark] == ["!✓", "!✗"]
    assert [line.split()[0] for line in legend().plain.splitlines()] == ["✓", "·", "!✓", "!✗"]


@pytest.fixture
def screen() -> Iterator[tuple[TextIO, int]]:
    """A terminal of 132 columns: what is written to, and where it comes out."""
    reader, writer = pty.openpty()
    fcntl.ioctl(writer, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 132, 0, 0))
    with os.fdopen(writer, "w", encoding="utf-8") as file:
        yield file, reader
    os.close(reader)


def test_a_terminal_is_drawn_on_in_colour_and_to_its_width(screen: tuple[TextIO, int]) -> None:
    file, reader = screen
    console = terminal(file, {})
    assert console.width == 132
    console.print(draw(("a",), {"b": {"a": Cell(True, False)}}, console.width), soft_wrap=True)
    file.flush()
    assert b"\x1b[1;37;41m!\xe2\x9c\x97\x1b[0m" in os.read(reader, 1000)


def test_no_escape_sequences_where_no_color_is_set(screen: tuple[TextIO, int]) -> None:
    file, reader = screen
    terminal(file, {"NO_COLOR": "1"}).print(draw(COLUMNS, ROWS, 80), soft_wrap=True)
    file.flush()
    assert b"\x1b" not in os.read(reader, 10_000)


def test_a_file_is_80_columns_without_colour(tmp_path: Path) -> None:
    for file in (io.StringIO(), (tmp_path / "out").open("w+")):
        console = terminal(file, {"COLUMNS": "200"})
        assert console.width == WIDTH == 80
        console.print(draw(COLUMNS, ROWS, console.width), soft_wrap=True)
        file.seek(0)
        text = file.read()
        assert "\x1b" not in text
        assert max(map(len, text.splitlines())) <= 80
        file.close()
