"""What a command asks for, as plain values: between the API and the store.

Text is as the client sent it until `agent.validation` has accepted it; an
empty text or a zero means that the appliance chooses.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Forward:
    """Names below `domain` are answered by `servers`."""

    domain: str = ""
    servers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class NewNetwork:
    """A network to create. `kind` is `ISOLATED` or `PRIVATE`; rates are in kbit/s."""

    name: str = ""
    kind: str = "PRIVATE"
    tenant: str = ""
    prefix: str = ""
    dns_servers: tuple[str, ...] = ()
    mtu: int = 0
    search_domain: str = ""
    dns_forwarding: tuple[Forward, ...] = ()
    public_rate: int = 0
    storage_rate: int = 0


@dataclass(frozen=True, slots=True)
class NetworkChange:
    """New values for a network; None leaves the old one."""

    dns_servers: tuple[str, ...] | None = None
    search_domain: str | None = None
    dns_forwarding: tuple[Forward, ...] | None = None
    public_rate: int | None = None
    storage_rate: int | None = None


@dataclass(frozen=True, slots=True)
class Tagged:
    """An attachment as asked for; at most one of `vlan` and `vni` is not None."""

    port: str = ""
    vlan: int | None = None
    vni: int | None = None


@dataclass(frozen=True, slots=True)
class NewMachine:
    """A machine to create; `network` is a resource name, `attachment` None when unset."""

    name: str = ""
    network: str = ""
    mac: str = ""
    address: str = ""
    hostname: str = ""
    attachment: Tagged | None = None
    tenant: str = ""
    public_rate: int = 0
    storage_rate: int = 0


@dataclass(frozen=True, slots=True)
class MachineChange:
    """New values for a machine; None leaves the old one, an empty hostname means the identifier."""

    mac: str | None = None
    hostname: str | None = None
    attachment: Tagged | None = None
    public_rate: int | None = None
    storage_rate: int | None = None


@dataclass(frozen=True, slots=True)
class NewPublicAddress:
    """A public address to take; `machine` is a resource name."""

    name: str = ""
    address: str = ""
    machine: str = ""
    tenant: str = ""


@dataclass(frozen=True, slots=True)
class PublicAddressChange:
    """New values for a public address; None leaves the old one, an empty machine takes it away."""

    machine: str | None = None
    tenant: str | None = None


@dataclass(frozen=True, slots=True)
class NewDrive:
    """A drive to make reachable; `network` is a resource name."""

    name: str = ""
    network: str = ""
    address: str = ""


@dataclass(frozen=True, slots=True)
class Idempotency:
    """A client's request id (empty: none) and a digest of what it asked for."""

    request_id: str = ""
    digest: str = ""
