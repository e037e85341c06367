"""Hold-down of sessions whose peer flaps or exceeds its limits: no I/O. Times are in ms since the epoch."""

from __future__ import annotations

import datetime
import enum
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

FIRST, MOST = 60_000, 900_000
# So many times down within that time are too many.
FLAPS, FLAP_TIME = 5, 60_000
# A peer that was good for so long after a hold begins with the shortest one again.
FORGET = 900_000


class Penalty(enum.Enum):
    """What a peer is held for."""

    PREFIXES = "prefixes"
    FLAPS = "flaps"


@dataclass(frozen=True, slots=True)
class HoldDown:
    """The hold that lasts `until` (0: none) and why; before it: how many by harm, and when the session went down."""

    until: int = 0
    reason: str = ""
    rounds: Mapping[str, int] = field(default_factory=dict)
    ended: int = 0
    downs: tuple[int, ...] = ()

    @property
    def on(self) -> bool:
        """Whether the session is to be kept closed."""
        return self.until > 0

    @property
    def detail(self) -> str:
        """Why the session is kept closed, and until when; empty: it is not."""
        if not self.on:
            return ""
        moment = datetime.datetime.fromtimestamp(self.until / 1000, datetime.UTC)
        return f"{self.reason}; it is tried again at {moment:%H:%M:%S} UTC"

    def went_down(self, times: int, now: int) -> HoldDown:
        """The session went down, by what the peer did; too often means a hold."""
        downs = tuple(one for one in (*self.downs, *[now] * times) if one > now - FLAP_TIME)
        if len(downs) < FLAPS:
            return replace(self, downs=downs)
        return self.hold(Penalty.FLAPS, f"the session went down {len(downs)} times within {FLAP_TIME // 1000} s", now)

    def hold(self, harm: Penalty, reason: str, now: int) -> HoldDown:
        """The peer did harm: twice as long as the last time, while it goes on."""
        rounds = dict(self.rounds) if now - self.ended < FORGET else {}
        times = rounds.get(harm.value, 0)
        rounds[harm.value] = times + 1
        return HoldDown(now + min(FIRST << min(times, 10), MOST), reason, rounds, self.ended)

    def passed(self, now: int) -> HoldDown:
        """The hold is over when its time has come."""
        return HoldDown(rounds=self.rounds, ended=now) if self.on and now >= self.until else self

    def kept(self) -> dict[str, Any]:
        """What to write down; see `holds`."""
        return {"until": self.until, "reason": self.reason, "rounds": dict(self.rounds), "ended": self.ended,
                "downs": list(self.downs)}  # fmt: skip


def holds(kept: Mapping[str, Any]) -> HoldDown:
    """What was written down. Raises KeyError, TypeError, ValueError."""
    rounds = {Penalty(name).value: int(times) for name, times in kept["rounds"].items()}
    downs = tuple(int(one) for one in kept["downs"])
    return HoldDown(int(kept["until"]), str(kept["reason"]), rounds, int(kept["ended"]), downs)
