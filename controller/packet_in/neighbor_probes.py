"""Schedules ARP probes of neighbours: rarely while they answer, each second while they do not."""

from __future__ import annotations

from collections.abc import Iterable

ASKED_AT_ONCE = 16
"""Four times a second: the answers stay below the rate of `STORAGE_METER`."""

SILENT_AFTER = 3
"""Questions in a row without an answer after which it is said that nobody answers."""

LOST_AFTER = 5
"""As many after which a neighbour that was there is taken to be gone."""

_AGAIN_SECONDS = 1.0
_ANSWERED_SECONDS = 30.0


class NeighborProbes:
    """Times are those of `time.monotonic`; one thread."""

    def __init__(self) -> None:
        self._next: dict[str, float] = {}
        self._unanswered: dict[str, int] = {}

    def due(self, addresses: Iterable[str], now: float) -> list[str]:
        """Whom of `addresses`, the neighbours there are, to ask now; at most `ASKED_AT_ONCE`, the longest due first."""
        self._next = {address: self._next.get(address, 0.0) for address in addresses}
        self._unanswered = {address: n for address, n in self._unanswered.items() if address in self._next}
        waiting = sorted((when, address) for address, when in self._next.items() if when <= now)
        asked = [address for _, address in waiting[:ASKED_AT_ONCE]]
        for address in asked:
            self._next[address] = now + _AGAIN_SECONDS
            self._unanswered[address] = self._unanswered.get(address, 0) + 1
        return asked

    def ask(self, address: str) -> None:
        """Have a neighbour be due: there is reason to think that its MAC has changed."""
        self._next[address] = 0.0

    def answered(self, address: str, now: float) -> None:
        """A neighbour has answered."""
        self._next[address] = now + _ANSWERED_SECONDS
        self._unanswered.pop(address, None)

    def silent(self, questions: int) -> frozenset[str]:
        """Who did not answer the last so many questions; the one just asked does not count."""
        return frozenset(address for address, n in self._unanswered.items() if n > questions)
