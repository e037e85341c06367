"""Desired state as frozen values: what `sluice.ovsschema` stores, typed.

Addresses and MACs are canonical text (`10.0.0.2`, `02:00:00:00:00:01`, lower
case); prefixes are `ADDRESS/LENGTH` with no host bits; times are milliseconds
since the epoch.
"""

from __future__ import annotations

import enum
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


class Kind(enum.Enum):
    """How many machines a network holds, and what they reach."""

    ISOLATED = "isolated"
    PRIVATE = "private"


@dataclass(frozen=True, slots=True)
class Attachment:
    """Where a machine meets the appliance: a port, alone or with one tag.

    `vlan` is 1..4094, `vni` 1..2**24-1; at most one of them is set.
    """

    port: str
    vlan: int | None = None
    vni: int | None = None

    def __str__(self) -> str:
        if self.vlan is not None:
            return f"{self.port}/vlan={self.vlan}"
        if self.vni is not None:
            return f"{self.port}/vni={self.vni}"
        return self.port


@dataclass(frozen=True, slots=True)
class Machine:
    """One customer machine.

    `number` is dense and unique on the appliance (it names the machine's
    meter). `transit` is the address the machine has inside the appliance's
    conntrack zone: its own address in an isolated network, and one of the
    transit pool in a private network, whose addresses may overlap others'.
    """

    name: str
    number: int
    mac: str
    address: str
    transit: str
    hostname: str
    attachment: Attachment


@dataclass(frozen=True, slots=True)
class PortBlock:
    """The ports `first`..`last` of a public address that one network's SNAT uses.

    The size is a power of two and `first` a multiple of it (RFC 7422).
    """

    address: str
    first: int
    last: int

    def __str__(self) -> str:
        return f"{self.address}:{self.first}-{self.last}"


@dataclass(frozen=True, slots=True)
class Network:
    """A tenant's isolated routing domain with all its machines.

    `machines` is sorted by number. `key` is the 24-bit network key.
    `revision` grows with every change of the network or its machines.
    """

    name: str
    kind: Kind
    tenant: str
    key: int
    prefix: str
    router: str
    block: PortBlock
    dns_servers: tuple[str, ...] = ()
    mtu: int = 1500
    implicit: bool = False
    revision: int = 0
    created_at: int = 0
    machines: tuple[Machine, ...] = ()


@dataclass(frozen=True, slots=True)
class Gateway:
    """The uplink to the Internet: a bridge port with one address on it.

    `address` is ADDRESS/LENGTH (host bits kept), `next_hop` the upstream
    router, `mtu` the largest IP packet it carries.
    """

    port: str
    address: str
    next_hop: str
    mac: str = "02:00:00:00:ff:02"
    mtu: int = 1500

    @property
    def ip(self) -> str:
        """The address without its prefix length."""
        return self.address.split("/")[0]


@dataclass(frozen=True, slots=True)
class Appliance:
    """Settings of one appliance, written by its agent from the configuration.

    Rates are packets per second. `protected` are the prefixes of the host and
    its management network, which no machine may ever reach.
    """

    gateway: Gateway
    nat_pool: tuple[str, ...]
    block_size: int = 4096
    isolated_pool: tuple[str, ...] = ("172.16.0.0/12",)
    private_pool: tuple[str, ...] = ("10.0.0.0/8",)
    transit_pool: tuple[str, ...] = ("224.0.0.0/3",)
    protected: tuple[str, ...] = ()
    router_mac: str = "02:00:00:00:ff:01"
    dns_servers: tuple[str, ...] = ()
    domain: str = "internal"
    lease_seconds: int = 3600
    dhcp_rate: int = 10
    icmp_error_rate: int = 20

    def to_settings(self) -> dict[str, str]:
        """The columns of the `Appliance` row: each field as JSON text."""
        return {name: json.dumps(value) for name, value in asdict(self).items()}

    @classmethod
    def from_settings(cls, settings: Mapping[str, str]) -> Appliance:
        """Read back `to_settings`; unknown fields of a newer agent are ignored."""
        values: dict[str, Any] = {name: json.loads(text) for name, text in settings.items() if name in cls.__slots__}
        values["gateway"] = Gateway(**values["gateway"])
        fields: dict[str, Any] = {n: tuple(v) if isinstance(v, list) else v for n, v in values.items()}
        return cls(**fields)


class State(enum.Enum):
    """How far an object has come from desired state to the switch."""

    PENDING = "pending"
    LIVE = "live"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class NetworkStatus:
    """What the controller says of one network.

    `revision` is the revision the flows on the switch belong to; `machines`
    maps the names of machines that are not live to the reason in words.
    """

    revision: int
    state: State
    detail: str = ""
    machines: Mapping[str, str] = field(default_factory=dict)
