"""Work queue of networks to compile, and the revision of desired state up to which all are done."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

_FEW = 64


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the switch is: it has all of desired state up to `revision`, and `pending` networks are to be looked at.

    The revision is 0 while the controller does not know what the switch has.
    """

    revision: int
    pending: int


class WorkQueue:
    """Keys of networks with when their change was heard of: single changes before a change of everything."""

    def __init__(self) -> None:
        self.revision = 0
        """Of desired state, as last heard of."""
        self._urgent: dict[int, float] = {}
        self._bulk: dict[int, float] = {}
        # The revision with which each came, in that order; kept until its flows are on the switch.
        self._since: dict[int, int] = {}

    def __bool__(self) -> bool:
        return bool(self._urgent or self._bulk)

    def __contains__(self, key: int) -> bool:
        return key in self._urgent or key in self._bulk

    @property
    def bulk(self) -> bool:
        """Whether there are networks of a change of everything."""
        return bool(self._bulk)

    @property
    def urgent(self) -> bool:
        """Whether there are networks of single changes."""
        return bool(self._urgent)

    @property
    def progress(self) -> Progress:
        """How far the switch is."""
        first = next(iter(self._since.values()), None)
        return Progress(self.revision if first is None else max(first - 1, 0), len(self._since))

    def mark(self, keys: Collection[int], when: float) -> None:
        """These are to be looked at."""
        line = self._urgent if len(keys) <= _FEW else self._bulk
        for key in keys:
            self._since.setdefault(key, self.revision)
            if key not in self._urgent:
                line.setdefault(key, when)

    def restart(self, first: int, others: Iterable[int], when: float) -> None:
        """Everything is to be looked at: nothing is known of what the switch has."""
        self._urgent, self._bulk = {first: when}, dict.fromkeys(others, when)
        self._since = dict.fromkeys((first, *self._bulk), 0)

    def join(self) -> None:
        """Make one line of both."""
        self._urgent, self._bulk = {}, self._urgent | self._bulk

    def take(self) -> Iterator[tuple[int, float]]:
        """Take out those of single changes, or those of a change of everything where there are none, one by one."""
        line = self._urgent or self._bulk
        while line:
            key, since = next(iter(line.items()))
            for waiting in (self._urgent, self._bulk):
                waiting.pop(key, None)
            yield key, since

    def done(self, keys: Iterable[int]) -> None:
        """The switch has the flows of those that were taken, or refused them; what was marked since stays."""
        for key in keys:
            if key not in self:
                self._since.pop(key, None)
