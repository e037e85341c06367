"""Between rows of the `Sluice` database and the values of `state.model`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from netaddr import IPNetwork

from state.model import Appliance, Attachment, Kind, Machine, Network, NetworkStatus, PortBlock, State
from state.ovsdb import Row, atoms, mapping, to_map, to_set

COLUMNS: Mapping[str, tuple[str, ...]] = {
    "Appliance": ("name", "settings"),
    "Network": (
        "name", "kind", "tenant", "key", "prefix", "block_address", "block_first", "block_last",
        "dns_servers", "mtu", "implicit", "revision", "created_at",
    ),
    "Machine": (
        "name", "network", "number", "mac", "address", "transit", "hostname", "port", "vlan", "vni", "created_at",
    ),
    "Allocation": ("pool", "value", "network", "tenant", "prefix", "allocated_at", "released_at"),
    "Request": ("request_id", "digest", "names", "created_at"),
    "Network_Status": ("network", "revision", "state", "detail", "machines"),
    "Neighbor": ("address", "mac"),
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
    )


def network(row: Row, machines: Iterable[Machine] = ()) -> Network:
    """A `Network` row and the values of its machines as one value."""
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
    )


def network_row(value: Network) -> Row:
    """The columns of a `Network` row, without its machines."""
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
        "created_at": created_at,
    }


def status(row: Row) -> NetworkStatus:
    """A `Network_Status` row as a value."""
    return NetworkStatus(row["revision"], State(row["state"]), row["detail"], mapping(row["machines"]))


def status_row(name: str, value: NetworkStatus) -> Row:
    """The columns of the `Network_Status` row of network `name`."""
    return {
        "network": name,
        "revision": value.revision,
        "state": value.state.value,
        "detail": value.detail,
        "machines": to_map(value.machines),
    }
