"""Between machines and drives: ICMP errors keep what they quote, and senders of too large packets are told."""

from __future__ import annotations

from dataclasses import replace

import pytest
import services_world
from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Packet, Raw
from services_world import ANNE, BOB, PORTS, PRIVATE, ROUTER_MAC, ask, from_machine, proved, quoted, sent

from controller.packet_in import PacketInReply
from controller.pipeline.context import PipelineContext
from controller.pipeline.flow import Output, Resubmit, SetField
from controller.pipeline.match import Field
from controller.pipeline.registry import Table
from state.interconnect import Interconnect, InterconnectKind
from state.model import Drive, Storage
from state.vpn import VpnGateway

STORAGE = Storage("storage", "10.250.0.2/24", mtu=1500)
FILES, FILES_MAC = "10.250.0.10", "02:00:00:00:d0:01"
CLIENT = "100.64.0.2"
NETWORK = replace(PRIVATE, drives=(Drive("files", FILES),), mtu=9000)
SMALL = replace(NETWORK, mtu=1400)
PORT = 30
GATEWAY, GATEWAY_CLIENT = VpnGateway("vpn", 9, "203.0.113.9", 7), "100.64.0.9"
TUNNELLED = replace(SMALL, vpn=GATEWAY)


class World(services_world.World):
    """The world with a storage network."""

    @property
    def site(self) -> PipelineContext:
        return PipelineContext(self.appliance, {**PORTS, "storage": PORT}, {FILES: FILES_MAC})


def world(network: object = NETWORK) -> World:
    appliance = replace(services_world.APPLIANCE, storage=STORAGE)
    return World((services_world.ISOLATED, network), appliance)  # type: ignore[arg-type]


def from_drive(payload: Packet, mac: str = FILES_MAC) -> Packet:
    return Ether(src=mac, dst=STORAGE.mac) / payload


def large(source: str, destination: str, flags: str = "DF", size: int = 2000) -> Packet:
    return IP(src=source, dst=destination, flags=flags, id=7) / UDP(sport=700, dport=2049) / Raw(bytes(size))


def error_about(inner: Packet, source: str, destination: str) -> Packet:
    return IP(src=source, dst=destination) / ICMP(type=3, code=3) / Raw(bytes(inner))


def test_an_error_of_a_machine_is_about_what_the_drive_sent() -> None:
    about = IP(src=FILES, dst=ANNE.address) / UDP(sport=2049, dport=700) / Raw(b"data")
    answer = ask(Table.STORAGE_ERROR, NETWORK, from_machine(ANNE, error_about(about, ANNE.address, FILES)), world())
    assert answer.what == "icmp-error-out"
    packet = sent(answer)
    assert (packet[IP].src, packet[IP].dst) == (CLIENT, FILES)
    assert quoted(packet) == bytes(IP(src=FILES, dst=CLIENT) / UDP(sport=2049, dport=700) / Raw(b"data"))
    assert answer.out[0].actions == (SetField(Field.METADATA, NETWORK.key), Resubmit(Table.STORAGE_OUT))


def test_an_error_of_a_drive_is_about_what_the_machine_sent() -> None:
    about = IP(src=CLIENT, dst=FILES) / UDP(sport=700, dport=9) / Raw(b"data")
    frame = from_drive(error_about(about, FILES, CLIENT))
    answer = ask(Table.STORAGE_ERROR, NETWORK, frame, world(), PORT)
    assert answer.what == "icmp-error-in"
    packet = sent(answer)
    assert (packet.dst, packet.src, packet[IP].src, packet[IP].dst) == (ANNE.mac, ROUTER_MAC, FILES, ANNE.address)
    assert quoted(packet) == bytes(IP(src=ANNE.address, dst=FILES) / UDP(sport=700, dport=9) / Raw(b"data"))


@pytest.mark.parametrize("inner", [IP(src="10.0.0.9", dst=FILES) / UDP(), Raw(b"nothing")])
def test_errors_about_others_are_not_passed_on(inner: Packet) -> None:
    frame = from_drive(error_about(inner, FILES, CLIENT))
    assert ask(Table.STORAGE_ERROR, NETWORK, frame, world(), PORT) == PacketInReply("foreign-quote")
    frame = from_machine(ANNE, error_about(inner, ANNE.address, FILES))
    assert ask(Table.STORAGE_ERROR, NETWORK, frame, world()) == PacketInReply("foreign-quote")


def test_a_machine_is_told_the_mtu_of_the_storage_network() -> None:
    answer = ask(Table.STORAGE_ERROR, NETWORK, from_machine(ANNE, large(ANNE.address, FILES)), world())
    assert answer.what == "fragmentation-needed"
    packet = sent(answer)
    assert (packet[ICMP].type, packet[ICMP].code, packet[ICMP].nexthopmtu) == (3, 4, 1500)
    assert (packet[IP].src, packet[IP].dst, packet.dst) == (NETWORK.router, ANNE.address, ANNE.mac)


def test_a_drive_is_told_the_mtu_of_the_network() -> None:
    frame = from_drive(large(FILES, CLIENT, size=1450))
    answer = ask(Table.STORAGE_ERROR, SMALL, frame, world(SMALL), PORT)
    assert answer.what == "fragmentation-needed"
    packet = sent(answer)
    assert (packet[ICMP].type, packet[ICMP].code, packet[ICMP].nexthopmtu) == (3, 4, 1400)
    assert (packet[IP].src, packet[IP].dst, packet.src, packet.dst) == (STORAGE.ip, FILES, STORAGE.mac, FILES_MAC)
    assert quoted(packet)[:20] == bytes(frame)[14:34]
    assert answer.out[0].actions == (Output(PORT),)


@pytest.mark.parametrize(("mtu", "network"), [(1500, NETWORK), (1400, SMALL)])
def test_what_may_be_cut_is_cut_after_its_address_is_right(mtu: int, network: object) -> None:
    if network is NETWORK:
        frame, addresses, in_port = from_machine(ANNE, large(ANNE.address, FILES, flags="")), (CLIENT, FILES), 0
    else:
        frame, addresses, in_port = from_drive(large(FILES, CLIENT, flags="")), (FILES, ANNE.address), PORT
    answer = ask(Table.STORAGE_ERROR, network.key, frame, world(network), in_port)  # type: ignore[attr-defined]
    assert answer.what == "fragmented"
    parts = [Ether(out.frame) for out in answer.out]
    assert all(part[IP].len <= mtu and (part[IP].src, part[IP].dst) == addresses for part in parts)
    payload = b"".join(bytes(part[IP].payload)[: part[IP].len - 20] for part in parts)
    whole = IP(src=addresses[0], dst=addresses[1], id=7) / Raw(payload)
    whole[IP].proto = 17
    assert proved(bytes(Ether(src=FILES_MAC, dst=ROUTER_MAC) / whole))[UDP].len == 2008


def test_a_drive_is_told_the_mtu_of_the_way_to_a_vpn_gateway() -> None:
    frame = from_drive(large(FILES, GATEWAY_CLIENT, size=1450))
    answer = ask(Table.STORAGE_ERROR, TUNNELLED, frame, world(TUNNELLED), PORT)
    packet = sent(answer)
    assert (answer.what, packet[ICMP].nexthopmtu) == ("fragmentation-needed", 1400)
    assert (packet[IP].src, packet[IP].dst, packet.dst) == (STORAGE.ip, FILES, FILES_MAC)
    assert ask(Table.STORAGE_ERROR, SMALL, frame, world(SMALL), PORT) == PacketInReply("unknown-machine")


def test_who_is_beyond_an_interconnect_is_told_of_as_who_is_beyond_a_tunnel() -> None:
    one = Interconnect("dc", InterconnectKind.DIRECT_CONNECT, 1, 1, "cross", 7, "169.254.1.1/30", "169.254.1.2",
                       64512, 65001, client=8, zone=9, created_at=1)  # fmt: skip
    both = replace(TUNNELLED, interconnects=(one,), vpn=replace(GATEWAY, created_at=2))
    for address, what in (("100.64.0.8", "fragmentation-needed"), (GATEWAY_CLIENT, "unknown-machine")):
        frame = from_drive(large(FILES, address, size=1450))
        assert ask(Table.STORAGE_ERROR, both, frame, world(both), PORT).what == what


def test_what_may_be_cut_goes_to_a_vpn_gateway_by_conntrack_in_pieces() -> None:
    frame = from_drive(large(FILES, GATEWAY_CLIENT, flags=""))
    answer = ask(Table.STORAGE_ERROR, TUNNELLED, frame, world(TUNNELLED), PORT)
    assert answer.what == "fragmented"
    parts = [Ether(out.frame) for out in answer.out]
    assert all(part[IP].len <= 1400 and (part[IP].src, part[IP].dst) == (FILES, GATEWAY_CLIENT) for part in parts)
    assert len(parts) == 2
    assert {out.actions for out in answer.out} == {
        (SetField(Field.METADATA, TUNNELLED.key), Resubmit(Table.STORAGE_MACHINE))
    }


def test_who_is_gone_gets_nothing() -> None:
    frame = from_drive(large(FILES, "100.64.0.99"))
    assert ask(Table.STORAGE_ERROR, SMALL, frame, world(SMALL), PORT) == PacketInReply("unknown-machine")
    frame = from_machine(ANNE, large(BOB.address, FILES))
    assert ask(Table.STORAGE_ERROR, NETWORK, frame, world()) == PacketInReply("unknown-machine")
    assert ask(Table.STORAGE_ERROR, 99, from_machine(ANNE, large(ANNE.address, FILES)), world()).out == ()
    assert ask(Table.STORAGE_ERROR, NETWORK, from_machine(ANNE, large(ANNE.address, FILES))).what == "unknown-network"


def arp(**fields: object) -> Packet:
    values = {"op": 2, "hwsrc": FILES_MAC, "psrc": FILES, "hwdst": STORAGE.mac, "pdst": STORAGE.ip}
    return Ether(src=FILES_MAC, dst=STORAGE.mac) / ARP(**values | fields)


def test_the_reply_of_a_drive_is_learned() -> None:
    assert ask(Table.STORAGE_IN, 0, arp(), world()) == PacketInReply("neighbor", neighbor=(FILES, FILES_MAC))


@pytest.mark.parametrize(
    ("fields", "what"),
    [
        ({"psrc": "10.250.0.99"}, "arp-foreign"),
        ({"psrc": "203.0.113.1"}, "arp-foreign"),
        ({"hwsrc": "ff:ff:ff:ff:ff:ff"}, "arp-bad-mac"),
        ({"hwsrc": STORAGE.mac}, "arp-bad-mac"),
        ({"hwtype": 6}, "malformed"),
    ],
)
def test_nobody_else_is_believed(fields: dict[str, object], what: str) -> None:
    assert ask(Table.STORAGE_IN, 0, arp(**fields), world()) == PacketInReply(what)


@pytest.mark.parametrize("operation", [1, 2])
def test_an_announcement_is_a_reason_to_ask_and_no_more(operation: int) -> None:
    moved = arp(op=operation, hwsrc="02:00:00:00:d0:02", pdst=FILES)
    assert ask(Table.STORAGE_IN, 0, moved, world()) == PacketInReply("arp-announced", ask=FILES)
    assert ask(Table.STORAGE_IN, 0, arp(op=operation, pdst=FILES), world()) == PacketInReply("arp-known")


def test_a_drive_nobody_answers_for_is_an_unreachable_host_to_its_own_network_only() -> None:
    answer = ask(Table.UNROUTABLE, NETWORK, from_machine(ANNE, IP(src=ANNE.address, dst=FILES) / UDP()), world())
    assert answer.what == "host-unreachable"
    for address in ("10.250.0.11", STORAGE.ip, CLIENT):
        frame = from_machine(ANNE, IP(src=ANNE.address, dst=address) / UDP())
        assert ask(Table.UNROUTABLE, NETWORK, frame, world()).what == "prohibited"
    other = replace(NETWORK, drives=())
    frame = from_machine(ANNE, IP(src=ANNE.address, dst=FILES) / UDP())
    assert ask(Table.UNROUTABLE, other, frame, world(other)).what == "prohibited"
