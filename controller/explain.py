"""Explains flows, drops and traces of the switch in words.

Input is the text of `ovs-ofctl dump-flows` (with or without `--names`),
`meter-stats` and `ofproto/trace`, ovs-ofctl(8); nothing is read from
anywhere else, so this also works on a dump that was sent by mail.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from controller.pipeline.drop_reasons import Reason, meter_reason, reason, refusal
from controller.pipeline.groups import split_group
from controller.pipeline.registry import COOKIE_KEY_SHIFT, VIRTUAL_MAC, Feature, Mark, Table, split_cookie

_KEY_MASK = 0xFFFF << COOKIE_KEY_SHIFT
_BY_LABEL = {table.label(names): table for table in Table for names in (True, False)}
_FEATURES = {feature.value: feature for feature in Feature}

_UNKNOWN_TABLE = 255

_FLOW = re.compile(r"^\s*cookie=(?P<cookie>\w+),\s*(?P<head>.*?)\s*actions=(?P<actions>.*)$")
_STATISTIC = re.compile(r'\b(table|n_packets|n_bytes|duration|idle_age|hard_age|reset_counts)(?:=("[^"]*"|[^,\s]*))?')
_METER = re.compile(r"^meter:(\d+)\b")
_BAND = re.compile(r"^\s*\d+:\s*packet_count:(\d+)\s+byte_count:(\d+)")
_TO_CONTROLLER = re.compile(r"\bcontroller:", re.IGNORECASE)
_METER_ACTION = re.compile(r"\bmeter:(\d+)")


@dataclass(frozen=True, slots=True)
class FlowRecord:
    """One flow as the switch printed it.

    `key` is the network key (0: the appliance's own), `table` None for a
    table that is not of the pipeline, `match` and `actions` the text of the
    dump without the priority.
    """

    key: int
    feature: str
    digest: int
    table: Table | None
    table_name: str
    priority: int
    packets: int
    bytes: int
    match: str
    actions: str

    @property
    def drops(self) -> bool:
        """Whether the flow drops every packet it matches."""
        return self.actions == "drop"

    @property
    def reason(self) -> Reason | None:
        """Why the flow drops; None for a flow that does not."""
        return reason(self.table, self.feature, self.priority, self.match) if self.drops else None


@dataclass(frozen=True, slots=True)
class Drop:
    """Packets and bytes that one network lost in one table for one reason."""

    key: int
    table: str
    feature: str
    reason: Reason
    packets: int
    bytes: int


def cookie_filter(key: int) -> str:
    """The filter of `ovs-ofctl dump-flows` that picks the flows of network `key`."""
    return f"cookie={key << COOKIE_KEY_SHIFT:#x}/{_KEY_MASK:#x}"


def _feature_label(number: int) -> str:
    return _FEATURES[number].label if number in _FEATURES else f"feature-{number}"


def parse(line: str) -> FlowRecord | None:
    """One line of a dump; None for a line that is not a flow."""
    found = _FLOW.match(line)
    if found is None:
        return None
    key, feature, digest = split_cookie(int(found["cookie"], 0))
    counters: dict[str, str] = {}

    def take(part: re.Match[str]) -> str:
        counters[part[1]] = (part[2] or "").strip('"')
        return ""

    rest = _STATISTIC.sub(take, found["head"])
    priority, terms = 32768, []
    for part in filter(None, (part.strip() for part in rest.split(","))):
        if part.startswith("priority="):
            priority = int(part.partition("=")[2])
        else:
            terms.append(part)
    label = counters.get("table", "0")
    table = _BY_LABEL.get(label)
    return FlowRecord(
        key=key,
        feature=_feature_label(feature),
        digest=digest,
        table=table,
        table_name=table.title if table else label,
        priority=priority,
        packets=int(counters.get("n_packets", "0")),
        bytes=int(counters.get("n_bytes", "0")),
        match=",".join(terms),
        actions=found["actions"].strip(),
    )


def parse_dump(text: str) -> tuple[FlowRecord, ...]:
    """Every flow of a dump, in the order packets meet them: table, then priority."""
    found = (parse(line) for line in text.splitlines())
    return tuple(sorted((record for record in found if record is not None), key=_order))


def _order(record: FlowRecord) -> tuple[int, int, str, int]:
    number = record.table.number if record.table else _UNKNOWN_TABLE
    return number, -record.priority, record.match, record.key


def parse_meters(text: str) -> dict[int, tuple[int, int]]:
    """Meter id → packets and bytes it dropped, from `ovs-ofctl meter-stats`."""
    dropped: dict[int, tuple[int, int]] = {}
    meter = 0
    for line in text.splitlines():
        if found := _METER.match(line):
            meter = int(found[1])
        elif band := _BAND.match(line):
            packets, volume = dropped.get(meter, (0, 0))
            dropped[meter] = (packets + int(band[1]), volume + int(band[2]))
    return dropped


def drops(
    records: Iterable[FlowRecord], meters: Mapping[int, tuple[int, int]] | None = None, *, refused: bool = False
) -> tuple[Drop, ...]:
    """What was dropped, summed by network, table and reason, in that order.

    `meters` as `parse_meters` returns it adds what exceeded a rate, for the
    network whose flows use the meter. `refused` adds what the controller
    answered, or would have answered but for the rate, with an ICMP error.
    """
    sums: dict[tuple[int, int, str, str, str], list[int]] = {}
    found: dict[str, Reason] = {}
    left = dict(meters or {})

    def add(record: FlowRecord, why: Reason, place: tuple[int, str, str], packets: int, volume: int) -> None:
        found[why.word] = why
        total = sums.setdefault((record.key, *place, why.word), [0, 0])
        total[0] += packets
        total[1] += volume

    for record in records:
        place = (record.table.number if record.table else _UNKNOWN_TABLE, record.table_name, record.feature)
        why = record.reason
        if why is None and refused and _TO_CONTROLLER.search(record.actions):
            why = refusal(record.table)
        if why is not None:
            add(record, why, place, record.packets, record.bytes)
        metered = _METER_ACTION.search(record.actions)
        if metered is not None and int(metered[1]) in left:
            meter = int(metered[1])
            add(record, meter_reason(meter), (_UNKNOWN_TABLE, "(meter)", ""), *left.pop(meter))
    return tuple(
        Drop(key, table, feature, found[word], packets, volume)
        for (key, _, table, feature, word), (packets, volume) in sorted(sums.items())
    )


_Rule = tuple[re.Pattern[str], Callable[[re.Match[str]], str]]


def _mark(value: str) -> str:
    number = int(value, 16)
    return next((mark.name.lower() for mark in Mark if mark == number), "none" if number == 0 else str(number))


_MATCH_WORDS: tuple[_Rule, ...] = (
    (re.compile(r'"'), lambda m: ""),
    (re.compile(r"(?:^|(?<=,))metadata=0x[0-9a-f]+(?:,|$)"), lambda m: ""),
    (re.compile(r"\breg2=(0x[0-9a-f]+|0)"), lambda m: f"attachment={int(m[1], 0)}"),
    (re.compile(r"\breg1=0x1\b"), lambda m: "too-large"),
    (re.compile(r"\breg3=0x([0-9a-f]+)\b"), lambda m: f"mark={_mark(m[1])}"),
    (re.compile(r"\breg4=(0x[0-9a-f]+)"), lambda m: f"sender={int(m[1], 0)}"),
    (re.compile(r"\breg5=(0x[0-9a-f]+)"), lambda m: f"holder={_holder(m[1])}"),
    (re.compile(r"\bvlan_tci=0x0000/0x1fff"), lambda m: "untagged"),
    (re.compile(r"\bdl_vlan="), lambda m: "vlan="),
    (re.compile(r"\btun_id=(0x[0-9a-f]+)"), lambda m: f"vni={int(m[1], 0)}"),
    (re.compile(r"\bdl_dst=01:00:00:00:00:00/01:00:00:00:00:00"), lambda m: "multicast"),
    (re.compile(r",$"), lambda m: ""),
)

_ACTION_WORDS: tuple[_Rule, ...] = (
    (re.compile(r'"'), lambda m: ""),
    (re.compile(r"\bct\(commit,table=([\w-]+),zone=\d+,nat\(src=([^)]*)\)(?:,exec\([^)]*\))?\)"),
     lambda m: f"snat {m[2]}, → {_table_name(m[1])}"),
    (re.compile(r"\bct\(commit,table=([\w-]+),zone=\d+,nat\(dst=([^)]*)\)\)"),
     lambda m: f"dnat {m[2]}, → {_table_name(m[1])}"),
    (re.compile(r"\bct_clear\b"), lambda m: "forget conntrack"),
    (re.compile(r"\bset_field:(0x[0-9a-f]+)->metadata\b"), lambda m: f"network {int(m[1], 16)}"),
    (re.compile(r"\bct\(table=([\w-]+),zone=\d+,nat\)"), lambda m: f"conntrack, → {_table_name(m[1])}"),
    (re.compile(r"\bgoto_table:([\w-]+)"), lambda m: f"→ {_table_name(m[1])}"),
    (re.compile(r"\bwrite_metadata:(0x[0-9a-f]+|0\b)"), lambda m: f"network {int(m[1], 16)}"),
    (re.compile(r"\bgroup:(\d+)"), lambda m: f"first that lives of {_next_hops(int(m[1]))}"),
    (re.compile(r"\bset_field:(\w+)->reg2\b"), lambda m: f"attachment={int(m[1], 0)}"),
    (re.compile(r"\bset_field:(?:0x)?([0-9a-f]+)->reg3\b"), lambda m: f"mark={_mark(m[1])}"),
    (re.compile(r"\bset_field:(0x[0-9a-f]+)->reg4\b"), lambda m: f"sender={int(m[1], 0)}"),
    (re.compile(r"\bset_field:(0x[0-9a-f]+)->reg5\b"), lambda m: f"holder={_holder(m[1])}"),
    (re.compile(r"\blearn\(table=[\w-]+,.*?reg5=(0x[0-9a-f]+),load:(0x[0-9a-f]+)->NXM_NX_REG5\[\]\)"),
     lambda m: f"from now on {_holder(m[2])} holds {_holder(m[1])}"),
    (re.compile(r"\bload:(0x[0-9a-f]+)->NXM_NX_REG5\[\]"), lambda m: f"holder={_holder(m[1])}"),
    (re.compile(r"\bresubmit\(,([\w-]+)\)"), lambda m: f"look up {_table_name(m[1])}"),
    (re.compile(r"\bset_field:0(?:x0)?->in_port\b|\bload:0(?:x0)?->NXM_OF_IN_PORT\[\]"), lambda m: "hairpin"),
    (re.compile(r"\bpush_vlan:0x8100,set_field:(\d+)->vlan_vid"), lambda m: f"vlan={int(m[1]) & 0xFFF}"),
    (re.compile(r"\bset_field:(0x[0-9a-f]+)->tun_id\b"), lambda m: f"vni={int(m[1], 0)}"),
    (re.compile(r"\bcheck_pkt_larger\((\d+)\)->NXM_NX_REG1\[0\]"), lambda m: f"too-large if over {m[1]} bytes"),
    (re.compile(r"\bset_field:([^,]*?)->(\w+)"), lambda m: f"{m[2]}={m[1]}"),
    (re.compile(r"\bload:(0x[0-9a-f]+)->(\w+)\[(\d+\.\.\d+)\]"), lambda m: f"{_field(m[2])}[{m[3]}]={m[1]}"),
    (re.compile(r"\bmove:([\w\[\].]+)->([\w\[\].]+)"), lambda m: f"{_field(m[2])}={_field(m[1])}"),
    (re.compile(r"\bCONTROLLER:65535", re.IGNORECASE), lambda m: "controller"),
    (re.compile(r",(?=\S)"), lambda m: ", "),
)  # fmt: skip


def readable_match(record: FlowRecord) -> str:
    """The match in words: without the network key, which is that of the record."""
    return _apply(_MATCH_WORDS, record.match) or "any packet"


def readable_actions(record: FlowRecord) -> str:
    """The actions in words; a drop names its reason."""
    why = record.reason
    return f"drop: {why.word}" if why else _apply(_ACTION_WORDS, record.actions)


def _holder(value: str) -> str:
    """The number in `HOLDER`, and whether the machine of that number has a virtual MAC."""
    number = int(value, 0)
    return f"{number & ~VIRTUAL_MAC} (virtual MAC)" if number & VIRTUAL_MAC else str(number)


def _next_hops(group: int) -> str:
    """The next hops in the id of a group: interconnects by slot, and whether there is a last resort."""
    slots, last_resort = split_group(group)
    return ", ".join([*(f"slot {slot}" for slot in slots), *(["the last resort"] if last_resort else [])])


def _apply(rules: tuple[_Rule, ...], text: str) -> str:
    for pattern, write in rules:
        text = pattern.sub(write, text)
    return text


_NXM_NAMES = {
    "NXM_OF_ETH_SRC": "dl_src", "NXM_OF_ETH_DST": "dl_dst", "NXM_OF_IP_SRC": "nw_src", "NXM_OF_IP_DST": "nw_dst",
    "NXM_NX_ARP_SHA": "arp_sha", "NXM_NX_ARP_THA": "arp_tha", "NXM_OF_ARP_SPA": "arp_spa",
    "NXM_OF_ARP_TPA": "arp_tpa", "NXM_NX_REG0": "reg0",
}  # fmt: skip


def _field(name: str) -> str:
    name = name.removesuffix("[]")
    return _NXM_NAMES.get(name, name)


def _table_name(label: str) -> str:
    table = _BY_LABEL.get(label)
    return table.title if table else label


_TRACE_STEP = re.compile(r"^\s*(\d+)\. (.*)$")
_TRACE_FLOW = re.compile(r"^(?P<match>\S*?),? ?priority (?P<priority>\d+), cookie (?P<cookie>0x[0-9a-f]+|0)$")
_TRACE_TABLE = re.compile(r"\b(goto_table:|table=|resubmit\(,|from table )(\d+)\b")


def translate_trace(text: str) -> str:
    """The output of `ofproto/trace` with names for numbers, owners for cookies, and reasons of drops."""
    lines = []
    why: Reason | None = None
    table: Table | None = None
    for line in text.splitlines():
        step = _TRACE_STEP.match(line)
        if step is not None and step[1] in _BY_LABEL:
            table = _BY_LABEL[step[1]]
            flow = _TRACE_FLOW.match(step[2])
            line = f"{table.title}: {step[2]}"
            if flow is not None:
                key, feature, _ = split_cookie(int(flow["cookie"], 0))
                priority, label = int(flow["priority"]), _feature_label(feature)
                why = reason(table, label, priority, flow["match"])
                owner = f"network {key}" if key else "appliance"
                line = f"{table.title}: {flow['match'] or 'any packet'}, priority {priority}, {owner}, {label}"
        elif line.strip() == "drop" and why is not None:
            line = f"{line}: {why.word}, {why.sentence}"
        elif table is not None and _TO_CONTROLLER.search(line) and (refused := refusal(table)) is not None:
            line = f"{line}: {refused.word}, {refused.sentence}"
        lines.append(_TRACE_TABLE.sub(lambda found: found[1] + _table_name(found[2]), line))
    return "\n".join(lines)
