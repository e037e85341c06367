"""The other side as FRRouting: the commands are those of its user guide ("BGP", "BFD", "Filtering")."""

from __future__ import annotations

from cli.interconnect import prefix_lists
from cli.interconnect.notes import head, of_another_as, only_what_has_a_route, to_fill_in
from cli.interconnect.peer_config import LOST_PACKETS, PASSWORD_PLACEHOLDER, BgpPeer


def configuration(side: BgpPeer) -> str:
    """Lines for frr.conf, or for `vtysh` in its mode `configure terminal`."""
    fill = to_fill_in(side)
    if not side.accepted:
        fill.append("network YOUR_PREFIX, in the lines at the end: each public prefix to announce")
    lines = [
        *head("!", "FRRouting 8", side, fill, _notes(side)),
        "!",
        *_interface(side),
        *_filters(side),
        *_bfd(side),
        *_bgp(side),
    ]
    return "\n".join(lines) + "\n"


def _name(side: BgpPeer) -> str:
    return f"INTERFACE.{side.vlan}" if side.vlan else "INTERFACE"


def _notes(side: BgpPeer) -> list[str]:
    notes = []
    if side.vlan:
        notes.append(
            f"Make the VLAN first: ip link add link INTERFACE name {_name(side)} type vlan id {side.vlan}"
            f" && ip link set {_name(side)} up"
        )
    if side.own_address.is_link_local:
        notes.append(
            "FRR takes no link-local address for its router id: where this router has no other one, add to"
            f" `router bgp`: bgp router-id {side.own_address.ip}"
        )
    daemons = "bgpd and bfdd" if side.bfd else "bgpd"
    return [
        *notes,
        f"Switch {daemons} on in /etc/frr/daemons; packets are forwarded with sysctl net.ipv4.ip_forward=1.",
        of_another_as(side, f"neighbor {side.appliance_address} local-as {side.own_as} no-prepend replace-as"),
        only_what_has_a_route(side),
    ]


def _interface(side: BgpPeer) -> list[str]:
    return [f"interface {_name(side)}", f" ip address {side.own_address}", "exit", "!"]


def _filters(side: BgpPeer) -> list[str]:
    lines = [*prefix_lists.incoming(side), *prefix_lists.outgoing(side)]
    if not side.announced:
        lines.append(f"bgp as-path access-list {side.label}-IN seq 10 permit ^{side.appliance_as}$")
    if not side.accepted:
        lines.append(f"bgp as-path access-list {side.label}-OUT seq 10 permit ^$")
    return [*lines, "!"]


def _bfd(side: BgpPeer) -> list[str]:
    if not side.bfd:
        return []
    return [
        "bfd",
        f" profile {side.label}",
        f"  detect-multiplier {LOST_PACKETS}",
        f"  transmit-interval {side.bfd}",
        f"  receive-interval {side.bfd}",
        " exit",
        "exit",
        "!",
    ]


def _bgp(side: BgpPeer) -> list[str]:
    neighbor = f" neighbor {side.appliance_address}"
    return [
        f"router bgp {side.own_as}",
        f"{neighbor} remote-as {side.appliance_as}",
        f"{neighbor} description {side.label}",
        *([f"{neighbor} password {PASSWORD_PLACEHOLDER}"] if side.password else []),
        f"{neighbor} timers {side.keepalive} {side.hold}",
        *([f"{neighbor} bfd", f"{neighbor} bfd profile {side.label}"] if side.bfd else []),
        " address-family ipv4 unicast",
        *(f"  network {prefix}" for prefix in side.accepted),
        *([] if side.accepted else ["  ! network YOUR_PREFIX"]),
        f" {neighbor} activate",
        f" {neighbor} {'prefix-list' if side.announced else 'filter-list'} {side.label}-IN in",
        f" {neighbor} {'prefix-list' if side.accepted else 'filter-list'} {side.label}-OUT out",
        " exit-address-family",
        "exit",
    ]
