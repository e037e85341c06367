"""Interconnects as frozen values: a VLAN on a port with a BGP session (RFC 4271), and what was learned by it.

Each has a network namespace with BGP and BFD daemons of its own, which one leg
joins to the bridge; packets of customers never pass through it. Prefixes,
addresses and times are written as in `state.model`.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

INTERCONNECT_MAC = "02:00:00:00:ff:07"
"""Ethernet address of the appliance on every interconnect: of the leg, and of what flows send."""

MOST_INTERCONNECTS = 15
"""How many interconnects a network, or all peerings together, may have: `slot` has four bits."""

MOST_NEXT_HOPS = 4
"""How many interconnects count for one prefix, the best first."""


def leg_port(number: int) -> str:
    """Name of the bridge's port to the leg of interconnect `number`."""
    return f"bgp{number}"


def namespace(number: int) -> str:
    """Name of the network namespace of interconnect `number`, as `ip netns` lists it."""
    return f"sluice-bgp-{number}"


class InterconnectKind(enum.Enum):
    """What an interconnect leads to on this side."""

    DIRECT_CONNECT = "direct-connect"
    PEERING = "peering"


class SessionState(enum.Enum):
    """How far a BGP session has come."""

    DISABLED = "disabled"
    HELD = "held"
    DOWN = "down"
    CONNECTING = "connecting"
    ESTABLISHED = "established"


class BfdState(enum.Enum):
    """What BFD (RFC 5880) says of the peer; OFF: it is not to be used, SILENT: the peer does not speak it."""

    OFF = "off"
    SILENT = "silent"
    DOWN = "down"
    UP = "up"


@dataclass(frozen=True, slots=True)
class Route:
    """One prefix the peer announced.

    `as_path` are AS numbers separated by spaces, `med` the multi-exit
    discriminator (0 where there is none). `refusal` says why it is not
    accepted, for a network engineer; empty: it is. `graceful_shutdown`: the peer
    is about to withdraw it, and any other route is better (RFC 8326).
    """

    prefix: str
    as_path: str = ""
    med: int = 0
    refusal: str = ""
    graceful_shutdown: bool = False

    @property
    def hops(self) -> int:
        """Length of the AS path."""
        return len(self.as_path.split())


@dataclass(frozen=True, slots=True)
class Session:
    """What flows need to know of a session: whether it is up, the peer's MAC, and the accepted routes by prefix."""

    up: bool = False
    mac: str = ""
    # Ten thousand of them: told apart by comparing, which ends at the first that differs, and not by hashing all.
    routes: tuple[Route, ...] = field(default=(), hash=False)


@dataclass(frozen=True, slots=True)
class Interconnect:
    """A VLAN on a port of the bridge (`vlan` None: what is untagged there) with a BGP session to one peer.

    `number` is dense and unique among interconnects; `slot`, 1..15, among those
    of one network, or among peerings. `client` (one of the numbers machines
    have) and `zone` (conntrack) are for what a customer sends to drives; both
    are 0 for peerings. `local_address` is ADDRESS/LENGTH (host bits kept).
    `accept` are the prefixes of which routes are accepted, and sources let in
    (none, for peerings only: any public ones); `announce` what is announced
    (none: all there is). `preference` is higher for the better of several,
    `rate` kbit/s each way (0: no limit), `bfd_milliseconds` the interval of BFD
    packets, of which three may be lost (0: no BFD). `password` is the sealed
    one of TCP MD5 (RFC 2385), empty: none. `revision` grows with every change;
    `session` is known to the controller only.
    """

    name: str
    kind: InterconnectKind
    number: int
    slot: int
    port: str
    vlan: int | None
    local_address: str
    peer_address: str
    local_as: int
    peer_as: int
    client: int = 0
    zone: int = 0
    accept: tuple[str, ...] = ()
    announce: tuple[str, ...] = ()
    maximum_prefixes: int = 100
    preference: int = 100
    rate: int = 0
    bfd_milliseconds: int = 100
    hold_seconds: int = 9
    enabled: bool = True
    password: str = ""
    revision: int = 0
    created_at: int = 0
    session: Session = Session()

    @property
    def local_ip(self) -> str:
        """The appliance's address on the link, without its prefix length."""
        return self.local_address.split("/")[0]

    @property
    def where(self) -> str:
        """Port and VLAN, as operators read them."""
        return self.port if self.vlan is None else f"{self.port}/vlan={self.vlan}"


@dataclass(frozen=True, slots=True)
class BgpSession:
    """What was last seen of a session.

    `detail` says why it is not established, `error` what went wrong last (both
    for a network engineer; empty: nothing); `since` is when it came into
    `state`, `error_at` when the error was seen, in ms since the epoch.
    `received` and `accepted` count prefixes, `announced` are those the peer was
    told, separated by spaces, `flaps` how often it went down since it was made.
    """

    state: SessionState = SessionState.DOWN
    detail: str = ""
    since: int = 0
    error: str = ""
    error_at: int = 0
    bfd: BfdState = BfdState.OFF
    peer_mac: str = ""
    received: int = 0
    accepted: int = 0
    announced: str = ""
    flaps: int = 0
