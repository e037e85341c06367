"""Finds out, once a second, why a session is not established: asks bgpd and the kernel."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bgp import formatting, probe
from bgp.frr import Frr
from bgp.namespace import LEG
from daemons.namespaces import NetworkNamespace
from daemons.programs import BGPD
from state.interconnect import Interconnect

# So long what BGP said counts for more than that nothing comes after it.
FRESH_SECONDS = 3.0
# Before that silence means nothing: bgpd begins a second after it is told to.
PATIENCE_SECONDS = 2.0
PROBE_SECONDS = 5.0
# Peers try again within that time: ExaBGP waits for up to a minute.
AGAIN_SECONDS = 75.0


class SessionDiagnostics:
    """About one interconnect; times are in seconds of a monotonic clock."""

    def __init__(self, frr: Frr, namespace: NetworkNamespace) -> None:
        self._frr = frr
        self._probe = probe.Probe(namespace, LEG)
        self._reset: formatting.Reset | None = None
        self._fresh = self._patient = 0.0
        self._counted: tuple[int, int, int] | None = None
        self._came = [0.0, 0.0, 0.0]
        self._unanswered = 0
        # The last notification, when it came, and whether it is told already.
        self._heard: tuple[formatting.Reset, float] | None = None
        self._told = True

    def begin(self, now: float) -> None:
        """A session is to be opened from now on."""
        self._reset = self._reset or formatting.Reset()
        self._patient = now + PATIENCE_SECONDS
        self._counted, self._came, self._unanswered = probe.md5_refused(self._frr.process()), [0.0, 0.0, 0.0], 0
        self._probe.forget()
        self._heard, self._told = None, True

    def hear(self, now: float) -> None:
        """Take in the notifications there were since the last call. Raises OSError."""
        for found in filter(None, map(formatting.notification, self._frr.notifications())):
            self._heard, self._told = (found, now), False

    def of_loss(self, one: Interconnect, now: float) -> tuple[str, bool]:
        """Why the session was lost just now, and whether for too many prefixes. Raises FrrError, OSError."""
        self._reset = found = formatting.reset(self._neighbor(one))
        # Once the next session is opened, bgpd has forgotten why it lost this one.
        self.hear(now)
        heard = "" if self._heard is None else formatting.of_reset(self._heard[0], one)
        self.begin(now)
        self._fresh = now + FRESH_SECONDS
        reason = formatting.of_reset(found, one) or heard or "the session was closed"
        return reason, reason == formatting.too_many(one)

    def look(self, one: Interconnect, now: float) -> str:
        """Why it is not opened, as far as can be seen; empty: nothing new. Raises FrrError, OSError."""
        found, before = formatting.reset(self._neighbor(one)), self._reset
        self._reset = found
        # What was there before this process has been told. A peer that says why it closes the session ends BFD too.
        if before is not None and found != before and not (now < self._fresh and formatting.is_bfd(found)):
            reason = formatting.of_reset(found, one, self._their_as(one, found))
            if reason:
                self._fresh, self._told = now + FRESH_SECONDS, True
                return reason
        if self._heard is not None and not self._told:
            found, self._told = self._heard[0], True
            self._fresh = now + FRESH_SECONDS
            return formatting.of_reset(found, one, self._their_as(one, found))
        silence = self._silence(one, now)
        return formatting.of_silence(silence, one) if now >= max(self._fresh, self._patient) else ""

    def _silence(self, one: Interconnect, now: float) -> formatting.NoSession:
        process = self._frr.process()
        answers, _ = probe.arp(process, one.peer_address)
        self._unanswered = self._unanswered + 1 if answers is False else 0
        counted = probe.md5_refused(process)
        for at, (have, had) in enumerate(zip(counted, self._counted or counted, strict=True)):
            if have > had:
                self._came[at] = now
        self._counted = counted
        other, unsigned, unexpected = (int(bool(at) and now - at < AGAIN_SECONDS) for at in self._came)
        if answers and now >= max(self._fresh, self._patient):
            self._probe.look(one.local_ip, one.peer_address, now, PROBE_SECONDS)
        arp = False if self._unanswered > 1 else True if answers else None
        speaks = self._heard is not None and now - self._heard[1] < AGAIN_SECONDS
        return formatting.NoSession(arp, self._probe.result if answers else "", other, unsigned, unexpected, speaks)

    def _their_as(self, one: Interconnect, found: formatting.Reset) -> int:
        if not formatting.is_wrong_as(found):
            return 0
        return formatting.their_as(self._frr.ask(BGPD, f"show bgp neighbors {one.peer_address}"))

    def _neighbor(self, one: Interconnect) -> Mapping[str, Any]:
        shown = self._frr.shown(BGPD, f"bgp neighbors {one.peer_address}")
        found: Mapping[str, Any] = shown.get(one.peer_address, {})
        return found
