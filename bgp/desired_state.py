"""Desired state of interconnects as the daemon reads it from the database."""

from __future__ import annotations

import functools
import ipaddress
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from daemons.source import DaemonSource
from state import interconnect_rows, rows
from state.interconnect import Interconnect, Route
from state.interconnect_rows import InterconnectStatus
from state.model import Appliance
from state.ovsdb import OvsdbClient, Row, RowChange
from state.prefixes import network_prefixes, own_prefixes

# Of networks only what interconnects need: other changes of theirs, their revisions among them, are not sent.
TABLES = {
    name: rows.COLUMNS[name] for name in ("Appliance", "Interconnect", "Interconnect_Status", "Interconnect_Routes")
} | {"Network": ("prefix", "mtu"), "Drive": ("network", "address")}
_OURS = ("Interconnect_Status", "Interconnect_Routes")


@dataclass(frozen=True, slots=True)
class Link:
    """An interconnect and what it needs to know of its network and the appliance.

    `mtu` is the largest IP packet in bytes, `announced` what the peer is told,
    in order; `own` are prefixes that no route may be within, each with what it is.
    """

    interconnect: Interconnect
    mtu: int
    announced: tuple[str, ...]
    own: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class DesiredInterconnects:
    """All interconnects, in order of number."""

    links: tuple[Link, ...] = ()


class InterconnectSource(DaemonSource[DesiredInterconnects]):
    """Interconnects of one database, and what was last reported of them; empty until `watch`."""

    tables = TABLES
    objects = "Interconnect"

    def __init__(self, client: OvsdbClient) -> None:
        super().__init__(client)
        self._parts: dict[str, dict[int, str]] = defaultdict(dict)

    def statuses(self) -> Mapping[str, InterconnectStatus]:
        """What is in the status table, by interconnect."""
        found = (interconnect_rows.status(row) for row in list(self._rows["Interconnect_Status"].values()))
        return {status.name: status for status in found}

    def parts(self) -> Mapping[str, Mapping[int, str]]:
        """What is in the table of routes: interconnect → part → text."""
        return {name: dict(parts) for name, parts in list(self._parts.items())}

    def routes(self, name: str) -> tuple[Route, ...]:
        """The routes of an interconnect in the table of routes."""
        texts = dict(self._parts.get(name, {}))
        return tuple(route for text in texts.values() for route in interconnect_rows.routes({"routes": text}))

    def _take(self, change: RowChange) -> None:
        if change.table == "Interconnect_Routes":
            self._note_part(change)
        else:
            super()._take(change)

    def _matters(self, change: RowChange) -> bool:
        if change.table == "Drive":
            return (change.new or change.old or {})["network"][1] in self._networks
        return change.table not in _OURS and super()._matters(change)

    def _network_of(self, row: Row) -> str | None:
        return interconnect_rows.network_of(row)

    def _note_part(self, change: RowChange) -> None:
        if change.new is not None:
            self._parts[change.new["interconnect"]][change.new["part"]] = change.new["routes"]
        elif change.old is not None:
            parts = self._parts[change.old["interconnect"]]
            parts.pop(change.old["part"], None)
            if not parts:
                del self._parts[change.old["interconnect"]]

    def _desired(self, appliance: Appliance) -> DesiredInterconnects:
        drives = defaultdict(list)
        for row in self._rows["Drive"].values():
            drives[row["network"][1]].append(row["address"])
        links = []
        for row in self._rows["Interconnect"].values():
            one, network = interconnect_rows.interconnect(row), interconnect_rows.network_of(row)
            if network is None:
                links.append(peering(one, appliance))
            elif network in self._rows["Network"]:
                links.append(direct_connect(one, self._rows["Network"][network], drives[network], appliance))
        return DesiredInterconnects(tuple(sorted(links, key=lambda link: link.interconnect.number)))


def direct_connect(one: Interconnect, network: Row, drives: Sequence[str], appliance: Appliance) -> Link:
    """A link into a network (its row), whose drives have these addresses."""
    prefix = network["prefix"]
    known = [f"{address}/32" for address in drives]
    # A drive that is announced by itself may be gone.
    announced = [mine for mine in one.announce or (prefix, *known) if mine in known or inside(mine, prefix)]
    own = ((prefix, "the network's own prefix"), _itself(one), *_own(appliance, protected=False))
    return Link(one, network["mtu"], _ordered(announced), own)


def peering(one: Interconnect, appliance: Appliance) -> Link:
    """A link to another network of the Internet."""
    pools = (*appliance.nat_pool, *appliance.public_pool)
    announced = one.announce or merged(pools)
    return Link(one, appliance.gateway.mtu, _ordered(announced), (_itself(one), *_own(appliance, protected=True)))


def inside(prefix: str, outer: str) -> bool:
    """Whether a prefix is within another, or equal."""
    return ipaddress.IPv4Network(prefix).subnet_of(ipaddress.IPv4Network(outer))


def merged(prefixes: Sequence[str]) -> list[str]:
    """As few prefixes as hold exactly these."""
    return [str(one) for one in ipaddress.collapse_addresses(map(ipaddress.IPv4Network, prefixes))]


@functools.lru_cache(maxsize=4)
def _own(appliance: Appliance, *, protected: bool) -> tuple[tuple[str, str], ...]:
    return tuple(own_prefixes(appliance) if protected else network_prefixes(appliance))


def _itself(one: Interconnect) -> tuple[str, str]:
    return str(ipaddress.IPv4Interface(one.local_address).network), "the link itself"


def _ordered(prefixes: Sequence[str]) -> tuple[str, ...]:
    networks = sorted(set(map(ipaddress.IPv4Network, prefixes)))
    return tuple(map(str, networks))
