"""Dumps, drops and traces in words; every drop flow has its reason."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from controller import explain
from controller.pipeline import drop_reasons
from controller.pipeline.groups import group_id
from controller.pipeline.registry import (
    GATEWAY_METER,
    NEXT_HOP_METER,
    Feature,
    MeterClass,
    Table,
    cookie,
    meter,
    sender_meter,
)

GOLDEN = Path(__file__).parent.parent / "golden"

DUMP = """\
OFPST_FLOW reply (OF1.4) (xid=0x2):
 cookie=0x107000000abd0, duration=1.0s, table=switch, n_packets=3, n_bytes=294, priority=100,metadata=0x1,dl_dst=02:00:00:00:00:01 actions=output:"trunk-one"
 cookie=0x109000000abd0, duration=1.0s, table="not-translated", n_packets=7, n_bytes=700, priority=10,metadata=0x1 actions=drop
 cookie=0x109000000abd1, duration=1.0s, table=snat, n_packets=1, n_bytes=98, priority=100,tcp,metadata=0x1 actions=ct(commit,table="snat-check",zone=1,nat(src=203.0.113.2:1024-2047))
 cookie=0x101000000abcd, duration=1.0s, table=classify, n_packets=9, n_bytes=1, priority=150,in_port="h1-eth0",vlan_tci=0x0000/0x1fff,dl_src=02:00:00:00:00:01 actions=set_field:0xa->reg2,write_metadata:0x1,goto_table:"port-security"
 cookie=0x1000000abd0, duration=1.0s, table=classify, n_packets=5, n_bytes=50, priority=0 actions=drop
 cookie=0x103000000abd0, duration=1.0s, table="port-security", n_packets=4, n_bytes=4, priority=200,udp,metadata=0x1,tp_src=68,tp_dst=67 actions=meter:16385,CONTROLLER:65535
"""  # noqa: E501


def test_a_dump_is_sorted_as_packets_meet_it() -> None:
    found = explain.parse_dump(DUMP)
    assert [r.table_name for r in found] == [
        "classify",
        "classify",
        "port-security",
        "snat",
        "switch",
        "not-translated",
    ]
    first = found[0]
    assert (first.key, first.feature, first.digest) == (1, "classify", 0xABCD)
    assert (first.priority, first.packets, first.bytes) == (150, 9, 1)
    assert first.match == 'in_port="h1-eth0",vlan_tci=0x0000/0x1fff,dl_src=02:00:00:00:00:01'


def test_names_and_numbers_of_tables_are_the_same() -> None:
    numbers = DUMP
    for table in sorted(Table, key=lambda t: -len(t.title)):
        numbers = re.sub(rf'table="?{table.title}"?(?=,)', f"table={table.number}", numbers)
    by_name, by_number = explain.parse_dump(DUMP), explain.parse_dump(numbers)
    assert [(r.table, r.packets) for r in by_name] == [(r.table, r.packets) for r in by_number]


def test_matches_and_actions_in_words() -> None:
    texts = [(explain.readable_match(r), explain.readable_actions(r)) for r in explain.parse_dump(DUMP)]
    assert texts == [
        ("in_port=h1-eth0,untagged,dl_src=02:00:00:00:00:01", "attachment=10, network 1, → port-security"),
        ("any packet", "drop: no-network"),
        ("udp,tp_src=68,tp_dst=67", "meter:16385, controller"),
        ("tcp", "snat 203.0.113.2:1024-2047, → snat-check"),
        ("dl_dst=02:00:00:00:00:01", "output:trunk-one"),
        ("any packet", "drop: not-translated"),
    ]


def test_the_holder_of_an_additional_address_in_words() -> None:
    numbers = {"announce": 11, "switch": 70, "holders": 76}
    lines = {
        "announce": "arp,reg4=0x6e,metadata=0xa,arp_spa=10.0.9.9 actions=learn(table=holders,priority=100,"
        "delete_learned,cookie=0xa17007a006e,metadata=0xa,reg5=0x7a,load:0x1006e->NXM_NX_REG5[]),goto_table:switch",
        "switch": "dl_dst=00:00:5e:00:01:33 actions=set_field:0x7a->reg5,resubmit(,holders),goto_table:listers",
        "holders": "reg5=0x7a,metadata=0xa actions=load:0x6e->NXM_NX_REG5[]",
    }
    text = "\n".join(f" cookie=0xa170000000001, table={name}, priority=100,{lines[name]}" for name in numbers)
    texts = [(explain.readable_match(r), explain.readable_actions(r)) for r in explain.parse_dump(text)]
    assert texts == [
        ("arp,sender=110,arp_spa=10.0.9.9", "from now on 110 (virtual MAC) holds 122, → switch"),
        ("dl_dst=00:00:5e:00:01:33", "holder=122, look up holders, → listers"),
        ("holder=122", "holder=110"),
    ]


def test_a_group_is_its_next_hops() -> None:
    number = group_id(40, (1, 2), last_resort=True)
    line = (
        ' cookie=0x28120000000000, duration=1.0s, table="remote-route", n_packets=3, n_bytes=294, priority=125,ip,'
        f"metadata=0x28,nw_dst=192.168.50.0/24 actions=group:{number}"
    )
    (record,) = explain.parse_dump(line)
    assert (record.feature, explain.readable_match(record)) == ("remote", "ip,nw_dst=192.168.50.0/24")
    assert explain.readable_actions(record) == "first that lives of slot 1, slot 2, the last resort"


def test_drops_are_summed_by_network_and_reason_with_meters() -> None:
    meters = explain.parse_meters(
        "OFPST_METER reply (OF1.4) (xid=0x2):\n"
        "meter:16385 flow_count:1 packet_in_count:40 byte_in_count:4000 duration:9.1s bands:\n"
        "0: packet_count:36 byte_count:3600\n"
    )
    lost = [
        (d.key, d.table, d.reason.word, d.packets, d.bytes) for d in explain.drops(explain.parse_dump(DUMP), meters)
    ]
    assert lost == [
        (0, "classify", "no-network", 5, 50),
        (1, "not-translated", "not-translated", 7, 700),
        (1, "(meter)", "dhcp-rate", 36, 3600),
    ]


def test_what_the_controller_refuses_is_counted_on_demand() -> None:
    dump = (
        "cookie=0x1060000000001, table=unroutable, n_packets=40, n_bytes=4000, priority=100,ip,metadata=0x1"
        " actions=meter:1,CONTROLLER:65535\n"
        "cookie=0x1030000000001, table=port-security, n_packets=2, n_bytes=2, priority=200,udp actions=CONTROLLER:65535"
    )
    records = explain.parse_dump(dump)
    meters = {1: (15, 1500)}
    assert [(d.reason.word, d.packets) for d in explain.drops(records, meters, refused=True)] == [
        ("unreachable", 40),
        ("icmp-error-rate", 15),
    ]
    assert [d.reason.word for d in explain.drops(records)] == []


@pytest.mark.parametrize("key", [0, 1, 0xFFFF])
def test_the_filter_picks_all_cookies_of_a_network_and_no_other(key: int) -> None:
    value, mask = (int(part, 0) for part in explain.cookie_filter(key).removeprefix("cookie=").split("/"))
    for feature in Feature:
        assert cookie(key, feature, 0xFFFFFFFFFF) & mask == value
    assert cookie((key + 1) % (1 << 16), Feature.SNAT, 0) & mask != value


@pytest.mark.parametrize(
    ("number", "word"),
    [
        (1, "icmp-error-rate"),
        (14591, "icmp-error-rate"),
        (14593, "dhcp-rate"),
        (meter(MeterClass.NETWORK_CONNECTIONS, 9), "connection-rate"),
        (meter(MeterClass.NETWORK_FRAGMENTS, 14591), "fragment-rate"),
        (sender_meter(63), "sender-fragment-rate"),
        (meter(MeterClass.MACHINE_ROUTER, 1), "router-rate"),
        (meter(MeterClass.NETWORK_PUBLIC_IN, 9), "network-public-rate-in"),
        (meter(MeterClass.MACHINE_STORAGE_OUT, 9), "storage-rate-out"),
        (GATEWAY_METER, "gateway-rate"),
        (NEXT_HOP_METER, "next-hop-rate"),
        (262144, "unknown"),
    ],
)
def test_what_a_meter_drops_has_a_reason(number: int, word: str) -> None:
    assert drop_reasons.meter_reason(number).word == word


def test_every_class_of_meters_has_a_reason() -> None:
    assert len({drop_reasons.meter_reason(meter(kind, 3)).word for kind in MeterClass}) == len(MeterClass)


def _golden_drops() -> Iterator[tuple[str, str, str]]:
    for path in sorted(GOLDEN.glob("*.txt")):
        why = ""
        for line in path.read_text().splitlines():
            if line.endswith("actions=drop"):
                yield path.stem, line, why
            why = line.removeprefix("# ")


def test_every_drop_flow_of_the_golden_files_has_its_reason() -> None:
    features = {feature.label: feature for feature in Feature}
    seen = set()
    for label, line, why in _golden_drops():
        record = explain.parse(f"cookie={cookie(1, features[label], 1):#x}, {line}")
        assert record is not None
        assert record.reason is not None
        assert record.reason.word == why, f"controller/pipeline/drop_reasons.py has no or another reason for {line}"
        seen.add(why)
    assert seen == set(drop_reasons.sentences())


def test_a_drop_flow_of_another_version_is_unknown() -> None:
    record = explain.parse("cookie=0x1ff0000000000, table=99, priority=7,ip actions=drop")
    assert record is not None
    assert (record.table, record.table_name, record.feature) == (None, "99", "feature-255")
    assert record.reason is not None
    assert record.reason.word == "unknown"


@pytest.mark.parametrize("line", ["", "OFPST_FLOW reply (OF1.4) (xid=0x2):", "NXST_FLOW", "cookie=0x1"])
def test_what_is_no_flow_is_skipped(line: str) -> None:
    assert explain.parse(line) is None


def test_a_trace_speaks_of_tables_and_networks() -> None:
    text = f"""\
bridge("br-sluice")
-------------------
 1. in_port=1, priority 150, cookie 0x101000000abcd
    goto_table:5
{Table.SNAT_PORTS.number}. ip,metadata=0x1, priority 100, cookie 0x109000000abd0
    ct(commit,table={Table.SNAT_CHECK.number},zone=1,nat(src=203.0.113.2:1024-2047))
{Table.NOT_TRANSLATED.number}. priority 0, cookie 0x9000000abd0
    drop
"""
    assert explain.translate_trace(text).splitlines()[2:] == [
        "classify: in_port=1, priority 150, network 1, classify",
        "    goto_table:port-security",
        "snat-ports: ip,metadata=0x1, priority 100, network 1, snat",
        "    ct(commit,table=snat-check,zone=1,nat(src=203.0.113.2:1024-2047))",
        "not-translated: any packet, priority 0, appliance, snat",
        "    drop: not-translated, no free port in the network's block, an invalid packet, or a foreign ICMP error",
    ]
