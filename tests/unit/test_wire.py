"""Bytes against os-ken's own, for every shape it can express."""

from __future__ import annotations

import importlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import controller.openflow.workarounds  # os-ken on its native hub, wherever this test runs
from controller.openflow import wire
from controller.pipeline.flow import (
    CONTROLLER,
    IN_PORT,
    ClearInPort,
    Ct,
    CtClear,
    DecTtl,
    Flow,
    Goto,
    LoadBits,
    Meter,
    Move,
    Nat,
    Output,
    PopVlan,
    PushVlan,
    Resubmit,
    SetField,
    WriteMetadata,
)
from controller.pipeline.match import Field, Match, Term, match
from controller.pipeline.meters import Rate, Unit
from controller.pipeline.registry import Feature, Table

assert controller.openflow.workarounds
protocol = importlib.import_module("os_ken.ofproto.ofproto_protocol")
DATAPATH = protocol.ProtocolDesc(version=5)
OFP, P = DATAPATH.ofproto, DATAPATH.ofproto_parser


def serialised(message: Any) -> bytes:
    message.xid = 0
    message.serialize()
    return bytes(message.buf)


def osken_flow(flow_match: Any, instructions: list[Any], **more: Any) -> bytes:
    return serialised(P.OFPFlowMod(
        DATAPATH, match=flow_match, instructions=instructions, out_port=OFP.OFPP_ANY, out_group=OFP.OFPG_ANY,
        buffer_id=OFP.OFP_NO_BUFFER, **more,
    ))  # fmt: skip


def applied(*actions: Any) -> list[Any]:
    return [P.OFPInstructionActions(OFP.OFPIT_APPLY_ACTIONS, list(actions))]


def flow(flow_match: Match, *actions: Any, priority: int = 100, table: Table = Table.SWITCH) -> Flow:
    return Flow(table, priority, flow_match, actions, Feature.SWITCH, 7, "test")


def in_osken_order(value: Match) -> Match:
    """os-ken sorts terms by OXM number."""
    return Match(tuple(sorted(value.terms, key=lambda t: t.field.number)))


MAC, PEER = "02:00:00:00:00:01", "02:00:00:00:00:02"
MATCHES = {
    "all": (match(), {}),
    "port": (match(in_port=7), {"in_port": 7}),
    "port, MAC, address, network": (
        match("ip", in_port=7, metadata=0x123456, eth_src=MAC, ip_src="10.0.0.2"),
        {"in_port": 7, "metadata": 0x123456, "eth_src": MAC, "eth_type": 0x800, "ipv4_src": "10.0.0.2"},
    ),
    "prefixes": (
        match("ip", ip_src="10.0.0.0/8", ip_dst="172.16.0.0/12"),
        {"eth_type": 0x800, "ipv4_src": ("10.0.0.0", "255.0.0.0"), "ipv4_dst": ("172.16.0.0", "255.240.0.0")},
    ),
    "udp": (
        match("udp", udp_src=68, udp_dst=67),
        {"eth_type": 0x800, "ip_proto": 17, "udp_src": 68, "udp_dst": 67},
    ),
    "tcp": (
        match("tcp", tcp_src=53, tcp_dst=54),
        {"eth_type": 0x800, "ip_proto": 6, "tcp_src": 53, "tcp_dst": 54},
    ),
    "icmp": (
        match("icmp", icmp_type=8, icmp_code=0),
        {"eth_type": 0x800, "ip_proto": 1, "icmpv4_type": 8, "icmpv4_code": 0},
    ),
    "arp": (
        match("arp", eth_dst=PEER, arp_op=1, arp_spa="10.0.0.2", arp_tpa="10.0.0.0/16", arp_sha=MAC),
        {
            "eth_type": 0x806, "eth_dst": PEER, "arp_op": 1, "arp_spa": "10.0.0.2",
            "arp_tpa": ("10.0.0.0", "255.255.0.0"), "arp_sha": MAC,
        },
    ),
    "multicast": (match(multicast=True), {"eth_dst": ("01:00:00:00:00:00", "01:00:00:00:00:00")}),
    "VLAN": (match(vlan=5), {"vlan_vid": 0x1005}),
    "untagged": (match(untagged=True), {"vlan_vid": 0}),
    "VNI": (match(tun_id=300), {"tunnel_id": 300}),
    "register": (match(reg1=1), {"reg1": 1}),
    "register 2": (match(reg2=9), {"reg2": 9}),
    "register 3": (match(reg3=1), {"reg3": 1}),
    "conntrack": (match(ct_state="+trk+est-inv"), {"ct_state": (0x22, 0x32)}),
}  # fmt: skip


@pytest.mark.parametrize("shape", MATCHES)
def test_matches_are_those_of_osken(shape: str) -> None:
    ours, theirs = MATCHES[shape]
    assert wire.flow_add(flow(in_osken_order(ours)), 0xABCD) == osken_flow(
        P.OFPMatch(**theirs), [], cookie=0xABCD, priority=100, table_id=Table.SWITCH.number, command=OFP.OFPFC_ADD
    )


def ct(*, commit: bool, nested: list[Any]) -> Any:
    return P.NXActionCT(flags=int(commit), zone_src="", zone_ofs_nbits=1, recirc_table=Table.SNAT_CHECK.number, alg=0,
                        actions=nested)  # fmt: skip


ACTIONS = {
    "output": (Output(5), [P.OFPActionOutput(5, 0)]),
    "in_port": (Output(IN_PORT), [P.OFPActionOutput(OFP.OFPP_IN_PORT, 0)]),
    "controller": (Output(CONTROLLER), [P.OFPActionOutput(OFP.OFPP_CONTROLLER, 0xFFFF)]),
    "set MAC": (SetField(Field.ETH_DST, 0x020000000002), [P.OFPActionSetField(eth_dst=PEER)]),
    "set address": (SetField(Field.IP_SRC, 0x0A000002), [P.OFPActionSetField(ipv4_src="10.0.0.2")]),
    "set ARP operation": (SetField(Field.ARP_OP, 2), [P.OFPActionSetField(arp_op=2)]),
    "set VNI": (SetField(Field.TUN_ID, 300), [P.OFPActionSetField(tunnel_id=300)]),
    "set register": (SetField(Field.REG2, 3), [P.OFPActionSetField(reg2=3)]),
    "load bits": (
        LoadBits(Field.IP_SRC, 28, 4, 1),
        [P.NXActionRegLoad(ofs_nbits=28 << 6 | 3, dst="ipv4_src_nxm", value=1)],
    ),
    "clear in_port": (
        ClearInPort(),
        [P.NXActionRegLoad(ofs_nbits=15, dst="in_port_nxm", value=0)],
    ),
    "move": (
        Move(Field.IP_SRC, Field.IP_DST),
        [P.NXActionRegMove(src_field="ipv4_src_nxm", dst_field="ipv4_dst_nxm", n_bits=32)],
    ),
    "move MAC": (
        Move(Field.ETH_SRC, Field.ETH_DST),
        [P.NXActionRegMove(src_field="eth_src_nxm", dst_field="eth_dst_nxm", n_bits=48)],
    ),
    "move to a register": (
        Move(Field.ARP_TPA, Field.REG0),
        [P.NXActionRegMove(src_field="arp_tpa_nxm", dst_field="reg0", n_bits=32)],
    ),
    "move ARP MAC": (
        Move(Field.ARP_SHA, Field.ARP_THA),
        [P.NXActionRegMove(src_field="arp_sha_nxm", dst_field="arp_tha_nxm", n_bits=48)],
    ),
    "decrement TTL": (DecTtl(), [P.OFPActionDecNwTtl()]),
    "pop VLAN": (PopVlan(), [P.OFPActionPopVlan()]),
    "push VLAN": (PushVlan(5), [P.OFPActionPushVlan(0x8100), P.OFPActionSetField(vlan_vid=0x1005)]),
    "un-NAT": (Ct(Table.SNAT_CHECK, 1), [ct(commit=False, nested=[P.NXActionNAT(flags=0)])]),
    "NAT to a block": (
        Ct(Table.SNAT_CHECK, 1, commit=True, nat=Nat(0xCB007107, 0xCB007107, (1024, 2047))),
        [ct(commit=True, nested=[
            P.NXActionNAT(flags=1, range_ipv4_min="203.0.113.7", range_proto_min=1024, range_proto_max=2047)
        ])],
    ),
    "NAT to addresses": (
        Ct(Table.SNAT_CHECK, 1, commit=True, nat=Nat(0xCB007107, 0xCB007109)),
        [ct(commit=True, nested=[
            P.NXActionNAT(flags=1, range_ipv4_min="203.0.113.7", range_ipv4_max="203.0.113.9")
        ])],
    ),
    "NAT that marks": (
        Ct(Table.SNAT_CHECK, 1, commit=True, nat=Nat(0xCB007107, 0xCB007107, (1024, 2047)), mark=True),
        [ct(commit=True, nested=[
            P.NXActionNAT(flags=1, range_ipv4_min="203.0.113.7", range_proto_min=1024, range_proto_max=2047),
            P.NXActionRegMove(src_field="metadata", dst_field="ct_mark", n_bits=32),
        ])],
    ),
    "NAT of the destination": (
        Ct(Table.SNAT_CHECK, 1, commit=True, nat=Nat(0x0A000002, 0x0A000002, destination=True)),
        [ct(commit=True, nested=[P.NXActionNAT(flags=2, range_ipv4_min="10.0.0.2")])],
    ),
    "forget conntrack": (CtClear(), [P.NXActionCTClear()]),
    "resubmit": (Resubmit(Table.SWITCH), [P.NXActionResubmitTable(in_port=0xFFF8, table_id=Table.SWITCH.number)]),
}  # fmt: skip


@pytest.mark.parametrize("shape", ACTIONS)
def test_actions_are_those_of_osken(shape: str) -> None:
    ours, theirs = ACTIONS[shape]
    expected = osken_flow(P.OFPMatch(), applied(*theirs), priority=100, table_id=Table.SWITCH.number)
    assert wire.flow_add(flow(Match(), ours), 0) == expected


def test_instructions_are_those_of_osken() -> None:
    ours = flow(Match(), Meter(3), Output(1), DecTtl(), WriteMetadata(0x77), Goto(Table.SWITCH), table=Table.CLASSIFY)
    theirs = [
        P.OFPInstructionMeter(3, 6),
        *applied(P.OFPActionOutput(1, 0), P.OFPActionDecNwTtl()),
        P.OFPInstructionWriteMetadata(0x77, 0xFFFFFFFFFFFFFFFF),
        P.OFPInstructionGotoTable(Table.SWITCH.number),
    ]
    assert wire.flow_add(ours, 0) == osken_flow(P.OFPMatch(), theirs, priority=100, table_id=Table.CLASSIFY.number)


def test_a_flow_without_actions_has_no_instructions() -> None:
    assert wire.flow_add(flow(Match()), 0)[-8:] == bytes.fromhex("0001000400000000")


def test_delete_is_by_exact_cookie_in_one_table() -> None:
    assert wire.flow_delete(25, 0xABC) == osken_flow(
        P.OFPMatch(), [], cookie=0xABC, cookie_mask=0xFFFFFFFFFFFFFFFF, table_id=25, priority=0,
        command=OFP.OFPFC_DELETE,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("ours", "command", "unit"),
    [
        (wire.meter_add(9, Rate(20, Unit.PPS, 30)), "OFPMC_ADD", OFP.OFPMF_PKTPS),
        (wire.meter_modify(9, Rate(20, Unit.KBPS, 30)), "OFPMC_MODIFY", OFP.OFPMF_KBPS),
    ],
)
def test_meters(ours: bytes, command: str, unit: int) -> None:
    band = P.OFPMeterBandDrop(rate=20, burst_size=30)
    flags = unit | OFP.OFPMF_BURST
    assert ours == serialised(P.OFPMeterMod(DATAPATH, getattr(OFP, command), flags, 9, [band]))


def test_meter_delete() -> None:
    assert wire.meter_delete(9) == serialised(P.OFPMeterMod(DATAPATH, OFP.OFPMC_DELETE, 0, 9, []))


def test_packet_out() -> None:
    frame = bytes(range(60))
    theirs = P.OFPPacketOut(
        DATAPATH, OFP.OFP_NO_BUFFER, OFP.OFPP_CONTROLLER, [P.OFPActionSetField(reg2=3), P.OFPActionOutput(4, 0)], frame
    )
    assert wire.packet_out(frame, (SetField(Field.REG2, 3), Output(4))) == serialised(theirs)


@pytest.mark.parametrize("instruction", [Meter(1), Goto(Table.SWITCH), WriteMetadata(1)])
def test_packet_out_cannot_have_instructions(instruction: Any) -> None:
    with pytest.raises(KeyError):
        wire.packet_out(b"", (instruction,))


def test_bundles() -> None:
    flags = OFP.OFPBF_ATOMIC | OFP.OFPBF_ORDERED
    for kind in (wire.BUNDLE_OPEN, wire.BUNDLE_COMMIT, wire.BUNDLE_DISCARD):
        assert wire.bundle_control(8, kind, 0) == serialised(P.OFPBundleCtrlMsg(DATAPATH, 8, kind, flags, []))
    added = P.OFPFlowMod(DATAPATH, match=P.OFPMatch(in_port=1), table_id=Table.CLASSIFY.number, instructions=[],
                         buffer_id=OFP.OFP_NO_BUFFER, out_port=OFP.OFPP_ANY, out_group=OFP.OFPG_ANY)  # fmt: skip
    added.xid = 55
    whole = P.OFPBundleAddMsg(DATAPATH, 8, flags, added, [])
    whole.xid = 55
    whole.serialize()
    ours = wire.flow_add(flow(match(in_port=1), priority=OFP.OFP_DEFAULT_PRIORITY, table=Table.CLASSIFY), 0)
    assert wire.bundle_add(8, ours, 55) == bytes(whole.buf)


def test_requests() -> None:
    assert wire.set_config() == serialised(P.OFPSetConfig(DATAPATH, 3, 0xFFFF))
    assert wire.barrier(0) == serialised(P.OFPBarrierRequest(DATAPATH))
    assert wire.port_desc_request(0) == serialised(P.OFPPortDescStatsRequest(DATAPATH, 0, OFP.OFPP_ANY))[:16]
    assert wire.meter_config_request(0) == serialised(P.OFPMeterConfigStatsRequest(DATAPATH, 0, OFP.OFPM_ALL))
    assert wire.flow_stats_request(0, 25) == serialised(
        P.OFPFlowStatsRequest(DATAPATH, 0, 25, OFP.OFPP_ANY, OFP.OFPG_ANY, 0, 0, P.OFPMatch())
    )


@given(st.sampled_from(sorted(Field, key=lambda f: f.order)), st.data())
def test_every_term_has_the_size_it_says(field: Field, data: st.DataObject) -> None:
    value = data.draw(st.integers(0, field.full_mask))
    mask = data.draw(st.none() | st.integers(0, field.full_mask))
    encoded = wire.term(Term(field, value, mask))
    assert encoded[3] == len(encoded) - 4
    assert int.from_bytes(encoded[4 : 4 + field.size], "big") == value


def test_xid_is_put_in_place() -> None:
    message = wire.with_xid(wire.set_config(), 0x01020304)
    assert message[4:8] == b"\x01\x02\x03\x04"
    assert message[:4] + message[8:] == wire.set_config()[:4] + wire.set_config()[8:]
