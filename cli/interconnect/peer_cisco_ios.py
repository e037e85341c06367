"""The other side as a router with Cisco IOS or IOS XE.

The commands are those of the Cisco IOS IP Routing: BGP, and BFD, Command References.
"""

from __future__ import annotations

from cli.interconnect import prefix_lists
from cli.interconnect.notes import head, of_another_as, only_what_has_a_route, to_fill_in
from cli.interconnect.peer_config import LOST_PACKETS, PASSWORD_PLACEHOLDER, BgpPeer

_LONGEST_BFD = 999
# Lists of AS paths have numbers.
_PATHS_IN, _PATHS_OUT = 401, 402


def configuration(side: BgpPeer) -> str:
    """Commands for the privileged mode."""
    fill = to_fill_in(side)
    if not side.accepted:
        fill.append("network YOUR_PREFIX, in the lines at the end: each public prefix to announce")
    lines = [
        *head("!", "Cisco IOS, IOS XE", side, fill, _notes(side)),
        "!",
        "configure terminal",
        "!",
        *_interface(side),
        *_filters(side),
        *_bgp(side),
        "end",
    ]
    return "\n".join(lines) + "\n"


def _notes(side: BgpPeer) -> list[str]:
    notes = []
    if side.password:
        notes.append("A ? of the password is typed with Ctrl-V before it.")
    if side.bfd:
        notes.append("BFD echo is off: its packets would have to come back through the appliance, which drops them.")
    if side.bfd > _LONGEST_BFD:
        notes.append(f"IOS sends BFD packets each {_LONGEST_BFD} ms at the slowest; the slower side counts.")
    numbers = [str(_PATHS_IN)] * (not side.announced) + [str(_PATHS_OUT)] * (not side.accepted)
    if numbers:
        notes.append(f"Where this router has as-path access-list {' or '.join(numbers)} already, choose another.")
    return [
        *notes,
        of_another_as(side, f"neighbor {side.appliance_address} local-as {side.own_as} no-prepend replace-as"),
        only_what_has_a_route(side),
    ]


def _interface(side: BgpPeer) -> list[str]:
    interval = min(side.bfd, _LONGEST_BFD)
    bfd = [f" bfd interval {interval} min_rx {interval} multiplier {LOST_PACKETS}", " no bfd echo"]
    return [
        f"interface INTERFACE.{side.vlan}" if side.vlan else "interface INTERFACE",
        *([f" encapsulation dot1Q {side.vlan}"] if side.vlan else []),
        f" ip address {side.own_address.ip} {side.own_address.netmask}",
        " no ip redirects",
        *(bfd if side.bfd else []),
        " no shutdown",
        "!",
    ]


def _filters(side: BgpPeer) -> list[str]:
    lines = [*prefix_lists.incoming(side), *prefix_lists.outgoing(side)]
    if not side.announced:
        lines.append(f"ip as-path access-list {_PATHS_IN} permit ^{side.appliance_as}$")
    if not side.accepted:
        lines.append(f"ip as-path access-list {_PATHS_OUT} permit ^$")
    return [*lines, "!"]


def _bgp(side: BgpPeer) -> list[str]:
    neighbor = f" neighbor {side.appliance_address}"
    incoming = f"prefix-list {side.label}-IN" if side.announced else f"filter-list {_PATHS_IN}"
    outgoing = f"prefix-list {side.label}-OUT" if side.accepted else f"filter-list {_PATHS_OUT}"
    return [
        f"router bgp {side.own_as}",
        f"{neighbor} remote-as {side.appliance_as}",
        f"{neighbor} description {side.label}",
        *([f"{neighbor} password {PASSWORD_PLACEHOLDER}"] if side.password else []),
        f"{neighbor} timers {side.keepalive} {side.hold}",
        *([f"{neighbor} fall-over bfd"] if side.bfd else []),
        " address-family ipv4",
        *(f"  network {prefix.network_address} mask {prefix.netmask}" for prefix in side.accepted),
        *([] if side.accepted else ["  ! network YOUR_PREFIX mask YOUR_MASK"]),
        f" {neighbor} activate",
        f" {neighbor} {incoming} in",
        f" {neighbor} {outgoing} out",
        " exit-address-family",
        "!",
    ]
