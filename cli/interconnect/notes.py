"""The comments at the top of a configuration: what it is, what to fill in, what to know."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Network

from cli.interconnect.peer_config import LOST_PACKETS, PASSWORD_PLACEHOLDER, BgpPeer


def head(mark: str, device: str, side: BgpPeer, fill: Iterable[str], notes: Iterable[str]) -> list[str]:
    """Lines of comment, each after `mark`: first what must be filled in, then notes."""
    lines = [
        f"{device}: the other side of interconnect {side.name},"
        f" whose appliance is {side.appliance_address} in AS {side.appliance_as}."
    ]
    if filled := list(fill):
        lines += ["", "Fill in:", *(f"- {one}" for one in filled)]
    lines += ["", "To know:", *(f"- {one}" for one in (*notes, *_everywhere(side)))]
    return [f"{mark} {line}".rstrip() for line in lines]


def to_fill_in(side: BgpPeer) -> list[str]:
    """What to say of the interface, and of the password where there is one."""
    interface = "INTERFACE: the interface that the cross-connect ends at"
    return [interface, *password_to_fill_in(side)]


def password_to_fill_in(side: BgpPeer) -> list[str]:
    """What to say of the password, where there is one."""
    if not side.password:
        return []
    return [f"{PASSWORD_PLACEHOLDER}: the password of the session, which cannot be read back from the appliance"]


def of_another_as(side: BgpPeer, words: str) -> str:
    """What to do on a router that has another AS number; `words` is the command that gives a neighbour its own."""
    return (
        f"Where this router is in another AS than {side.own_as} already, leave that and give this neighbor AS"
        f" {side.own_as} by: {words}"
    )


def only_what_has_a_route(side: BgpPeer) -> str:
    """Why a prefix may not be announced, for routers that announce by lines of `network`."""
    where = "A network is announced while this router has a route of exactly that prefix"
    if side.accepted:
        return f"{where}: where it has only parts of one, name these instead; the filter lets them pass."
    return f"{where}; nothing but what this router itself announces passes the filter."


def _everywhere(side: BgpPeer) -> list[str]:
    return [
        f"This router must be {side.own_address} in AS {side.own_as},"
        f" {f'in VLAN {side.vlan}' if side.vlan else 'untagged'}.",
        *_announced(side),
        *_accepted(side),
        f"The appliance closes the session when it is told more than {side.maximum} prefixes, accepted or not.",
        *_bfd(side),
    ]


def _announced(side: BgpPeer) -> list[str]:
    if not side.announced:
        return ["The appliance announces its public addresses, whose AS path is its AS number alone."]
    lines = [f"The appliance announces {listed(side.announced)}."]
    if side.every_drive:
        lines.append("It announces a drive that is made later too: write this configuration anew then.")
    return lines


def _accepted(side: BgpPeer) -> list[str]:
    if not side.accepted:
        return [
            f"The appliance accepts public prefixes of at most {side.longest} bits that are not its own, and no default"
            " route; it lets in packets from public addresses to its own public addresses."
        ]
    length = "" if side.longest == IPv4Network(0).max_prefixlen else f" of at most {side.longest} bits"
    lines = [
        f"The appliance accepts prefixes{length} within {listed(side.accepted)};"
        " only from there it lets in packets, routed or not."
    ]
    if side.excluded:
        lines.append(f"It does not accept {listed(side.excluded)}, which is its own.")
    return lines


def _bfd(side: BgpPeer) -> list[str]:
    if not side.bfd:
        return [f"The appliance uses no BFD: a dead session is noticed after {side.hold} s."]
    return [
        f"BFD: a packet each {side.bfd} ms both ways, of which {LOST_PACKETS} may be lost; UDP 3784 must pass."
        f" Without it a dead session is noticed after {side.hold} s."
    ]


def listed(prefixes: Iterable[IPv4Network]) -> str:
    """`A`, `A and B`, or `A, B and C`."""
    texts = list(map(str, prefixes))
    return " and ".join(filter(None, (", ".join(texts[:-1]), texts[-1])))
