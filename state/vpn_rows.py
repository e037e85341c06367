"""Converts rows of VPN gateways and connections to values and back."""

from __future__ import annotations

import dataclasses
import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from state.addresses import is_address
from state.model import State
from state.ovsdb import Row, atoms, mapping, to_map, to_set
from state.vpn import Authentication, Role, Tunnel, TunnelState, VpnConnection, VpnGateway


def gateway(row: Row, connections: Iterable[VpnConnection] = ()) -> VpnGateway:
    """A `Vpn_Gateway` row and the values of its connections as one value."""
    return VpnGateway(
        name=row["name"],
        number=row["number"],
        address=row["address"],
        zone=row["zone"],
        connections=tuple(sorted(connections, key=lambda c: c.name)),
        created_at=row["created_at"],
    )


def gateway_row(value: VpnGateway, network_reference: list[str]) -> Row:
    """The columns of a `Vpn_Gateway` row, without its connections."""
    return {
        "name": value.name,
        "network": network_reference,
        "number": value.number,
        "address": value.address,
        "zone": value.zone,
        "created_at": value.created_at,
    }


def connection(row: Row, known: Mapping[str, tuple[str, ...]] | None = None) -> VpnConnection:
    """A `Vpn_Connection` row as a value; `known` are the addresses of peers by domain name."""
    peer = row["peer"]
    return VpnConnection(
        name=row["name"],
        peer=peer,
        peer_addresses=(peer,) if is_address(peer) else (known or {}).get(peer, ()),
        local_identity=row["local_identity"],
        remote_identity=row["remote_identity"],
        local_prefixes=tuple(row["local_prefixes"].split()),
        remote_prefixes=tuple(row["remote_prefixes"].split()),
        authentication=Authentication(row["authentication"]),
        role=Role(row["role"]),
        ike_version=row["ike_version"],
        ike_proposals=tuple(row["ike_proposals"].split()),
        esp_proposals=tuple(row["esp_proposals"].split()),
        allow_weak=row["allow_weak"],
        dpd_seconds=row["dpd_seconds"],
        ike_seconds=row["ike_seconds"],
        child_seconds=row["child_seconds"],
        certificate=row["certificate"],
        ca_certificates=row["ca_certificates"],
        secret=row.get("secret", ""),
        revision=row["revision"],
        created_at=row["created_at"],
    )


def connection_row(value: VpnConnection, gateway_reference: list[str]) -> Row:
    """The columns of a `Vpn_Connection` row. Lists keep their order as words of one text."""
    return {
        "name": value.name,
        "gateway": gateway_reference,
        "peer": value.peer,
        "local_identity": value.local_identity,
        "remote_identity": value.remote_identity,
        "local_prefixes": " ".join(value.local_prefixes),
        "remote_prefixes": " ".join(value.remote_prefixes),
        "authentication": value.authentication.value,
        "role": value.role.value,
        "ike_version": value.ike_version,
        "ike_proposals": " ".join(value.ike_proposals),
        "esp_proposals": " ".join(value.esp_proposals),
        "allow_weak": value.allow_weak,
        "dpd_seconds": value.dpd_seconds,
        "ike_seconds": value.ike_seconds,
        "child_seconds": value.child_seconds,
        "certificate": value.certificate,
        "ca_certificates": value.ca_certificates,
        "secret": value.secret,
        "revision": value.revision,
        "created_at": value.created_at,
    }


@dataclass(frozen=True, slots=True)
class VpnStatus:
    """What the VPN daemon says of a gateway or connection.

    `object` is `vpnGateways/NAME` or `vpnConnections/NAME`, `revision` that of
    the connection it acts by, or when the gateway was created; `tunnel` is None
    for gateways.
    """

    object: str
    revision: int
    state: State
    detail: str = ""
    tunnel: Tunnel | None = field(default=None)


def status(row: Row) -> VpnStatus:
    """A `Vpn_Status` row as a value; unknown facts of a newer daemon are ignored."""
    facts: dict[str, Any] = mapping(row["tunnel"])
    tunnel = None
    if facts:
        values: dict[str, Any] = {"state": TunnelState(facts.pop("state"))}
        for known in dataclasses.fields(Tunnel):
            if known.name in facts:
                values[known.name] = int(facts[known.name]) if known.type == "int" else facts[known.name]
        tunnel = Tunnel(**values)
    return VpnStatus(row["object"], row["revision"], State(row["state"]), row["detail"], tunnel)


def status_row(value: VpnStatus) -> Row:
    """The columns of a `Vpn_Status` row."""
    facts: dict[str, str] = {}
    if value.tunnel is not None:
        facts = {name: str(fact) for name, fact in dataclasses.asdict(value.tunnel).items()}
        facts["state"] = value.tunnel.state.value
    return {
        "object": value.object,
        "revision": value.revision,
        "state": value.state.value,
        "detail": value.detail,
        "tunnel": to_map(facts),
    }


def peer(row: Row) -> tuple[str, tuple[str, ...]]:
    """A `Vpn_Peer` row: a peer's domain name and the addresses it has, in order."""
    return row["name"], tuple(sorted(atoms(row["addresses"]), key=ipaddress.IPv4Address))


def peer_row(name: str, addresses: Iterable[str]) -> Row:
    """The columns of a `Vpn_Peer` row."""
    return {"name": name, "addresses": to_set(addresses)}
