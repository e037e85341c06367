"""The other side as a FortiGate: FortiOS 6.4 and later, interface mode.

Names of algorithms and settings are those of the FortiOS CLI reference,
`vpn ipsec phase1-interface` and `phase2-interface`.
"""

from __future__ import annotations

import hashlib
import itertools
from ipaddress import IPv4Network

from cli.errors import refusal
from cli.vpn.notes import certificates_to_install, head, key_in_quotes, key_to_fill_in, whereabouts
from cli.vpn.peer_config import (
    KEY_PLACEHOLDER,
    TCP_MSS,
    TUNNEL_MTU,
    IdentityKind,
    VpnPeer,
    identity_kind,
    other_side,
)
from cli.vpn.proposals import InexpressibleProposal, Proposal, group_of, lookup, of_one_group, said
from sluice.v1 import vpn_connection_pb2, vpn_gateway_pb2

_VENDOR = "FortiOS"
_LONGEST_NAME = 15
_LONGEST_IDENTITY = 63
_CIPHERS = {
    "3des": "3des",
    "aes128": "aes128",
    "aes192": "aes192",
    "aes256": "aes256",
    "aes128gcm16": "aes128gcm",
    "aes256gcm16": "aes256gcm",
    "chacha20poly1305": "chacha20poly1305",
}
_GROUPS = (2, 5, 14, 15, 16, 17, 18, 19, 20, 21, 31)
_IDENTITY_TYPES = {
    IdentityKind.ADDRESS: "address",
    IdentityKind.DOMAIN: "fqdn",
    IdentityKind.MAIL: "user-fqdn",
    IdentityKind.SUBJECT: "asn1dn",
}


def configuration(connection: vpn_connection_pb2.VpnConnection, gateway: vpn_gateway_pb2.VpnGateway) -> str:
    """Commands for the CLI of a FortiGate. Raises errors.Failure naming what it cannot do."""
    side = other_side(connection, gateway)
    if len(side.own_identity) > _LONGEST_IDENTITY:
        raise refusal(
            "remote_identity",
            f"has {len(side.own_identity)} characters; {_VENDOR} proves identities of at most {_LONGEST_IDENTITY}",
        )
    tunnel = _tunnel_name(side.name)
    ike, ike_notes = said("ike_proposals", side.ike_proposals, _VENDOR, _ike_word)
    esp, esp_notes = said("esp_proposals", side.esp_proposals, _VENDOR, _esp_word)
    esp, esp_notes = _of_one_kind(esp, esp_notes)
    fill = [
        *key_to_fill_in(side),
        f"WAN_INTERFACE: the interface of the address {side.own_address}"
        if side.own_address
        else "WAN_INTERFACE: the interface that leads to the Internet",
        "LAN_INTERFACE: the interface of your own networks",
    ]
    if side.proof:
        fill += [
            *(f"DEVICE_CERTIFICATE: {text}" for text in certificates_to_install(side)[:1]),
            *(f"GATEWAY_AUTHORITY: {text}" for text in certificates_to_install(side)[1:]),
        ]
    notes = ["For FortiOS 6.4 or later.", whereabouts(side), *key_in_quotes(side), *ike_notes, *esp_notes]
    if _opens_pairs(side):
        notes.append("A phase 2 has one pair of prefixes: this device opens those that the gateway does not.")
    if side.proof is None:
        notes.append("A ? of the key is typed with Ctrl-V before it.")
    lines = [
        *head("#", "FortiGate", side, fill, notes),
        "",
        *_addresses(side, tunnel),
        *_user_peer(side, tunnel),
        *_phase1(side, tunnel, ike),
        *_phase2(side, tunnel, esp),
        *_interface(tunnel),
        *_routes(side, tunnel),
        *_policies(side, tunnel),
    ]
    return "\n".join(lines) + "\n"


def _tunnel_name(name: str) -> str:
    if len(name) <= _LONGEST_NAME:
        return name
    return f"{name[:10]}-{hashlib.sha256(name.encode()).hexdigest()[:4]}"


def _ike_word(proposal: Proposal) -> str:
    cipher = lookup(_CIPHERS, proposal.encryption, _VENDOR)
    group_of(proposal, _GROUPS, _VENDOR)
    if proposal.aead:
        if not proposal.prf:
            raise InexpressibleProposal(f"{_VENDOR} needs a prf with {proposal.encryption}")
        return f"{cipher}-prf{proposal.prf}"
    if proposal.prf not in ("", proposal.integrity):
        raise InexpressibleProposal(f"{_VENDOR} has no prf other than {proposal.integrity} with it")
    return f"{cipher}-{proposal.integrity}"


def _esp_word(proposal: Proposal) -> str:
    cipher = lookup(_CIPHERS, proposal.encryption, _VENDOR)
    group_of(proposal, _GROUPS, _VENDOR)
    return cipher if proposal.aead else f"{cipher}-{proposal.integrity}"


def _of_one_kind(esp: list[tuple[Proposal, str]], notes: list[str]) -> tuple[list[tuple[Proposal, str]], list[str]]:
    # A phase 2 has perfect forward secrecy or not; with it, it may have several groups.
    if esp[0][0].group and all(one.group for one, _ in esp):
        return esp, notes
    if not esp[0][0].group:
        return of_one_group(esp, notes, "a phase 2 is with or without perfect forward secrecy")
    lacking = [f"{one.text} is left out: a phase 2 is with or without perfect forward secrecy"
               for one, _ in esp if not one.group]  # fmt: skip
    return [(one, word) for one, word in esp if one.group], [*notes, *lacking]


def _words(known: list[tuple[Proposal, str]]) -> str:
    return " ".join(dict.fromkeys(word for _, word in known))


def _groups(known: list[tuple[Proposal, str]]) -> str:
    return " ".join(str(number) for number in dict.fromkeys(one.group for one, _ in known))


def _table(name: str, *entries: tuple[str, list[str]]) -> list[str]:
    lines = [f"config {name}"]
    for entry, settings in entries:
        lines += [f"    edit {entry}", *(f"        set {setting}" for setting in settings), "    next"]
    return [*lines, "end"]


def _mask(prefix: IPv4Network) -> str:
    return f"{prefix.network_address} {prefix.netmask}"


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _named(tunnel: str, what: str, prefixes: tuple[IPv4Network, ...]) -> list[tuple[str, IPv4Network]]:
    return [(f'"{tunnel}-{what}-{number}"', prefix) for number, prefix in enumerate(prefixes, 1)]


def _addresses(side: VpnPeer, tunnel: str) -> list[str]:
    own = _named(tunnel, "own", side.own_prefixes)
    gateway = _named(tunnel, "gateway", side.gateway_prefixes)
    groups = [
        (f'"{tunnel}-{what}"', [f"member {' '.join(name for name, _ in members)}"])
        for what, members in (("own", own), ("gateway", gateway))
    ]
    return [
        *_table("firewall address", *((name, [f"subnet {_mask(prefix)}"]) for name, prefix in (*own, *gateway))),
        *_table("firewall addrgrp", *groups),
    ]


def _user_peer(side: VpnPeer, tunnel: str) -> list[str]:
    if side.proof is None:
        return []
    settings = ['ca "GATEWAY_AUTHORITY"', f"subject {_quoted(side.proof.subject)}"]
    return _table("user peer", (f'"{tunnel}-gateway"', settings))


def _phase1(side: VpnPeer, tunnel: str, ike: list[tuple[Proposal, str]]) -> list[str]:
    if side.proof:
        proof = ["authmethod signature", 'certificate "DEVICE_CERTIFICATE"', "peertype peer",
                 f'peer "{tunnel}-gateway"']  # fmt: skip
    else:
        proof = ["peertype any", f'psksecret "{KEY_PLACEHOLDER}"']
    settings = [
        'interface "WAN_INTERFACE"',
        f"ike-version {side.ike_version}",
        *(["mode main"] if side.ike_version == 1 else []),
        f"remote-gw {side.gateway_address}",
        *proof,
        f"localid-type {_IDENTITY_TYPES[identity_kind(side.own_identity)]}",
        f"localid {_quoted(side.own_identity)}",
        "net-device disable",
        f"proposal {_words(ike)}",
        f"dhgrp {_groups(ike)}",
        f"keylife {side.ike_lifetime}",
        "nattraversal enable",
        "dpd on-idle",
        "dpd-retrycount 3",
        f"dpd-retryinterval {side.dpd}",
    ]
    return _table("vpn ipsec phase1-interface", (f'"{tunnel}"', settings))


def _opens_pairs(side: VpnPeer) -> bool:
    # The gateway asks for all prefixes in one child SA of IKEv2, of which a phase 2 takes one pair: the device opens
    # the others.
    return side.ike_version == 2 and len(side.pairs) > 1


def _phase2(side: VpnPeer, tunnel: str, esp: list[tuple[Proposal, str]]) -> list[str]:
    groups = _groups(esp)
    shared = [
        f'phase1name "{tunnel}"',
        f"proposal {_words(esp)}",
        *(["pfs disable"] if groups == "0" else ["pfs enable", f"dhgrp {groups}"]),
        f"keylifeseconds {side.child_lifetime}",
        f"auto-negotiate {'enable' if side.opens or _opens_pairs(side) else 'disable'}",
    ]
    entries = [
        (f'"{tunnel}-{number}"', [*shared, f"src-subnet {_mask(own)}", f"dst-subnet {_mask(gateway)}"])
        for number, (own, gateway) in enumerate(side.pairs, 1)
    ]
    return _table("vpn ipsec phase2-interface", *entries)


def _interface(tunnel: str) -> list[str]:
    settings = ["mtu-override enable", f"mtu {TUNNEL_MTU}", f"tcp-mss {TCP_MSS}"]
    return _table("system interface", (f'"{tunnel}"', settings))


def _routes(side: VpnPeer, tunnel: str) -> list[str]:
    # The second route of each prefix keeps it from leaving in clear while the tunnel is not open.
    ways = ([f'device "{tunnel}"'], ["blackhole enable", "distance 254"])
    entries = itertools.product(side.gateway_prefixes, ways)
    return _table("router static", *(("0", [f"dst {_mask(prefix)}", *way]) for prefix, way in entries))


def _policies(side: VpnPeer, tunnel: str) -> list[str]:
    allowed = ["action accept", 'schedule "always"', 'service "ALL"', "nat disable"]
    ends = (("out", '"LAN_INTERFACE"', "own", f'"{tunnel}"', "gateway"),
            ("in", f'"{tunnel}"', "gateway", '"LAN_INTERFACE"', "own"))  # fmt: skip
    return _table(
        "firewall policy",
        *(
            ("0", [f'name "{tunnel}-{way}"', f"srcintf {source}", f"dstintf {target}",
                   f'srcaddr "{tunnel}-{source_group}"', f'dstaddr "{tunnel}-{target_group}"', *allowed])
            for way, source, source_group, target, target_group in ends
        ),
    )  # fmt: skip
