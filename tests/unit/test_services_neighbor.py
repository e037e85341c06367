"""The next hop: who is believed, and how it is asked for."""

from __future__ import annotations

from dataclasses import replace

import pytest
from scapy.layers.l2 import ARP, Ether
from services_world import APPLIANCE, GATEWAY_MAC, NEXT_HOP_MAC, PORTS, arp_reply, ask

from controller.packet_in import PacketInReply
from controller.packet_in.neighbor import request
from controller.pipeline.context import PipelineContext
from controller.pipeline.flow import Output
from controller.pipeline.registry import Table


def test_reply_of_the_next_hop_is_learned() -> None:
    assert ask(Table.GATEWAY, 0, arp_reply()) == PacketInReply("neighbor", neighbor=("203.0.113.1", NEXT_HOP_MAC))


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"psrc": "203.0.113.9"}, id="of another"),
        pytest.param({"pdst": "203.0.113.9"}, id="to another"),
        pytest.param({"op": 1}, id="a request"),
        pytest.param({"hwsrc": "ff:ff:ff:ff:ff:ff"}, id="broadcast"),
        pytest.param({"hwsrc": "01:00:5e:00:00:01"}, id="multicast"),
        pytest.param({"hwsrc": "00:00:00:00:00:00"}, id="no MAC"),
        pytest.param({"hwsrc": GATEWAY_MAC}, id="our own MAC"),
        pytest.param({"hwtype": 6}, id="not Ethernet"),
        pytest.param({"ptype": 0x86DD}, id="not IPv4"),
    ],
)
def test_nobody_else_is_believed(fields: dict[str, str]) -> None:
    answer = ask(Table.GATEWAY, 0, arp_reply(**fields))
    assert answer.neighbor is None
    assert answer.out == ()


def test_short_reply_is_malformed() -> None:
    assert ask(Table.GATEWAY, 0, bytes(arp_reply())[:41]) == PacketInReply("malformed")


def test_request_asks_everybody_by_the_gateway_port() -> None:
    out = request(PipelineContext(APPLIANCE, PORTS), "203.0.113.1")
    assert out is not None
    assert out.actions == (Output(20),)
    expected = Ether(src=GATEWAY_MAC, dst="ff:ff:ff:ff:ff:ff") / ARP(
        op=1, hwsrc=GATEWAY_MAC, psrc="203.0.113.2", hwdst="00:00:00:00:00:00", pdst="203.0.113.1"
    )
    assert out.frame == bytes(expected)


def test_no_request_while_the_port_is_missing() -> None:
    elsewhere = replace(APPLIANCE, gateway=replace(APPLIANCE.gateway, port="other"))
    assert request(PipelineContext(elsewhere, PORTS), "203.0.113.1") is None
