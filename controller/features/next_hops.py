"""Which interconnects lead to a learned prefix, and in which order: for networks and for peerings alike."""

from __future__ import annotations

import functools
import socket
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from controller.pipeline.context import PipelineContext
from controller.pipeline.flow import Resubmit, SetField
from controller.pipeline.groups import Bucket, group_id
from controller.pipeline.registry import ATTACHMENT, Table
from state.interconnect import MOST_NEXT_HOPS, Interconnect, Route


@dataclass(frozen=True, slots=True)
class Choice:
    """The group `number`: interconnects in order of preference, perhaps with something else as last resort."""

    number: int
    interconnects: tuple[Interconnect, ...]
    last_resort: bool
    why: str


def distinct(chosen: Mapping[str, Choice]) -> Iterable[Choice]:
    """Each choice once, however many prefixes have it."""
    return {choice.number: choice for choice in chosen.values()}.values()


def buckets(interconnects: Iterable[Interconnect], site: PipelineContext) -> list[Bucket]:
    """Those whose session is up and whose peer and port are known, as buckets."""
    found = []
    for one in interconnects:
        port = site.ports.get(one.port)
        if one.session.up and one.session.mac and port is not None:
            found.append(Bucket(port, (SetField(ATTACHMENT, one.number), Resubmit(Table.INTERCONNECT_OUT))))
    return found


# Flows and groups of one network are made one after the other, of the same.
@functools.lru_cache(maxsize=2)
def chosen(key: int, interconnects: tuple[Interconnect, ...], last_resorts: tuple[str, ...]) -> Mapping[str, Choice]:
    """The choice for each learned prefix; those within `last_resorts` have a last resort."""
    learned: dict[str, list[tuple[Route, Interconnect]]] = defaultdict(list)
    for one in interconnects:
        for route in one.session.routes:
            learned[route.prefix].append((route, one))
    covers = [_bits(prefix) for prefix in last_resorts]
    known: dict[int, Choice] = {}
    found = {}
    for prefix, ways in learned.items():
        if len(ways) > 1:
            ways.sort(key=_rank)
        best, covered = [one for _, one in ways[:MOST_NEXT_HOPS]], bool(covers) and _covered(prefix, covers)
        number = group_id(key, [one.slot for one in best], last_resort=covered)
        if number not in known:
            names = [one.name for one in best] + ["the last resort"] * covered
            known[number] = Choice(number, tuple(best), covered, "by " + ", then ".join(names))
        found[prefix] = known[number]
    return found


def _rank(way: tuple[Route, Interconnect]) -> tuple[bool, int, int, int, int]:
    route, one = way
    return route.graceful_shutdown, -one.preference, route.hops, route.med, one.slot


def _bits(prefix: str) -> tuple[int, int]:
    address, _, length = prefix.partition("/")
    return int.from_bytes(socket.inet_aton(address), "big") >> 32 - int(length), int(length)


def _covered(prefix: str, covers: list[tuple[int, int]]) -> bool:
    bits, length = _bits(prefix)
    return any(own <= length and bits >> length - own == address for address, own in covers)
