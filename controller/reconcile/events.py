"""Events of the reconciler, and the interfaces it depends on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from controller.desired_state.source import DesiredStateChange
from controller.openflow.client import InstalledFlow
from controller.pipeline.meters import Rate
from controller.reconcile.work_queue import Progress
from state.interconnect import Interconnect
from state.model import Appliance, Network, NetworkStatus


@dataclass(frozen=True, slots=True)
class SwitchUp:
    """The switch connected."""


@dataclass(frozen=True, slots=True)
class SwitchDown:
    """The switch is gone."""


@dataclass(frozen=True, slots=True)
class PortsChanged:
    """A port came, went or got another number."""


@dataclass(frozen=True, slots=True)
class NeighborsSilent:
    """Who, of all drives, does not answer ARP; others have done so or have not been asked enough."""

    addresses: frozenset[str]


@dataclass(frozen=True, slots=True)
class Verify:
    """Compare everything deeply when there is nothing else to do."""


@dataclass(frozen=True, slots=True)
class CountFlows:
    """See whether the switch still has as many flows as it was given."""


@dataclass(frozen=True, slots=True)
class Stop:
    """End, and leave the flows as they are."""


Event = DesiredStateChange | SwitchUp | SwitchDown | PortsChanged | NeighborsSilent | Verify | CountFlows | Stop


class DesiredStateReader(Protocol):
    """See `source.Source`."""

    @property
    def appliance(self) -> Appliance | None: ...

    @property
    def neighbors(self) -> Mapping[str, str]: ...

    def network(self, key: int) -> Network | None: ...

    @property
    def peerings(self) -> tuple[Interconnect, ...]: ...

    def networks(self) -> list[Network]: ...

    def has_network(self, name: str) -> bool: ...

    def forgotten_statuses(self) -> list[str]: ...


class FlowSwitch(Protocol):
    """See `switch.Switch`."""

    @property
    def connected(self) -> bool: ...

    def ports(self) -> dict[str, int]: ...

    def ports_down(self) -> frozenset[str]: ...

    def read_ports(self) -> dict[str, int]: ...

    def read_flow_ids(self) -> set[tuple[int, int]]: ...

    def read_flow_counts(self) -> dict[int, int]: ...

    def read_flows(self, table: int) -> list[InstalledFlow]: ...

    def read_meters(self) -> dict[int, Rate]: ...

    def read_groups(self) -> dict[int, bytes]: ...

    def commit(self, before: list[bytes], mods: list[bytes]) -> Mapping[int, str]: ...

    def send(self, messages: list[bytes]) -> None: ...


class StatusSink(Protocol):
    """See `status.Statuses`."""

    def put(self, name: str, status: NetworkStatus | None) -> None: ...

    def put_progress(self, progress: Progress) -> None: ...
