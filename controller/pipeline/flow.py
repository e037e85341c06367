"""Flows as values: table, priority, match, actions, and why they exist.

Actions follow ovs-actions(7); their text is what ovs-ofctl(8) reads, so that a
flow can be reviewed, loaded into a test switch and compared with a dump.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING

from controller.pipeline.match import Field, Match, int_to_ip, ip_to_int, mac_to_int, render

if TYPE_CHECKING:
    from controller.pipeline.registry import Feature, Table

IN_PORT = 0xFFFFFFF8
CONTROLLER = 0xFFFFFFFD
LEARNED_PRIORITY = 100
_NXM_NAMES = {Field.IP_SRC: "NXM_OF_IP_SRC", Field.IP_DST: "NXM_OF_IP_DST"}
_PORT_NAMES = {IN_PORT: "in_port", CONTROLLER: "controller"}


@dataclass(frozen=True, slots=True)
class Output:
    """Send the packet to a port."""

    port: int

    def text(self, names: bool) -> str:
        """As ovs-ofctl reads it."""
        name = _PORT_NAMES.get(self.port)
        if name == "controller":
            return "controller:65535"
        return name or f"output:{self.port}"


@dataclass(frozen=True, slots=True)
class SetField:
    """Give `field` a value."""

    field: Field
    value: int

    def text(self, names: bool) -> str:
        """As ovs-ofctl reads it."""
        return f"set_field:{render(self.field, self.value, None).partition('=')[2]}->{self.field.text}"


@dataclass(frozen=True, slots=True)
class LoadBits:
    """Give the `count` bits of `field` from bit `first` (0: the lowest) a value; the others stay."""

    field: Field
    first: int
    count: int
    value: int

    def text(self, names: bool) -> str:
        """As ovs-ofctl reads it."""
        return f"load:{self.value:#x}->{_NXM_NAMES[self.field]}[{self.first}..{self.first + self.count - 1}]"


@dataclass(frozen=True, slots=True)
class ClearInPort:
    """Forget the port of arrival, so that the packet may leave by it again."""

    def text(self, names: bool) -> str:
        """As ovs-ofctl reads it."""
        return "load:0->NXM_OF_IN_PORT[]"


@dataclass(frozen=True, slots=True)
class Move:
    """Copy all of `source` into `target`, which has the same size."""

    source: Field
    target: Field

    def text(self, names: bool) -> str:
        """As ovs-ofctl reads it."""
        return f"move:{self.source.text}->{self.target.text}"


@dataclass(frozen=True, slots=True)
class DecTtl:
    """Decrement the TTL."""

    def text(self, names: bool) -> str:
        """As ovs-ofctl reads it."""
        return "dec_ttl"


@dataclass(frozen=True, slots=True)
class PopVlan:
    """Remove the outermost VLAN tag."""

    def text(self, names: bool) -> str:
        """As ovs-ofctl reads it."""
        return "pop_vlan"


@dataclass(frozen=True, slots=True)
class PushVlan:
    """Add an 802.1Q tag with this VLAN id."""

    vlan: int

    def text(self, names: bool) -> str:
        """As ovs-ofctl reads it."""
        return f"push_vlan:0x8100,set_field:{self.vlan | 0x1000}->vlan_vid"


@dataclass(frozen=True, slots=True)
class Nat:
    """NAT of the source, or of the `destination`, to an address range and, with `ports`, a port range."""

    first: int
    last: int
    ports: tuple[int, int] | None = None
    destination: bool = False

    def text(self, names: bool) -> str:
        """As ovs-ofctl reads it."""
        text = int_to_ip(self.first)
        if self.last != self.first:
            text += f"-{int_to_ip(self.last)}"
        if self.ports is not None:
            text += f":{self.ports[0]}-{self.ports[1]}"
        return f"nat({'dst' if self.destination else 'src'}={text})"


@dataclass(frozen=True, slots=True)
class Ct:
    """Pass through conntrack, then go on in `table` with `ct_state` set.

    `nat` None: un-NAT packets of known connections only. With `mark`, what is
    committed gets the network key as its ct_mark.
    """

    table: Table
    zone: int
    commit: bool = False
    nat: Nat | None = None
    mark: bool = False

    def text(self, names: bool) -> str:
        """As ovs-ofctl reads it."""
        commit = "commit," if self.commit else ""
        nat = self.nat.text(names) if self.nat else "nat"
        mark = ",exec(move:OXM_OF_METADATA[0..31]->NXM_NX_CT_MARK[])" if self.mark else ""
        return f"ct({commit}table={self.table.label(names)},zone={self.zone},{nat}{mark})"


@dataclass(frozen=True, slots=True)
class CtClear:
    """Forget what conntrack said of the packet, so that it may pass through it as another."""

    def text(self, names: bool) -> str:
        """As ovs-ofctl reads it."""
        return "ct_clear"


@dataclass(frozen=True, slots=True)
class CheckPacketLarger:
    """Set bit 0 of `target` when the packet is larger than `size` bytes with its Ethernet header."""

    size: int
    target: Field

    def text(self, names: bool) -> str:
        """As ovs-ofctl reads it."""
        return f"check_pkt_larger({self.size})->NXM_NX_{self.target.name}[0]"


@dataclass(frozen=True, slots=True)
class ToGroup:
    """Hand the packet to a group; comes last."""

    group: int

    def text(self, names: bool) -> str:
        """As ovs-ofctl reads it."""
        return f"group:{self.group}"


@dataclass(frozen=True, slots=True)
class Resubmit:
    """Look the packet up in `table`, then go on with the next action; a flow hands packets on by `Goto`."""

    table: Table

    def text(self, names: bool) -> str:
        """As ovs-ofctl reads it."""
        return f"resubmit(,{self.table.label(names)})"


@dataclass(frozen=True, slots=True)
class Learn:
    """Have the switch make a flow in `table`, or change the one that is there, whenever a packet meets this one.

    That flow gives packets of network `key` whose `field` is `value` the value
    `load` in its place. It has `cookie`, and goes when this flow goes.
    """

    table: Table
    cookie: int
    key: int
    field: Field
    value: int
    load: int

    def text(self, names: bool) -> str:
        """As ovs-ofctl reads it."""
        name = f"NXM_NX_{self.field.name}[]"
        return (
            f"learn(table={self.table.label(names)},priority={LEARNED_PRIORITY},delete_learned,cookie={self.cookie:#x},"
            f"metadata={self.key:#x},{self.field.text}={self.value:#x},load:{self.load:#x}->{name})"
        )


@dataclass(frozen=True, slots=True)
class Meter:
    """Drop what exceeds the meter's rate; comes first."""

    meter: int

    def text(self, names: bool) -> str:
        """As ovs-ofctl reads it."""
        return f"meter:{self.meter}"


@dataclass(frozen=True, slots=True)
class WriteMetadata:
    """Set the network key; comes after the actions."""

    value: int

    def text(self, names: bool) -> str:
        """As ovs-ofctl reads it."""
        return f"write_metadata:{self.value:#x}"


@dataclass(frozen=True, slots=True)
class Goto:
    """Go on in a later table; comes last."""

    table: Table

    def text(self, names: bool) -> str:
        """As ovs-ofctl reads it."""
        return f"goto_table:{self.table.label(names)}"


Instruction = Meter | WriteMetadata | Goto
Action = (
    Output | SetField | LoadBits | ClearInPort | Move | DecTtl | PopVlan | PushVlan | Ct | CtClear | CheckPacketLarger
    | ToGroup | Resubmit | Learn | Meter | WriteMetadata | Goto
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Flow:
    """One flow of one network (key 0: the appliance's own).

    `why` says in a few words what the flow is for, as the operator reads it;
    a flow without actions drops, and `why` is the reason counted.
    """

    table: Table
    priority: int
    match: Match
    actions: tuple[Action, ...]
    feature: Feature
    key: int
    why: str

    def text(self, *, names: bool = False) -> str:
        """The flow without its cookie, in the syntax of `ovs-ofctl add-flow`.

        With `names`, tables are called by name, as a switch that knows them
        prints them.
        """
        parts = [f"table={self.table.label(names)}", f"priority={self.priority}"]
        if self.match.terms:
            parts.append(str(self.match))
        actions = ",".join(action.text(names) for action in self.actions) or "drop"
        return ",".join(parts) + f" actions={actions}"


@functools.lru_cache(maxsize=1 << 16)
def set_mac(field: Field, mac: str) -> SetField:
    """Set a MAC field from text."""
    return SetField(field, mac_to_int(mac))


def set_ip(field: Field, address: str) -> SetField:
    """Set an IPv4 field from text."""
    return SetField(field, ip_to_int(address))
