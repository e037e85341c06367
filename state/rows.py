"""Converts rows of the `Sluice` database to values of `state.model` and back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from netaddr import IPNetwork

from state.additional import AdditionalAddress, AllowedAddress
from state.interconnect import Interconnect
from state.model import (
    Appliance,
    Attachment,
    Drive,
    Forwarding,
    Kind,
    Machine,
    Network,
    NetworkStatus,
    PortBlock,
    PublicAddress,
    State,
)
from state.ovsdb import Row, atoms, mapping, to_map, to_set
from state.vpn import VpnGateway

COLUMNS: Mapping[str, tuple[str, ...]] = {
    "Appliance": ("name", "settings"),
    "Revision": ("desired", "realized", "pending"),
    "Network": (
        "name", "kind", "tenant", "key", "prefix", "block_address", "block_first", "block_last",
        "dns_servers", "mtu", "implicit", "search_domain", "dns_forwarding", "public_rate", "storage_rate",
        "revision", "created_at",
    ),
    "Machine": (
        "name", "network", "number", "mac", "address", "transit", "hostname", "port", "vlan", "vni",
        "public", "public_zone", "public_rate", "storage_rate", "additional_addresses", "created_at",
    ),
    "Additional_Address": ("network", "address", "transit", "number", "created_at"),
    "Public_Address": ("name", "address", "tenant", "machine", "revision", "created_at"),
    "Drive": ("name", "network", "address", "created_at"),
    "Allocation": ("pool", "value", "network", "tenant", "prefix", "allocated_at", "released_at"),
    "Pools": ("revision",),
    "Request": ("request_id", "digest", "names", "created_at"),
    "Network_Status": ("network", "revision", "state", "detail", "machines", "degraded"),
    "Neighbor": ("address", "mac"),
    "Vpn_Gateway": ("name", "network", "number", "address", "zone", "created_at"),
    "Vpn_Connection": (
        "name", "gateway", "peer", "local_identity", "remote_identity", "local_prefixes", "remote_prefixes",
        "authentication", "role", "ike_version", "ike_proposals", "esp_proposals", "allow_weak",
        "dpd_seconds", "ike_seconds", "child_seconds", "certificate", "ca_certificates", "secret",
        "revision", "created_at",
    ),
    "Vpn_Status": ("object", "revision", "state", "detail", "tunnel"),
    "Vpn_Peer": ("name", "addresses"),
    "Interconnect": (
        "name", "network", "kind", "number", "slot", "client", "zone", "port", "vlan", "local_address",
        "peer_address", "local_as", "peer_as", "accept", "announce", "maximum_prefixes", "preference", "rate",
        "bfd_milliseconds", "hold_seconds", "enabled", "password", "revision", "created_at",
    ),
    "Interconnect_Status": ("interconnect", "revision", "state", "detail", "session"),
    "Interconnect_Routes": ("interconnect", "part", "routes"),
    "Usage": ("owner", "network", "name", "counts", "baselines", "updated_at"),
}  # fmt: skip


def _optional(value: Any) -> Any:
    found = atoms(value)
    return found[0] if found else None


def router_of(prefix: str) -> str:
    """The router's address: the first usable one of `prefix`."""
    return str(IPNetwork(prefix)[1])


def second_usable(prefix: str) -> str:
    """The address after the router's: the lowest a machine can have."""
    return str(IPNetwork(prefix)[2])


def appliance(row: Row) -> Appliance:
    """An `Appliance` row as a value."""
    return Appliance.from_settings(mapping(row["settings"]))


def machine(row: Row) -> Machine:
    """A `Machine` row as a value."""
    return Machine(
        name=row["name"],
        number=row["number"],
        mac=row["mac"],
        address=row["address"],
        transit=_optional(row["transit"]) or row["address"],
        hostname=row["hostname"],
        attachment=Attachment(row["port"], _optional(row["vlan"]), _optional(row["vni"])),
        public=_optional(row["public"]) or "",
        public_zone=_optional(row["public_zone"]) or 0,
        public_rate=row["public_rate"],
        storage_rate=row["storage_rate"],
        allowed=tuple(AllowedAddress(*pair) for pair in sorted(mapping(row["additional_addresses"]).items())),
    )


def additional_address(row: Row) -> AdditionalAddress:
    """An `Additional_Address` row as a value, without its network."""
    return AdditionalAddress(row["address"], row["transit"], row["number"])


def public_address(row: Row) -> PublicAddress:
    """A `Public_Address` row as a value."""
    return PublicAddress(
        name=row["name"],
        address=row["address"],
        tenant=row["tenant"],
        machine=_optional(row["machine"]) or "",
        revision=row["revision"],
        created_at=row["created_at"],
    )


def drive(row: Row) -> Drive:
    """A `Drive` row as a value, without its network."""
    return Drive(row["name"], row["address"])


def network(
    row: Row,
    machines: Iterable[Machine] = (),
    drives: Iterable[Drive] = (),
    vpn: VpnGateway | None = None,
    interconnects: Iterable[Interconnect] = (),
    additional: Iterable[AdditionalAddress] = (),
) -> Network:
    """A `Network` row and the values of what is in the network as one value."""
    return Network(
        name=row["name"],
        kind=Kind(row["kind"]),
        tenant=row["tenant"],
        key=row["key"],
        prefix=row["prefix"],
        router=router_of(row["prefix"]),
        block=PortBlock(row["block_address"], row["block_first"], row["block_last"]),
        dns_servers=tuple(atoms(row["dns_servers"])),
        mtu=row["mtu"],
        implicit=row["implicit"],
        revision=row["revision"],
        created_at=row["created_at"],
        machines=tuple(sorted(machines, key=lambda m: m.number)),
        drives=tuple(sorted(drives, key=lambda d: d.name)),
        search_domain=_optional(row["search_domain"]) or "",
        dns_forwarding=tuple(
            Forwarding(domain, tuple(servers.split()))
            for domain, servers in sorted(mapping(row["dns_forwarding"]).items())
        ),
        public_rate=row["public_rate"],
        storage_rate=row["storage_rate"],
        vpn=vpn,
        interconnects=tuple(sorted(interconnects, key=lambda i: i.name)),
        additional=tuple(sorted(additional, key=lambda a: a.number)),
    )


def network_row(value: Network) -> Row:
    """The columns of a `Network` row, without what is in the network."""
    return {
        "name": value.name,
        "kind": value.kind.value,
        "tenant": value.tenant,
        "key": value.key,
        "prefix": value.prefix,
        "block_address": value.block.address,
        "block_first": value.block.first,
        "block_last": value.block.last,
        "dns_servers": to_set(value.dns_servers),
        "mtu": value.mtu,
        "implicit": value.implicit,
        "search_domain": to_set([value.search_domain] if value.search_domain else []),
        "dns_forwarding": to_map({rule.domain: " ".join(rule.servers) for rule in value.dns_forwarding}),
        "public_rate": value.public_rate,
        "storage_rate": value.storage_rate,
        "revision": value.revision,
        "created_at": value.created_at,
    }


def machine_row(value: Machine, network_reference: list[str], created_at: int) -> Row:
    """The columns of a `Machine` row; the reference is `["uuid"|"named-uuid", ID]`."""
    attachment = value.attachment
    return {
        "name": value.name,
        "network": network_reference,
        "number": value.number,
        "mac": value.mac,
        "address": value.address,
        "transit": to_set([] if value.transit == value.address else [value.transit]),
        "hostname": value.hostname,
        "port": attachment.port,
        "vlan": to_set([] if attachment.vlan is None else [attachment.vlan]),
        "vni": to_set([] if attachment.vni is None else [attachment.vni]),
        "public": to_set([value.public] if value.public else []),
        "public_zone": to_set([value.public_zone] if value.public_zone else []),
        "public_rate": value.public_rate,
        "storage_rate": value.storage_rate,
        "additional_addresses": to_map({one.address: one.mac for one in value.allowed}),
        "created_at": created_at,
    }


def additional_address_row(value: AdditionalAddress, network_reference: list[str], created_at: int) -> Row:
    """The columns of an `Additional_Address` row; the reference is as in `machine_row`."""
    return {
        "network": network_reference,
        "address": value.address,
        "transit": value.transit,
        "number": value.number,
        "created_at": created_at,
    }


def public_address_row(value: PublicAddress) -> Row:
    """The columns of a `Public_Address` row."""
    return {
        "name": value.name,
        "address": value.address,
        "tenant": value.tenant,
        "machine": to_set([value.machine] if value.machine else []),
        "revision": value.revision,
        "created_at": value.created_at,
    }


def drive_row(value: Drive, network_reference: list[str], created_at: int) -> Row:
    """The columns of a `Drive` row; the reference is `["uuid"|"named-uuid", ID]`."""
    return {"name": value.name, "network": network_reference, "address": value.address, "created_at": created_at}


def status(row: Row) -> NetworkStatus:
    """A `Network_Status` row as a value."""
    machines, degraded = mapping(row["machines"]), mapping(row["degraded"])
    return NetworkStatus(row["revision"], State(row["state"]), row["detail"], machines, degraded)


def status_row(name: str, value: NetworkStatus) -> Row:
    """The columns of the `Network_Status` row of network `name`."""
    return {
        "network": name,
        "revision": value.revision,
        "state": value.state.value,
        "detail": value.detail,
        "machines": to_map(value.machines),
        "degraded": to_map(value.degraded),
    }
