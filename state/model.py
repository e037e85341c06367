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

from state.additional import AdditionalAddress, AllowedAddress
from state.interconnect import Interconnect
from state.vpn import VpnGateway


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
    `public` is the public address that stands for it (empty: none) and
    `public_zone` the conntrack zone of that assignment, 2..65535. Rates are in
    kbit/s; 0 means the appliance's default. `allowed` are the additional
    addresses it may take, in order of address.
    """

    name: str
    number: int
    mac: str
    address: str
    transit: str
    hostname: str
    attachment: Attachment
    public: str = ""
    public_zone: int = 0
    public_rate: int = 0
    storage_rate: int = 0
    allowed: tuple[AllowedAddress, ...] = ()


@dataclass(frozen=True, slots=True)
class PublicAddress:
    """An address of the Internet that stands for `machine` (a name; empty: for none)."""

    name: str
    address: str
    tenant: str = ""
    machine: str = ""
    revision: int = 0
    created_at: int = 0


@dataclass(frozen=True, slots=True)
class Drive:
    """A shared drive: an address of the storage network that one private network reaches."""

    name: str
    address: str


@dataclass(frozen=True, slots=True)
class Forwarding:
    """Servers that answer for `domain` and every name below it (lower case, no dot at the end)."""

    domain: str
    servers: tuple[str, ...]


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
    """A tenant's isolated routing domain with all its machines and drives, its VPN gateway and interconnects.

    `machines` and `additional` are sorted by number, `drives` and `interconnects` (Direct
    Connect) by name, `dns_forwarding` by domain. `search_domain` empty means the network's own domain. Rates are
    those of all machines together, in kbit/s; 0 means the appliance's default.
    `key` is the 16-bit network key.
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
    drives: tuple[Drive, ...] = ()
    search_domain: str = ""
    dns_forwarding: tuple[Forwarding, ...] = ()
    public_rate: int = 0
    storage_rate: int = 0
    vpn: VpnGateway | None = None
    interconnects: tuple[Interconnect, ...] = ()
    additional: tuple[AdditionalAddress, ...] = ()

    @property
    def addressed(self) -> tuple[Machine | AdditionalAddress, ...]:
        """Everything in it that has an address, a transit address and a number."""
        return *self.machines, *self.additional


@dataclass(frozen=True, slots=True)
class Storage:
    """The storage network: a bridge port with one address on it.

    `address` is ADDRESS/LENGTH (host bits kept): the prefix is what drives are
    in. `clients` is the prefix machines have addresses of there, by their
    number; the storage network routes it to `address`.
    """

    port: str
    address: str
    mac: str = "02:00:00:00:ff:03"
    mtu: int = 1500
    clients: str = "100.64.0.0/10"

    @property
    def ip(self) -> str:
        """The address without its prefix length."""
        return self.address.split("/")[0]


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

    Rates are packets per second, `public_rate` and `storage_rate` kbit/s for
    machines and networks that have none of their own. `protected` are the
    prefixes of the host and its management network, which no machine may ever
    reach. `public_pool` holds the addresses that stand for one machine each,
    `dns_upstream` the resolvers for names outside, `resolver_port` is the
    bridge port behind which names are resolved (empty: none).
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
    connection_rate: int = 1000
    fragment_rate: int = 400
    router_rate: int = 200
    public_rate: int = 1_000_000
    storage_rate: int = 10_000_000
    public_pool: tuple[str, ...] = ()
    dns_upstream: tuple[str, ...] = ()
    resolver_port: str = ""
    storage: Storage | None = None

    @property
    def own_ports(self) -> tuple[str, ...]:
        """The ports of the bridge that are the appliance's own: gateway, storage and resolver, those there are."""
        storage = "" if self.storage is None else self.storage.port
        return tuple(port for port in (self.gateway.port, storage, self.resolver_port) if port)

    def to_settings(self) -> dict[str, str]:
        """The columns of the `Appliance` row: each field as JSON text."""
        return {name: json.dumps(value) for name, value in asdict(self).items()}

    @classmethod
    def from_settings(cls, settings: Mapping[str, str]) -> Appliance:
        """Read back `to_settings`; unknown fields of a newer agent are ignored."""
        values: dict[str, Any] = {name: json.loads(text) for name, text in settings.items() if name in cls.__slots__}
        values["gateway"] = Gateway(**values["gateway"])
        if values.get("storage") is not None:
            values["storage"] = Storage(**values["storage"])
        fields: dict[str, Any] = {n: tuple(v) if isinstance(v, list) else v for n, v in values.items()}
        return cls(**fields)


class State(enum.Enum):
    """How far an object has come from desired state to the switch."""

    PENDING = "pending"
    LIVE = "live"
    DEGRADED = "degraded"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class NetworkStatus:
    """What the controller says of one network.

    `revision` is the revision the flows on the switch belong to; `machines`
    maps the names of machines, `drives/NAME` of drives, `vpnGateways/NAME` of
    VPN gateways and `interconnects/NAME` of interconnects that are not live to the reason in words; it is empty
    for those that may be in a moment. `degraded` names in the same way what is cut off
    although its flows are there. Peerings, and `ports/NAME` of the appliance's own
    ports, are told of under the network of no name, with the latest revision of peerings.
    """

    revision: int
    state: State
    detail: str = ""
    machines: Mapping[str, str] = field(default_factory=dict)
    degraded: Mapping[str, str] = field(default_factory=dict)
