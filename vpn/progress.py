"""The state of one connection from configuration to tunnel, the next step, and its status row. No I/O."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping
from dataclasses import replace

from state.model import State
from state.vpn import Authentication, Role, Tunnel, TunnelState, VpnConnection
from state.vpn_rows import VpnStatus
from vpn import diagnostics
from vpn.connection import esp_proposals, expiry, ike_proposals, local_identity, pairs, remote_identity
from vpn.desired_state import VpnGatewayConfig
from vpn.tunnels import ObservedTunnels, add, in_state, missing

FIRST_SECONDS, MOST_SECONDS = 1.0, 30.0
# So long a tunnel for a part of the prefixes is one that is still being opened.
PARTLY_SECONDS = 3.0
# Until keys are replaced for the first time: that shows whether both ends agree on perfect forward secrecy.
PROBE_SECONDS = {Role.INITIATOR: 0.3, Role.RESPONDER: 2.0}


class ConnectionProgress:
    """A connection of a gateway; times are in seconds of a monotonic clock, `wall` in ms since the epoch.

    `adopted` ones are open from before, with their keys already replaced once.
    """

    def __init__(
        self, site: VpnGatewayConfig, connection: VpnConnection, tunnel: Tunnel, *, adopted: bool = False
    ) -> None:
        self.connection = connection
        self.tunnel = tunnel
        self.problem = ""
        self._site = site
        self._wanted = pairs(site, connection)
        self._missing = tuple(self._wanted)
        self._opened: float | None = None
        self._partly = False
        self._seen = ObservedTunnels()
        self._failed = tunnel.error if adopted and tunnel.state is TunnelState.DOWN else ""
        self._failed_of = self._keyed = ""
        self._backoff, self._next = FIRST_SECONDS, 0.0
        self._probe: float | None = None
        self._probed = adopted
        self._rekey_problem = ""
        self.loaded = False

    @property
    def offer(self) -> diagnostics.Offer:
        """What the connection offers and accepts."""
        one = self.connection
        return diagnostics.Offer(
            one.peer, ike_proposals(one), esp_proposals(one), self._site.local_prefixes(one), one.remote_prefixes,
            (local_identity(self._site, one), remote_identity(one)),
            one.authentication is Authentication.CERTIFICATE, one.ike_version,
        )  # fmt: skip

    @property
    def children(self) -> frozenset[str]:
        """Names of the CHILD SAs that carry traffic."""
        return self._seen.children

    @property
    def established(self) -> bool:
        """Whether all of it carries traffic, or as much as the peer agrees to."""
        return bool(self._seen.children) and (self._partly or not self._missing)

    @property
    def closed(self) -> frozenset[str]:
        """Remote prefixes that it has no tunnel for while it has one for others."""
        if not self.established:
            return frozenset()
        there = {remote for _, remote in self._wanted.keys() - set(self._missing)}
        return frozenset(self.connection.remote_prefixes) - there

    def replaced(self, site: VpnGatewayConfig, connection: VpnConnection, *, changed: bool) -> None:
        """Be about another revision; `changed`: it is opened anew."""
        self._site, self.connection = site, connection
        self._wanted = pairs(site, connection)
        self._miss()
        if changed:
            self.loaded = False
            self.problem = self._failed = self._rekey_problem = ""
            self.restart()

    def restart(self) -> None:
        """The IKE daemon knows nothing of it any more."""
        self.loaded = self._probed = False
        self._seen, self._probe = ObservedTunnels(), None
        self._opened, self._partly = None, False
        self._miss()
        self._backoff, self._next = FIRST_SECONDS, 0.0

    def lost(self, problem: str, wall: int) -> None:
        """There is no IKE daemon, for a reason."""
        self._seen = ObservedTunnels()
        self.tunnel = in_state(self.tunnel, TunnelState.DOWN, problem, self._seen, wall)

    def heard(self, line: str, association: str, wall: int) -> None:
        """A line of charon's log about it, and the number of the IKE SA."""
        if self._seen.children and diagnostics.rekey_refused(line):
            if not self._rekey_problem:
                self._rekey_problem = diagnostics.rekey_error(self.offer)
                self._note(self._rekey_problem, wall)
            return
        if diagnostics.keyed(line):
            self._keyed = association
        found = diagnostics.error(line, self.offer, keyed=self._keyed == association)
        if not found or (diagnostics.vague(line) and self._failed and self._failed_of == association):
            return
        self.fail(found, association, wall)

    def fail(self, error: str, association: str, wall: int) -> None:
        """It cannot be opened now, as `error` says."""
        self._failed, self._failed_of = error, association
        # While only a part is open, the prefixes that are not say more than that their child was refused.
        if not (self.established and self._missing):
            self._note(error, wall)

    def rekeyed(self) -> None:
        """Keys of a child were replaced."""
        self._rekey_problem = ""

    def saw(self, seen: ObservedTunnels, counted: dict[str, list[int]], now: float, wall: int) -> None:
        """What charon has of it now; `counted` is brought up to date."""
        before, agreed = self.established, self._seen.agreed
        self._seen = seen
        if seen.agreed != agreed:
            self._miss()
        self._opened = (self._opened if self._opened is not None else now) if seen.children else None
        self._partly = self._opened is not None and now - self._opened >= PARTLY_SECONDS
        self.count(counted, seen.counters or {})
        ends = expiry(self.connection)
        if ends and wall > ends:
            moment = datetime.datetime.fromtimestamp(ends / 1000, datetime.UTC)
            self.problem = f"the gateway's certificate expired at {moment:%Y-%m-%d %H:%M} UTC"
        if self.established:
            if self._missing:
                self._note(diagnostics.narrowed_error(self._missing), wall)
            else:
                self._failed, self._backoff = "", FIRST_SECONDS
            if not self._probed and self.connection.ike_version == 2:
                self._probed = True
                self._probe = now + PROBE_SECONDS[self.connection.role]
        elif before:
            self._probed, self._probe, self._rekey_problem = False, None, ""
            self._next = now + FIRST_SECONDS
        state, detail = self._state()
        self.tunnel = in_state(self.tunnel, state, detail, seen, wall, self._missing)

    def count(self, counted: dict[str, list[int]], counters: Mapping[str, tuple[int, ...]]) -> None:
        """Add what its children counted."""
        self.tunnel = add(self.tunnel, counted, counters)

    def to_initiate(self, now: float) -> list[str]:
        """Names of children to open now; charon goes on by itself with those that are under way."""
        if self.connection.role is not Role.INITIATOR or not self.loaded or not self._missing:
            return []
        if self._seen.under_way or now < self._next:
            return []
        wanted = {self._wanted[pair] for pair in self._missing}
        if self.connection.ike_version == 2 and not self._seen.children:
            wanted = {self.connection.name}
        if not wanted - self._seen.children:
            return []
        self._next = now + self._backoff
        self._backoff = min(self._backoff * 2, MOST_SECONDS)
        return sorted(wanted - self._seen.children)

    def to_rekey(self, now: float) -> bool:
        """Whether to replace keys now, for the sake of the test."""
        if self._probe is None or now < self._probe:
            return False
        self._probe = None
        return True

    def status(self) -> VpnStatus:
        """What to tell of it."""
        problem = self.problem or self._rekey_problem
        state = State.ERROR if problem else State.LIVE if self.loaded or self._nowhere else State.PENDING
        detail = problem or ("" if state is State.LIVE else "waiting for the IKE daemon to take it")
        name = f"vpnConnections/{self.connection.name}"
        return VpnStatus(name, self.connection.revision, state, detail, self.tunnel)

    @property
    def _nowhere(self) -> bool:
        """Whether its peer has a name and no address, so that there is nothing to load."""
        return bool(self.connection.peer) and not self.connection.peer_addresses

    def _state(self) -> tuple[TunnelState, str]:
        if self.established:
            return TunnelState.ESTABLISHED, diagnostics.narrowed_error(self._missing) if self._missing else ""
        if self.problem:
            return TunnelState.DOWN, self.problem
        if self._nowhere:
            return TunnelState.DOWN, f"the domain name {self.connection.peer} has no address"
        if self._failed:
            return TunnelState.DOWN, self._failed
        if self.connection.role is Role.INITIATOR:
            return TunnelState.CONNECTING, "the peer has not answered yet"
        return TunnelState.DOWN, "waiting for the peer to open it"

    def _miss(self) -> None:
        self._missing = missing(self._wanted, self._seen.agreed)

    def _note(self, error: str, wall: int) -> None:
        if error != self.tunnel.error:
            self.tunnel = replace(self.tunnel, error=error, error_at=wall)


def unreachable(all_of_gateway: Iterable[ConnectionProgress]) -> frozenset[str]:
    """Remote prefixes that peers with a tunnel did not agree to, and that no other tunnel is for."""
    opened = [one for one in all_of_gateway if one.established]
    there = {prefix for one in opened for prefix in set(one.connection.remote_prefixes) - one.closed}
    return frozenset(prefix for one in opened for prefix in one.closed) - there
