"""Checks lists of IPv4 prefixes, by pure functions that yield the wrong ones."""

from __future__ import annotations

import ipaddress
from collections.abc import Container, Iterator, Sequence

from agent.errors import Violation
from agent.validation.objects import wrong

SHORTEST = 8


def prefix(value: str) -> ipaddress.IPv4Network | None:
    """The prefix that `value` is, as it is written and without host bits; None: it is none."""
    try:
        found = ipaddress.IPv4Network(value)
    except ValueError:
        return None
    return found if str(found) == value else None


def prefixes(field: str, values: Sequence[str], *, least: int, most: int, longest: int = 32) -> Iterator[Violation]:
    """Check prefixes by themselves; none of them overlaps another."""
    if not least <= len(values) <= most:
        yield wrong(field, len(values) or [], f"{max(least, 1)} to {most} prefixes")
    before: list[ipaddress.IPv4Network] = []
    for at, value in enumerate(values[:most]):
        found = prefix(value)
        if found is None or not SHORTEST <= found.prefixlen <= longest:
            rule = f"an IPv4 prefix without host bits, of {SHORTEST} to {longest} bits, 192.168.1.0/24"
            yield wrong(f"{field}[{at}]", value, rule)
            continue
        overlapping = next((other for other in before if other.overlaps(found)), None)
        if overlapping is not None:
            yield wrong(f"{field}[{at}]", value, f"a prefix that does not overlap {overlapping}, listed before")
        before.append(found)


def prefixes_inside(field: str, values: Sequence[str], of: Sequence[str]) -> Iterator[Violation]:
    """Check that each prefix is inside one `of` others."""
    for at, value in enumerate(values):
        if not any(inside(value, other) for other in of):
            yield wrong(f"{field}[{at}]", value, f"a prefix inside {' or '.join(of)}")


def prefixes_outside(field: str, values: Sequence[str], of: Sequence[tuple[str, str]]) -> Iterator[Violation]:
    """Check that no prefix overlaps one `of` others, each with what it is."""
    for at, value in enumerate(values):
        for taken, what in of:
            if overlap(value, taken):
                yield wrong(f"{field}[{at}]", value, f"a prefix that does not overlap {taken}, {what}")
                break


def remote_prefixes_of(
    field: str, values: Sequence[str], of: Sequence[tuple[str, str]], known: Container[str] = ()
) -> Iterator[Violation]:
    """Check that no prefix but those `known` is one `of` others, each with what it is, or inside it."""
    for at, value in enumerate(values):
        for taken, what in of if value not in known else ():
            if inside(value, taken):
                yield wrong(f"{field}[{at}]", value, f"a prefix that is not within {taken}, {what}")
                break


def overlap(one: str, other: str) -> bool:
    """Whether two prefixes have addresses in common."""
    return ipaddress.IPv4Network(one).overlaps(ipaddress.IPv4Network(other))


def inside(one: str, other: str) -> bool:
    """Whether all addresses of a prefix are of the other one."""
    return ipaddress.IPv4Network(one).subnet_of(ipaddress.IPv4Network(other))
