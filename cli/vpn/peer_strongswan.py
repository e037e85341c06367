"""The other side as a strongSwan: swanctl.conf(5)."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Network

from cli.vpn.notes import certificates_to_install, head, key_in_quotes, key_to_fill_in, whereabouts
from cli.vpn.peer_config import KEY_PLACEHOLDER, TCP_MSS, VpnPeer, other_side
from sluice.v1 import vpn_connection_pb2, vpn_gateway_pb2


def configuration(connection: vpn_connection_pb2.VpnConnection, gateway: vpn_gateway_pb2.VpnGateway) -> str:
    """A file for /etc/swanctl/conf.d. Raises errors.Failure naming what cannot be said."""
    side = other_side(connection, gateway)
    fill = [*key_to_fill_in(side), *certificates_to_install(side)]
    notes = [
        whereabouts(side),
        f"Save as /etc/swanctl/conf.d/{side.name}.conf (strongSwan 5.9 or later), then: swanctl --load-all",
        "Clamp TCP: nft add rule inet filter forward tcp flags syn tcp option maxseg size set"
        f" {TCP_MSS} (in your own table and chain), for what goes through the tunnel.",
    ]
    if side.proof:
        notes.append(
            f"Install: the device's certificate as /etc/swanctl/x509/{side.name}.pem, its key in"
            " /etc/swanctl/private, authorities in /etc/swanctl/x509ca."
        )
    notes += key_in_quotes(side)
    lines = [*head("#", "strongSwan", side, fill, notes), "", *_connections(side), *_secrets(side)]
    return "\n".join(lines) + "\n"


def _connections(side: VpnPeer) -> list[str]:
    proof = ["            auth = pubkey", f"            certs = {side.name}.pem"] if side.proof else []
    proof = proof or ["            auth = psk"]
    return [
        "connections {",
        f"    {side.name} {{",
        f"        version = {side.ike_version}",
        f"        local_addrs = {side.own_address}  # behind NAT: the inner address"
        if side.own_address
        else "        local_addrs = %any  # or the address of this device, where it has several",
        f"        remote_addrs = {side.gateway_address}",
        f"        proposals = {', '.join(side.ike_proposals)}",
        f"        rekey_time = {side.ike_lifetime}s",
        f"        dpd_delay = {side.dpd}s",
        # IKEv1 does not give up after retransmissions of its own.
        *([f"        dpd_timeout = {4 * side.dpd}s"] if side.ike_version == 1 else []),
        "        keyingtries = 0",
        "        mobike = no",
        "        unique = replace",
        "        local {",
        *proof,
        f"            id = {_quoted(side.own_identity)}",
        "        }",
        "        remote {",
        f"            auth = {'pubkey' if side.proof else 'psk'}",
        f"            id = {_quoted(side.gateway_identity)}",
        "        }",
        "        children {",
        *_children(side),
        "        }",
        "    }",
        "}",
    ]


def _children(side: VpnPeer) -> list[str]:
    if side.ike_version == 2:
        return _child(side, side.name, side.own_prefixes, side.gateway_prefixes)
    # IKEv1 has one pair of prefixes in a tunnel.
    return [
        line
        for number, (own, gateway) in enumerate(side.pairs, 1)
        for line in _child(side, f"{side.name}-{number}", [own], [gateway])
    ]


def _child(side: VpnPeer, name: str, own: Iterable[IPv4Network], gateway: Iterable[IPv4Network]) -> list[str]:
    return [
        f"            {name} {{",
        f"                local_ts = {', '.join(map(str, own))}",
        f"                remote_ts = {', '.join(map(str, gateway))}",
        f"                esp_proposals = {', '.join(side.esp_proposals)}",
        f"                rekey_time = {side.child_lifetime}s",
        # A trap keeps what is for the tunnel from leaving in clear while it is not open.
        f"                start_action = {'start' if side.opens else 'trap'}",
        f"                dpd_action = {'restart' if side.opens else 'trap'}",
        f"                close_action = {'start' if side.opens else 'trap'}",
        "            }",
    ]


def _secrets(side: VpnPeer) -> list[str]:
    if side.proof:
        return []
    return [
        "secrets {",
        f"    ike-{side.name} {{",
        f"        id-own = {_quoted(side.own_identity)}",
        f"        id-gateway = {_quoted(side.gateway_identity)}",
        f'        secret = "{KEY_PLACEHOLDER}"',
        "    }",
        "}",
    ]


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
