"""Match fields of OpenFlow and a typed way to combine them.

Names, sizes and prerequisites follow ovs-fields(7). Every value is kept as an
integer, so that text and wire formats are made from the same thing.
"""

from __future__ import annotations

import enum
import functools
import re
import socket
from dataclasses import dataclass

ETH_TYPE_IP = 0x0800
ETH_TYPE_ARP = 0x0806
IP_PROTO = {"icmp": 1, "tcp": 6, "udp": 17}
ICMP_ERRORS = (3, 11, 12)
"""Types of ICMP messages that quote the packet they are about and that routers pass on (RFC 792)."""
CT_STATE_BITS = {"new": 1, "est": 2, "rel": 4, "rpl": 8, "inv": 16, "trk": 32, "snat": 64, "dnat": 128}
_NW_FRAG = {"no": (0, 3), "first": (1, 3), "later": (3, 3)}
_OXM, _NXM0, _NXM1 = 0x8000, 0x0000, 0x0001


class Field(enum.Enum):
    """A match field: text name, OXM class and number, bytes, and how to write it."""

    IN_PORT = ("in_port", _OXM, 0, 4, "dec")
    REG0 = ("reg0", _NXM1, 0, 4, "hex")
    REG1 = ("reg1", _NXM1, 1, 4, "hex")
    REG2 = ("reg2", _NXM1, 2, 4, "hex")
    REG3 = ("reg3", _NXM1, 3, 4, "hex")
    REG4 = ("reg4", _NXM1, 4, 4, "hex")
    REG5 = ("reg5", _NXM1, 5, 4, "hex")
    CT_STATE = ("ct_state", _NXM1, 105, 4, "ct_state")
    CT_MARK = ("ct_mark", _NXM1, 107, 4, "hex")
    TUN_ID = ("tun_id", _OXM, 38, 8, "hex")
    METADATA = ("metadata", _OXM, 2, 8, "hex")
    ETH_DST = ("dl_dst", _OXM, 3, 6, "mac")
    ETH_SRC = ("dl_src", _OXM, 4, 6, "mac")
    ETH_TYPE = ("dl_type", _OXM, 5, 2, "hex")
    VLAN_TCI = ("vlan_tci", _NXM0, 4, 2, "hex")
    IP_PROTO = ("nw_proto", _OXM, 10, 1, "dec")
    IP_SRC = ("nw_src", _OXM, 11, 4, "ip")
    IP_DST = ("nw_dst", _OXM, 12, 4, "ip")
    IP_TTL = ("nw_ttl", _NXM1, 29, 1, "dec")
    IP_FRAG = ("nw_frag", _NXM1, 26, 1, "frag")
    TCP_SRC = ("tcp_src", _OXM, 13, 2, "dec")
    TCP_DST = ("tcp_dst", _OXM, 14, 2, "dec")
    UDP_SRC = ("udp_src", _OXM, 15, 2, "dec")
    UDP_DST = ("udp_dst", _OXM, 16, 2, "dec")
    ICMP_TYPE = ("icmp_type", _OXM, 19, 1, "dec")
    ICMP_CODE = ("icmp_code", _OXM, 20, 1, "dec")
    ARP_OP = ("arp_op", _OXM, 21, 2, "dec")
    ARP_SPA = ("arp_spa", _OXM, 22, 4, "ip")
    ARP_TPA = ("arp_tpa", _OXM, 23, 4, "ip")
    ARP_SHA = ("arp_sha", _OXM, 24, 6, "mac")
    ARP_THA = ("arp_tha", _OXM, 25, 6, "mac")

    def __init__(self, text: str, oxm_class: int, number: int, size: int, style: str) -> None:
        self.text, self.oxm_class, self.number, self.size, self.style = text, oxm_class, number, size, style
        self.full_mask = (1 << size * 8) - 1
        self.order = len(type(self).__members__)

    def __hash__(self) -> int:
        return self.order


@dataclass(frozen=True, slots=True)
class Term:
    """One field with a value; `mask` None means every bit."""

    field: Field
    value: int
    mask: int | None = None

    def __str__(self) -> str:
        return render(self.field, self.value, self.mask)


@functools.lru_cache(maxsize=1 << 16)
def mac_to_int(mac: str) -> int:
    """`02:00:00:00:00:01` as a number."""
    return int(mac.replace(":", ""), 16)


@functools.lru_cache(maxsize=1 << 16)
def ip_to_int(address: str) -> int:
    """`10.0.0.1` as a number."""
    return int.from_bytes(socket.inet_aton(address), "big")


def int_to_mac(value: int) -> str:
    """A number as `02:00:00:00:00:01`."""
    return ":".join(f"{byte:02x}" for byte in value.to_bytes(6, "big"))


def int_to_ip(value: int) -> str:
    """A number as `10.0.0.1`."""
    return socket.inet_ntoa(value.to_bytes(4, "big"))


def render(field: Field, value: int, mask: int | None) -> str:
    """One term in the syntax of ovs-ofctl(8)."""
    match field.style:
        case "ip":
            text = int_to_ip(value)
            if mask is not None:
                length = mask.bit_count()
                text += f"/{length}" if mask == prefix_mask(length) else f"/{int_to_ip(mask)}"
            return f"{field.text}={text}"
        case "mac":
            return f"{field.text}={int_to_mac(value)}" + ("" if mask is None else f"/{int_to_mac(mask)}")
        case "ct_state":
            bits = CT_STATE_BITS.items()
            used = field.full_mask if mask is None else mask
            return f"{field.text}=" + "".join(("+" if value & bit else "-") + name for name, bit in bits if used & bit)
        case "frag":
            return f"{field.text}=" + next(name for name, pair in _NW_FRAG.items() if pair == (value, mask))
        case "dec" if mask is None:
            return f"{field.text}={value}"
        case _:
            return f"{field.text}={value:#x}" + ("" if mask is None else f"/{mask:#x}")


def prefix_mask(length: int) -> int:
    """The netmask of a prefix length as a number."""
    return (0xFFFFFFFF << (32 - length)) & 0xFFFFFFFF


@functools.lru_cache(maxsize=1 << 16)
def _prefix(field: Field, text: str) -> Term:
    address, _, length = text.partition("/")
    mask = prefix_mask(int(length or 32))
    return Term(field, ip_to_int(address) & mask, None if mask == 0xFFFFFFFF else mask)


def _ct_state(text: str) -> Term:
    value = mask = 0
    for sign, name in re.findall(r"([+-])(\w+)", text):
        mask |= CT_STATE_BITS[name]
        value |= CT_STATE_BITS[name] if sign == "+" else 0
    return Term(Field.CT_STATE, value, mask)


@dataclass(frozen=True, slots=True)
class Match:
    """Terms in the order of `Field`, prerequisites before what needs them."""

    terms: tuple[Term, ...] = ()

    def fields(self) -> frozenset[Field]:
        """The fields matched."""
        return frozenset(term.field for term in self.terms)

    def value(self, field: Field) -> int | None:
        """The exact value `field` must have, or None where it is free or masked."""
        return next((t.value for t in self.terms if t.field is field and t.mask is None), None)

    def __str__(self) -> str:
        protocol = {value: name for name, value in IP_PROTO.items()}
        eth_type, ip_proto = self.value(Field.ETH_TYPE), self.value(Field.IP_PROTO)
        shorthand = {ETH_TYPE_IP: protocol.get(ip_proto or 0, "ip"), ETH_TYPE_ARP: "arp"}.get(eth_type or 0)
        parts = [shorthand] if shorthand else []
        for term in self.terms:
            implied = term.field is Field.ETH_TYPE and shorthand is not None
            implied = implied or (term.field is Field.IP_PROTO and shorthand in IP_PROTO)
            if not implied:
                parts.append(str(term))
        return ",".join(parts)


def match(
    kind: str | None = None,
    *,
    in_port: int | None = None,
    untagged: bool = False,
    vlan: int | None = None,
    tun_id: int | None = None,
    metadata: int | None = None,
    reg1: int | None = None,
    reg2: int | None = None,
    reg3: int | None = None,
    reg4: int | None = None,
    reg5: int | None = None,
    ct_state: str | None = None,
    ct_mark: int | None = None,
    eth_src: str | None = None,
    eth_dst: str | None = None,
    multicast: bool = False,
    ip_src: str | None = None,
    ip_dst: str | None = None,
    ip_proto: int | None = None,
    ttl: int | None = None,
    frag: str | None = None,
    tcp_src: int | None = None,
    tcp_dst: int | None = None,
    udp_src: int | None = None,
    udp_dst: int | None = None,
    icmp_type: int | None = None,
    icmp_code: int | None = None,
    arp_op: int | None = None,
    arp_spa: str | None = None,
    arp_tpa: str | None = None,
    arp_sha: str | None = None,
) -> Match:
    """A match; `kind` is `ip`, `arp`, `icmp`, `tcp` or `udp`.

    Addresses are text, with `/LENGTH` where a prefix is meant; `ct_state` is
    written as in ovs-fields(7), `+trk+est`; `ct_mark` is that of the
    connection, also where the packet is an ICMP error about it; `multicast` matches every group
    address including broadcast.
    """
    terms: list[Term] = []

    def exact(field: Field, value: int | None) -> None:
        if value is not None:
            terms.append(Term(field, value))

    exact(Field.IN_PORT, in_port)
    exact(Field.REG1, reg1)
    exact(Field.REG2, reg2)
    exact(Field.REG3, reg3)
    exact(Field.REG4, reg4)
    exact(Field.REG5, reg5)
    if ct_state is not None:
        terms.append(_ct_state(ct_state))
    exact(Field.CT_MARK, ct_mark)
    exact(Field.TUN_ID, tun_id)
    exact(Field.METADATA, metadata)
    if multicast:
        terms.append(Term(Field.ETH_DST, 1 << 40, 1 << 40))
    exact(Field.ETH_DST, None if eth_dst is None else mac_to_int(eth_dst))
    exact(Field.ETH_SRC, None if eth_src is None else mac_to_int(eth_src))
    if kind is not None:
        exact(Field.ETH_TYPE, ETH_TYPE_ARP if kind == "arp" else ETH_TYPE_IP)
    if untagged:
        terms.append(Term(Field.VLAN_TCI, 0, 0x1FFF))
    if vlan is not None:
        terms.append(Term(Field.VLAN_TCI, 0x1000 | vlan, 0x1FFF))
    exact(Field.IP_PROTO, IP_PROTO.get(kind or "", ip_proto))
    for field, prefix in ((Field.IP_SRC, ip_src), (Field.IP_DST, ip_dst)):
        if prefix is not None:
            terms.append(_prefix(field, prefix))
    exact(Field.IP_TTL, ttl)
    if frag is not None:
        terms.append(Term(Field.IP_FRAG, *_NW_FRAG[frag]))
    exact(Field.TCP_SRC, tcp_src)
    exact(Field.TCP_DST, tcp_dst)
    exact(Field.UDP_SRC, udp_src)
    exact(Field.UDP_DST, udp_dst)
    exact(Field.ICMP_TYPE, icmp_type)
    exact(Field.ICMP_CODE, icmp_code)
    exact(Field.ARP_OP, arp_op)
    for field, prefix in ((Field.ARP_SPA, arp_spa), (Field.ARP_TPA, arp_tpa)):
        if prefix is not None:
            terms.append(_prefix(field, prefix))
    exact(Field.ARP_SHA, None if arp_sha is None else mac_to_int(arp_sha))
    return Match(tuple(terms))
