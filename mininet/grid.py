"""Draws the reachability matrix as wide as a terminal is: a row for who asks, a column for who is asked."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TextIO

from rich.console import Console
from rich.text import Text

WIDTH = 80
_GAP = 2
# A mark, and a space before it.
_NARROW = 3


@dataclass(frozen=True, slots=True)
class Cell:
    """Whether a column should be reached, and whether it was."""

    expected: bool
    seen: bool

    @property
    def mark(self) -> tuple[str, str]:
        """Its mark and style; only what is not as expected has a `!`."""
        if self.expected == self.seen:
            return ("✓", "green") if self.seen else ("·", "dim")
        return ("!✓" if self.seen else "!✗"), "bold white on red"


LEGEND = (
    (Cell(True, True), "reached, as expected"),
    (Cell(False, False), "not reached, as expected"),
    (Cell(False, True), "REACHED, but must not be"),
    (Cell(True, False), "NOT reached, but should be"),
)
Grid = Mapping[str, Mapping[str, Cell]]


def draw(columns: Sequence[str], rows: Grid, width: int) -> Text:
    """The grid in `width` columns of a terminal: names across where they fit, else downwards.

    Where even that is too wide, in several blocks one below the other.
    """
    label = max(map(len, rows)) + 1
    widths = {column: max(len(column), _NARROW - 1) + _GAP for column in columns}
    if label + sum(widths.values()) <= width:
        heads = [Text(" " * label + "".join(f"{column:>{widths[column]}}" for column in columns), "bold")]
        return Text("\n").join([*heads, *_body(columns, rows, label, widths)])
    fitting = max(1, (width - label) // _NARROW)
    blocks = [columns[at : at + fitting] for at in range(0, len(columns), fitting)]
    return Text("\n\n").join(_upright(block, rows, label) for block in blocks)


def terminal(file: TextIO, environment: Mapping[str, str] = os.environ) -> Console:
    """Where to print it: as wide as the terminal of `file`, 80 columns where that is unknown.

    In colour on a terminal only, and without any escape sequence where NO_COLOR is set (https://no-color.org).
    """
    colours = file.isatty() and not environment.get("NO_COLOR")
    try:
        width = os.get_terminal_size(file.fileno()).columns
    except (OSError, ValueError):
        width = 0
    return Console(
        file=file, width=width or WIDTH, force_terminal=colours, color_system="standard" if colours else None,
        highlight=False, legacy_windows=False,
    )  # fmt: skip


def legend() -> Text:
    """What the marks mean, a line each."""
    lines = (Text.assemble((f"{cell.mark[0]:>2}", cell.mark[1]), f"  {meaning}") for cell, meaning in LEGEND)
    return Text("\n").join(lines)


def _upright(columns: Sequence[str], rows: Grid, label: int) -> Text:
    """A block whose names are read from the top down, each above its marks."""
    height = max(map(len, columns))
    letters = zip(*(column.rjust(height) for column in columns), strict=True)
    heads = [Text((" " * label + "".join(f"{letter:>{_NARROW}}" for letter in line)).rstrip(), "bold")
             for line in letters]  # fmt: skip
    return Text("\n").join([*heads, *_body(columns, rows, label, dict.fromkeys(columns, _NARROW))])


def _body(columns: Sequence[str], rows: Grid, label: int, widths: Mapping[str, int]) -> list[Text]:
    lines = []
    for name, cells in rows.items():
        line = Text(f"{name:{label}}")
        for column in columns:
            mark, style = cells[column].mark if column in cells else ("", "")
            line.append(" " * (widths[column] - len(mark))).append(mark, style)
        line.rstrip()
        lines.append(line)
    return lines
