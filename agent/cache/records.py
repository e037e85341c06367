"""Records of the cache: an object with its reported status, and the view that clients get."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from sortedcontainers import SortedDict

from agent.ipam.pool import Pool
from state.additional import AdditionalAddress
from state.interconnect import BgpSession, Interconnect
from state.interconnect_rows import InterconnectStatus
from state.model import Attachment, Drive, Machine, Network, NetworkStatus, PublicAddress, State
from state.vpn import Tunnel, VpnConnection, VpnGateway
from state.vpn_rows import VpnStatus


@dataclass(frozen=True, slots=True)
class ObjectStatus:
    """How far an object has come, and one sentence for a person."""

    state: State
    detail: str


@dataclass(frozen=True, slots=True)
class Realization:
    """The revision of desired state, up to which one the switch has all of it, and how many networks it waits for.

    Each command makes the next revision. `realized` is 0 while the controller
    does not know what the switch has.
    """

    desired: int = 0
    realized: int = 0
    pending: int = 0

    @property
    def settled(self) -> bool:
        """Whether the switch has everything."""
        return self.realized == self.desired


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


@dataclass(frozen=True, slots=True)
class VpnGatewayView:
    """A VPN gateway as clients see it (its connections apart); `network` and `tenant` are names."""

    gateway: VpnGateway
    network: str
    tenant: str
    status: ObjectStatus


@dataclass(frozen=True, slots=True)
class VpnConnectionView:
    """A VPN connection as clients see it: without its secret, its revision always 0.

    `gateway` and `tenant` are names, `tunnel` is None while nothing was seen of it.
    """

    connection: VpnConnection
    gateway: str
    tenant: str
    status: ObjectStatus
    tunnel: Tunnel | None = None


@dataclass(frozen=True, slots=True)
class InterconnectView:
    """An interconnect as clients see it: without its password, its revision always 0.

    `network` and `tenant` are names, empty for peerings; `session` is None
    while nothing was seen of it.
    """

    interconnect: Interconnect
    network: str
    tenant: str
    has_password: bool
    status: ObjectStatus
    session: BgpSession | None = None


View = NetworkView | MachineView | PublicAddressView | DriveView | VpnGatewayView | VpnConnectionView | InterconnectView

WAITING = ObjectStatus(State.PENDING, "stored; waiting for the controller to put its flows on the switch")
WAITING_FOR_DAEMON = ObjectStatus(State.PENDING, "waiting for the VPN daemon to start its IKE daemon")
WAITING_FOR_CONNECTION = ObjectStatus(State.PENDING, "waiting for the VPN daemon to act by this configuration")
WAITING_FOR_BGP = ObjectStatus(State.PENDING, "waiting for the BGP daemon to act by this configuration")
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


@dataclass(frozen=True, slots=True)
class AdditionalRecord:
    """An additional address and its row."""

    uuid: str
    value: AdditionalAddress
    created_at: int


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
    # By address; then which machines list an address, and have a MAC for one.
    additional: dict[str, AdditionalRecord] = field(default_factory=dict)
    listed: dict[str, set[str]] = field(default_factory=dict)
    virtual_macs: dict[str, set[str]] = field(default_factory=dict)
    drives: SortedDict[str, DriveRecord] = field(default_factory=SortedDict)
    vpn: VpnGatewayRecord | None = None
    interconnects: SortedDict[str, InterconnectRecord] = field(default_factory=SortedDict)
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


@dataclass(slots=True, eq=False)
class VpnGatewayRecord:
    """A VPN gateway, its row, its connections, and the network revision it was made in."""

    uuid: str
    gateway: VpnGateway
    network: NetworkRecord
    since: int
    gone: bool = False
    view: VpnGatewayView = field(init=False)
    connections: SortedDict[str, VpnConnectionRecord] = field(default_factory=SortedDict)

    @property
    def created_at(self) -> int:
        """When it was created, in ms since the epoch."""
        return self.gateway.created_at


@dataclass(slots=True, eq=False)
class VpnConnectionRecord:
    """A VPN connection, its row, and the network revision it was last changed in."""

    uuid: str
    connection: VpnConnection
    gateway: VpnGatewayRecord
    since: int
    gone: bool = False
    view: VpnConnectionView = field(init=False)

    @property
    def created_at(self) -> int:
        """When it was created, in ms since the epoch."""
        return self.connection.created_at


@dataclass(slots=True, eq=False)
class Peerings:
    """What peerings have in place of a network: each other, and what the controller says of them."""

    interconnects: SortedDict[str, InterconnectRecord] = field(default_factory=SortedDict)
    status: NetworkStatus | None = None
    waiting: threading.Condition | None = None


@dataclass(slots=True, eq=False)
class InterconnectRecord:
    """An interconnect, its row, and the revision of its network it was last changed in; of a peering: its own."""

    uuid: str
    interconnect: Interconnect
    owner: NetworkRecord | Peerings
    since: int
    gone: bool = False
    view: InterconnectView = field(init=False)

    @property
    def created_at(self) -> int:
        """When it was created, in ms since the epoch."""
        return self.interconnect.created_at


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


def gateway_status(record: VpnGatewayRecord, said: VpnStatus | None) -> ObjectStatus:
    """A VPN gateway is live when its flows are on the switch and its IKE daemon runs, as the VPN daemon `said`."""
    return _vpn_status(record, record.since, said)


def connection_status(
    record: VpnConnectionRecord, said_of_gateway: VpnStatus | None, said: VpnStatus | None
) -> ObjectStatus:
    """A VPN connection is as its gateway is, and then live when the VPN daemon acts by its present revision."""
    status = _vpn_status(record.gateway, record.since, said_of_gateway)
    if status.state is not State.LIVE:
        return status
    if said is None or said.revision != record.connection.revision:
        return WAITING_FOR_CONNECTION
    return ObjectStatus(said.state, said.detail)


def _vpn_status(record: VpnGatewayRecord, since: int, said: VpnStatus | None) -> ObjectStatus:
    name, network = f"vpnGateways/{record.gateway.name}", record.network.status
    if said is not None and said.revision != record.gateway.created_at:
        # It is about one of this name that was deleted.
        said = None
    status = _status_of(network, since, name)
    missing = "" if network is None or network.revision < since else network.machines.get(name, "")
    if missing and (said is None or said.state is not State.ERROR):
        # The VPN daemon makes the legs: nobody else has to do anything about them.
        return ObjectStatus(State.PENDING, f"{missing}; waiting for the VPN daemon to make it")
    if status.state is not State.LIVE and not missing:
        return status
    return WAITING_FOR_DAEMON if said is None else ObjectStatus(said.state, said.detail)


def interconnect_status(record: InterconnectRecord, said: InterconnectStatus | None) -> ObjectStatus:
    """An interconnect is live when its flows are on the switch and the BGP daemon acts by its present revision.

    `said` is what the BGP daemon says of it.
    """
    name, told = f"interconnects/{record.interconnect.name}", record.owner.status
    if said is not None and said.revision != record.interconnect.revision:
        said = None
    acted = WAITING_FOR_BGP if said is None else ObjectStatus(said.state, said.detail)
    flows = _status_of(told, record.since, name)
    if flows.state is State.LIVE:
        return acted
    if told is not None and told.revision >= record.since and told.machines.get(name) == "":
        # It waits for its leg: the BGP daemon makes that, and says what keeps it from doing so.
        return flows if acted.state is State.LIVE else acted
    return flows


def _status_of(status: NetworkStatus | None, since: int, name: str) -> ObjectStatus:
    if status is None or status.revision < since:
        return WAITING
    reason = status.machines.get(name)
    if reason is None:
        cut_off = status.degraded.get(name)
        return ObjectStatus(State.DEGRADED, cut_off) if cut_off else _reported(status)
    return ObjectStatus(State.ERROR, reason) if reason else WAITING


def _reported(status: NetworkStatus) -> ObjectStatus:
    match status.state:
        case State.LIVE:
            return LIVE
        case State.PENDING:
            return ObjectStatus(State.PENDING, status.detail or WAITING.detail)
        case State.ERROR | State.DEGRADED:
            return ObjectStatus(status.state, status.detail or "the controller gave no reason; see its log")
