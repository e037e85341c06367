"""Statistics of the kernel's conntrack: drops that no flow can count.

With the kernel datapath a packet for which conntrack finds no free port, or no
room in its table, ends inside the ct() action.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

PATH = Path("/proc/net/stat/nf_conntrack")
"""Of the reader's network namespace; without the kernel's conntrack it does not exist."""

COUNTERS = {
    "insert_failed": "connections not made: no free port found, or the same one was made twice at once",
    "drop": "packets dropped: connections not made, or the table is full",
    "early_drop": "unanswered connections ended before their time, to make room in a full table",
}
"""Counters taken, by the kernel's names (conntrack(8)), with what they count."""


def parse(text: str) -> Mapping[str, int]:
    """Each of `COUNTERS`, summed over CPUs, from the text of `PATH`: a line of names, then one of hex numbers a CPU.

    Raises ValueError where a counter is missing.
    """
    header, *lines = text.splitlines()
    names = header.split()
    rows = [line.split() for line in lines]
    return {name: sum(int(row[names.index(name)], 16) for row in rows) for name in COUNTERS}


def read() -> Mapping[str, int]:
    """Each of `COUNTERS` now; empty where the kernel's conntrack is not loaded."""
    try:
        return parse(PATH.read_text())
    except FileNotFoundError:
        return {}
