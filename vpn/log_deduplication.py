"""Suppresses repeated lines of charon's log: a dead peer causes the same ones every few seconds."""

from __future__ import annotations

import re

AGAIN_SECONDS = 3600.0
"""After which a line that comes again and again is logged once more."""

_MOST = 4096
_NUMBERS = re.compile(r"[0-9a-f]{8,}|\d+")


class LogDeduplication:
    """What was logged of each connection since it last changed, whatever the numbers in it."""

    def __init__(self) -> None:
        self._said: dict[str, dict[str, float]] = {}

    def new(self, connection: str, line: str, now: float) -> bool:
        """Whether a line says what has not been logged of the connection lately."""
        if connection not in self._said and len(self._said) >= _MOST:
            self._said.clear()
        said = self._said.setdefault(connection, {})
        shape = _NUMBERS.sub("#", line)
        last = said.get(shape)
        if last is not None and now - last < AGAIN_SECONDS:
            return False
        if len(said) >= _MOST:
            said.clear()
        said[shape] = now
        return True

    def forget(self, connection: str) -> None:
        """The connection changed: what comes now is news."""
        self._said.pop(connection, None)
