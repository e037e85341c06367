"""Usage as it is stored: counts, and the last reading of each counter.

Both are in one row, so that one transaction moves both: whatever is killed in
between, nothing is counted twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from state.ovsdb import Row, mapping, to_map

KINDS = ("public", "private", "storage", "vpn", "interconnect")


@dataclass(frozen=True, slots=True)
class Baseline:
    """A counter of the switch as it was last read.

    `boot` names the run of the host and `rate` the meter's configuration; a
    counter with another one began anew. It was made between `earliest` and
    `latest` and read at `at`, in ms of that run.
    """

    boot: str
    rate: str
    earliest: int
    latest: int
    at: int
    packets: int
    bytes: int

    def __str__(self) -> str:
        return f"{self.boot} {self.rate} {self.earliest} {self.latest} {self.at} {self.packets} {self.bytes}"

    @classmethod
    def parse(cls, text: str) -> Baseline:
        """Read back the text of one. Raises ValueError."""
        boot, rate, *numbers = text.split()
        earliest, latest, at, packets, count = map(int, numbers)
        return cls(boot, rate, earliest, latest, at, packets, count)


@dataclass(frozen=True, slots=True)
class Usage:
    """What one machine or network used.

    `owner` and `network` are the UUIDs of the rows of the machine or network
    it is of and of its network; `name` is `machines/NAME` or `networks/NAME`.
    `counts` are by `column`, `baselines` by meter id; `updated_at` is in ms
    since the epoch.
    """

    owner: str
    network: str
    name: str
    counts: Mapping[str, int] = field(default_factory=dict)
    baselines: Mapping[int, Baseline] = field(default_factory=dict)
    updated_at: int = 0


def column(kind: str, direction: str, unit: str) -> str:
    """The key of `counts` for one of `KINDS`, `in` or `out`, and `bytes` or `packets`."""
    return f"{kind}_{direction}_{unit}"


def usage(row: Row) -> Usage:
    """A `Usage` row as a value."""
    baselines = {int(meter): Baseline.parse(text) for meter, text in mapping(row["baselines"]).items()}
    return Usage(row["owner"], row["network"], row["name"], mapping(row["counts"]), baselines, row["updated_at"])


def usage_row(value: Usage) -> dict[str, Any]:
    """The columns of a `Usage` row."""
    return {
        "owner": value.owner,
        "network": value.network,
        "name": value.name,
        "counts": to_map(value.counts),
        "baselines": to_map({str(meter): str(baseline) for meter, baseline in value.baselines.items()}),
        "updated_at": value.updated_at,
    }
