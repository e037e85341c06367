"""Filters of prefixes and AS paths, which FRR and Cisco IOS write alike."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Network

from cli.interconnect.peer_config import BgpPeer


def incoming(side: BgpPeer) -> list[str]:
    """The list `LABEL-IN` of what the appliance announces; nothing where that is not known."""
    return _numbered(f"{side.label}-IN", [f"permit {prefix}" for prefix in side.announced])


def outgoing(side: BgpPeer) -> list[str]:
    """The list `LABEL-OUT` of what may be announced to the appliance; nothing where that is any public prefix."""
    if not side.accepted:
        return []
    rules = [f"deny {_parts(prefix, 32)}" for prefix in side.excluded]
    rules += [f"permit {_parts(prefix, side.longest)}" for prefix in side.accepted]
    return _numbered(f"{side.label}-OUT", rules)


def _numbered(name: str, rules: Iterable[str]) -> list[str]:
    return [f"ip prefix-list {name} seq {10 * number} {rule}" for number, rule in enumerate(rules, 1)]


def _parts(prefix: IPv4Network, longest: int) -> str:
    # `le` must be more than the prefix's own length.
    return f"{prefix} le {longest}" if prefix.prefixlen < longest else str(prefix)
