"""Limits of machines and networks at the resolver, so that no tenant makes another wait.

Each limit has its reason, by which what is refused is counted.
"""

from __future__ import annotations

from collections import Counter

from prometheus_client import Gauge

OF_MACHINE, OF_NETWORK, OF_ALL = "limited-machine", "limited-network", "limited"
BURST_SECONDS = 2.0
NETWORK_SHARE = 5
_SWEEP = 4096


class Places:
    """How many of something are taken at once: by a machine, by a network, and by all."""

    def __init__(self, machine: int, network: int, together: int, gauge: Gauge) -> None:
        self._machine, self._network, self._together, self._gauge = machine, network, together, gauge
        self._of_machine: Counter[int] = Counter()
        self._of_network: Counter[int] = Counter()
        self._count = 0

    def take(self, machine: int, network: int) -> str:
        """Take a place; what keeps it from having one, empty when it has."""
        if self._of_machine[machine] >= self._machine:
            return OF_MACHINE
        if self._of_network[network] >= self._network:
            return OF_NETWORK
        if self._count >= self._together:
            return OF_ALL
        self._change(machine, network, 1)
        return ""

    def give(self, machine: int, network: int) -> None:
        """Give a place back."""
        self._change(machine, network, -1)

    def _change(self, machine: int, network: int, by: int) -> None:
        for taken, key in ((self._of_machine, machine), (self._of_network, network)):
            taken[key] += by
            if not taken[key]:
                del taken[key]
        self._count += by
        self._gauge.set(self._count)


class QuestionRate:
    """So many a second for each key, and BURST_SECONDS' worth at once before that counts (GCRA, ITU-T I.371)."""

    def __init__(self) -> None:
        self._due: dict[int, float] = {}
        self._uses = 0

    def wait(self, key: int, a_second: float, now: float) -> float:
        """Seconds until one more is allowed; 0: now."""
        return max(0.0, self._due.get(key, 0.0) + 1 / a_second - BURST_SECONDS - now)

    def count(self, key: int, a_second: float, now: float) -> None:
        """One more."""
        self._due[key] = max(self._due.get(key, 0.0), now) + 1 / a_second
        self._uses += 1
        if self._uses % _SWEEP == 0:
            # Of who has been silent since nothing is left to know.
            self._due = {one: due for one, due in self._due.items() if due > now}


class Rates:
    """So many a second of each machine, and NETWORK_SHARE times as many of each network."""

    def __init__(self) -> None:
        self._machine, self._network = QuestionRate(), QuestionRate()

    def take(self, machine: int, network: int, a_second: float, now: float) -> str:
        """Count one more; what keeps it from being allowed now, empty when it is, and only then it counts."""
        if self._machine.wait(machine, a_second, now):
            return OF_MACHINE
        if self._network.wait(network, a_second * NETWORK_SHARE, now):
            return OF_NETWORK
        self._count(machine, network, a_second, now)
        return ""

    def queue(self, machine: int, network: int, a_second: float, now: float) -> float:
        """Count one more whatever the rates; seconds until it may go on."""
        of_machine = self._machine.wait(machine, a_second, now)
        of_network = self._network.wait(network, a_second * NETWORK_SHARE, now)
        self._count(machine, network, a_second, now)
        return max(of_machine, of_network)

    def _count(self, machine: int, network: int, a_second: float, now: float) -> None:
        self._machine.count(machine, a_second, now)
        self._network.count(network, a_second * NETWORK_SHARE, now)
