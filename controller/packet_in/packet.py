"""Ethernet, IPv4 and UDP between bytes and values, and the Internet checksum."""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass

ICMP, TCP, UDP = 1, 6, 17
BROADCAST_MAC = "ff:ff:ff:ff:ff:ff"
ETHERNET = 14
"""Length of an Ethernet header without a tag."""

IPV4_TYPE = b"\x08\x00"
ARP_TYPE = b"\x08\x06"

_IPV4 = struct.Struct("!BBHHHBBH4s4s")
_UDP = struct.Struct("!HHHH")
_DONT_FRAGMENT, _MORE_FRAGMENTS, _OFFSET = 0x4000, 0x2000, 0x1FFF


@dataclass(frozen=True, slots=True)
class Ipv4:
    """An IPv4 packet in an Ethernet frame.

    Addresses are text. `header` holds the options too, `payload` ends where
    the total length says, so that Ethernet padding is gone. `offset` is the
    fragment's, in bytes.
    """

    eth_dst: str
    eth_src: str
    header: bytes
    payload: bytes
    source: str
    destination: str
    tos: int
    protocol: int
    dont_fragment: bool
    more: bool
    offset: int

    @property
    def datagram(self) -> bytes:
        """Header and payload."""
        return self.header + self.payload

    @property
    def is_fragment(self) -> bool:
        """Whether this is only a part of a datagram."""
        return self.more or self.offset > 0


def mac_bytes(mac: str) -> bytes:
    """A MAC as six bytes."""
    return bytes.fromhex(mac.replace(":", ""))


def mac_text(data: bytes) -> str:
    """Six bytes as a MAC."""
    return data.hex(":")


def is_group(mac: str) -> bool:
    """Whether `mac` is a broadcast or multicast address."""
    return int(mac[:2], 16) & 1 == 1


def checksum(data: bytes) -> int:
    """The Internet checksum of `data` (RFC 1071), 0 when `data` holds its own right one."""
    if len(data) % 2:
        data += b"\0"
    value = int.from_bytes(data, "big")
    # 2**16 is 1 modulo 2**16-1, so the remainder of the whole is the folded sum
    # of its words; only a sum of zero words is +0, every other multiple is -0.
    return 0xFFFF - (value % 0xFFFF or (0xFFFF if value else 0))


def adjusted(old_checksum: int, old: bytes, new: bytes) -> int:
    """The checksum after `old` became `new`, both of one length, at an even place (RFC 1624, equation 3).

    A wrong checksum stays wrong.
    """
    total = (old_checksum ^ 0xFFFF) + checksum(old) + (checksum(new) ^ 0xFFFF)
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


def parse_ipv4(frame: bytes) -> Ipv4 | None:
    """The IPv4 packet of an untagged frame, None where the frame holds no whole one.

    The header checksum is not verified: packets come from a switch that may
    leave it to hardware.
    """
    if len(frame) < ETHERNET + _IPV4.size or frame[12:14] != IPV4_TYPE:
        return None
    first, tos, total, _, fragment, _, protocol, _, source, destination = _IPV4.unpack_from(frame, ETHERNET)
    length = (first & 0x0F) * 4
    if first >> 4 != 4 or length < _IPV4.size or not length <= total <= len(frame) - ETHERNET:
        return None
    return Ipv4(
        eth_dst=mac_text(frame[0:6]),
        eth_src=mac_text(frame[6:12]),
        header=frame[ETHERNET : ETHERNET + length],
        payload=frame[ETHERNET + length : ETHERNET + total],
        source=socket.inet_ntoa(source),
        destination=socket.inet_ntoa(destination),
        tos=tos,
        protocol=protocol,
        dont_fragment=bool(fragment & _DONT_FRAGMENT),
        more=bool(fragment & _MORE_FRAGMENTS),
        offset=(fragment & _OFFSET) * 8,
    )


def ethernet(destination: str, source: str, payload: bytes, ether_type: bytes = IPV4_TYPE) -> bytes:
    """A frame, without padding: the port it leaves by adds that."""
    return mac_bytes(destination) + mac_bytes(source) + ether_type + payload


def ipv4(source: str, destination: str, protocol: int, payload: bytes, *, tos: int = 0) -> bytes:
    """An atomic datagram (RFC 6864: DF set, so its identification means nothing) with TTL 64."""
    header = _IPV4.pack(
        0x45,
        tos,
        _IPV4.size + len(payload),
        0,
        _DONT_FRAGMENT,
        64,
        protocol,
        0,
        socket.inet_aton(source),
        socket.inet_aton(destination),
    )
    return with_checksum(header, 10) + payload


def with_checksum(data: bytes, at: int) -> bytes:
    """`data` with the two bytes at `at` made its checksum."""
    zeroed = data[:at] + b"\0\0" + data[at + 2 :]
    return data[:at] + checksum(zeroed).to_bytes(2, "big") + data[at + 2 :]


def pseudo_header(source: str, destination: str, protocol: int, length: int) -> bytes:
    """What TCP and UDP checksums cover besides the segment (RFC 9293 section 3.1)."""
    return socket.inet_aton(source) + socket.inet_aton(destination) + struct.pack("!HH", protocol, length)


def udp(source: str, destination: str, source_port: int, destination_port: int, payload: bytes) -> bytes:
    """A UDP datagram with its checksum (RFC 768), to be put into `ipv4`."""
    length = _UDP.size + len(payload)
    header = _UDP.pack(source_port, destination_port, length, 0)
    total = checksum(pseudo_header(source, destination, UDP, length) + header + payload)
    return header[:6] + (total or 0xFFFF).to_bytes(2, "big") + payload


def parse_udp(packet: Ipv4) -> tuple[int, int, bytes] | None:
    """Source port, destination port and payload, None where `packet` is not one whole UDP datagram."""
    if packet.protocol != UDP or packet.is_fragment or len(packet.payload) < _UDP.size:
        return None
    source_port, destination_port, length, _ = _UDP.unpack_from(packet.payload)
    if not _UDP.size <= length <= len(packet.payload):
        return None
    return source_port, destination_port, packet.payload[_UDP.size : length]
