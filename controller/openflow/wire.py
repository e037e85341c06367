"""OpenFlow 1.4 messages as bytes.

Layouts follow the OpenFlow Switch Specification 1.4.0 and, for Nicira
extensions, `include/openflow/nicira-ext.h` and `lib/ofp-actions.c` of OVS 3.1.
Numbers in, bytes out: os-ken serialises 8 to 19 thousand flow mods a second,
this over a hundred thousand.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from typing import Any, Final

from controller.pipeline.flow import (
    CONTROLLER,
    LEARNED_PRIORITY,
    Action,
    CheckPacketLarger,
    ClearInPort,
    Ct,
    CtClear,
    DecTtl,
    Flow,
    Goto,
    Learn,
    LoadBits,
    Meter,
    Move,
    Nat,
    Output,
    PopVlan,
    PushVlan,
    Resubmit,
    SetField,
    ToGroup,
    WriteMetadata,
)
from controller.pipeline.match import Field, Match, Term
from controller.pipeline.meters import Rate

VERSION: Final = 5
HELLO, ERROR, ECHO_REQUEST, ECHO_REPLY, EXPERIMENTER = 0, 1, 2, 3, 4
SET_CONFIG, PACKET_OUT, FLOW_MOD = 9, 13, 14
MULTIPART_REQUEST, MULTIPART_REPLY, BARRIER_REQUEST, BARRIER_REPLY = 18, 19, 20, 21
METER_MOD, BUNDLE_CONTROL, BUNDLE_ADD = 29, 33, 34
MULTIPART_FLOW, MULTIPART_TABLE, MULTIPART_METER, MULTIPART_METER_CONFIG, MULTIPART_PORT_DESC = 1, 3, 9, 10, 13
METER_ADD, METER_MODIFY, METER_DELETE = 0, 1, 2
BUNDLE_OPEN, BUNDLE_COMMIT, BUNDLE_COMMITTED, BUNDLE_DISCARD = 0, 4, 5, 6
FRAG_NX_MATCH: Final = 3
"""Frag mode in which `nw_frag` can be matched (nicira-ext.h, OFPC_FRAG_NX_MATCH)."""

HEADER: Final = struct.Struct("!BBHI")

_ADD, _DELETE = 0, 3
_NONE32: Final = 0xFFFFFFFF
_ALL64: Final = 0xFFFFFFFFFFFFFFFF
_NO_TABLE: Final = 255
NICIRA: Final = 0x2320
_NXAST_CT: Final = 35
APPLY_ACTIONS: Final = 4
CT_ACTION: Final = struct.pack("!IH", NICIRA, _NXAST_CT)
"""How a conntrack action goes on after its type and length: vendor and subtype."""
_ATOMIC_ORDERED: Final = 3
_METER_BURST: Final = 4
_FLOW_MOD = struct.Struct("!BBHIQQBBHHHIIIHH")
_BUNDLE = struct.Struct("!BBHIIHH")
_TLV = struct.Struct("!HBB")
_PAIR = struct.Struct("!HH")
_NX = struct.Struct("!HHIH")
_PADDING: Final = tuple(bytes(-length % 8) for length in range(8))


def padded(data: bytes) -> bytes:
    """`data` with zeros up to a multiple of 8 bytes."""
    return data + _PADDING[len(data) & 7]


# By `Field.order`: the TLV header of an exact and of a masked term.
_EXACT: Final = [b""] * (len(Field) + 1)
_MASKED: Final = [b""] * (len(Field) + 1)
for _field in Field:
    _EXACT[_field.order] = _TLV.pack(_field.oxm_class, _field.number << 1, _field.size)
    _MASKED[_field.order] = _TLV.pack(_field.oxm_class, _field.number << 1 | 1, _field.size * 2)
# NXAST_REG_MOVE comes back with the headers of NXM where a field has both; number in class 0 (class 1 for ARP's MACs).
_NXM: Final = {
    Field.ETH_DST: _TLV.pack(0, 1 << 1, 6),
    Field.ETH_SRC: _TLV.pack(0, 2 << 1, 6),
    Field.IP_SRC: _TLV.pack(0, 7 << 1, 4),
    Field.IP_DST: _TLV.pack(0, 8 << 1, 4),
    Field.ARP_OP: _TLV.pack(0, 15 << 1, 2),
    Field.ARP_SPA: _TLV.pack(0, 16 << 1, 4),
    Field.ARP_TPA: _TLV.pack(0, 17 << 1, 4),
    Field.ARP_SHA: _TLV.pack(1, 17 << 1, 6),
    Field.ARP_THA: _TLV.pack(1, 18 << 1, 6),
}
# vlan_tci under this mask is what OpenFlow calls vlan_vid, and what OVS gives back.
_VLAN_VID: Final = _TLV.pack(0x8000, 6 << 1, 2)
_VLAN_VID_MASK: Final = 0x1FFF
# Both bits that nw_frag has.
_FRAG_MASK: Final = 3


def _nxm(field: Field) -> bytes:
    return _NXM.get(field) or _EXACT[field.order]


def term(value: Term) -> bytes:
    """One match term as a TLV (section 7.2.2.2)."""
    field, size, mask = value.field, value.field.size, value.mask
    if mask is None:
        return _EXACT[field.order] + value.value.to_bytes(size, "big")
    if mask == _VLAN_VID_MASK and field is Field.VLAN_TCI:
        return _VLAN_VID + value.value.to_bytes(2, "big")
    if mask == _FRAG_MASK and field is Field.IP_FRAG:
        return _EXACT[field.order] + value.value.to_bytes(1, "big")
    return _MASKED[field.order] + value.value.to_bytes(size, "big") + mask.to_bytes(size, "big")


def match(value: Match) -> bytes:
    """A match (section 7.2.2), padded to 8 bytes."""
    terms = b"".join(map(term, value.terms))
    return padded(_PAIR.pack(1, 4 + len(terms)) + terms)


def _action(kind: int, body: bytes) -> bytes:
    size = 4 + len(body)
    return _PAIR.pack(kind, size + -size % 8) + body + _PADDING[size & 7]


def _nicira(subtype: int, body: bytes) -> bytes:
    size = 10 + len(body)
    return _NX.pack(0xFFFF, size + -size % 8, NICIRA, subtype) + body + _PADDING[size & 7]


def _output(action: Output) -> bytes:
    return struct.pack("!HHIH6x", 0, 16, action.port, 0xFFFF if action.port == CONTROLLER else 0)


def _set_field(action: SetField) -> bytes:
    return _action(25, _EXACT[action.field.order] + action.value.to_bytes(action.field.size, "big"))


def _load_bits(action: LoadBits) -> bytes:
    # NXAST_REG_LOAD: a set-field of OpenFlow 1.4 has no mask.
    bits = struct.pack("!H", action.first << 6 | action.count - 1)
    return _nicira(7, bits + _nxm(action.field) + action.value.to_bytes(8, "big"))


def _clear_in_port(action: ClearInPort) -> bytes:
    # NXAST_REG_LOAD of 16 bits into NXM_OF_IN_PORT: OpenFlow 1.1 and later have no such 16-bit field.
    return _nicira(7, struct.pack("!HIQ", 15, 0x00000002, 0))


def _move(action: Move) -> bytes:
    source, target = action.source, action.target
    return _nicira(6, struct.pack("!HHH", source.size * 8, 0, 0) + _nxm(source) + _nxm(target))


def _dec_ttl(action: DecTtl) -> bytes:
    return b"\x00\x18\x00\x08\x00\x00\x00\x00"


def _pop_vlan(action: PopVlan) -> bytes:
    return b"\x00\x12\x00\x08\x00\x00\x00\x00"


def _push_vlan(action: PushVlan) -> bytes:
    tag = _VLAN_VID + (0x1000 | action.vlan).to_bytes(2, "big")
    return b"\x00\x11\x00\x08\x81\x00\x00\x00" + _action(25, tag)


def _nat(nat: Nat | None) -> bytes:
    if nat is None:
        return _nicira(36, struct.pack("!2xHH", 0, 0))
    present, ranges = 1, struct.pack("!I", nat.first)
    if nat.last != nat.first:
        present, ranges = present | 2, ranges + struct.pack("!I", nat.last)
    if nat.ports is not None:
        present, ranges = present | 16 | 32, ranges + _PAIR.pack(*nat.ports)
    return _nicira(36, struct.pack("!2xHH", 2 if nat.destination else 1, present) + ranges)


# NXAST_REG_MOVE of the low 32 bits of metadata, where the network key is.
_MARK_BY_KEY: Final = _nicira(6, struct.pack("!HHH", 32, 0, 0) + _nxm(Field.METADATA) + _nxm(Field.CT_MARK))


def _ct(action: Ct) -> bytes:
    body = struct.pack("!HIHB3xH", 1 if action.commit else 0, 0, action.zone, action.table.number, 0)
    return _nicira(_NXAST_CT, body + _nat(action.nat) + (_MARK_BY_KEY if action.mark else b""))


def _ct_clear(action: CtClear) -> bytes:
    return _nicira(43, b"")


def _check_packet_larger(action: CheckPacketLarger) -> bytes:
    return _nicira(49, _PAIR.pack(action.size, 0) + _EXACT[action.target.order] + bytes(6))


def _to_group(action: ToGroup) -> bytes:
    return struct.pack("!HHI", 22, 8, action.group)


def _resubmit(action: Resubmit) -> bytes:
    return _nicira(14, struct.pack("!HB3x", 0xFFF8, action.table.number))


_LEARN: Final = struct.Struct("!HHHQHBxHH")
_DELETE_LEARNED: Final = 2
# Of a flow_mod_spec: the value is in the specification itself; what it is matched with, or loaded into.
_IMMEDIATE_MATCH, _IMMEDIATE_LOAD = 1 << 13, 1 << 13 | 1 << 11


def _learn_spec(kind: int, field: Field, value: int) -> bytes:
    target = _nxm(field) + bytes(2)
    return (kind | field.size * 8).to_bytes(2, "big") + value.to_bytes(field.size, "big") + target


def _learn(action: Learn) -> bytes:
    # NXAST_LEARN (nicira-ext.h): no timeouts, since an address stays where it is while nobody announces it.
    head = _LEARN.pack(0, 0, LEARNED_PRIORITY, action.cookie, _DELETE_LEARNED, action.table.number, 0, 0)
    return _nicira(
        16,
        head
        + _learn_spec(_IMMEDIATE_MATCH, Field.METADATA, action.key)
        + _learn_spec(_IMMEDIATE_MATCH, action.field, action.value)
        + _learn_spec(_IMMEDIATE_LOAD, action.field, action.load),
    )


_ACTIONS: Final[dict[type, Callable[[Any], bytes]]] = {
    Output: _output,
    SetField: _set_field,
    LoadBits: _load_bits,
    ClearInPort: _clear_in_port,
    Move: _move,
    DecTtl: _dec_ttl,
    PopVlan: _pop_vlan,
    PushVlan: _push_vlan,
    Ct: _ct,
    CtClear: _ct_clear,
    CheckPacketLarger: _check_packet_larger,
    ToGroup: _to_group,
    Resubmit: _resubmit,
    Learn: _learn,
}
# Instructions in the order in which a switch runs them and gives them back (section 5.9).
_INSTRUCTIONS: Final[dict[type, Callable[[Any], bytes]]] = {
    Meter: lambda a: struct.pack("!HHI", 6, 8, a.meter),
    WriteMetadata: lambda a: struct.pack("!HH4xQQ", 2, 24, a.value, _ALL64),
    Goto: lambda a: struct.pack("!HHB3x", 1, 8, a.table.number),
}


def actions(values: Iterable[Action]) -> bytes:
    """A list of actions that are not instructions; KeyError for one that is."""
    return b"".join([_ACTIONS[type(value)](value) for value in values])


def instructions(values: Iterable[Action]) -> bytes:
    """The instructions of a flow: meter, apply-actions, write-metadata, goto-table."""
    before, applied, after = b"", b"", b""
    for value in values:
        encode = _ACTIONS.get(type(value))
        if encode is not None:
            applied += encode(value)
        elif type(value) is Meter:
            before += _INSTRUCTIONS[Meter](value)
        else:
            after += _INSTRUCTIONS[type(value)](value)
    if applied:
        before += struct.pack("!HH4x", APPLY_ACTIONS, 8 + len(applied)) + applied
    return before + after


def flow_add(flow: Flow, cookie: int) -> bytes:
    """A flow mod that adds `flow`, or replaces the flow of the same table, priority and match."""
    matched, done = match(flow.match), instructions(flow.actions)
    head = _FLOW_MOD.pack(
        VERSION, FLOW_MOD, 48 + len(matched) + len(done), 0, cookie, 0, flow.table.number, _ADD,
        0, 0, flow.priority, _NONE32, _NONE32, _NONE32, 0, 0,
    )  # fmt: skip
    return head + matched + done


def flow_delete(table: int, cookie: int) -> bytes:
    """A flow mod that deletes the flows of `table` with exactly this cookie."""
    head = _FLOW_MOD.pack(
        VERSION, FLOW_MOD, 56, 0, cookie, _ALL64, table, _DELETE,
        0, 0, 0, _NONE32, _NONE32, _NONE32, 0, 0,
    )  # fmt: skip
    return head + b"\x00\x01\x00\x04\x00\x00\x00\x00"


def _meter_mod(command: int, meter: int, rate: Rate | None) -> bytes:
    band = b"" if rate is None else struct.pack("!HHII4x", 1, 16, rate.value, rate.burst)
    flags = 0 if rate is None else rate.unit | _METER_BURST
    return struct.pack("!BBHIHHI", VERSION, METER_MOD, 16 + len(band), 0, command, flags, meter) + band


def meter_add(meter: int, rate: Rate) -> bytes:
    """A new meter that drops what exceeds `rate`."""
    return _meter_mod(METER_ADD, meter, rate)


def meter_modify(meter: int, rate: Rate) -> bytes:
    """Another rate for a meter that exists."""
    return _meter_mod(METER_MODIFY, meter, rate)


def meter_delete(meter: int) -> bytes:
    """Remove a meter; the switch removes the flows that still use it, too."""
    return _meter_mod(METER_DELETE, meter, None)


def packet_out(frame: bytes, values: Iterable[Action]) -> bytes:
    """Have the switch run actions on a frame, as if it came from the controller."""
    done = actions(values)
    size = 24 + len(done) + len(frame)
    head = struct.pack("!BBHIIIH6x", VERSION, PACKET_OUT, size, 0, _NONE32, CONTROLLER, len(done))
    return head + done + frame


def set_config() -> bytes:
    """Frag mode NX-MATCH, and whole packets to the controller."""
    return struct.pack("!BBHIHH", VERSION, SET_CONFIG, 12, 0, FRAG_NX_MATCH, 0xFFFF)


def with_xid(message: bytes, xid: int) -> bytes:
    """`message` with this transaction id."""
    return message[:4] + xid.to_bytes(4, "big") + message[8:]


def bundle_control(bundle: int, kind: int, xid: int) -> bytes:
    """Open, commit or discard an atomic, ordered bundle (section 7.3.9.1)."""
    return _BUNDLE.pack(VERSION, BUNDLE_CONTROL, 16, xid, bundle, kind, _ATOMIC_ORDERED)


def bundle_add(bundle: int, message: bytes, xid: int) -> bytes:
    """Add `message` to a bundle; errors about either come back with `xid`."""
    head = _BUNDLE.pack(VERSION, BUNDLE_ADD, 16 + len(message), xid, bundle, 0, _ATOMIC_ORDERED)
    return head + message[:4] + xid.to_bytes(4, "big") + message[8:]


def barrier(xid: int) -> bytes:
    """A barrier request: answered when everything before it is done."""
    return HEADER.pack(VERSION, BARRIER_REQUEST, 8, xid)


def hello() -> bytes:
    """A hello that offers exactly OpenFlow 1.4."""
    return struct.pack("!BBHIHHI", VERSION, HELLO, 16, 0, 1, 8, 1 << VERSION)


def echo_reply(request: bytes) -> bytes:
    """The reply to an echo request."""
    return request[:1] + bytes([ECHO_REPLY]) + request[2:]


def flow_stats_request(xid: int, table: int = _NO_TABLE) -> bytes:
    """Ask for all flows of `table` (255: of every table) with their counters."""
    body = struct.pack("!B3xII4xQQ", table, _NONE32, _NONE32, 0, 0) + b"\x00\x01\x00\x04\x00\x00\x00\x00"
    return _multipart(xid, MULTIPART_FLOW, body)


def table_stats_request(xid: int) -> bytes:
    """Ask how many flows each table has."""
    return _multipart(xid, MULTIPART_TABLE, b"")


def meter_config_request(xid: int, meter: int = _NONE32) -> bytes:
    """Ask for the configuration of one meter, or of all."""
    return _multipart(xid, MULTIPART_METER_CONFIG, struct.pack("!I4x", meter))


def meter_stats_request(xid: int, meter: int = _NONE32) -> bytes:
    """Ask for the counters of one meter, or of all."""
    return _multipart(xid, MULTIPART_METER, struct.pack("!I4x", meter))


def port_desc_request(xid: int) -> bytes:
    """Ask for the description of all ports."""
    return _multipart(xid, MULTIPART_PORT_DESC, b"")


def _multipart(xid: int, kind: int, body: bytes) -> bytes:
    return HEADER.pack(VERSION, MULTIPART_REQUEST, 16 + len(body), xid) + struct.pack("!HH4x", kind, 0) + body
