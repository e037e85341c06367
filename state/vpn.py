"""VPN gateways and connections as frozen values, and the names of a gateway's devices.

A gateway is a network namespace with an IKE daemon of its own and two legs to
the bridge: the inside one leads to its private network, the outside one has
its public address. Prefixes, addresses and times are written as in `state.model`.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass

INSIDE_MAC = "02:00:00:00:ff:05"
"""Ethernet address of a gateway behind its inside leg."""

OUTSIDE_MAC = "02:00:00:00:ff:06"
"""Ethernet address of a gateway behind its outside leg."""

TUNNEL_MTU = 1400
"""Largest IP packet a tunnel carries, in bytes: what 1500 leave for ESP in UDP, whatever the algorithms."""

MOST_PEER_ADDRESSES = 16
"""How many addresses of a peer's name count, the lowest first: whoever owns the name could say any number."""

DEFAULT_IKE: Mapping[int, tuple[str, ...]] = {
    2: (
        "aes256gcm16-prfsha384-ecp384",
        "aes256gcm16-prfsha512-ecp384",
        "aes128gcm16-prfsha256-ecp256",
        "aes256-sha256-modp2048",
    ),
    1: ("aes256-sha256-modp2048", "aes128-sha256-modp2048"),
}
"""Version of IKE → proposals for IKE of a connection that has none.

The second is for libreswan, which has no prfsha384: of the third it would take
ecp256 for every CHILD SA too, while ours begin with ecp384, and call that
malformed.
"""

DEFAULT_ESP: Mapping[int, tuple[str, ...]] = {
    2: ("aes256gcm16-ecp384", "aes128gcm16-ecp256", "aes256-sha256-modp2048"),
    1: ("aes256-sha256-modp2048", "aes128-sha256-modp2048"),
}
"""Version of IKE → proposals for ESP of a connection that has none."""


def inside_port(key: int) -> str:
    """Name of the bridge's port to the inside leg of the gateway of network `key`."""
    return f"vpn{key}-in"


def outside_port(key: int) -> str:
    """Name of the bridge's port to the outside leg of the gateway of network `key`."""
    return f"vpn{key}-out"


def namespace(key: int) -> str:
    """Name of the network namespace of the gateway of network `key`, as `ip netns` lists it."""
    return f"sluice-vpn-{key}"


class Role(enum.Enum):
    """Who opens a connection."""

    INITIATOR = "initiator"
    RESPONDER = "responder"


class Authentication(enum.Enum):
    """How both ends of a connection prove who they are."""

    PRE_SHARED_KEY = "pre-shared-key"
    CERTIFICATE = "certificate"


class TunnelState(enum.Enum):
    """How far a connection has come."""

    CONNECTING = "connecting"
    ESTABLISHED = "established"
    DOWN = "down"


@dataclass(frozen=True, slots=True)
class VpnConnection:
    """One tunnel to one peer.

    `peer` is an address, a domain name, or empty for a peer of any address;
    `peer_addresses` are the addresses it has now (none: not known, or any).
    Proposals are in order of preference, each algorithms joined by `-` as
    strongSwan names them. Times are in seconds. `certificate` is PEM, the
    gateway's own first and then its chain, `ca_certificates` whom to trust;
    `secret` is the sealed pre-shared key or private key, empty where it is not
    needed. `revision` grows with every change.
    """

    name: str
    peer: str
    remote_prefixes: tuple[str, ...]
    local_prefixes: tuple[str, ...] = ()
    peer_addresses: tuple[str, ...] = ()
    local_identity: str = ""
    remote_identity: str = ""
    authentication: Authentication = Authentication.PRE_SHARED_KEY
    role: Role = Role.INITIATOR
    ike_version: int = 2
    ike_proposals: tuple[str, ...] = ()
    esp_proposals: tuple[str, ...] = ()
    allow_weak: bool = False
    dpd_seconds: int = 2
    ike_seconds: int = 14400
    child_seconds: int = 3600
    certificate: str = ""
    ca_certificates: str = ""
    secret: str = ""
    revision: int = 0
    created_at: int = 0


@dataclass(frozen=True, slots=True)
class VpnGateway:
    """The VPN gateway of a private network; `connections` is sorted by name.

    `number` is one of those that machines have, `address` its public address,
    `zone` the conntrack zone of what its peers send to drives.
    """

    name: str
    number: int
    address: str
    zone: int
    connections: tuple[VpnConnection, ...] = ()
    created_at: int = 0


@dataclass(frozen=True, slots=True)
class Tunnel:
    """What was last seen of a connection.

    `detail` says why it is not established, `error` what went wrong last (both
    for a network engineer; empty: nothing); `since` is when it came into
    `state`, `error_at` when the error was seen, in ms since the epoch. Bytes
    and packets are those inside the tunnel, since the connection was created.
    `missing` are the pairs of prefixes that it has no part for while it is
    established, each `LOCAL-REMOTE`, separated by spaces.
    """

    state: TunnelState = TunnelState.DOWN
    detail: str = ""
    since: int = 0
    error: str = ""
    error_at: int = 0
    peer_address: str = ""
    ike_proposal: str = ""
    esp_proposal: str = ""
    bytes_in: int = 0
    bytes_out: int = 0
    packets_in: int = 0
    packets_out: int = 0
    missing: str = ""
