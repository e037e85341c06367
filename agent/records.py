"""What the replica holds of each object, how clients see it, and how far it has come."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from sortedcontainers import SortedDict

from agent.allocation import Pool
from state.model import Attachment, Drive, Machine, Network, NetworkStatus, PublicAddress, State


@dataclass(frozen=True, slots=True)
class ObjectStatus:
    """How far an object has come, and one sentence for a person."""

    state: State
    detail: str


@dataclass(frozen=True, slots=True)
class NetworkView:
    """A network as clients see it (its machines apart)."""

    network: Network
    status: ObjectStatus


@dataclass(frozen=True, slots=True)
class MachineView:
    """A machine as clients see it; `network`, `tenant` and `public_address` (empty: none) are names."""

    machine: Machine
    network: str
    tenant: str
    created_at: int
    status: ObjectStatus
    public_address: str = ""


@dataclass(frozen=True, slots=True)
class PublicAddressView:
    """A public address as clients see it; its revision is always 0."""

    address: PublicAddress
    status: ObjectStatus


@dataclass(frozen=True, slots=True)
class DriveView:
    """A drive as clients see it; `network` and `tenant` are names."""

    drive: Drive
    network: str
    tenant: str
    created_at: int
    status: ObjectStatus


View = NetworkView | MachineView | PublicAddressView | DriveView

WAITING = ObjectStatus(State.PENDING, "stored; waiting for the controller to put its flows on the switch")
LIVE = ObjectStatus(State.LIVE, "")


@dataclass(slots=True, eq=False)
class MachineRecord:
    """A machine, its row, and the network revision it was last changed in."""

    uuid: str
    machine: Machine
    network: NetworkRecord
    created_at: int
    since: int
    gone: bool = False
    view: MachineView = field(init=False)


@dataclass(slots=True, eq=False)
class NetworkRecord:
    """A network, its row, what refers to it, and indexes of what is unique within it."""

    uuid: str
    network: Network
    view: NetworkView = field(init=False)
    status: NetworkStatus | None = None
    gone: bool = False
    machines: SortedDict[str, MachineRecord] = field(default_factory=SortedDict)
    macs: dict[str, str] = field(default_factory=dict)
    addresses: dict[str, str] = field(default_factory=dict)
    hostnames: dict[str, str] = field(default_factory=dict)
    attachments: dict[Attachment, set[str]] = field(default_factory=dict)
    drives: SortedDict[str, DriveRecord] = field(default_factory=SortedDict)
    # Names as in `NetworkStatus.machines`.
    pending: set[str] = field(default_factory=set)
    pool: Pool | None = None
    waiting: threading.Condition | None = None

    @property
    def created_at(self) -> int:
        """When it was created, in ms since the epoch."""
        return self.network.created_at


@dataclass(slots=True, eq=False)
class PublicAddressRecord:
    """A public address, its row, and the revision of its machine's network it was assigned in.

    `since` is None while an update that assigns it is being taken in.
    """

    uuid: str
    address: PublicAddress
    since: int | None = None
    gone: bool = False
    view: PublicAddressView | None = None

    @property
    def created_at(self) -> int:
        """When it was created, in ms since the epoch."""
        return self.address.created_at


@dataclass(slots=True, eq=False)
class DriveRecord:
    """A drive, its row, and the network revision it was made in."""

    uuid: str
    drive: Drive
    network: NetworkRecord
    created_at: int
    since: int
    gone: bool = False
    view: DriveView = field(init=False)


def network_status(record: NetworkRecord) -> ObjectStatus:
    """A network is live when the flows of its present revision are on the switch."""
    status = record.status
    if status is None or status.revision < record.network.revision:
        return WAITING
    return _reported(status)


def machine_status(record: MachineRecord) -> ObjectStatus:
    """A machine is live when flows at least as new as its last change are on the switch.

    Later changes of other machines of its network do not make it pending again.
    """
    return _status_of(record.network.status, record.since, record.machine.name)


def drive_status(record: DriveRecord) -> ObjectStatus:
    """A drive is live as a machine is."""
    return _status_of(record.network.status, record.since, f"drives/{record.drive.name}")


def address_status(record: PublicAddressRecord, machine: MachineRecord | None) -> ObjectStatus:
    """A public address is live with its machine, once the flows of its assignment are on the switch; alone at once."""
    if not record.address.machine:
        return LIVE
    if machine is None or record.since is None:
        return WAITING
    return _status_of(machine.network.status, record.since, machine.machine.name)


def _status_of(status: NetworkStatus | None, since: int, name: str) -> ObjectStatus:
    if status is None or status.revision < since:
        return WAITING
    reason = status.machines.get(name)
    if reason is None:
        return _reported(status)
    return ObjectStatus(State.ERROR, reason) if reason else WAITING


def _reported(status: NetworkStatus) -> ObjectStatus:
    match status.state:
        case State.LIVE:
            return LIVE
        case State.PENDING:
            return ObjectStatus(State.PENDING, status.detail or WAITING.detail)
        case State.ERROR:
            return ObjectStatus(State.ERROR, status.detail or "the controller gave no reason; see its log")
