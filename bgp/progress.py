"""The state of one session from configuration to established, and its status row. No I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from bgp.desired_state import Link
from bgp.hold_down import HoldDown
from state.interconnect import BfdState, BgpSession, Route, SessionState

_WAITING = "the peer has not answered yet"


@dataclass(frozen=True, slots=True)
class SessionObservation:
    """What bgpd says of the session at one moment (`show bgp ipv4 unicast summary json`).

    `dropped` counts the sessions lost since bgpd was started; `table` changes
    with the routes that are learned or announced. `overflown`: bgpd keeps it
    closed until it is told otherwise, after too many prefixes.
    """

    established: bool = False
    overflown: bool = False
    dropped: int = 0
    table: tuple[int, int, int] = (0, 0, 0)

    @classmethod
    def of(cls, summary: Mapping[str, Any], peer: str) -> SessionObservation:
        """What that answers of one peer."""
        found: Mapping[str, Any] = summary.get("peers", {}).get(peer, {})
        table = int(summary.get("tableVersion", 0)), int(found.get("pfxRcd", 0)), int(found.get("pfxSnt", 0))
        state = found.get("state", "")
        return cls(state == "Established", "PfxCt" in state, int(found.get("connectionsDropped", 0)), table)


class SessionProgress:
    """The session of an interconnect; `told` is what was last told of it. Times are in ms since the epoch."""

    def __init__(self, link: Link, told: BgpSession) -> None:
        self._link = link
        self.session = told
        self.up = told.state is SessionState.ESTABLISHED
        self._reason = told.detail if told.state is SessionState.DOWN else ""
        self._dropped: int | None = None
        self._bfd_came = told.bfd in (BfdState.UP, BfdState.DOWN)
        self._ours = False

    @property
    def reason(self) -> str:
        """Why it is down, as far as known."""
        return self._reason

    def replaced(self, link: Link, *, reset: bool) -> None:
        """Be about another revision; `reset`: that closes the session, which is then not the peer's doing."""
        self._link = link
        if reset:
            self._ours, self._reason = True, ""

    def started(self) -> None:
        """Its bgpd is a new one."""
        self._dropped = 0

    def saw(self, seen: SessionObservation) -> tuple[bool, int]:
        """Whether it was lost, and how often by the peer's doing, since it was last looked at."""
        before = seen.dropped if self._dropped is None else self._dropped
        times = max(0, seen.dropped - before)
        if self.up and not seen.established:
            times = max(1, times)
        self._dropped = seen.dropped
        if times:
            self.session = replace(self.session, flaps=self.session.flaps + times)
        # What we did ends one session, not those that the peer opens and ends after it.
        blamed = max(0, times - 1) if self._ours else times
        self._ours = self._ours and not seen.established and not times
        if seen.established and (times or not self.up):
            self._reason, self._bfd_came = "", False
        self.up = seen.established
        return bool(times), blamed

    def ended(self, problem: str, now: int) -> None:
        """There is no bgpd, for a reason."""
        if self.up:
            self.session = replace(self.session, flaps=self.session.flaps + 1)
        self.up, self._dropped = False, 0
        self.blame(problem, now)

    def blame(self, reason: str, now: int, *, anew: bool = False) -> None:
        """It is not up, or was not for a moment, for this reason; `anew`: it happened again."""
        if not self.up:
            self._reason = reason
        if anew or reason != self.session.error:
            self.session = replace(self.session, error=reason, error_at=now)

    def met(self, mac: str) -> None:
        """The Ethernet address of the peer; empty: none is known, and that of before counts while it is up."""
        if mac or not self.up:
            self.session = replace(self.session, peer_mac=mac)

    def saw_bfd(self, status: str) -> None:
        """What bfdd says of the peer: `up`, `down`, `init`; empty: nothing."""
        self._bfd_came = self._bfd_came or status == "up"
        if not self._link.interconnect.bfd_milliseconds:
            state = BfdState.OFF
        elif status == "up":
            state = BfdState.UP
        else:
            state = BfdState.SILENT if self.up and not self._bfd_came else BfdState.DOWN
        self.session = replace(self.session, bfd=state)

    def exchanged(self, routes: Sequence[Route], announced: Sequence[str]) -> None:
        """What the peer announced, and what it was told."""
        accepted = sum(not route.refusal for route in routes)
        self.session = replace(
            self.session, received=len(routes), accepted=accepted, announced=" ".join(announced)
        )  # fmt: skip

    def status(self, holds: HoldDown, now: int) -> BgpSession:
        """The session with its state, and when it came into it."""
        state, detail = self._state(holds)
        since = self.session.since if self.session.since and self.session.state is state else now
        self.session = replace(self.session, state=state, detail=detail, since=since)
        if not self.up:
            self.session = replace(self.session, received=0, accepted=0, announced="")
        return self.session

    def _state(self, holds: HoldDown) -> tuple[SessionState, str]:
        if not self._link.interconnect.enabled:
            return SessionState.DISABLED, "it is disabled"
        if holds.on:
            return SessionState.HELD, holds.detail
        if self.up:
            return SessionState.ESTABLISHED, ""
        if self._reason:
            return SessionState.DOWN, self._reason
        return SessionState.CONNECTING, _WAITING
