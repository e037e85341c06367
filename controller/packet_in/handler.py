"""Types of packet-in handlers: what they get and what they return."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from controller.pipeline.context import PipelineContext
from controller.pipeline.flow import Action
from controller.pipeline.registry import Table
from state.model import Appliance, Network


@dataclass(frozen=True, slots=True)
class PacketIn:
    """A packet a flow of `table` sent up.

    `key` is the network key of the flow's cookie, `frame` the whole Ethernet
    frame as it was in that table: the VLAN tag is gone since CLASSIFY. `mark`
    is the `pipeline.Mark` it had there, 0 for none, and `attachment` what
    `pipeline.ATTACHMENT` held: in tables of interconnects the number of one.
    """

    table: Table
    key: int
    in_port: int
    frame: bytes
    mark: int = 0
    attachment: int = 0


@dataclass(frozen=True, slots=True)
class PacketOut:
    """A frame to send with in_port=CONTROLLER."""

    frame: bytes
    actions: tuple[Action, ...]


@dataclass(frozen=True, slots=True)
class PacketInReply:
    """What becomes of a packet.

    `what` is one of a small set of words, for logs and metrics. `neighbor` is
    the address and MAC of a next hop or drive just learned, `ask` the address
    of one whose MAC may have changed.
    """

    what: str
    out: tuple[PacketOut, ...] = ()
    neighbor: tuple[str, str] | None = None
    ask: str | None = None


MALFORMED = PacketInReply("malformed")


class HandlerView(Protocol):
    """Desired state as services see it."""

    @property
    def appliance(self) -> Appliance:
        """Settings of this appliance."""

    @property
    def site(self) -> PipelineContext:
        """Ports of the bridge and the MACs of neighbours."""

    @property
    def drives(self) -> Mapping[str, int]:
        """Key of the owning network by address of a drive."""

    def network(self, key: int) -> Network | None:
        """The network of that key, None if there is none now."""
