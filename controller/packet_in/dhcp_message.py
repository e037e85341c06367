"""DHCP messages between bytes and values (RFC 2131 section 2, options RFC 2132)."""

from __future__ import annotations

import enum
import socket
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from controller.packet_in.packet import mac_bytes, mac_text

UNSPECIFIED = "0.0.0.0"
HEADER = 240
"""Bytes before the options: the BOOTP header and the magic cookie."""

_FIXED = struct.Struct("!BBBBIHH4s4s4s4s16s64s128s4s")
_MAGIC = b"\x63\x82\x53\x63"
_BOOT_REQUEST, _BOOT_REPLY, _ETHERNET, _MAC_LENGTH = 1, 2, 1, 6
_PAD, _END = 0, 255
_BROADCAST_FLAG = 0x8000
_SMALLEST = 300


class MessageType(enum.IntEnum):
    """DHCP message types (RFC 2132 section 9.6)."""

    DISCOVER = 1
    OFFER = 2
    REQUEST = 3
    DECLINE = 4
    ACK = 5
    NAK = 6
    RELEASE = 7
    INFORM = 8


class Option(enum.IntEnum):
    """Options read or written here (RFC 2132; SEARCH: RFC 3397)."""

    SUBNET_MASK = 1
    ROUTER = 3
    DNS_SERVERS = 6
    HOSTNAME = 12
    DOMAIN = 15
    MTU = 26
    BROADCAST = 28
    REQUESTED_ADDRESS = 50
    LEASE_TIME = 51
    OVERLOAD = 52
    KIND = 53
    SERVER = 54
    PARAMETERS = 55
    MESSAGE = 56
    LARGEST_MESSAGE = 57
    RENEWAL_TIME = 58
    REBINDING_TIME = 59
    CLIENT_ID = 61
    SEARCH = 119


@dataclass(frozen=True, slots=True)
class Request:
    """A client's message; addresses are text, `0.0.0.0` where there is none.

    `client` is ciaddr, `relay` giaddr, `mac` chaddr; `kind` the number of the
    message type, which `MessageType` may not know.
    """

    kind: int
    xid: int
    flags: int
    client: str
    relay: str
    mac: str
    options: Mapping[int, bytes]

    @property
    def broadcast(self) -> bool:
        """Whether the client cannot receive unicast yet."""
        return bool(self.flags & _BROADCAST_FLAG)

    def address(self, option: Option) -> str | None:
        """An option that is one address, None where it is missing or has another length."""
        value = self.options.get(option, b"")
        return socket.inet_ntoa(value) if len(value) == 4 else None


def decode(payload: bytes) -> Request | None:
    """A client's message from a UDP payload, None where it is malformed or not over Ethernet.

    Options may continue in the file and sname fields (option 52) and may be
    split (RFC 3396).
    """
    if len(payload) < HEADER:
        return None
    fields = _FIXED.unpack_from(payload)
    operation, hardware, mac_length, _, xid, _, flags, client, _, _, relay, mac, server_name, file, magic = fields
    if (operation, hardware, mac_length, magic) != (_BOOT_REQUEST, _ETHERNET, _MAC_LENGTH, _MAGIC):
        return None
    options: dict[int, bytes] = {}
    if not _read_options(payload[HEADER:], options):
        return None
    overload = options.get(Option.OVERLOAD, b"\0")
    # The order is RFC 3396's: a split option goes on in file, then in sname.
    for bit, field in ((1, file), (2, server_name)):
        if len(overload) == 1 and overload[0] & bit and not _read_options(field, options):
            return None
    kind = options.get(Option.KIND, b"")
    if len(kind) != 1:
        return None
    return Request(kind[0], xid, flags, socket.inet_ntoa(client), socket.inet_ntoa(relay), mac_text(mac[:6]), options)


def _read_options(data: bytes, options: dict[int, bytes]) -> bool:
    at = 0
    while at < len(data) and data[at] != _END:
        if data[at] == _PAD:
            at += 1
            continue
        if at + 2 > len(data) or at + 2 + data[at + 1] > len(data):
            return False
        end = at + 2 + data[at + 1]
        options[data[at]] = options.get(data[at], b"") + data[at + 2 : end]
        at = end
    return True


def encode(request: Request, *, client: str, yours: str, options: Iterable[tuple[int, bytes]]) -> bytes:
    """A reply to `request` as a UDP payload: `client` is ciaddr, `yours` yiaddr.

    Never shorter than 300 bytes, which old clients expect of BOOTP.
    """
    header = _FIXED.pack(
        _BOOT_REPLY,
        _ETHERNET,
        _MAC_LENGTH,
        0,
        request.xid,
        0,
        request.flags,
        socket.inet_aton(client),
        socket.inet_aton(yours),
        socket.inet_aton(UNSPECIFIED),
        socket.inet_aton(UNSPECIFIED),
        mac_bytes(request.mac),
        b"",
        b"",
        _MAGIC,
    )
    body = b"".join(bytes((code, len(value))) + value for code, value in options) + bytes((_END,))
    return (header + body).ljust(_SMALLEST, b"\0")
