"""The other side as an AWS Site-to-Site VPN: a script for the AWS CLI, version 2.

Settings and limits are those of `aws ec2 create-vpn-connection` and of "Tunnel
options for your AWS Site-to-Site VPN connection" in the AWS documentation.
"""

from __future__ import annotations

import json
import shlex
from typing import Any

from cli.errors import refusal
from cli.vpn.notes import certificates_to_install, head, key_to_fill_in
from cli.vpn.peer_config import KEY_PLACEHOLDER, IdentityKind, VpnPeer, identity_kind, other_side
from cli.vpn.proposals import InexpressibleProposal, Proposal, group_of, lookup, said
from sluice.v1 import vpn_connection_pb2, vpn_gateway_pb2

_VENDOR = "AWS"
_CIPHERS = {
    "aes128": "AES128",
    "aes256": "AES256",
    "aes128gcm16": "AES128-GCM-16",
    "aes256gcm16": "AES256-GCM-16",
}
_INTEGRITY = {"sha1": "SHA1", "sha256": "SHA2-256", "sha384": "SHA2-384", "sha512": "SHA2-512"}
_IKE_GROUPS = (2, 14, 15, 16, 17, 18, 19, 20, 21)
_ESP_GROUPS = (2, 5, 14, 15, 16, 17, 18, 19, 20, 21)
_IKE_LIFETIMES = 900, 28800
_CHILD_LIFETIMES = 900, 3600
_SHORTEST_DPD = 30
_ANY = "0.0.0.0/0"


def configuration(connection: vpn_connection_pb2.VpnConnection, gateway: vpn_gateway_pb2.VpnGateway) -> str:
    """A script for bash. Raises errors.Failure naming what AWS cannot do."""
    side = other_side(connection, gateway)
    _refuse(side)
    options, notes = _tunnel_options(side)
    fill = [
        *key_to_fill_in(side),
        "VPN_GATEWAY_ID, in the environment: your virtual private gateway, attached to your VPC",
    ]
    if side.proof:
        fill.append("CERTIFICATE_ARN, in the environment: the certificate of the customer gateway in ACM, which must be"
                    f" that of the gateway, {side.proof.subject}")  # fmt: skip
    lines = [
        "#!/bin/bash",
        *head("#", "AWS", side, fill, [*notes, *_notes(side)]),
        "set -euo pipefail",
        ': "${VPN_GATEWAY_ID:?the id of your virtual private gateway}"',
        *([': "${CERTIFICATE_ARN:?the certificate of the customer gateway}"'] if side.proof else []),
        "",
        *_commands(side, options),
    ]
    return "\n".join(lines) + "\n"


def _refuse(side: VpnPeer) -> None:
    if side.ike_version == 1 and len(side.pairs) > 1:
        raise refusal(
            "ike_version",
            f"is IKE_V1, with a tunnel for each of {len(side.pairs)} pairs of prefixes; AWS can do one pair, or IKE_V2",
        )
    if side.ike_version == 1 and side.opens:
        raise refusal("role", "is RESPONDER; AWS opens connections of IKE_V2 only")
    if side.proof is None and side.gateway_identity != side.gateway_address:
        raise refusal(
            "local_identity",
            f"is {side.gateway_identity!r}; AWS knows a gateway with a pre-shared key by its address"
            f" {side.gateway_address} alone",
        )
    if side.proof is None and identity_kind(side.own_identity) is not IdentityKind.ADDRESS:
        raise refusal(
            "remote_identity", f"is {side.own_identity!r}; AWS proves with a pre-shared key its tunnel's address alone"
        )


def _ike_words(proposal: Proposal) -> tuple[str, str, int]:
    if proposal.aead and not proposal.prf:
        raise InexpressibleProposal(f"{_VENDOR} needs a prf with {proposal.encryption}")
    cipher = lookup(_CIPHERS, proposal.encryption, _VENDOR)
    # AWS lists one algorithm for integrity and for the prf.
    integrity = proposal.integrity or proposal.prf
    if proposal.prf not in ("", integrity):
        raise InexpressibleProposal(f"{_VENDOR} has no prf other than {integrity} with it")
    return cipher, lookup(_INTEGRITY, integrity, _VENDOR), group_of(proposal, _IKE_GROUPS, _VENDOR)


def _esp_words(proposal: Proposal) -> tuple[str, str, int]:
    cipher = lookup(_CIPHERS, proposal.encryption, _VENDOR)
    if not proposal.group:
        raise InexpressibleProposal(f"{_VENDOR} needs perfect forward secrecy, thus a key exchange")
    integrity = "" if proposal.aead else lookup(_INTEGRITY, proposal.integrity, _VENDOR)
    return cipher, integrity, group_of(proposal, _ESP_GROUPS, _VENDOR)


def _phase(number: int, words: list[tuple[str, str, int]]) -> dict[str, Any]:
    lists: dict[str, list[Any]] = {
        "EncryptionAlgorithms": [cipher for cipher, _, _ in words],
        "IntegrityAlgorithms": [integrity for _, integrity, _ in words if integrity],
        "DHGroupNumbers": [group for _, _, group in words],
    }
    return {f"Phase{number}{name}": _values(values) for name, values in lists.items() if values}


def _values(values: list[Any]) -> list[dict[str, Any]]:
    return [{"Value": value} for value in dict.fromkeys(values)]


def _tunnel_options(side: VpnPeer) -> tuple[dict[str, Any], list[str]]:
    ike, ike_notes = said("ike_proposals", side.ike_proposals, _VENDOR, _ike_words)
    esp, esp_notes = said("esp_proposals", side.esp_proposals, _VENDOR, _esp_words)
    child = _within(side.child_lifetime, _CHILD_LIFETIMES)
    # AWS wants the lifetime of phase 2 to be the shorter one.
    lifetime = max(_within(side.ike_lifetime, _IKE_LIFETIMES), child + 1)
    options = {
        **({} if side.proof else {"PreSharedKey": KEY_PLACEHOLDER}),
        "IKEVersions": _values([f"ikev{side.ike_version}"]),
        **_phase(1, [words for _, words in ike]),
        **_phase(2, [words for _, words in esp]),
        "Phase1LifetimeSeconds": lifetime,
        "Phase2LifetimeSeconds": child,
        "DPDTimeoutSeconds": max(side.dpd, _SHORTEST_DPD),
        "DPDTimeoutAction": "restart" if side.opens else "clear",
        "StartupAction": "start" if side.opens else "add",
    }
    notes = [*ike_notes, *esp_notes]
    for field, wanted, used in (("ike_lifetime_seconds", side.ike_lifetime, lifetime),
                                ("child_lifetime_seconds", side.child_lifetime, child)):  # fmt: skip
        if wanted != used:
            notes.append(f"{field} is {wanted}, AWS replaces its keys after {used} s; each side keeps its own time.")
    return options, notes


def _within(seconds: int, limits: tuple[int, int]) -> int:
    shortest, longest = limits
    return min(max(seconds, shortest), longest)


def _selectors(side: VpnPeer) -> tuple[str, str]:
    own = str(side.own_prefixes[0]) if len(side.own_prefixes) == 1 else _ANY
    gateway = str(side.gateway_prefixes[0]) if len(side.gateway_prefixes) == 1 else _ANY
    return own, gateway


def _notes(side: VpnPeer) -> list[str]:
    notes = [
        "AWS makes two tunnels of a connection; this one uses the first, the second stays down: prefixes belong to one"
        " connection of a gateway.",
        "AWS chooses the address of its end: the script ends with the command that tells it to the gateway.",
    ]
    if _ANY in _selectors(side):
        notes.append(
            f"AWS can do one prefix of each side, or {_ANY}: where there are several it takes {_ANY}, and the gateway"
            " narrows that to its own prefixes."
        )
    if side.proof:
        notes += [
            "AWS proves who it is with a certificate of an AWS Private CA, which must be one of:"
            f" {' or '.join(side.proof.authorities)}.",
            "When the tunnel's certificate is there, give its subject to the gateway: sluicectl vpn connections set"
            f" {side.name} --remote-identity SUBJECT.",
            *(f"AWS needs: {text}" for text in certificates_to_install(side)[1:]),
        ]
    else:
        notes.append(
            "AWS takes keys of 8 to 64 letters, digits, dots and underscores that do not begin with 0."
        )  # fmt: skip
    return notes


def _commands(side: VpnPeer, tunnel: dict[str, Any]) -> list[str]:
    own, gateway = _selectors(side)
    options = {
        "StaticRoutesOnly": True,
        # Local is the customer gateway's side in AWS's words.
        "LocalIpv4NetworkCidr": gateway,
        "RemoteIpv4NetworkCidr": own,
    }
    name = f"sluice-{side.name}"
    tags = f"Tags=[{{Key=Name,Value={name}}}]"
    certificate = ['  --certificate-arn "$CERTIFICATE_ARN" \\'] if side.proof else []
    return [
        "customer=$(aws ec2 create-customer-gateway --type ipsec.1 --bgp-asn 65000 \\",
        f"  --public-ip {side.gateway_address} \\",
        *certificate,
        f"  --tag-specifications {shlex.quote(f'ResourceType=customer-gateway,{tags}')} \\",
        "  --query CustomerGateway.CustomerGatewayId --output text)",
        "",
        "# The options come from stdin: an argument would show the key in the list of processes.",
        "connection=$(aws ec2 create-vpn-connection --type ipsec.1 \\",
        '  --customer-gateway-id "$customer" --vpn-gateway-id "$VPN_GATEWAY_ID" \\',
        f"  --tag-specifications {shlex.quote(f'ResourceType=vpn-connection,{tags}')} \\",
        "  --options file:///dev/stdin --query VpnConnection.VpnConnectionId --output text <<'OPTIONS'",
        *_json(options, tunnel),
        "OPTIONS",
        ")",
        'aws ec2 wait vpn-connection-available --vpn-connection-ids "$connection"',
        "",
        *(
            f'aws ec2 create-vpn-connection-route --vpn-connection-id "$connection" --destination-cidr-block {prefix}'
            for prefix in side.gateway_prefixes
        ),
        "# Let your route tables learn them:",
        '# aws ec2 enable-vgw-route-propagation --gateway-id "$VPN_GATEWAY_ID" --route-table-id ROUTE_TABLE_ID',
        "",
        'address=$(aws ec2 describe-vpn-connections --vpn-connection-ids "$connection" \\',
        "  --query 'VpnConnections[0].Options.TunnelOptions[0].OutsideIpAddress' --output text)",
        _last_line(side),
    ]


def _json(options: dict[str, Any], tunnel: dict[str, Any]) -> list[str]:
    # An option a line, of each of the two tunnels.
    one = ",\n".join(f"      {json.dumps(option)}: {json.dumps(value)}" for option, value in tunnel.items())
    both = ",\n".join(f"    {{\n{one}\n    }}" for _ in range(2))
    lines = [f"  {json.dumps(option)}: {json.dumps(value)}," for option, value in options.items()]
    return ["{", *lines, f'  "TunnelOptions": [\n{both}\n  ]', "}"]


def _last_line(side: VpnPeer) -> str:
    identity = " --remote-identity $address" if side.proof is None else ""
    return f'echo "Now: sluicectl vpn connections set {side.name} --peer $address{identity}"'
