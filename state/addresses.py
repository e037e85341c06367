"""IPv4 addresses of requests and rows."""

from __future__ import annotations

import ipaddress


def ipv4_address(value: str) -> ipaddress.IPv4Address | None:
    """The address that `value` is the text of; None where it is not that of any."""
    try:
        return ipaddress.IPv4Address(value)
    except ValueError:
        return None


def is_address(value: str) -> bool:
    """Whether `value` is the text of an IPv4 address."""
    return ipv4_address(value) is not None
