"""Additional addresses of private networks: virtual IP addresses that one machine takes over from another (VRRP)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class AllowedAddress:
    """An additional address that a machine may take; `mac` is a virtual MAC it may have there (empty: none)."""

    address: str
    mac: str = ""


@dataclass(frozen=True, slots=True)
class AdditionalAddress:
    """An address of a private network that one or more of its machines may take.

    `transit` and `number` are its own, as a machine's are, and the same
    whichever machine holds it: NATed connections and those to drives go on
    when another machine takes over. Were they those of the machines that list
    it, they would break, and replies could not tell it from the machine's own
    address. Its meters are those of the machine that sends.
    """

    address: str
    transit: str
    number: int
