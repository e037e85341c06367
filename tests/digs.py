"""Questions of machines by `dig`, as values."""

from __future__ import annotations

import re
from dataclasses import dataclass

from appliance import CommandError
from machines import Machine

_STATUS = re.compile(r"status: (\w+)")
_FLAGS = re.compile(r";; flags: ([\w ]*);")
_SERVER = re.compile(r";; SERVER: ([\d.]+)#53")


@dataclass(frozen=True, slots=True)
class Said:
    """An answer: its status, flags, who gave it, and each record as `NAME TYPE DATA`."""

    status: str
    flags: frozenset[str]
    server: str
    answer: tuple[str, ...]

    @property
    def data(self) -> list[str]:
        """What the records say, without whose they are."""
        return sorted(record.split(" ", 2)[2] for record in self.answer)


def dig(machine: Machine, *arguments: str, seconds: int = 5) -> Said | None:
    """What `dig` is told within `seconds`, asking once; None without an answer."""
    command = ("dig", "+tries=1", f"+time={seconds}", "+noall", "+comments", "+answer", "+stats", *arguments)
    try:
        text = machine.run(*command)
    except CommandError as error:
        # dig(1): no reply from the server.
        if error.returncode != 9:
            raise
        return None
    # After a truncated answer dig has asked again: the last counts.
    status, flags, server = (pattern.findall(text) for pattern in (_STATUS, _FLAGS, _SERVER))
    if not status:
        return None
    records = [line.split(None, 4) for line in text.splitlines() if line and not line.startswith(";")]
    answer = tuple(f"{name} {kind} {data}" for name, _, _, kind, data in records)
    return Said(status[-1], frozenset(flags[-1].split()), server[-1] if server else "", answer)


def told(machine: Machine, *arguments: str) -> Said:
    """As `dig`, where there has to be an answer."""
    said = dig(machine, *arguments)
    assert said is not None, f"{machine.name} was told nothing about {' '.join(arguments)}"
    return said
