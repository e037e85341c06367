"""The other side as a router with Cisco IOS or IOS XE: a crypto map, since the prefixes are exact.

The commands are those of the Cisco IOS Security Command Reference; IKE itself
is in `cli.vpn.cisco_ios_ike`.
"""

from __future__ import annotations

from ipaddress import IPv4Network

from cli.vpn.cisco_ios_ike import GROUPS, VENDOR, ikev1, ikev2, object_name, trustpoints
from cli.vpn.notes import certificates_to_install, head, key_to_fill_in, whereabouts
from cli.vpn.peer_config import TCP_MSS, VpnPeer, other_side
from cli.vpn.proposals import Proposal, group_of, lookup, of_one_group, said
from sluice.v1 import vpn_connection_pb2, vpn_gateway_pb2

_CIPHERS = {
    "3des": "esp-3des",
    "aes128": "esp-aes",
    "aes192": "esp-aes 192",
    "aes256": "esp-aes 256",
    "aes128gcm16": "esp-gcm",
    "aes192gcm16": "esp-gcm 192",
    "aes256gcm16": "esp-gcm 256",
}
_INTEGRITY = {
    "sha1": "esp-sha-hmac",
    "sha256": "esp-sha256-hmac",
    "sha384": "esp-sha384-hmac",
    "sha512": "esp-sha512-hmac",
}


def configuration(connection: vpn_connection_pb2.VpnConnection, gateway: vpn_gateway_pb2.VpnGateway) -> str:
    """Commands for the privileged mode. Raises errors.Failure naming what IOS cannot do."""
    side = other_side(connection, gateway)
    esp, esp_notes = said("esp_proposals", side.esp_proposals, VENDOR, _transform)
    esp, esp_notes = of_one_group(esp, esp_notes, "a crypto map has one key exchange for all")
    ike, ike_notes = ikev1(side) if side.ike_version == 1 else ikev2(side)
    fill = [
        *key_to_fill_in(side),
        f"OUTSIDE_INTERFACE: the interface of the address {side.own_address}"
        if side.own_address
        else "OUTSIDE_INTERFACE: the interface that leads to the Internet",
        "INSIDE_INTERFACE: the interface of your own networks",
        *(f"trustpoints: {text}" for text in certificates_to_install(side)),
    ]
    lines = [
        *head("!", "Cisco IOS, IOS XE", side, fill, [*ike_notes, *esp_notes, *_notes(side)]),
        "!",
        "configure terminal",
        "!",
        *trustpoints(side),
        *ike,
        *_ipsec(side, [words for _, words in esp], esp[0][0].group),
        "end",
    ]
    return "\n".join(lines) + "\n"


def _transform(proposal: Proposal) -> str:
    cipher = lookup(_CIPHERS, proposal.encryption, VENDOR)
    group_of(proposal, GROUPS, VENDOR)
    return cipher if proposal.aead else f"{cipher} {lookup(_INTEGRITY, proposal.integrity, VENDOR)}"


def _notes(side: VpnPeer) -> list[str]:
    name = object_name(side)
    notes = [
        whereabouts(side),
        f"An interface has one crypto map: where it has one, add the entry of {name} to that instead.",
        f"Traffic of {name} must not be translated: deny it in the access list of your NAT, as written at the end.",
    ]
    if side.proof is None:
        notes.append("A ? of the key is typed with Ctrl-V before it.")
    if side.opens:
        notes.append("IOS opens a tunnel with the first packet for it, such as: ping ADDRESS source INSIDE_INTERFACE.")
    if side.ike_version == 2 and len(side.pairs) > 1:
        notes.append(
            "IOS has one pair of prefixes in an SA: the gateway opens the first pair, IOS each other one with its first"
            " packet. IKE version 1 has a tunnel for each pair, which the gateway opens."
        )
    return notes


def _ipsec(side: VpnPeer, transforms: list[str], group: int) -> list[str]:
    name = object_name(side)
    sets = [f"{name}-{number}" for number, _ in enumerate(transforms, 1)]
    profile = "isakmp-profile" if side.ike_version == 1 else "ikev2-profile"
    lines = [
        line
        for label, words in zip(sets, transforms, strict=True)
        for line in (f"crypto ipsec transform-set {label} {words}", " mode tunnel", "!")
    ]
    lines += [
        f"ip access-list extended {name}",
        *(f" permit ip {_wildcard(own)} {_wildcard(gateway)}" for own, gateway in side.pairs),
        "!",
        f"crypto map {name} 10 ipsec-isakmp",
        f" set peer {side.gateway_address}",
        f" set transform-set {' '.join(sets)}",
        *([f" set pfs group{group}"] if group else []),
        f" set {profile} {name}",
        f" set security-association lifetime seconds {side.child_lifetime}",
        f" match address {name}",
        "!",
        "interface OUTSIDE_INTERFACE",
        f" crypto map {name}",
        "!",
        "interface INSIDE_INTERFACE",
        f" ip tcp adjust-mss {TCP_MSS}",
        "!",
        "! In the access list of NAT, before what permits:",
        *(f"!  deny ip {_wildcard(own)} {_wildcard(gateway)}" for own, gateway in side.pairs),
    ]
    return lines


def _wildcard(prefix: IPv4Network) -> str:
    return f"{prefix.network_address} {prefix.hostmask}"
