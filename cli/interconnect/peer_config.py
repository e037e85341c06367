"""An interconnect seen from its other side: everything that the configuration of the peer's router needs."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

from cli import names
from sluice.v1 import drive_pb2, network_pb2
from sluice.v1 import interconnect_pb2 as pb

PASSWORD_PLACEHOLDER = "REPLACE_WITH_THE_PASSWORD"
"""Stands for the password of the session, which cannot be read back."""

LOST_PACKETS = 3
"""BFD packets that may be lost."""

_LONGEST_NAME = 40


@dataclass(frozen=True, slots=True)
class BgpPeer:
    """One interconnect from the peer's point of view: `own` is the peer's, `appliance` is ours.

    `vlan` 0 is untagged. `announced` is what the appliance announces; empty:
    whatever has its AS number alone. `every_drive`: drives made later are
    announced too. `accepted` are the prefixes of which the peer may announce
    any part up to `longest` bits, but for the network's own in `excluded`;
    empty: any public prefix. `bfd` is in milliseconds, 0: none; `hold` in
    seconds.
    """

    name: str
    peering: bool
    vlan: int
    own_address: IPv4Interface
    own_as: int
    appliance_address: IPv4Address
    appliance_as: int
    password: bool
    announced: tuple[IPv4Network, ...]
    every_drive: bool
    accepted: tuple[IPv4Network, ...]
    excluded: tuple[IPv4Network, ...]
    longest: int
    maximum: int
    bfd: int
    hold: int

    @property
    def keepalive(self) -> int:
        """Seconds between keepalives: a third of `hold` (RFC 4271 section 10)."""
        return max(1, self.hold // 3)

    @property
    def label(self) -> str:
        """What everything of the interconnect is called on the router; short enough for all of them."""
        if len(self.name) <= _LONGEST_NAME:
            return f"SLUICE-{self.name}"
        digest = hashlib.sha256(self.name.encode()).hexdigest()[:8]
        return f"SLUICE-{self.name[: _LONGEST_NAME - 9]}-{digest}"


def other_side(
    interconnect: pb.Interconnect, network: network_pb2.Network | None, drives: Iterable[drive_pb2.Drive]
) -> BgpPeer:
    """An interconnect as the API returns it, seen from its other side.

    `network` and `drives` are those of a Direct Connect: None and nothing for a peering.
    """
    peering = interconnect.kind == pb.Interconnect.PEERING
    local = IPv4Interface(interconnect.local_address)
    announced = _prefixes(interconnect.announce_prefixes)
    if network is not None and not announced:
        announced = (IPv4Network(network.prefix), *sorted(_prefixes(drive.address for drive in drives)))
    accepted = _prefixes(interconnect.accept_prefixes)
    own = IPv4Network(network.prefix) if network is not None else None
    return BgpPeer(
        name=names.short(interconnect.name),
        peering=peering,
        vlan=interconnect.vlan,
        own_address=IPv4Interface(f"{interconnect.peer_address}/{local.network.prefixlen}"),
        own_as=interconnect.peer_as,
        appliance_address=local.ip,
        appliance_as=interconnect.local_as,
        password=interconnect.has_password,
        announced=announced,
        every_drive=not (peering or interconnect.announce_prefixes),
        accepted=accepted,
        excluded=(own,) if own is not None and any(own.overlaps(prefix) for prefix in accepted) else (),
        longest=24 if peering else 32,
        maximum=interconnect.maximum_prefixes,
        bfd=0 if interconnect.disable_bfd else interconnect.bfd_interval_milliseconds,
        hold=interconnect.hold_seconds,
    )


def _prefixes(texts: Iterable[str]) -> tuple[IPv4Network, ...]:
    return tuple(IPv4Network(text) for text in texts)
