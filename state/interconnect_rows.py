"""Converts rows of interconnects, their status and routes to values and back."""

from __future__ import annotations

import dataclasses
import ipaddress
import zlib
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from state.interconnect import BfdState, BgpSession, Interconnect, InterconnectKind, Route, Session, SessionState
from state.model import State
from state.ovsdb import Row, atoms, mapping, to_map, to_set

_GRACEFUL_SHUTDOWN = "graceful-shutdown"
PARTS = 64
"""Rows the routes of an interconnect are spread over, so that one change costs a part of them only."""


def interconnect(row: Row, session: Session | None = None) -> Interconnect:
    """An `Interconnect` row and what is known of its session as a value."""
    vlan = atoms(row["vlan"])
    return Interconnect(
        name=row["name"],
        kind=InterconnectKind(row["kind"]),
        number=row["number"],
        slot=row["slot"],
        client=row["client"],
        zone=row["zone"],
        port=row["port"],
        vlan=vlan[0] if vlan else None,
        local_address=row["local_address"],
        peer_address=row["peer_address"],
        local_as=row["local_as"],
        peer_as=row["peer_as"],
        accept=tuple(row["accept"].split()),
        announce=tuple(row["announce"].split()),
        maximum_prefixes=row["maximum_prefixes"],
        preference=row["preference"],
        rate=row["rate"],
        bfd_milliseconds=row["bfd_milliseconds"],
        hold_seconds=row["hold_seconds"],
        enabled=row["enabled"],
        password=row.get("password", ""),
        revision=row["revision"],
        created_at=row["created_at"],
        session=session or Session(),
    )


def interconnect_row(value: Interconnect, network_reference: list[str] | None) -> Row:
    """The columns of an `Interconnect` row; the reference, None for peerings, is `["uuid"|"named-uuid", ID]`."""
    return {
        "name": value.name,
        "network": to_set([] if network_reference is None else [network_reference]),
        "kind": value.kind.value,
        "number": value.number,
        "slot": value.slot,
        "client": value.client,
        "zone": value.zone,
        "port": value.port,
        "vlan": to_set([] if value.vlan is None else [value.vlan]),
        "local_address": value.local_address,
        "peer_address": value.peer_address,
        "local_as": value.local_as,
        "peer_as": value.peer_as,
        "accept": " ".join(value.accept),
        "announce": " ".join(value.announce),
        "maximum_prefixes": value.maximum_prefixes,
        "preference": value.preference,
        "rate": value.rate,
        "bfd_milliseconds": value.bfd_milliseconds,
        "hold_seconds": value.hold_seconds,
        "enabled": value.enabled,
        "password": value.password,
        "revision": value.revision,
        "created_at": value.created_at,
    }


def network_of(row: Row) -> str | None:
    """The row of the network an `Interconnect` row belongs to; None for a peering."""
    # A set of one reference is the reference itself, ["uuid", ID]; one of none is ["set", []].
    kind, value = row["network"]
    return value if kind == "uuid" else None


@dataclass(frozen=True, slots=True)
class InterconnectStatus:
    """What the BGP daemon says of an interconnect; `revision` is that of the interconnect it acts by."""

    name: str
    revision: int
    state: State
    detail: str = ""
    session: BgpSession = field(default_factory=BgpSession)


def status(row: Row) -> InterconnectStatus:
    """An `Interconnect_Status` row as a value; unknown facts of a newer daemon are ignored."""
    facts: dict[str, Any] = mapping(row["session"])
    values: dict[str, Any] = {}
    for known in dataclasses.fields(BgpSession):
        if known.name in facts:
            values[known.name] = int(facts[known.name]) if known.type == "int" else facts[known.name]
    if "state" in values:
        values["state"] = SessionState(values["state"])
    if "bfd" in values:
        values["bfd"] = BfdState(values["bfd"])
    return InterconnectStatus(
        row["interconnect"], row["revision"], State(row["state"]), row["detail"], BgpSession(**values)
    )


def status_row(value: InterconnectStatus) -> Row:
    """The columns of an `Interconnect_Status` row."""
    facts = {name: str(fact) for name, fact in dataclasses.asdict(value.session).items()}
    facts |= {"state": value.session.state.value, "bfd": value.session.bfd.value}
    return {
        "interconnect": value.name,
        "revision": value.revision,
        "state": value.state.value,
        "detail": value.detail,
        "session": to_map(facts),
    }


def part_of(prefix: str) -> int:
    """Which part of the routes of an interconnect a prefix is in, 0..PARTS-1."""
    return zlib.crc32(prefix.encode()) % PARTS


def parts(routes: Iterable[Route]) -> dict[int, str]:
    """Routes as the texts of `Interconnect_Routes` rows, by part: a line each, in order of prefix."""
    found: dict[int, list[Route]] = defaultdict(list)
    for route in routes:
        found[part_of(route.prefix)].append(route)
    return {part: "\n".join(map(_line, sorted(mine, key=order))) for part, mine in found.items()}


def part_row(name: str, part: int, text: str) -> Row:
    """The columns of an `Interconnect_Routes` row."""
    return {"interconnect": name, "part": part, "routes": text}


def routes(row: Row) -> tuple[Route, ...]:
    """The routes of an `Interconnect_Routes` row."""
    found = []
    for line in row["routes"].splitlines():
        prefix, as_path, med, refusal, *flags = line.split("|")
        found.append(Route(prefix, as_path, int(med), refusal, _GRACEFUL_SHUTDOWN in flags))
    return tuple(found)


def _line(route: Route) -> str:
    facts = [route.prefix, route.as_path, str(route.med), route.refusal]
    return "|".join([*facts, _GRACEFUL_SHUTDOWN] if route.graceful_shutdown else facts)


def order(route: Route) -> tuple[int, int]:
    """What routes are sorted by: address, then length of the prefix."""
    address, _, length = route.prefix.partition("/")
    return int(ipaddress.IPv4Address(address)), int(length)


def accepted(parts: Iterable[tuple[Route, ...]]) -> tuple[Route, ...]:
    """The accepted ones of the routes of all parts, in order of prefix."""
    return tuple(sorted((route for part in parts for route in part if not route.refusal), key=order))


def known_session(told: InterconnectStatus | None, routes: tuple[Route, ...]) -> Session:
    """What flows need to know: of the status, and the accepted routes."""
    if told is None:
        return Session()
    return Session(told.session.state is SessionState.ESTABLISHED, told.session.peer_mac, routes)
