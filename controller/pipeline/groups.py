"""Fast-failover groups as values: next hops of a prefix in order of preference.

Fast failover (OpenFlow 1.4 section 6.10.1): a bucket lives as long as the port
it watches has a carrier, so that a lost link needs nobody but the switch; a lost
session takes one message, however many prefixes have the group.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from controller.pipeline.flow import Action
from controller.pipeline.registry import Table

_KEY_SHIFT = 17
_LAST_RESORT_SHIFT = 16
_SLOT_BITS = 4


@dataclass(frozen=True, slots=True)
class Bucket:
    """One next hop: what is done with the packet while `watch`, a port, lives."""

    watch: int
    actions: tuple[Action, ...]


@dataclass(frozen=True, slots=True)
class Group:
    """Next hops for flows of `table`, the best first; `why` is for whom."""

    table: Table
    buckets: tuple[Bucket, ...]
    why: str

    def text(self, number: int, *, names: bool = False) -> str:
        """The group in the syntax of `ovs-ofctl add-group`."""
        parts = [f"group_id={number},type=ff"]
        for bucket in self.buckets:
            actions = ",".join(action.text(names) for action in bucket.actions)
            parts.append(f"bucket=watch_port:{bucket.watch},actions={actions}")
        return ",".join(parts)


def group_id(key: int, slots: Iterable[int], *, last_resort: bool) -> int:
    """Id of the group of network `key` (0: of peerings) for at most four interconnects in this order.

    31 bits: 14 of the key, one for whether there is a last resort, four for each slot (1..15).
    """
    value = key << 1 | last_resort
    given = tuple(slots)
    for place in range(4):
        value = value << _SLOT_BITS | (given[place] if place < len(given) else 0)
    return value


def split_group(number: int) -> tuple[tuple[int, ...], bool]:
    """The slots in the id of a group, in order, and whether there is a last resort."""
    slots = (number >> _SLOT_BITS * place & (1 << _SLOT_BITS) - 1 for place in reversed(range(4)))
    return tuple(filter(None, slots)), bool(number >> _LAST_RESORT_SHIFT & 1)


def key_of_group(number: int) -> int:
    """The network key in the id of a group."""
    return number >> _KEY_SHIFT
