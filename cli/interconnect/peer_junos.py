"""The other side as a router with Junos OS: commands of its user guides of BGP and of routing policies."""

from __future__ import annotations

from ipaddress import IPv4Network

from cli.interconnect.notes import head, of_another_as, to_fill_in
from cli.interconnect.peer_config import LOST_PACKETS, PASSWORD_PLACEHOLDER, BgpPeer

# What older releases take; the shorter one of the two sides counts.
_SHORTEST_HOLD = 20


def configuration(side: BgpPeer) -> str:
    """Commands for `load set terminal` in configuration mode."""
    fill = to_fill_in(side)
    if not side.accepted:
        fill.append("YOUR_PREFIX: a public prefix to announce; a line for each")
    lines = [
        *head("#", "Junos", side, fill, _notes(side)),
        "",
        *_interface(side),
        *_incoming(side),
        *_outgoing(side),
        *_bgp(side),
    ]
    return "\n".join(lines) + "\n"


def _notes(side: BgpPeer) -> list[str]:
    notes = ["In configuration mode: load set terminal, paste, Ctrl-D; then: commit check, commit."]
    if side.password:
        notes.append('In the quotes of the password, write \\" for " and \\\\ for \\.')
    if side.hold < _SHORTEST_HOLD:
        notes.append(f"The appliance asks for a hold time of {side.hold} s, and the shorter one counts.")
    return [
        *notes,
        of_another_as(side, f"set protocols bgp group {side.label} local-as {side.own_as} no-prepend-global-as"),
        "Every active route of an accepted prefix is announced, wherever this router has it from.",
    ]


def _interface(side: BgpPeer) -> list[str]:
    unit = f"set interfaces INTERFACE unit {side.vlan}"
    tags = ["set interfaces INTERFACE vlan-tagging", f"{unit} vlan-id {side.vlan}"] if side.vlan else []
    return [*tags, f"{unit} family inet address {side.own_address}"]


def _incoming(side: BgpPeer) -> list[str]:
    term = f"set policy-options policy-statement {side.label}-IN term"
    known = [f"{term} announced from route-filter {prefix} exact" for prefix in side.announced]
    if not known:
        known = [
            f'set policy-options as-path {side.label} "{side.appliance_as}"',
            f"{term} announced from as-path {side.label}",
        ]
    return [*known, f"{term} announced then accept", f"{term} rest then reject"]


def _outgoing(side: BgpPeer) -> list[str]:
    term = f"set policy-options policy-statement {side.label}-OUT term"
    lines = [f"{term} excluded from route-filter {prefix} orlonger" for prefix in side.excluded]
    if lines:
        lines.append(f"{term} excluded then reject")
    lines += [f"{term} accepted from route-filter {prefix} {_parts(prefix, side.longest)}" for prefix in side.accepted]
    if not side.accepted:
        lines += [
            f"set policy-options prefix-list {side.label}-OUT YOUR_PREFIX",
            f"{term} accepted from prefix-list {side.label}-OUT",
        ]
    return [*lines, f"{term} accepted then accept", f"{term} rest then reject"]


def _parts(prefix: IPv4Network, longest: int) -> str:
    if prefix.prefixlen == longest:
        return "exact"
    return "orlonger" if longest == prefix.max_prefixlen else f"upto /{longest}"


def _bgp(side: BgpPeer) -> list[str]:
    group = f"set protocols bgp group {side.label}"
    detection = f"{group} bfd-liveness-detection"
    key = f'"{PASSWORD_PLACEHOLDER}"'
    return [
        f"set routing-options autonomous-system {side.own_as}",
        f"{group} type external",
        f"{group} local-address {side.own_address.ip}",
        f"{group} peer-as {side.appliance_as}",
        f"{group} hold-time {max(side.hold, _SHORTEST_HOLD)}",
        *([f"{group} authentication-key {key}"] if side.password else []),
        *([f"{detection} minimum-interval {side.bfd}", f"{detection} multiplier {LOST_PACKETS}"] if side.bfd else []),
        f"{group} family inet unicast",
        f"{group} import {side.label}-IN",
        f"{group} export {side.label}-OUT",
        f"{group} neighbor {side.appliance_address}",
    ]
