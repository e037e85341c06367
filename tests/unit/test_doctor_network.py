"""sluicectl doctor about ports, the next hop and listening services."""

from __future__ import annotations

import struct
from dataclasses import replace

import pytest

from agent.host.kernel import AGGREGATIONS, Device
from cli.doctor import arp_probe, listeners, ports
from cli.doctor.finding import Level
from cli.doctor.listeners import Listener
from cli.doctor.ports import NextHop, Port

PORT = Port("eth1", 1500, Device("eth1", 1500, carrier=True))
ADDRESS, MAC = "203.0.113.1", "02:00:00:00:00:fe"


def device(**changes: object) -> Device:
    assert PORT.device is not None
    return replace(PORT.device, **changes)  # type: ignore[arg-type]


def test_a_right_port_is_one_line() -> None:
    (found,) = ports.judge((PORT,))
    assert (found.level, found.advice) == (Level.OK, "")


@pytest.mark.parametrize(
    ("port", "level", "says", "advice"),
    [
        (replace(PORT, device=None), Level.ERROR, "does not exist", "ip link show"),
        (replace(PORT, device=device(carrier=False)), Level.ERROR, "no carrier", "ip link set eth1 up"),
        (replace(PORT, mtu=1600), Level.ERROR, "MTU 1500, configured is 1600", "ip link set eth1 mtu 1600"),
        (replace(PORT, addresses=("192.0.2.7/24",)), Level.ERROR, "has address 192.0.2.7/24",
         "ip address del 192.0.2.7/24 dev eth1"),
        (replace(PORT, device=device(aggregations=AGGREGATIONS[:1])), Level.WARNING, "large-receive-offload is on",
         "ethtool -K eth1 large-receive-offload off"),
        (replace(PORT, device=device(aggregations=AGGREGATIONS[1:], fixed=AGGREGATIONS[1:])), Level.WARNING,
         "rx-gro-hw is on", "another device"),
        (replace(PORT, filters=("nft list ruleset",)), Level.WARNING, "packet filter", "nft list ruleset"),
    ],
)  # fmt: skip
def test_each_fault_of_a_port(port: Port, level: Level, says: str, advice: str) -> None:
    (found,) = ports.judge((port,))
    assert (found.check, found.level) == ("port eth1", level)
    assert says in found.found
    assert advice in found.advice


@pytest.mark.parametrize(
    ("hook", "found"),
    [
        ('type filter hook ingress device "eth1" priority filter; policy accept;', 1),
        ("type filter hook ingress devices = { eth1, eth2 } priority filter;", 1),
        ('type filter hook ingress device "eth10" priority filter; policy accept;', 0),
        ('comment "eth1"', 0),
    ],
)
def test_another_packet_filter_on_the_port_is_found(hook: str, found: int) -> None:
    rules = "table netdev t {\n\tchain c {\n\t\t" + hook + "\n\t}\n}\n"
    assert len(ports.hooks_of(rules, "eth1")) == found


def test_a_larger_mtu_and_several_faults() -> None:
    assert ports.judge((replace(PORT, device=device(mtu=9000)),))[0].level is Level.OK
    bad = replace(PORT, addresses=("192.0.2.7/24", "192.0.2.8/24"), device=device(carrier=False))
    assert len(ports.judge((bad, PORT))) == 4


@pytest.mark.parametrize(
    ("hop", "level"),
    [
        (NextHop(ADDRESS, MAC), Level.OK),
        (NextHop(ADDRESS, ""), Level.ERROR),
        (NextHop(ADDRESS, "", asked=False), Level.WARNING),
    ],
)
def test_the_next_hop(hop: NextHop, level: Level) -> None:
    (found,) = ports.judge_next_hop(hop)
    assert found.level is level
    assert bool(found.advice) is (level is not Level.OK)


def test_a_probe_changes_no_cache_and_its_answer_is_recognised() -> None:
    mac = bytes.fromhex("020000000001")
    frame = arp_probe.request(mac, ADDRESS)
    # Broadcast, ARP request, sender address all zero: RFC 5227 section 2.1.1.
    ethernet, arp = "ff" * 6 + "020000000001" + "0806", "0001" + "0800" + "06" + "04" + "0001"
    assert frame.hex() == ethernet + arp + "020000000001" + "00000000" + "00" * 6 + "cb007101"
    answer = mac + bytes.fromhex("0200000000fe") + struct.pack("!HHHBBH", 0x0806, 1, 0x0800, 6, 4, 2)
    answer += bytes.fromhex("0200000000fe") + bytes((203, 0, 113, 1)) + mac + bytes(4)
    padded = answer + bytes(18)
    assert arp_probe.sender_of(padded, ADDRESS) == MAC
    assert arp_probe.sender_of(padded, "203.0.113.9") == ""
    assert arp_probe.sender_of(frame, ADDRESS) == ""
    assert arp_probe.sender_of(answer[:20], ADDRESS) == ""


SS = """\
udp   UNCONN 0 0      0.0.0.0:137   0.0.0.0:*  users:(("nmbd",pid=10,fd=15))
udp   UNCONN 0 0      0.0.0.0%eth0:68 0.0.0.0:* users:(("dhclient",pid=5,fd=7))
tcp   LISTEN 0 128    0.0.0.0:22    0.0.0.0:*  users:(("sshd",pid=447,fd=3))
tcp   LISTEN 0 128       [::]:22       [::]:*  users:(("sshd",pid=447,fd=4))
tcp   LISTEN 0 50           *:445         *:*  users:(("smbd",pid=9,fd=30))
tcp   LISTEN 0 50     0.0.0.0:445   0.0.0.0:*  users:(("smbd",pid=9,fd=31))
tcp   LISTEN 0 50   127.0.0.1:7401  0.0.0.0:*  users:(("sluice-agent",pid=8,fd=9))
tcp   LISTEN 0 50     0.0.0.0:8080  0.0.0.0:*  users:(("nginx",pid=8,fd=9))
udp   UNCONN 0 0      0.0.0.0:41000 0.0.0.0:*  users:(("sluice-resolver",pid=8,fd=9))
udp   UNCONN 0 0      0.0.0.0:5353  0.0.0.0:*  users:(("avahi-daemon",pid=8,fd=9))
tcp   LISTEN 0 50     0.0.0.0:9000  0.0.0.0:*
"""


def test_services_on_all_addresses_are_named_with_their_units() -> None:
    found = {finding.found: finding for finding in listeners.judge(listeners.parse(SS))}
    assert {text: finding.level for text, finding in found.items()} == {
        "nmbd listens on all addresses: udp 137": Level.ERROR,
        "smbd listens on all addresses: tcp 445": Level.ERROR,
        "avahi-daemon listens on all addresses: udp 5353": Level.WARNING,
        "nginx listens on all addresses: tcp 8080": Level.WARNING,
        "a process of another user or namespace listens on all addresses: tcp 9000": Level.WARNING,
    }
    assert found["smbd listens on all addresses: tcp 445"].advice == "systemctl disable --now smbd"


@pytest.mark.parametrize("process", listeners.UNITS)
def test_each_known_service_is_an_error(process: str) -> None:
    # As the kernel names processes: at most 15 characters.
    (found,) = listeners.judge((Listener("tcp", "[::]", 1, process[:15]),))
    assert found.level is Level.ERROR
    assert found.advice == f"systemctl disable --now {listeners.UNITS[process]}"


def test_ssh_alone_is_fine_and_silence_is_not() -> None:
    (found,) = listeners.judge((Listener("tcp", "0.0.0.0", 22, "sshd"), Listener("tcp", "127.0.0.1", 25, "exim4")))
    assert found.level is Level.OK
    (found,) = listeners.judge(None)
    assert found.level is Level.WARNING
