"""The registry of the pipeline: tables, registers, zones, meters, cookies.

A table declares the fields it may match, the fields its flows may write and
the tables they may go to; `compile` holds every flow to it. Numbers are fixed
and leave gaps: enabling a feature never renumbers a table.
"""

from __future__ import annotations

import enum

from controller.pipeline.meter_ids import (
    FRAGMENTS_METER,
    GATEWAY_METER,
    LAST_METER,
    NEXT_HOP_METER,
    SENDERS,
    STORAGE_METER,
    STORAGE_NEWS_METER,
    MeterClass,
    meter,
    sender_meter,
    split_meter,
)
from controller.pipeline.registers import ATTACHMENT, HOLDER, MARK, SCRATCH, SENDER, TOO_LARGE, VIRTUAL_MAC
from controller.pipeline.tables import Table

__all__ = [
    "APPLIANCE_KEY", "ATTACHMENT", "COOKIE_DIGEST_BITS", "COOKIE_KEY_SHIFT", "FRAGMENTS_METER", "GATEWAY_METER",
    "HOLDER", "LAST_METER", "LEARNED", "MARK", "NEXT_HOP_METER", "SCRATCH", "SENDER", "SENDERS", "STORAGE_METER",
    "STORAGE_NEWS_METER", "TOO_LARGE", "VIRTUAL_MAC", "ZONE", "Feature", "Mark", "MeterClass", "Priority",
    "Table", "cookie", "longest", "meter", "sender_meter", "split_cookie", "split_meter",
]  # fmt: skip

ZONE = 1
"""The one conntrack zone: addresses in it are unique, see `features/transit.py`."""

LEARNED = frozenset(table.number for table in Table if table.learned)
"""Numbers of the tables whose flows the switch makes by itself."""

APPLIANCE_KEY = 0
"""Network key of the appliance's own flows and of packets from the gateway port."""


class Mark(enum.IntEnum):
    """What kind of packet it is, where one table finds it out and a later one needs it; 0 is none."""

    RESOLVER = 1
    PUBLIC_WHOLE = 2
    PUBLIC_FRAGMENT = 3
    PUBLIC_ERROR = 4
    SHARED_ADDRESS = 5


class Feature(enum.IntEnum):
    """Features, numbered for cookies; a number is never used again."""

    CLASSIFY = 1
    PORT_SECURITY = 2
    DHCP = 3
    ARP = 4
    ROUTER = 5
    ROUTE = 6
    SWITCH = 7
    TRANSIT = 8
    SNAT = 9
    GATEWAY = 10
    PATH_MTU = 11
    PUBLIC = 12
    DNS = 13
    STORAGE = 14
    RATE = 15
    USAGE = 16
    VPN = 17
    REMOTE = 18
    INTERCONNECT = 19
    PEERING = 20
    FRAGMENTS = 21
    ICMP_REDIRECT = 22
    ADDITIONAL = 23

    @property
    def label(self) -> str:
        """The feature as operators write it."""
        return self.name.lower().replace("_", "-")


class Priority(enum.IntEnum):
    """Priorities within a table, one meaning each; where the longest prefix counts, see `longest`."""

    MISS = 0
    REST = 1
    DROP = 10
    DEFAULT = 50
    NORMAL = 100
    REMOTE = 140
    SPECIFIC = 150
    EXCEPTION = 200
    FORBIDDEN = 250


def longest(prefix: str) -> int:
    """Priority of a flow for a prefix among those for other prefixes: above NORMAL, and below REMOTE."""
    return Priority.NORMAL + 1 + int(prefix.partition("/")[2])


COOKIE_KEY_SHIFT = 48
COOKIE_DIGEST_BITS = 40
"""Whole hexadecimal digits for each part: four of the network key, two of the feature, ten of the digest."""


def cookie(key: int, feature: Feature, digest: int) -> int:
    """A flow's cookie: 16 bits network key, 8 feature, 40 digest."""
    return key << COOKIE_KEY_SHIFT | feature << COOKIE_DIGEST_BITS | digest


def split_cookie(value: int) -> tuple[int, int, int]:
    """Network key, feature number and digest of a cookie."""
    return value >> COOKIE_KEY_SHIFT, value >> COOKIE_DIGEST_BITS & 0xFF, value & (1 << COOKIE_DIGEST_BITS) - 1
