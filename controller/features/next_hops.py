"""Which interconnects lead to a learned prefix, and in which order: for networks and for peerings alike."""

from __future__ import annotations

import functools
import socket
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from controller.flow import Resubmit, SetField
from controller.groups import Bucket, group_id
from controller.pipeline import ATTACHMENT, Table
from controller.site import Site
from state.interconnect import MOST_NEXT_HOPS, Interconnect, Route


@dataclass(frozen=True, slots=True)
class Choice:
    """Interconnects in order of preference, and whether something else is the last resort."""

    interconnects: tuple[Interconnect, ...]
    last_resort: bool

    @property
    def why(self) -> str:
        """The choice in words."""
        names = [one.name for one in self.interconnects]
        return "by " + ", then ".join([*names, "the last resort"] if self.last_resort else names)


def choices(key: int, interconnects: Iterable[Interconnect], last_resorts: Iterable[str]) -> dict[int, Choice]:
    """The groups that learned prefixes need, by id; prefixes within `last_resorts` have a last resort."""
    return dict(_chosen(key, tuple(interconnects), tuple(last_resorts)).values())


def by_prefix(
    key: int, interconnects: Iterable[Interconnect], last_resorts: Iterable[str]
) -> dict[str, tuple[int, str]]:
    """The group of each learned prefix, and why."""
    chosen = _chosen(key, tuple(interconnects), tuple(last_resorts))
    words = {number: choice.why for number, choice in chosen.values()}
    return {prefix: (number, words[number]) for prefix, (number, _) in chosen.items()}


def buckets(interconnects: Iterable[Interconnect], site: Site) -> list[Bucket]:
    """Those whose session is up and whose peer and port are known, as buckets."""
    found = []
    for one in interconnects:
        port = site.ports.get(one.port)
        if one.session.up and one.session.mac and port is not None:
            found.append(Bucket(port, (SetField(ATTACHMENT, one.number), Resubmit(Table.INTERCONNECT_OUT))))
    return found


# Flows and groups of one network are made one after the other, of the same.
@functools.lru_cache(maxsize=2)
def _chosen(
    key: int, interconnects: tuple[Interconnect, ...], last_resorts: tuple[str, ...]
) -> Mapping[str, tuple[int, Choice]]:
    learned: dict[str, list[tuple[Route, Interconnect]]] = defaultdict(list)
    for one in interconnects:
        for route in one.session.routes:
            learned[route.prefix].append((route, one))
    covers = [_bits(prefix) for prefix in last_resorts]
    known: dict[tuple[tuple[int, ...], bool], tuple[int, Choice]] = {}
    found = {}
    for prefix, ways in learned.items():
        if len(ways) > 1:
            ways.sort(key=_rank)
        covered = bool(covers) and _covered(prefix, covers)
        identity = (tuple(one.slot for _, one in ways[:MOST_NEXT_HOPS]), covered)
        if identity not in known:
            choice = Choice(tuple(one for _, one in ways[:MOST_NEXT_HOPS]), covered)
            known[identity] = group_id(key, identity[0], last_resort=covered), choice
        found[prefix] = known[identity]
    return found


def _rank(way: tuple[Route, Interconnect]) -> tuple[int, int, int, int]:
    route, one = way
    return -one.preference, route.hops, route.med, one.slot


def _bits(prefix: str) -> tuple[int, int]:
    address, _, length = prefix.partition("/")
    return int.from_bytes(socket.inet_aton(address), "big") >> 32 - int(length), int(length)


def _covered(prefix: str, covers: list[tuple[int, int]]) -> bool:
    bits, length = _bits(prefix)
    return any(own <= length and bits >> length - own == address for address, own in covers)
