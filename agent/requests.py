"""Requests of commands as plain values, between API and store.

Text is as the client sent it until `agent.validation.objects` has accepted it; an
empty text or a zero means that the appliance chooses.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class DnsForwardingRule:
    """Names below `domain` are answered by `servers`."""

    domain: str = ""
    servers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class NetworkSpec:
    """A network to create. `kind` is `ISOLATED` or `PRIVATE`; rates are in kbit/s."""

    name: str = ""
    kind: str = "PRIVATE"
    tenant: str = ""
    prefix: str = ""
    dns_servers: tuple[str, ...] = ()
    mtu: int = 0
    search_domain: str = ""
    dns_forwarding: tuple[DnsForwardingRule, ...] = ()
    public_rate: int = 0
    storage_rate: int = 0


@dataclass(frozen=True, slots=True)
class NetworkUpdate:
    """New values for a network; None leaves the old one."""

    dns_servers: tuple[str, ...] | None = None
    search_domain: str | None = None
    dns_forwarding: tuple[DnsForwardingRule, ...] | None = None
    public_rate: int | None = None
    storage_rate: int | None = None


@dataclass(frozen=True, slots=True)
class AttachmentSpec:
    """An attachment as asked for; at most one of `vlan` and `vni` is not None."""

    port: str = ""
    vlan: int | None = None
    vni: int | None = None


@dataclass(frozen=True, slots=True)
class RequestedAddress:
    """An additional address a machine may take, and the virtual MAC it may have there (empty: none)."""

    address: str = ""
    mac: str = ""


@dataclass(frozen=True, slots=True)
class MachineSpec:
    """A machine to create; `network` and `public_address` are resource names, `attachment` None when unset."""

    name: str = ""
    network: str = ""
    mac: str = ""
    address: str = ""
    hostname: str = ""
    attachment: AttachmentSpec | None = None
    tenant: str = ""
    public_rate: int = 0
    storage_rate: int = 0
    public_address: str = ""
    additional: tuple[RequestedAddress, ...] = ()


@dataclass(frozen=True, slots=True)
class MachineUpdate:
    """New values for a machine; None leaves the old one, an empty hostname means the identifier."""

    mac: str | None = None
    hostname: str | None = None
    attachment: AttachmentSpec | None = None
    public_rate: int | None = None
    storage_rate: int | None = None
    additional: tuple[RequestedAddress, ...] | None = None


@dataclass(frozen=True, slots=True)
class PublicAddressSpec:
    """A public address to take; `machine` is a resource name."""

    name: str = ""
    address: str = ""
    machine: str = ""
    tenant: str = ""


@dataclass(frozen=True, slots=True)
class PublicAddressUpdate:
    """New values for a public address; None leaves the old one, an empty machine takes it away."""

    machine: str | None = None
    tenant: str | None = None


@dataclass(frozen=True, slots=True)
class DriveSpec:
    """A drive to make reachable; `network` is a resource name."""

    name: str = ""
    network: str = ""
    address: str = ""


@dataclass(frozen=True, slots=True)
class VpnGatewaySpec:
    """A VPN gateway to make; `network` is a resource name."""

    name: str = ""
    network: str = ""
    address: str = ""


@dataclass(frozen=True, slots=True)
class Certificate:
    """PEM: the gateway's certificate with its chain, its private key, and the authorities to trust."""

    chain: str = ""
    private_key: str = field(default="", repr=False)
    authorities: str = ""


@dataclass(frozen=True, slots=True)
class VpnConnectionSpec:
    """A VPN connection to make; `gateway` is a resource name.

    `ike_version` is `IKE_V1` or `IKE_V2`, `role` `INITIATOR` or `RESPONDER`;
    `certificate` is None when unset.
    """

    name: str = ""
    gateway: str = ""
    peer: str = ""
    local_identity: str = ""
    remote_identity: str = ""
    pre_shared_key: str = field(default="", repr=False)
    certificate: Certificate | None = None
    local_prefixes: tuple[str, ...] = ()
    remote_prefixes: tuple[str, ...] = ()
    ike_version: str = "IKE_V2"
    role: str = "INITIATOR"
    ike_proposals: tuple[str, ...] = ()
    esp_proposals: tuple[str, ...] = ()
    allow_weak: bool = False
    dpd_seconds: int = 0
    ike_seconds: int = 0
    child_seconds: int = 0


@dataclass(frozen=True, slots=True)
class VpnConnectionUpdate:
    """New values for a VPN connection; None leaves the old one, an empty one means the default.

    A certificate without a private key keeps the one there is.
    """

    peer: str | None = None
    local_identity: str | None = None
    remote_identity: str | None = None
    pre_shared_key: str | None = field(default=None, repr=False)
    certificate: Certificate | None = None
    local_prefixes: tuple[str, ...] | None = None
    remote_prefixes: tuple[str, ...] | None = None
    ike_version: str | None = None
    role: str | None = None
    ike_proposals: tuple[str, ...] | None = None
    esp_proposals: tuple[str, ...] | None = None
    allow_weak: bool | None = None
    dpd_seconds: int | None = None
    ike_seconds: int | None = None
    child_seconds: int | None = None


@dataclass(frozen=True, slots=True)
class InterconnectSpec:
    """An interconnect to make; `kind` is `DIRECT_CONNECT` or `PEERING`, `network` a resource name, empty for PEERING.

    `vlan` 0 means what is untagged, `rate` is in kbit/s (0: no limit).
    """

    name: str = ""
    kind: str = "DIRECT_CONNECT"
    network: str = ""
    port: str = ""
    vlan: int = 0
    local_address: str = ""
    peer_address: str = ""
    local_as: int = 0
    peer_as: int = 0
    password: str = field(default="", repr=False)
    accept: tuple[str, ...] = ()
    announce: tuple[str, ...] = ()
    maximum_prefixes: int = 0
    preference: int = 0
    rate: int = 0
    disable_bfd: bool = False
    bfd_milliseconds: int = 0
    hold_seconds: int = 0
    disabled: bool = False


@dataclass(frozen=True, slots=True)
class InterconnectUpdate:
    """New values for an interconnect; None leaves the old one, an empty one means the default."""

    port: str | None = None
    vlan: int | None = None
    local_address: str | None = None
    peer_address: str | None = None
    local_as: int | None = None
    peer_as: int | None = None
    password: str | None = field(default=None, repr=False)
    accept: tuple[str, ...] | None = None
    announce: tuple[str, ...] | None = None
    maximum_prefixes: int | None = None
    preference: int | None = None
    rate: int | None = None
    disable_bfd: bool | None = None
    bfd_milliseconds: int | None = None
    hold_seconds: int | None = None
    disabled: bool | None = None


@dataclass(frozen=True, slots=True)
class Idempotency:
    """A client's request id (empty: none) and a digest of what it asked for."""

    request_id: str = ""
    digest: str = ""
