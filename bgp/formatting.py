"""Sentences for network engineers about sessions that are not established: pure functions (FRR 8.4.4)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from state.interconnect import Interconnect

# Of bgpd's reasons for the last reset: there was no session yet, or two connections were one too many.
_NOTHING = frozenset(
    {"", "Waiting for peer OPEN", "No AFI/SAFI activated for peer", "Waiting for NHT", "Admin. shutdown"}
)
_CEASED, _COLLISION = "06", "0607"
# RFC 8203 section 2.
_LONGEST_TEXT = 128
_SENT, _RECEIVED, _CLOSED = "BGP Notification send", "BGP Notification received", "Peer closed the session"
_BAD_AS, _HOLD, _PREFIXES, _BFD = "0202", "0400", "0601", "060A"
# By the peer, RFC 4486.
_CEASE = {
    "0602": "the peer closed the session: administrative shutdown",
    "0603": "the peer closed the session: it is no longer configured there",
    "0604": "the peer closed the session: administrative reset",
    "0605": "the peer rejects the connection",
    "0606": "the peer closed the session: its configuration changed",
    "0608": "the peer closed the session: out of resources",
    "0609": "the peer closed the session: hard reset",
}
_LOGGED = re.compile(
    r"%NOTIFICATION(?:\(Hard Reset\))?: (sent to|received from) neighbor \S+ (\d+)/(\d+) \((.*)\) "
    r"(?:\"(.*)\"|\d+ bytes)"
)
_MESSAGE = re.compile(r"caused BGP to send a NOTIFICATION:\s*((?:[0-9A-F]{2,8}\b\s*)+)")
# RFC 4271 section 4.1 and 4.2, RFC 6793 section 3.
_OPEN_TYPE, _AS_AT, _OPTIONS_AT, _CAPABILITIES, _AS4 = 1, 20, 28, 2, 65


@dataclass(frozen=True, slots=True)
class Reset:
    """How a session or an attempt at one ended: bgpd's reason, the code of the notification, and its words.

    `count` changes with each notification and each session lost, `text` is for
    people, by the peer's operator (RFC 8203).
    """

    due: str = ""
    code: str = ""
    said: str = ""
    count: tuple[int, int, int] = (0, 0, 0)
    text: str = ""


@dataclass(frozen=True, slots=True)
class NoSession:
    """What is seen of a peer with which there is no TCP connection.

    `arp`: whether it answers (None: not asked yet). `tcp`: what a connection
    without a password comes to: `refused`, `silent`, `open`, empty: not tried.
    Packets that came since a while: with another password, with none, and with
    one that is not expected. `speaks`: it exchanged BGP messages within a while,
    by connections it opened.
    """

    arp: bool | None = None
    tcp: str = ""
    other_password: int = 0
    no_password: int = 0
    unexpected_password: int = 0
    speaks: bool = False


def reset(neighbor: Mapping[str, Any]) -> Reset:
    """The last reset of what `show bgp neighbors ADDRESS json` says of a neighbor."""
    stats = neighbor.get("messageStats", {})
    count = (int(stats.get("notificationsSent", 0)), int(stats.get("notificationsRecv", 0)),
             int(neighbor.get("connectionsDropped", 0)))  # fmt: skip
    return Reset(
        neighbor.get("lastResetDueTo", ""), neighbor.get("lastErrorCodeSubcode", ""),
        neighbor.get("lastNotificationReason", ""), count, _printable(neighbor.get("lastShutdownDescription", "")),
    )  # fmt: skip


def notification(line: str) -> Reset | None:
    """The end of a session or an attempt at one, of a line of bgpd's log; None: of none, or one that we closed."""
    found = _LOGGED.search(line)
    if found is None:
        return None
    code = f"{int(found[2]):02X}{int(found[3]):02X}"
    due = _SENT if found[1] == "sent to" else _RECEIVED
    if code == _COLLISION or (due == _SENT and code.startswith(_CEASED)):
        return None
    return Reset(due, code, found[4], text=_printable(found[5] or ""))


def is_wrong_as(found: Reset) -> bool:
    """Whether the peer was refused for its AS."""
    return found.due == _SENT and found.code == _BAD_AS


def is_bfd(found: Reset) -> bool:
    """Whether the session ended for BFD."""
    return found.code == _BFD or found.due == "BFD down received"


def of_reset(found: Reset, one: Interconnect, their_as: int = 0) -> str:
    """A reset in words; empty: nothing to tell. `their_as` is what a peer of another AS says it is (0: unknown)."""
    if found.due in _NOTHING or found.code == _COLLISION:
        return ""
    if is_bfd(found):
        if found.due == _RECEIVED:
            return "the peer closed the session: by its BFD the appliance is not reached"
        return f"BFD down: the peer was silent for 3 times {one.bfd_milliseconds} ms"
    if found.due == _SENT:
        return _sent(found, one, their_as)
    if found.due == _RECEIVED:
        return _received(found, one)
    if found.due == _CLOSED:
        return "the peer closed the connection without saying why"
    return f"the session was closed: {found.due}"


def _sent(found: Reset, one: Interconnect, their_as: int) -> str:
    if found.code == _HOLD:
        return f"hold timer expired: the peer was silent for {one.hold_seconds} s"
    if found.code == _BAD_AS:
        says = f"says it is AS {their_as}" if their_as else "has another AS"
        return f"wrong AS: the peer {says}, configured is {one.peer_as}"
    if found.code == _PREFIXES:
        return too_many(one)
    return f"the appliance closed the session: {found.said or f'notification {found.code}'}"


def _received(found: Reset, one: Interconnect) -> str:
    if found.code == _BAD_AS:
        return f"wrong AS: the peer does not expect AS {one.local_as}, which is configured here"
    if found.code == _PREFIXES:
        return "the peer closed the session: it takes fewer prefixes than are announced to it"
    if found.code == _HOLD:
        return "the peer closed the session: it heard nothing for its hold time"
    said = _CEASE.get(found.code) or f"the peer closed the session: {found.said or f'notification {found.code}'}"
    return f"{said}: '{found.text}'" if found.text else said


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in text)[:_LONGEST_TEXT]


def too_many(one: Interconnect) -> str:
    """In words, that the peer announces more than it may."""
    return f"the peer announced more than {one.maximum_prefixes} prefixes"


def of_silence(seen: NoSession, one: Interconnect) -> str:
    """In words, why there is no TCP connection; empty: not known yet."""
    peer = one.peer_address
    if seen.arp is False:
        return f"the peer {peer} does not answer ARP on {one.where}"
    if seen.other_password:
        return "the password of TCP MD5 differs from the peer's"
    if seen.unexpected_password and not one.password:
        return "the peer uses a password of TCP MD5, and none is configured here"
    if seen.tcp == "refused" and not seen.speaks:
        refuses = f"the peer {peer} refuses connections to TCP port 179: BGP does not run there"
        # A refusal without the password is counted as well as a connection.
        return f"{refuses}, or only connects, without the password" if seen.no_password and one.password else refuses
    if seen.no_password and one.password and seen.tcp:
        return "the peer does not use the password of TCP MD5 that is configured here"
    if seen.tcp == "silent":
        differ = "the passwords differ" if one.password else "it expects a password"
        return f"the peer {peer} answers ARP, but not TCP port 179: a filter is in the way, or {differ}"
    if seen.tcp == "open" and one.password:
        return f"the peer {peer} takes connections without a password only"
    return ""


def their_as(shown: str) -> int:
    """The AS of the OPEN that bgpd refused, of the text of `show bgp neighbors ADDRESS`; 0: none is shown."""
    found = _MESSAGE.search(shown)
    if found is None:
        return 0
    return as_of_open(bytes.fromhex("".join(found[1].split())))


def as_of_open(message: bytes) -> int:
    """The AS number of an OPEN message with its header; 0: it is none, or is broken."""
    if len(message) <= _OPTIONS_AT or message[18] != _OPEN_TYPE:
        return 0
    number = int.from_bytes(message[_AS_AT : _AS_AT + 2], "big")
    options = message[_OPTIONS_AT + 1 :]
    while len(options) >= 2:
        kind, length = options[0], options[1]
        capabilities = options[2 : 2 + length] if kind == _CAPABILITIES else b""
        options = options[2 + length :]
        while len(capabilities) >= 2:
            code, size = capabilities[0], capabilities[1]
            if code == _AS4 and size == 4 and len(capabilities) >= 6:
                number = int.from_bytes(capabilities[2:6], "big")
            capabilities = capabilities[2 + size :]
    return number
