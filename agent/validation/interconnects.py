"""Checks requests for interconnects, by pure functions that yield every wrong field.

The password is named by its length only.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Container, Iterator, Sequence

from agent.errors import Violation
from agent.requests import InterconnectSpec
from agent.validation.objects import LEAST_RATE, MOST_RATE, identifier, port, resource_name, wrong
from agent.validation.prefixes import inside, overlap, prefix, prefixes
from state.addresses import ipv4_address

FIELD = "interconnect"

KINDS = ("DIRECT_CONNECT", "PEERING")
MAX_PREFIXES = 64
LONGEST_PASSWORD = 80
# Longest prefixes that are accepted: networks of the Internet take no longer ones from each other.
LONGEST_PREFIX = {"DIRECT_CONNECT": 32, "PEERING": 24}

LAST_AS = 4294967294
# AS_TRANS and the last of two bytes: RFC 6793 section 9, RFC 7300.
RESERVED_AS = (23456, 65535)
AS_RULE = f"1 to {LAST_AS}, not {' or '.join(map(str, RESERVED_AS))}"

LEAST_LENGTH, MOST_LENGTH = 24, 31
# Addresses no host on a link has; link-local ones may be used (RFC 3927 is for those who have no others).
_NOT_ON_LINKS = ("0.0.0.0/8", "127.0.0.0/8", "224.0.0.0/4", "240.0.0.0/4")


def new_interconnect(request: InterconnectSpec, own_ports: Collection[str]) -> list[Violation]:
    """Every violation of a request for an interconnect that needs no look at other objects."""
    found = list(identifier("interconnect_id", request.name))
    if request.kind not in KINDS:
        found.append(wrong(f"{FIELD}.kind", request.kind, " or ".join(KINDS)))
    elif request.kind == "DIRECT_CONNECT":
        found += resource_name(f"{FIELD}.network", request.network, "networks")
    elif request.network:
        found.append(wrong(f"{FIELD}.network", request.network, "empty for PEERING"))
    found += port(f"{FIELD}.port", request.port, own_ports)
    found += settings(request)
    return found


def settings(request: InterconnectSpec) -> Iterator[Violation]:
    """Check all that can be changed but the port; it needs no look at other objects."""
    if not 0 <= request.vlan <= 4094:
        yield wrong(f"{FIELD}.vlan", request.vlan, "1 to 4094, or 0 for what is untagged")
    yield from link(request.local_address, request.peer_address)
    yield from autonomous_systems(request.local_as, request.peer_as)
    yield from password(f"{FIELD}.password", request.password)
    least = 0 if request.kind == "PEERING" else 1
    longest = LONGEST_PREFIX.get(request.kind, 32)
    accept = f"{FIELD}.accept_prefixes"
    yield from prefixes(accept, request.accept, least=least, most=MAX_PREFIXES, longest=longest)
    yield from announced(f"{FIELD}.announce_prefixes", request.announce)
    for name, value, least, most, default in (
        ("maximum_prefixes", request.maximum_prefixes, 1, 20000, "meaning 100"),
        ("preference", request.preference, 1, 65535, "meaning 100"),
        ("rate_kbps", request.rate, LEAST_RATE, MOST_RATE, "no limit"),
        ("bfd_interval_milliseconds", request.bfd_milliseconds, 50, 10000, "meaning 100"),
        ("hold_seconds", request.hold_seconds, 3, 3600, "meaning 9"),
    ):
        if value and not least <= value <= most:
            yield wrong(f"{FIELD}.{name}", value, f"{least} to {most}, or 0 ({default})")


def is_as(number: int) -> bool:
    """Whether a BGP speaker can have this AS number (RFC 6793, RFC 7300, RFC 7607)."""
    return 1 <= number <= LAST_AS and number not in RESERVED_AS


def autonomous_systems(local: int, peer: int) -> Iterator[Violation]:
    """Check the AS numbers of both ends."""
    if not is_as(local):
        yield wrong(f"{FIELD}.local_as", local, f"{AS_RULE}, or 0 for the appliance's own")
    if not is_as(peer):
        yield wrong(f"{FIELD}.peer_as", peer, AS_RULE)
    elif peer == local:
        yield wrong(f"{FIELD}.peer_as", peer, "a number other than local_as, the appliance's")


def link(local: str, peer: str) -> Iterator[Violation]:
    """Check the addresses of both ends of a link (a /31 has no others: RFC 3021)."""
    try:
        own = ipaddress.IPv4Interface(local)
    except ValueError:
        own = None
    at = ipv4_address(peer)
    right = own is not None and str(own) == local and LEAST_LENGTH <= own.network.prefixlen <= MOST_LENGTH
    if own is None or not right or not _is_host(own.ip, own.network):
        rule = f"ADDRESS/LENGTH of a host, the length {LEAST_LENGTH} to {MOST_LENGTH}, 169.254.101.1/30"
        yield wrong(f"{FIELD}.local_address", local, rule)
        if at is None:
            yield wrong(f"{FIELD}.peer_address", peer, "an IPv4 address of the link, 169.254.101.2")
    elif at is None or at not in own.network or at == own.ip or not _is_host(at, own.network):
        yield wrong(f"{FIELD}.peer_address", peer, f"the address of another host of {own.network} than {own.ip}")


def _is_host(address: ipaddress.IPv4Address, link: ipaddress.IPv4Network) -> bool:
    if any(address in ipaddress.IPv4Network(never) for never in _NOT_ON_LINKS):
        return False
    return link.prefixlen == 31 or address not in (link.network_address, link.broadcast_address)


def password(field: str, value: str) -> Iterator[Violation]:
    """Check a password of TCP MD5; empty means none."""
    if len(value) > LONGEST_PASSWORD:
        rule = f"1 to {LONGEST_PASSWORD} printable ASCII characters without spaces, or empty for none"
        yield Violation(field, f"{field} has {len(value)} characters; allowed: {rule}")
    elif value and not (value.isascii() and value.isprintable() and " " not in value):
        said = f"of {len(value)} characters has some that are not allowed; allowed: printable ASCII without spaces"
        yield Violation(field, f"{field} {said}")


def announced(field: str, values: Sequence[str]) -> Iterator[Violation]:
    """Check prefixes to announce by themselves."""
    if len(values) > MAX_PREFIXES:
        yield wrong(field, len(values), f"at most {MAX_PREFIXES} prefixes")
    for at, value in enumerate(values[:MAX_PREFIXES]):
        if prefix(value) is None or value in values[:at]:
            yield wrong(f"{field}[{at}]", value, "an IPv4 prefix without host bits, 10.0.0.0/16, each only once")


def announce_inside(
    values: Sequence[str], outer: Sequence[str], others: Collection[str], rule: str, known: Container[str]
) -> Iterator[Violation]:
    """Check that each prefix but those `known` is inside an `outer` one, or is one of the `others`."""
    for at, value in enumerate(values):
        if value not in known and value not in others and not any(inside(value, of) for of in outer):
            yield wrong(f"{FIELD}.announce_prefixes[{at}]", value, rule)


def link_apart(local: str, own: Sequence[tuple[str, str]]) -> Iterator[Violation]:
    """Check that a link has no address of `own` prefixes, each with what it is."""
    network = str(ipaddress.IPv4Interface(local).network)
    for taken, what in own:
        if overlap(network, taken):
            yield wrong(f"{FIELD}.local_address", local, f"a link whose prefix does not overlap {taken}, {what}")
            return
