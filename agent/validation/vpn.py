"""Checks requests for VPN gateways and connections, by pure functions that yield every wrong field.

Secrets are named by their length only.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator

from agent.errors import Violation
from agent.requests import Certificate, VpnConnectionSpec, VpnGatewaySpec
from agent.validation.certificates import certificate as certificate_violations
from agent.validation.objects import identifier, is_domain, resource_name, wrong
from agent.validation.prefixes import prefixes
from agent.validation.proposals import esp_proposals, ike_proposals
from state.addresses import ipv4_address
from state.prefixes import NOT_INTERNET

FIELD = "vpn_connection"

MAX_CONNECTIONS = 32
MAX_PREFIXES = 16
MAX_IDENTITY = 255
SHORTEST_KEY, LONGEST_KEY = 8, 128

IKE_VERSIONS = {"IKE_V1": 1, "IKE_V2": 2}
ROLES = ("INITIATOR", "RESPONDER")

# strongSwan takes a name with another attribute for an opaque identity, which no certificate has.
_ATTRIBUTES = (
    "C", "ST", "L", "street", "postalCode", "O", "OU", "CN", "DC", "UID", "SN", "G", "I", "T", "serialNumber",
    "E", "Email", "emailAddress", "dnQualifier", "pseudonym", "unstructuredName",
)  # fmt: skip
_VALUE = r" ?= ?[\w.@:'()+-]([\w .@:'()+/-]*[\w.@:'()+/-])?"
_DISTINGUISHED = tuple(
    re.compile(rf"{begin}{attribute}({between}{attribute})*", re.IGNORECASE)
    for begin, between, attribute in (
        ("", ", ?", rf"({'|'.join(_ATTRIBUTES)}){_VALUE}"),
        ("/", "/", rf"({'|'.join(_ATTRIBUTES)}){_VALUE.replace('/', '')}"),
    )
)
_NAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?(\.[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?)*")
_NUMBERS = re.compile(r"[0-9-]+")
_MAILBOX = re.compile(r"[A-Za-z0-9._+-]+")

_IDENTITY_RULE = (
    f"at most {MAX_IDENTITY} characters: an IPv4 address, vpn.example.com, user@example.com "
    "or C=CH, O=Example, CN=vpn, without wildcards"
)


def new_vpn_gateway(request: VpnGatewaySpec) -> list[Violation]:
    """Every violation of a request for a VPN gateway that needs no look at other objects."""
    found = list(identifier("vpn_gateway_id", request.name))
    found += resource_name("vpn_gateway.network", request.network, "networks")
    if request.address and ipv4_address(request.address) is None:
        allowed = "an IPv4 address, or empty for the lowest free one"
        found.append(wrong("vpn_gateway.address", request.address, allowed))
    return found


def new_vpn_connection(request: VpnConnectionSpec, now: int) -> list[Violation]:
    """Every violation of a request for a VPN connection, at `now` (ms), that needs no look at other objects."""
    found = list(identifier("vpn_connection_id", request.name))
    found += resource_name(f"{FIELD}.gateway", request.gateway, "vpnGateways")
    found += settings(request)
    found += proof(request.pre_shared_key, request.certificate, now)
    return found


def settings(request: VpnConnectionSpec) -> Iterator[Violation]:
    """Check all that a connection is but how both ends prove who they are; it needs no look at other objects."""
    yield from peer(f"{FIELD}.peer", request.peer)
    if request.role not in ROLES:
        yield wrong(f"{FIELD}.role", request.role, " or ".join(ROLES))
    elif not request.peer and request.role != "RESPONDER":
        yield wrong(f"{FIELD}.peer", "", "an address or domain name; empty only for a RESPONDER")
    yield from identity(f"{FIELD}.local_identity", request.local_identity)
    yield from identity(f"{FIELD}.remote_identity", request.remote_identity)
    if not request.peer and not request.remote_identity:
        yield wrong(f"{FIELD}.remote_identity", "", "what the peer must prove, since peer is empty")
    yield from prefixes(f"{FIELD}.local_prefixes", request.local_prefixes, least=0, most=MAX_PREFIXES)
    yield from prefixes(f"{FIELD}.remote_prefixes", request.remote_prefixes, least=1, most=MAX_PREFIXES)
    version = IKE_VERSIONS.get(request.ike_version)
    if version is None:
        yield wrong(f"{FIELD}.ike_version", request.ike_version, " or ".join(IKE_VERSIONS))
    weak = request.allow_weak
    yield from ike_proposals(f"{FIELD}.ike_proposals", request.ike_proposals, version or 2, allow_weak=weak)
    yield from esp_proposals(f"{FIELD}.esp_proposals", request.esp_proposals, allow_weak=weak)
    for name, value, least, most, default in (
        ("dpd_seconds", request.dpd_seconds, 1, 3600, 2),
        ("ike_lifetime_seconds", request.ike_seconds, 300, 86400, 14400),
        ("child_lifetime_seconds", request.child_seconds, 120, 86400, 3600),
    ):
        if value and not least <= value <= most:
            yield wrong(f"{FIELD}.{name}", value, f"{least} to {most}, or 0 (meaning {default})")


def proof(pre_shared_key: str, certificate: Certificate | None, now: int) -> Iterator[Violation]:
    """Check a pre-shared key or certificates, at `now` (ms); exactly one of them is to be set."""
    key = f"{FIELD}.pre_shared_key"
    if certificate is None and not pre_shared_key:
        yield Violation(key, f"{key} and certificate are not set; allowed: one of them")
    elif certificate is not None and pre_shared_key:
        yield Violation(key, f"{key} and certificate are both set; allowed: one of them")
    elif certificate is not None:
        yield from certificate_violations(f"{FIELD}.certificate", certificate, now)
    elif not SHORTEST_KEY <= len(pre_shared_key) <= LONGEST_KEY:
        rule = f"{SHORTEST_KEY} to {LONGEST_KEY} printable ASCII characters"
        yield Violation(key, f"{key} has {len(pre_shared_key)} characters; allowed: {rule}")
    elif not (pre_shared_key.isascii() and pre_shared_key.isprintable()):
        said = "has characters that are not printable ASCII; allowed: letters, digits, blanks and punctuation of ASCII"
        yield Violation(key, f"{key} {said}")


def peer(field: str, value: str) -> Iterator[Violation]:
    """Check who is at the other end; empty means anybody."""
    address = ipv4_address(value)
    if address is not None:
        if any(address in ipaddress.IPv4Network(prefix) for prefix in NOT_INTERNET):
            yield wrong(field, value, "a unicast IPv4 address of the Internet, or a domain name")
    elif value and not (is_domain(value) and "." in value and not value.rpartition(".")[2].isdecimal()):
        yield wrong(field, value, "an IPv4 address, a domain name in lower case with a dot in it, or empty")


def identity(field: str, value: str) -> Iterator[Violation]:
    """Check an identity (RFC 7296 section 3.5) of a kind that strongSwan knows by its text; empty means the default."""
    if value and not (len(value) <= MAX_IDENTITY and _is_identity(value)):
        yield wrong(field, value, _IDENTITY_RULE)


def _is_identity(value: str) -> bool:
    address = ipv4_address(value)
    if address is not None:
        # strongSwan takes 0.0.0.0 for anybody.
        return int(address) != 0
    if "=" in value:
        return value.isprintable() and any(form.fullmatch(value) for form in _DISTINGUISHED)
    mailbox, at, domain = value.rpartition("@")
    if at and _MAILBOX.fullmatch(mailbox) is None:
        return False
    # What ends in a number may be a range of addresses.
    return _NAME.fullmatch(domain) is not None and _NUMBERS.fullmatch(domain.rpartition(".")[2]) is None
