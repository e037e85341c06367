"""MAC addresses as people and vendors write them."""

from __future__ import annotations

import re

import click

_DIGITS = re.compile(r"[0-9a-f]{12}")


def mac_option(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """The callback of an option that takes a MAC address."""
    return value and colons(value)


def colons(text: str) -> str:
    """`02-00-00-00-CC-02` and `0200.0000.cc02` as `02:00:00:00:cc:02`; what is neither goes on as it is."""
    digits = text.strip().lower().translate({ord(mark): None for mark in ":-."})
    if _DIGITS.fullmatch(digits) is None:
        return text
    return ":".join(digits[at : at + 2] for at in range(0, 12, 2))
