"""DHCP: each message a client may send, against RFC 2131, with scapy as the client."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address
from typing import Any

import pytest
from scapy.layers.dhcp import BOOTP, DHCP
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether
from scapy.packet import Packet
from services_world import (
    ALONE,
    ANNE,
    APPLIANCE,
    BOB,
    ISOLATED,
    PRIVATE,
    ROUTER_MAC,
    UNPLUGGED,
    WORLD,
    World,
    ask,
    proved,
    with_network,
)

from controller.packet_in import PacketInReply
from controller.pipeline.flow import Output, PushVlan, SetField
from controller.pipeline.match import Field
from controller.pipeline.registry import Table
from state.model import Appliance, Machine, Network

XID = 0xC0FFEE42
EVERYTHING = [1, 3, 6, 12, 15, 26, 28, 51, 58, 59]


def client(machine: Machine, *options: Any, bootp: dict[str, Any] | None = None, source: str = "0.0.0.0") -> Packet:
    """A client's frame; `options` are scapy's."""
    fields = {"chaddr": bytes.fromhex(machine.mac.replace(":", "")), "xid": XID} | (bootp or {})
    target = "ff:ff:ff:ff:ff:ff" if source == "0.0.0.0" else ROUTER_MAC
    return (
        Ether(src=machine.mac, dst=target)
        / IP(src=source, dst="255.255.255.255" if source == "0.0.0.0" else "10.0.0.1")
        / UDP(sport=68, dport=67)
        / BOOTP(**fields)
        / DHCP(options=[*options, "end"])
    )


def say(network: Network, frame: Packet | bytes, world: World = WORLD) -> PacketInReply:
    return ask(Table.PORT_SECURITY, network, frame, world)


def reply(answer: PacketInReply) -> tuple[Packet, dict[str, Any]]:
    """The one frame sent, and its options by scapy's names."""
    (out,) = answer.out
    packet = proved(out.frame)
    options = {item[0]: item[1:] for item in packet[DHCP].options if isinstance(item, tuple)}
    return packet, {name: value[0] if len(value) == 1 else value for name, value in options.items()}


def request(machine: Machine, *options: Any, **keywords: Any) -> Packet:
    return client(machine, ("message-type", "request"), *options, **keywords)


def test_discover_gets_an_offer_with_everything_a_machine_needs() -> None:
    frame = client(ALONE, ("message-type", "discover"), ("param_req_list", EVERYTHING))
    answer = say(ISOLATED, frame)
    assert answer.what == "dhcp-offer"
    packet, options = reply(answer)
    assert (packet.src, packet.dst) == (ROUTER_MAC, ALONE.mac)
    assert (packet[IP].src, packet[IP].dst) == ("172.16.0.1", "172.16.0.2")
    assert (packet[UDP].sport, packet[UDP].dport) == (67, 68)
    bootp = packet[BOOTP]
    assert (bootp.op, bootp.xid, bootp.yiaddr, bootp.ciaddr, bootp.giaddr) == (
        2,
        XID,
        "172.16.0.2",
        "0.0.0.0",
        "0.0.0.0",
    )
    assert bootp.chaddr[:6].hex(":") == ALONE.mac
    assert options == {
        "message-type": 2,
        "server_id": "172.16.0.1",
        "lease_time": 3600,
        "renewal_time": 1800,
        "rebinding_time": 3150,
        "subnet_mask": "255.255.255.252",
        "router": "172.16.0.1",
        "name_server": "192.0.2.1",
        "hostname": b"alone",
        "domain": b"solo.example.internal",
        "interface-mtu": 1500,
        "broadcast_address": "172.16.0.3",
    }
    codes = [item[0] for item in packet[DHCP].options if isinstance(item, tuple)]
    assert codes.index("subnet_mask") < codes.index("router")


def test_private_network_has_its_own_mask_dns_and_mtu() -> None:
    packet, options = reply(say(PRIVATE, client(ANNE, ("message-type", "discover"))))
    assert packet[BOOTP].yiaddr == "10.0.0.2"
    assert options["subnet_mask"] == "255.255.0.0"
    assert options["broadcast_address"] == "10.0.255.255"
    assert options["name_server"] == ("192.0.2.53", "192.0.2.54")
    assert options["interface-mtu"] == 1400


def test_answer_leaves_by_the_attachment() -> None:
    discover = ("message-type", "discover")
    (out,) = say(ISOLATED, client(ALONE, discover)).out
    assert out.actions == (Output(11),)
    (out,) = say(PRIVATE, client(ANNE, discover)).out
    assert out.actions == (PushVlan(7), Output(12))
    (out,) = say(PRIVATE, client(BOB, discover)).out
    assert out.actions == (SetField(Field.TUN_ID, 99), Output(13))


def test_broadcast_flag_is_answered_by_broadcast() -> None:
    packet, _ = reply(say(ISOLATED, client(ALONE, ("message-type", "discover"), bootp={"flags": 0x8000})))
    assert (packet.dst, packet[IP].dst) == ("ff:ff:ff:ff:ff:ff", "255.255.255.255")
    assert packet[BOOTP].flags == 0x8000


def test_message_is_never_shorter_than_old_clients_expect() -> None:
    packet, _ = reply(say(ISOLATED, client(ALONE, ("message-type", "discover"), ("param_req_list", [1]))))
    assert len(bytes(packet[UDP].payload)) >= 300


def test_only_what_was_asked_for() -> None:
    _, options = reply(say(ISOLATED, client(ALONE, ("message-type", "discover"), ("param_req_list", [1, 3, 12]))))
    assert "hostname" in options
    assert not {"name_server", "domain", "interface-mtu", "broadcast_address"} & options.keys()


def test_smaller_mtu_is_said_unasked() -> None:
    _, options = reply(say(PRIVATE, client(ANNE, ("message-type", "discover"), ("param_req_list", [1, 3]))))
    assert options["interface-mtu"] == 1400


def test_client_identifier_comes_back() -> None:
    _, options = reply(say(ISOLATED, client(ALONE, ("message-type", "discover"), ("client_id", b"\x01abc"))))
    assert options["client_id"] == b"\x01abc"


SELECTING = (("requested_addr", "10.0.0.2"), ("server_id", "10.0.0.1"))


@pytest.mark.parametrize(
    ("options", "bootp", "source"),
    [
        pytest.param(SELECTING, {}, "0.0.0.0", id="selecting"),
        pytest.param((("requested_addr", "10.0.0.2"),), {}, "0.0.0.0", id="init-reboot"),
        pytest.param((), {"ciaddr": "10.0.0.2"}, "10.0.0.2", id="renewing"),
        pytest.param((), {"ciaddr": "10.0.0.2"}, "0.0.0.0", id="rebinding"),
    ],
)
def test_request_for_the_right_address_is_acknowledged(options: Any, bootp: Any, source: str) -> None:
    answer = say(PRIVATE, request(ANNE, *options, bootp=bootp, source=source))
    assert answer.what == "dhcp-ack"
    packet, found = reply(answer)
    assert found["message-type"] == 5
    assert packet[BOOTP].yiaddr == "10.0.0.2"
    assert packet[BOOTP].ciaddr == bootp.get("ciaddr", "0.0.0.0")
    assert (packet.dst, packet[IP].dst) == (ANNE.mac, "10.0.0.2")


@pytest.mark.parametrize(
    ("options", "bootp"),
    [
        pytest.param((("requested_addr", "10.0.0.3"), ("server_id", "10.0.0.1")), {}, id="selecting"),
        pytest.param((("requested_addr", "192.168.7.7"),), {}, id="init-reboot"),
        pytest.param((), {"ciaddr": "10.0.0.3"}, id="renewing"),
    ],
)
def test_request_for_a_wrong_address_is_refused_by_broadcast(options: Any, bootp: Any) -> None:
    answer = say(PRIVATE, request(ANNE, *options, bootp=bootp))
    assert answer.what == "dhcp-nak"
    packet, found = reply(answer)
    assert found["message-type"] == 6
    assert found["server_id"] == "10.0.0.1"
    assert not {"lease_time", "subnet_mask", "router"} & found.keys()
    assert (packet[BOOTP].yiaddr, packet[BOOTP].ciaddr) == ("0.0.0.0", "0.0.0.0")
    assert (packet.dst, packet[IP].dst) == ("ff:ff:ff:ff:ff:ff", "255.255.255.255")


def test_request_to_another_server_is_left_to_it() -> None:
    answer = say(PRIVATE, request(ANNE, ("requested_addr", "10.0.0.2"), ("server_id", "10.0.0.9")))
    assert (answer.what, answer.out) == ("dhcp-other-server", ())


def test_request_for_no_address_is_malformed() -> None:
    assert say(PRIVATE, request(ANNE)).what == "malformed"


def test_inform_gets_options_but_no_lease() -> None:
    answer = say(PRIVATE, client(ANNE, ("message-type", "inform"), bootp={"ciaddr": "10.0.0.2"}, source="10.0.0.2"))
    assert answer.what == "dhcp-inform"
    packet, options = reply(answer)
    assert options["message-type"] == 5
    assert options["name_server"] == ("192.0.2.53", "192.0.2.54")
    assert not {"lease_time", "renewal_time", "rebinding_time"} & options.keys()
    assert (packet[BOOTP].yiaddr, packet[BOOTP].ciaddr, packet[IP].dst) == ("0.0.0.0", "10.0.0.2", "10.0.0.2")


def test_inform_without_an_address_is_answered_by_broadcast() -> None:
    packet, options = reply(say(PRIVATE, client(ANNE, ("message-type", "inform"))))
    assert options["message-type"] == 5
    assert (packet.dst, packet[IP].dst) == ("ff:ff:ff:ff:ff:ff", "255.255.255.255")


def test_client_that_has_its_address_is_answered_there_whatever_its_flags() -> None:
    packet, _ = reply(say(PRIVATE, request(ANNE, bootp={"ciaddr": "10.0.0.2", "flags": 0x8000})))
    assert (packet.dst, packet[IP].dst) == (ANNE.mac, "10.0.0.2")


def test_wrong_ciaddr_beside_the_right_option_does_not_come_back() -> None:
    packet, _ = reply(say(PRIVATE, request(ANNE, *SELECTING, bootp={"ciaddr": "10.0.0.3"})))
    assert (packet[BOOTP].ciaddr, packet[BOOTP].yiaddr) == ("0.0.0.0", "10.0.0.2")


@pytest.mark.parametrize("port", [{"sport": 67}, {"dport": 68}])
def test_other_ports_are_not_dhcp_requests(port: dict[str, int]) -> None:
    frame = client(ANNE, ("message-type", "discover"))
    frame[UDP].setfieldval(*port.popitem())
    assert say(PRIVATE, frame) == PacketInReply("malformed")


def test_inform_about_another_address_is_not_answered() -> None:
    answer = say(PRIVATE, client(ANNE, ("message-type", "inform"), bootp={"ciaddr": "10.0.0.3"}))
    assert (answer.what, answer.out) == ("dhcp-foreign-address", ())


@pytest.mark.parametrize(
    ("kind", "what"),
    [
        ("decline", "dhcp-decline"),
        ("release", "dhcp-release"),
        ("offer", "dhcp-unexpected"),
        ("lease_query", "dhcp-unexpected"),
    ],
)
def test_what_is_only_noted(kind: str, what: str) -> None:
    answer = say(PRIVATE, client(ANNE, ("message-type", kind), ("requested_addr", "10.0.0.2")))
    assert (answer.what, answer.out) == (what, ())


def test_nobody_asks_for_another() -> None:
    frame = client(BOB, ("message-type", "discover"))
    frame.src = ANNE.mac
    assert say(PRIVATE, frame) == PacketInReply("dhcp-foreign-mac")


def test_unknown_machine_network_or_port_is_not_answered() -> None:
    frame = client(ALONE, ("message-type", "discover"))
    assert say(PRIVATE, frame) == PacketInReply("dhcp-unknown-machine")
    assert ask(Table.PORT_SECURITY, 77, frame) == PacketInReply("dhcp-unknown-machine")
    assert say(PRIVATE, client(UNPLUGGED, ("message-type", "discover"))).out == ()


def test_relays_are_ignored() -> None:
    assert say(PRIVATE, client(ANNE, ("message-type", "discover"), bootp={"giaddr": "10.0.0.9"})).what == "dhcp-relay"


def test_options_may_go_on_in_file_and_sname_and_be_split() -> None:
    # Option 50 is split between the options and sname, the message type is in file (RFC 3396).
    address = ip_address("10.0.0.2").packed
    bootp = {"file": b"\x35\x01\x03\xff", "sname": b"\x32\x02" + address[2:] + b"\xff"}
    frame = client(ANNE, (52, b"\x03"), (50, address[:2]), bootp=bootp)
    assert say(PRIVATE, frame).what == "dhcp-ack"


def test_file_and_sname_count_only_when_overloaded() -> None:
    assert say(PRIVATE, client(ANNE, bootp={"file": b"\x35\x01\x01\xff"})).what == "malformed"


@pytest.mark.parametrize(
    "options",
    [
        pytest.param(b"\x35\x01", id="cut off"),
        pytest.param(b"\x35\x02\x01\x01\xff", id="type of two bytes"),
        pytest.param(b"\x35\x01\x01\x37\xff\x01", id="longer than the packet"),
        pytest.param(b"\x35\x01\x01\x34\x01\x01\xff", id="garbage in file"),
        pytest.param(b"", id="no options"),
    ],
)
def test_malformed_options_are_not_answered(options: bytes) -> None:
    frame = client(ANNE, bootp={"file": b"\x32\xff"})
    frame[UDP].remove_payload()
    frame = frame / (bytes(client(ANNE, bootp={"file": b"\x32\xff"})[BOOTP])[:240] + options)
    assert say(PRIVATE, frame) == PacketInReply("malformed")


@pytest.mark.parametrize("field", [{"op": 2}, {"htype": 6}, {"hlen": 16}, {"options": b"nope"}])
def test_what_is_no_request_over_ethernet_is_malformed(field: dict[str, Any]) -> None:
    assert say(PRIVATE, client(ANNE, ("message-type", "discover"), bootp=field)) == PacketInReply("malformed")


def test_answer_is_never_larger_than_the_client_takes() -> None:
    servers = tuple(f"192.0.2.{n}" for n in range(1, 61))
    domain = ".".join(["d" * 60] * 3)
    network = replace(PRIVATE, dns_servers=servers)
    world = replace(with_network(network), appliance=replace(APPLIANCE, domain=domain))
    small, options = reply(say(network, client(ANNE, ("message-type", "discover")), world))
    assert len(small[IP]) <= 576
    assert len(options["name_server"]) == 60
    assert "domain" not in options
    large, options = reply(say(network, client(ANNE, ("message-type", "discover"), ("max_dhcp_size", 1400)), world))
    assert len(large[IP]) > 576
    assert options["domain"] == f"{PRIVATE.name}.{domain}".encode()


def servers_and_domain(network: Network, appliance: Appliance) -> tuple[object, bytes, bytes]:
    packet, options = reply(
        say(network, client(ANNE, ("message-type", "discover"), ("param_req_list", [6, 15, 119])),
            replace(with_network(network), appliance=appliance))
    )  # fmt: skip
    raw = bytes(packet[DHCP])
    at = raw.index(b"\x77")
    return options.get("name_server"), options["domain"], raw[at + 2 : at + 2 + raw[at + 1]]


def test_names_are_asked_of_the_router_unless_told_otherwise() -> None:
    """Search domain by options 15 and 119 (RFC 3397), the latter as labels with their lengths."""
    silent = replace(APPLIANCE, dns_servers=())
    resolving = replace(silent, resolver_port="names")
    network = replace(PRIVATE, name="shop", dns_servers=())
    own = (b"shop.example.internal", b"\x04shop\x07example\x08internal\0")
    assert servers_and_domain(network, silent) == (None, *own)
    assert servers_and_domain(network, resolving) == (network.router, *own)
    assert servers_and_domain(network, replace(resolving, dns_servers=("192.0.2.1",))) == ("192.0.2.1", *own)
    chosen = replace(network, dns_servers=("10.0.0.9",), search_domain="ad.corp")
    assert servers_and_domain(chosen, resolving) == ("10.0.0.9", b"ad.corp", b"\x02ad\x04corp\0")


def test_later_state_changes_the_answer_and_nothing_else_does() -> None:
    discover = client(ANNE, ("message-type", "discover"))
    assert say(PRIVATE, discover) == say(PRIVATE, discover)
    moved = replace(ANNE, address="10.0.0.77")
    network = replace(PRIVATE, machines=(moved,))
    packet, _ = reply(say(network, discover, with_network(network)))
    assert packet[BOOTP].yiaddr == "10.0.0.77"
    assert say(network, request(ANNE, bootp={"ciaddr": "10.0.0.2"}), with_network(network)).what == "dhcp-nak"
