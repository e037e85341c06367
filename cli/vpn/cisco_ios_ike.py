"""IKE of Cisco IOS, in both versions: proposals, keys, certificates and profiles."""

from __future__ import annotations

from cli.errors import refusal
from cli.vpn.peer_config import KEY_PLACEHOLDER, Credentials, IdentityKind, VpnPeer, identity_kind
from cli.vpn.proposals import InexpressibleProposal, Proposal, group_of, lookup, said

VENDOR = "Cisco IOS"
GROUPS = (2, 5, 14, 15, 16, 19, 20, 21)
"""Key exchanges that IOS has."""

_SHORTEST_DPD = 10
_CIPHERS = {
    "3des": "3des",
    "aes128": "aes-cbc-128",
    "aes192": "aes-cbc-192",
    "aes256": "aes-cbc-256",
    "aes128gcm16": "aes-gcm-128",
    "aes256gcm16": "aes-gcm-256",
}
_CIPHERS_V1 = {"3des": "3des", "aes128": "aes", "aes192": "aes 192", "aes256": "aes 256"}
_HASHES_V1 = {"sha1": "sha", "sha256": "sha256", "sha384": "sha384", "sha512": "sha512"}
_IDENTITIES = {IdentityKind.ADDRESS: "address", IdentityKind.DOMAIN: "fqdn", IdentityKind.MAIL: "email"}
_IDENTITIES_V1 = {IdentityKind.DOMAIN: "host", IdentityKind.MAIL: "user"}
_SIGNATURES = {"rsa": "rsa-sig", "ecdsa": "ecdsa-sig"}

Said = tuple[list[str], list[str]]


def object_name(side: VpnPeer) -> str:
    """What everything of the connection is called on the router."""
    return f"SLUICE-{side.name}"


def ikev2(side: VpnPeer) -> Said:
    """Commands and notes of IKEv2. Raises errors.Failure naming what IOS cannot do."""
    name = object_name(side)
    known, notes = said("ike_proposals", side.ike_proposals, VENDOR, _proposal)
    labels = [f"{name}-{number}" for number, _ in enumerate(known, 1)]
    lines = [
        line
        for label, (_, words) in zip(labels, known, strict=True)
        for line in (f"crypto ikev2 proposal {label}", *words, "!")
    ]
    lines += [f"crypto ikev2 policy {name}", *(f" proposal {label}" for label in labels), "!"]
    if side.proof is None:
        lines += [f"crypto ikev2 keyring {name}", " peer gateway", f"  address {side.gateway_address}",
                  f"  pre-shared-key {KEY_PLACEHOLDER}", "!"]  # fmt: skip
    lines += [f"crypto ikev2 profile {name}", *_profile(side), f" lifetime {side.ike_lifetime}"]
    dpd = max(side.dpd, _SHORTEST_DPD)
    lines += [f" dpd {dpd} 2 periodic", "!"]
    notes = [
        *notes,
        *_dpd_notes(side),
        f"Where this router has an IKEv2 policy already, add the proposals of {name} to that instead.",
    ]
    return lines, notes


def _proposal(proposal: Proposal) -> list[str]:
    words = [f" encryption {lookup(_CIPHERS, proposal.encryption, VENDOR)}"]
    if proposal.aead and not proposal.prf:
        raise InexpressibleProposal(f"{VENDOR} needs a prf with {proposal.encryption}")
    if not proposal.aead:
        words.append(f" integrity {proposal.integrity}")
    if proposal.prf:
        words.append(f" prf {proposal.prf}")
    return [*words, f" group {group_of(proposal, GROUPS, VENDOR)}"]


def _profile(side: VpnPeer) -> list[str]:
    name = object_name(side)
    own, gateway = identity_kind(side.own_identity), identity_kind(side.gateway_identity)
    if gateway is not IdentityKind.SUBJECT:
        mask = " 255.255.255.255" if gateway is IdentityKind.ADDRESS else ""
        match = f" match identity remote {_IDENTITIES[gateway]} {side.gateway_identity}{mask}"
    elif side.proof:
        match = f" match certificate {name}"
    else:
        raise refusal("local_identity", f"is {side.gateway_identity!r}; {VENDOR} knows subjects only of certificates")
    if own is not IdentityKind.SUBJECT:
        identity = f" identity local {_IDENTITIES[own]} {side.own_identity}"
    elif side.proof:
        identity = " identity local dn"
    else:
        raise refusal("remote_identity", f"is {side.own_identity!r}; {VENDOR} proves subjects only by certificates")
    if side.proof is None:
        return [match, identity, " authentication remote pre-share", " authentication local pre-share",
                f" keyring local {name}"]  # fmt: skip
    return [match, identity, f" authentication remote {_signature(side.proof)}",
            " authentication local rsa-sig", *_trust(side, side.proof)]  # fmt: skip


def _trust(side: VpnPeer, proof: Credentials) -> list[str]:
    name = object_name(side)
    if proof.issuer in proof.authorities:
        return [f" pki trustpoint {name}"]
    return [f" pki trustpoint {name} sign", f" pki trustpoint {name}-GATEWAY verify"]


def _signature(proof: Credentials) -> str:
    if proof.key not in _SIGNATURES:
        raise refusal("certificate", f"has a key of {proof.key}; {VENDOR} can do RSA and ECDSA")
    return _SIGNATURES[proof.key]


def trustpoints(side: VpnPeer) -> list[str]:
    """Where certificates are installed, and whose is the gateway's; nothing with a pre-shared key."""
    if side.proof is None:
        return []
    name, proof = object_name(side), side.proof
    subject = side.own_identity
    if identity_kind(subject) is not IdentityKind.SUBJECT:
        subject = f"CN={subject}"
    lines = [f"crypto pki trustpoint {name}", " enrollment terminal pem", f" subject-name {subject}",
             " revocation-check none", "!"]  # fmt: skip
    if proof.issuer not in proof.authorities:
        lines += [f"crypto pki trustpoint {name}-GATEWAY", " enrollment terminal pem", " revocation-check none", "!"]
    if identity_kind(side.gateway_identity) is IdentityKind.SUBJECT:
        wanted = f"cn = {proof.common_name}" if proof.common_name else side.gateway_identity
        lines += [f"crypto pki certificate map {name} 10", f" subject-name co {wanted}", "!"]
    install = [
        f"! Then: crypto pki authenticate {name}, crypto pki enroll {name}, crypto pki import {name} certificate"
    ]
    if proof.issuer not in proof.authorities:
        install.append(f"! and: crypto pki authenticate {name}-GATEWAY")
    return [
        *lines,
        *install,
        "! The profile is for a key of RSA here; for one of ECDSA: authentication local ecdsa-sig",
        "!",
    ]


def ikev1(side: VpnPeer) -> Said:
    """Commands and notes of IKEv1. Raises errors.Failure naming what IOS cannot do."""
    name = object_name(side)
    known, notes = said("ike_proposals", side.ike_proposals, VENDOR, _policy)
    proof = "pre-share" if side.proof is None else _signature(side.proof)
    lines = []
    for number, (_, words) in enumerate(known, 1):
        lines += [f"crypto isakmp policy {10 * number}", *words, f" authentication {proof}",
                  f" lifetime {side.ike_lifetime}", "!"]  # fmt: skip
    own = identity_kind(side.own_identity)
    if side.proof is None:
        lines += [f"crypto keyring {name}",
                  f" pre-shared-key address {side.gateway_address} key {KEY_PLACEHOLDER}", "!"]  # fmt: skip
    if own is IdentityKind.SUBJECT and side.proof:
        lines += ["crypto isakmp identity dn", "!"]
    elif own is not IdentityKind.ADDRESS:
        allowed = "its address, or the subject of its certificate" if side.proof else "its address"
        raise refusal(
            "remote_identity",
            f"is {side.own_identity!r}; what {VENDOR} proves with IKEv1: {allowed}",
        )  # fmt: skip
    lines += [f"crypto isakmp profile {name}", *_profile_v1(side, own)]
    lines += [f" keepalive {max(side.dpd, _SHORTEST_DPD)} retry 2", "!"]
    if own is IdentityKind.ADDRESS:
        notes = [
            *notes,
            f"IOS proves the address of OUTSIDE_INTERFACE, which must be {side.own_identity} itself: no NAT.",
        ]
    numbers = f"10 to {10 * len(known)}" if len(known) > 1 else "10"
    notes = [
        *notes,
        *_dpd_notes(side),
        f"Where this router has isakmp policies {numbers} already, choose other numbers.",
    ]
    return lines, notes


def _policy(proposal: Proposal) -> list[str]:
    return [
        f" encryption {lookup(_CIPHERS_V1, proposal.encryption, f'{VENDOR} with IKEv1')}",
        f" hash {lookup(_HASHES_V1, proposal.integrity, VENDOR)}",
        f" group {group_of(proposal, GROUPS, VENDOR)}",
    ]


def _profile_v1(side: VpnPeer, own: IdentityKind) -> list[str]:
    name = object_name(side)
    gateway = identity_kind(side.gateway_identity)
    if gateway is IdentityKind.ADDRESS:
        match = f" match identity address {side.gateway_identity} 255.255.255.255"
    elif gateway is not IdentityKind.SUBJECT:
        match = f" match identity {_IDENTITIES_V1[gateway]} {side.gateway_identity}"
    elif side.proof:
        match = f" match certificate {name}"
    else:
        raise refusal("local_identity", f"is {side.gateway_identity!r}; {VENDOR} knows subjects only of certificates")
    proof = f" ca trust-point {name}" if side.proof else f" keyring {name}"
    return [proof, match, *([" self-identity address"] if own is IdentityKind.ADDRESS else [])]


def _dpd_notes(side: VpnPeer) -> list[str]:
    if side.dpd >= _SHORTEST_DPD:
        return []
    return [
        f"The gateway asks after {side.dpd} s of silence whether this router lives; IOS asks after {_SHORTEST_DPD} s."
    ]
