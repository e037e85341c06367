"""The FRR 8.4 configuration of one interconnect, and the commands from one configuration to another: pure functions.

The password is never part of it, only a digest that changes when it does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby

from bgp.desired_state import Link
from daemons.programs import BFDD, BGPD

# Routes with longer AS paths are not even kept: they would only cost memory.
LONGEST_KEPT_PATH = 128
# Half-life and longest time in minutes, penalties below which a prefix is used again and above which it is not
# (bgpd(8)). A withdrawal costs 1000, other attributes 500: seven withdrawals within a minute are too many, as RFC 7196
# has it (section 6: 6000 at least), and three minutes of quiet are enough.
DAMPING = "1 750 6000 4"
# Of routes with the community GRACEFUL_SHUTDOWN (RFC 8326 section 4.2): none is lower.
SHUTDOWN_PREFERENCE = 0
_PROFILE = "link"
_ROUTER = "router bgp"
_UNICAST = "address-family ipv4 unicast"
_ACTIVE = "shutdown"


@dataclass(frozen=True, slots=True)
class Line:
    """One line in a context of FRR's configuration; of all lines with its `key` there it takes the place."""

    program: str
    context: tuple[str, ...]
    key: str
    text: str
    secret: bool = False


@dataclass(frozen=True, slots=True)
class Configuration:
    """All lines; two of other `identity` have not one session."""

    identity: str
    lines: tuple[Line, ...]


@dataclass(frozen=True, slots=True)
class Step:
    """Lines for one program in one context; of a `secret` one the last word is to be the password."""

    program: str
    context: tuple[str, ...]
    texts: tuple[str, ...]
    secret: bool = False


def configuration(link: Link, digest: str, *, closed: bool, bfd: bool) -> Configuration:
    """What an interconnect needs; `digest` is that of its password (empty: none), `closed` keeps the session closed.

    `bfd`: it is to be used now, if at all. bgpd makes its BFD session anew when
    the BGP session is established, which the peer takes for a loss: so it is
    to have none before.
    """
    one = link.interconnect
    identity = f"{one.local_as} {one.local_ip} {one.peer_as} {one.peer_address}"
    return Configuration(identity, tuple(_lines(link, digest, closed=closed, bfd=bfd)))


def _lines(link: Link, digest: str, *, closed: bool, bfd: bool) -> Iterator[Line]:
    one = link.interconnect
    if one.bfd_milliseconds:
        profile = ("bfd", f"profile {_PROFILE}")
        for which in ("receive", "transmit"):
            key = f"{which}-interval"
            yield Line(BFDD, profile, key, f"{key} {one.bfd_milliseconds}")
        # RFC 5880 section 6.4: a peer that sends echo packets to itself by us would wait for them in vain.
        yield Line(BFDD, profile, "echo", "echo receive-interval disabled")
    for number, what in ((5, f"deny ^([0-9]+ ){{{LONGEST_KEPT_PATH}}}"), (10, "permit .*")):
        yield Line(BGPD, (), f"in {number}", f"bgp as-path access-list in seq {number} {what}")
    yield Line(BGPD, (), "own", "bgp as-path access-list own seq 5 permit ^$")
    yield Line(BGPD, (), "graceful shutdown", "bgp community-list standard shutdown seq 5 permit graceful-shutdown")
    yield Line(BGPD, ("route-map in permit 10",), "match", "match community shutdown")
    yield Line(BGPD, ("route-map in permit 10",), "set", f"set local-preference {SHUTDOWN_PREFERENCE}")
    yield Line(BGPD, (), "others", "route-map in permit 20")
    bgp = (f"{_ROUTER} {one.local_as}",)
    peer = f"neighbor {one.peer_address}"
    for key, text in (
        # Nothing is opened before it is configured whole, with its password.
        ("closed", "bgp default shutdown"),
        ("router-id", f"bgp router-id {one.local_ip}"),
        ("policy", "no bgp ebgp-requires-policy"),
        ("unicast", "no bgp default ipv4-unicast"),
        ("check", "no bgp network import-check"),
        # What is kept of a peer that restarts would still draw traffic.
        ("restart", "bgp graceful-restart-disable"),
        ("log", "bgp log-neighbor-changes"),
        # Otherwise it waits a second before it announces anything.
        ("coalesce", "coalesce-time 0"),
        ("peer", f"{peer} remote-as {one.peer_as}"),
        ("timers", f"{peer} timers {max(1, one.hold_seconds // 3)} {one.hold_seconds}"),
        ("connect", f"{peer} timers connect 1"),
        ("interval", f"{peer} advertisement-interval 0"),
    ):
        yield Line(BGPD, bgp, key, text)
    if digest:
        yield Line(BGPD, bgp, "password", f"{peer} password {digest}", secret=True)
    if one.bfd_milliseconds and bfd:
        yield Line(BGPD, bgp, "bfd", f"{peer} bfd")
        yield Line(BGPD, bgp, "bfd profile", f"{peer} bfd profile {_PROFILE}")
    unicast = (*bgp, _UNICAST)
    for prefix in link.announced:
        yield Line(BGPD, unicast, f"network {prefix}", f"network {prefix}")
    for key, text in (
        ("damping", f"bgp dampening {DAMPING}"),
        ("activate", f"{peer} activate"),
        ("in", f"{peer} filter-list in in"),
        ("map", f"{peer} route-map in in"),
        ("out", f"{peer} filter-list own out"),
        # One more than allowed, bgpd would lose without a word; the worker holds the session for it.
        ("most", f"{peer} maximum-prefix {one.maximum_prefixes + 1}"),
    ):
        yield Line(BGPD, unicast, key, text)
    # FRR also takes it for the peers it makes of incoming connections, and closes those.
    yield Line(BGPD, bgp, "open", "no bgp default shutdown")
    yield Line(BGPD, bgp, _ACTIVE, f"{peer} shutdown" if closed else f"no {peer} shutdown")


def steps(old: Configuration | None, new: Configuration) -> list[Step]:
    """What to say to programs with the `old` configuration (None: with none) so that they have the `new` one."""
    lines = old.lines if old is not None else ()
    found = []
    if old is not None and old.identity != new.identity:
        routers = dict.fromkeys(line.context[0] for line in lines if _of_router(line))
        found += [Step(BGPD, (), tuple(f"no {router}" for router in routers))]
        lines = tuple(line for line in lines if not _of_router(line))
    have, wanted = _by_key(lines), _by_key(new.lines)
    found += _grouped(_undone(line) for key, line in reversed(list(have.items())) if key not in wanted)
    found += _grouped(line for key, line in wanted.items() if have.get(key) != line)
    return found


def resets(old: Configuration | None, new: Configuration) -> bool:
    """Whether that closes the session, or has the peer close it."""
    if old is None or old.identity != new.identity or (uses_bfd(old) and not uses_bfd(new)):
        return True
    return any(_of(old, key) != _of(new, key) for key in ("password", _ACTIVE))


def uses_bfd(configuration: Configuration) -> bool:
    """Whether the session ends when BFD says that the peer is not reached."""
    return bool(_of(configuration, "bfd"))


def _of_router(line: Line) -> bool:
    return line.program == BGPD and bool(line.context) and line.context[0].startswith(_ROUTER)


def _of(configuration: Configuration, key: str) -> str:
    return next((line.text for line in configuration.lines if line.key == key and line.program == BGPD), "")


def _by_key(lines: tuple[Line, ...]) -> Mapping[tuple[str, tuple[str, ...], str], Line]:
    return {(line.program, line.context, line.key): line for line in lines}


def _undone(line: Line) -> Line:
    words = line.text.rsplit(" ", 1)[0] if line.secret else line.text
    return Line(line.program, line.context, line.key, f"no {words}")


def _grouped(lines: Iterator[Line]) -> list[Step]:
    groups = groupby(lines, lambda line: (line.program, line.context, line.secret))
    return [Step(*where[:2], tuple(line.text for line in group), where[2]) for where, group in groups]
