"""Converts objects to messages of the API."""

from __future__ import annotations

from google.protobuf.timestamp_pb2 import Timestamp

from agent.cache.records import DriveView, MachineView, NetworkView, ObjectStatus, PublicAddressView
from agent.cache.watch import ChangeKind
from sluice.v1 import drive_pb2, limits_pb2, machine_pb2, network_pb2, public_address_pb2, status_pb2, usage_pb2
from state.model import Kind, Machine, PortBlock, State
from state.usage import KINDS as KINDS_OF_TRAFFIC
from state.usage import Usage, column

UNITS = ("bytes", "packets")
KINDS = {Kind.ISOLATED: network_pb2.Network.ISOLATED, Kind.PRIVATE: network_pb2.Network.PRIVATE}
STATES = {
    State.PENDING: status_pb2.Status.PENDING,
    State.LIVE: status_pb2.Status.LIVE,
    State.DEGRADED: status_pb2.Status.DEGRADED,
    State.ERROR: status_pb2.Status.ERROR,
}
CHANGES = {
    ChangeKind.CREATED: status_pb2.CREATED,
    ChangeKind.UPDATED: status_pb2.UPDATED,
    ChangeKind.DELETED: status_pb2.DELETED,
}


def moment(milliseconds: int) -> Timestamp:
    """A time in ms since the epoch."""
    made = Timestamp()
    made.FromMilliseconds(milliseconds)
    return made


def status(value: ObjectStatus) -> status_pb2.Status:
    """The status of an object."""
    return status_pb2.Status(state=STATES[value.state], detail=value.detail)


def port_block(value: PortBlock) -> network_pb2.PortBlock:
    """A port block."""
    return network_pb2.PortBlock(address=value.address, first_port=value.first, last_port=value.last)


def network(view: NetworkView) -> network_pb2.Network:
    """A network."""
    value = view.network
    return network_pb2.Network(
        name=f"networks/{value.name}",
        kind=KINDS[value.kind],
        tenant=value.tenant,
        prefix=value.prefix,
        router_address=value.router,
        dns_servers=value.dns_servers,
        mtu=value.mtu,
        key=value.key,
        port_block=port_block(value.block),
        status=status(view.status),
        create_time=moment(value.created_at),
        search_domain=value.search_domain,
        dns_forwarding=[
            network_pb2.DnsForwarding(domain=rule.domain, servers=rule.servers) for rule in value.dns_forwarding
        ],
        limits=limits(value.public_rate, value.storage_rate),
    )


def limits(public_rate: int, storage_rate: int) -> limits_pb2.Limits:
    """Rates in kbit/s as they were set; 0 means the appliance's default."""
    return limits_pb2.Limits(public_kbps=public_rate, storage_kbps=storage_rate)


def attachment(value: Machine) -> machine_pb2.Attachment:
    """Where a machine meets the appliance, and the additional addresses it may take there."""
    place = value.attachment
    made = machine_pb2.Attachment(
        port=place.port,
        additional_addresses=[
            machine_pb2.AdditionalAddress(address=one.address, mac_address=one.mac) for one in value.allowed
        ],
    )
    if place.vlan is not None:
        made.vlan = place.vlan
    elif place.vni is not None:
        made.vni = place.vni
    return made


def machine(view: MachineView, domain: str) -> machine_pb2.Machine:
    """A machine; `domain` is the appliance's."""
    value = view.machine
    return machine_pb2.Machine(
        name=f"machines/{value.name}",
        network=f"networks/{view.network}",
        mac_address=value.mac,
        address=value.address,
        hostname=value.hostname,
        attachment=attachment(value),
        tenant=view.tenant,
        status=status(view.status),
        create_time=moment(view.created_at),
        limits=limits(value.public_rate, value.storage_rate),
        public_address=view.public_address and f"publicAddresses/{view.public_address}",
        dns_name=f"{value.hostname}.{view.network}.{domain}",
    )


def public_address(view: PublicAddressView) -> public_address_pb2.PublicAddress:
    """A public address."""
    value = view.address
    return public_address_pb2.PublicAddress(
        name=f"publicAddresses/{value.name}",
        address=value.address,
        machine=value.machine and f"machines/{value.machine}",
        tenant=value.tenant,
        status=status(view.status),
        create_time=moment(value.created_at),
    )


def usage(value: Usage) -> usage_pb2.Usage:
    """What a network or machine used."""
    kinds = {
        kind: usage_pb2.Traffic(
            **{f"{unit}_{way}": value.counts.get(column(kind, way, unit), 0) for unit in UNITS for way in ("in", "out")}
        )
        for kind in KINDS_OF_TRAFFIC
    }
    counted = moment(value.updated_at) if value.updated_at else None
    return usage_pb2.Usage(name=value.name, update_time=counted, **kinds)


def drive(view: DriveView) -> drive_pb2.Drive:
    """A drive."""
    return drive_pb2.Drive(
        name=f"drives/{view.drive.name}",
        network=f"networks/{view.network}",
        address=view.drive.address,
        tenant=view.tenant,
        status=status(view.status),
        create_time=moment(view.created_at),
    )
