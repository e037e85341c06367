"""Two clocks: the wall clock, for what people and other hosts read, and one that never steps, for how long it was.

Somebody who sets the wall clock an hour forward must not end the rest of
released values, and an hour back must not prolong it. Rows hold times of the
wall clock, since they outlive the process; what they mean on the other clock
is worked out when a row is heard of, which is at once but for rows that were
there at the start.
"""

from __future__ import annotations

import time


class Clock:
    """Times in ms; those of both clocks are since the epoch, and alike until the wall clock is set."""

    def __init__(self) -> None:
        self._ahead = time.time_ns() - time.monotonic_ns()
        self._highest = 0

    def now(self) -> int:
        """The time of day."""
        return time.time_ns() // 1_000_000

    def steady(self) -> int:
        """The time on the clock that never steps."""
        return (time.monotonic_ns() + self._ahead) // 1_000_000

    def revision(self) -> int:
        """The time of day, but never a lower one than before; for one thread at a time."""
        self._highest = max(self._highest, self.now())
        return self._highest

    def steady_at(self, moment: int) -> int:
        """What `steady` was when the time of day was `moment`; now for one that is still to come."""
        return self.steady() - max(0, self.now() - moment)
