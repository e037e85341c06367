"""Port security: a machine that changes what it is loses connectivity until it changes back."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from frames import (
    EVERYBODY,
    ROUTER_MAC,
    carries,
    counted,
    heard_so_far,
    heard_until,
    internet_heard_so_far,
    new_mark,
    question,
)
from machines import INTERFACE, SERVERS, Machine
from packets import Wire
from probes import ask_tcp, ask_udp, ping
from sandbox import Sandbox, Wanted
from sandboxes import Tenants, network_id
from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import ARP, Dot1AD, Dot1Q, Ether
from scapy.packet import Packet, Raw

SERVER = SERVERS[0]
SENT = 5
STRANGER_MAC = "02:00:00:00:99:99"
NOBODY = 0

Forge = Callable[[Machine, Machine, bytes], Packet]


@pytest.fixture(scope="module")
def office(maker: Tenants) -> list[Machine]:
    """Three machines of one network: two on ports of their own, one on a VLAN of the trunk."""
    network = network_id(maker.network())
    return maker.machines([Wanted("", network), Wanted("", network), Wanted("", network, vlan=71)])


@pytest.fixture(scope="module")
def lone(maker: Tenants) -> Machine:
    return maker.isolated()


def own(machine: Machine, neighbour: Machine, mark: bytes) -> Packet:
    return Ether(src=machine.mac, dst=neighbour.mac) / IP(src=machine.address, dst=neighbour.address) / payload(mark)


def payload(mark: bytes) -> Packet:
    return UDP(sport=4000, dport=9) / Raw(mark)


def foreign_address(machine: Machine, neighbour: Machine, mark: bytes) -> Packet:
    frame = own(machine, neighbour, mark)
    frame[IP].src = "10.255.255.250"
    return frame


def neighbours_address(machine: Machine, neighbour: Machine, mark: bytes) -> Packet:
    return Ether(src=machine.mac, dst=ROUTER_MAC) / IP(src=neighbour.address, dst=SERVER) / payload(mark)


def routers_address(machine: Machine, neighbour: Machine, mark: bytes) -> Packet:
    assert machine.lease is not None
    frame = own(machine, neighbour, mark)
    frame[IP].src = machine.lease.router
    return frame


def no_address(machine: Machine, neighbour: Machine, mark: bytes) -> Packet:
    frame = own(machine, neighbour, mark)
    frame[IP].src = "0.0.0.0"
    return frame


def foreign_mac(machine: Machine, neighbour: Machine, mark: bytes) -> Packet:
    frame = own(machine, neighbour, mark)
    frame[Ether].src = STRANGER_MAC
    return frame


def neighbours_mac(machine: Machine, neighbour: Machine, mark: bytes) -> Packet:
    frame = own(machine, neighbour, mark)
    frame[Ether].src, frame[Ether].dst = neighbour.mac, EVERYBODY
    return frame


def both(machine: Machine, neighbour: Machine, mark: bytes) -> Packet:
    frame = foreign_address(machine, neighbour, mark)
    frame[Ether].src = STRANGER_MAC
    return frame


def all_of_the_neighbour(machine: Machine, neighbour: Machine, mark: bytes) -> Packet:
    return Ether(src=neighbour.mac, dst=ROUTER_MAC) / IP(src=neighbour.address, dst=SERVER) / payload(mark)


def arp_with_foreign_address(machine: Machine, neighbour: Machine, mark: bytes) -> Packet:
    return question(machine.mac, "10.255.255.250", neighbour.address) / Raw(mark)


def arp_with_foreign_mac(machine: Machine, neighbour: Machine, mark: bytes) -> Packet:
    frame = question(machine.mac, machine.address, neighbour.address) / Raw(mark)
    frame[ARP].hwsrc = STRANGER_MAC
    return frame


def arp_as_the_router(machine: Machine, neighbour: Machine, mark: bytes) -> Packet:
    """What takes over a neighbour's traffic in a network that believes ARP."""
    assert machine.lease is not None
    claim = ARP(op=2, hwsrc=machine.mac, psrc=machine.lease.router, hwdst=neighbour.mac, pdst=neighbour.address)
    return Ether(src=machine.mac, dst=neighbour.mac) / claim / Raw(mark)


def ipv6(machine: Machine, neighbour: Machine, mark: bytes) -> Packet:
    return Ether(src=machine.mac, dst=neighbour.mac) / IPv6(src="fe80::1", dst="fe80::2") / payload(mark)


def other_protocol(machine: Machine, neighbour: Machine, mark: bytes) -> Packet:
    return Ether(src=machine.mac, dst=EVERYBODY, type=0x88B5) / Raw(mark)


def question_for_nobody(machine: Machine, neighbour: Machine, mark: bytes) -> Packet:
    return question(machine.mac, machine.address, "10.255.255.250") / Raw(mark)


def unasked_answer(machine: Machine, neighbour: Machine, mark: bytes) -> Packet:
    claim = ARP(op=2, hwsrc=machine.mac, psrc=machine.address, hwdst=neighbour.mac, pdst=neighbour.address)
    return Ether(src=machine.mac, dst=neighbour.mac) / claim / Raw(mark)


def unknown_mac(machine: Machine, neighbour: Machine, mark: bytes) -> Packet:
    frame = own(machine, neighbour, mark)
    frame[Ether].dst = STRANGER_MAC
    return frame


def redirect(machine: Machine, neighbour: Machine, mark: bytes) -> Packet:
    """What has a neighbour send by the machine, in a network that believes it."""
    about = IP(src=neighbour.address, dst=SERVER) / payload(mark)
    told = IP(src=machine.address, dst=neighbour.address) / ICMP(type=5, code=1, gw=machine.address) / about
    return Ether(src=machine.mac, dst=neighbour.mac) / told


def source_quench(machine: Machine, neighbour: Machine, mark: bytes) -> Packet:
    frame = redirect(machine, neighbour, mark)
    frame[ICMP].type, frame[ICMP].code = 4, 0
    return frame


def router_advertisement(machine: Machine, neighbour: Machine, mark: bytes) -> Packet:
    told = IP(src=machine.address, dst="224.0.0.1", ttl=1) / ICMP(type=9) / Raw(mark)
    return Ether(src=machine.mac, dst="01:00:5e:00:00:01") / told


def tagged(machine: Machine, neighbour: Machine, mark: bytes) -> Packet:
    frame = own(machine, neighbour, mark)
    return Ether(src=machine.mac, dst=neighbour.mac) / Dot1Q(vlan=71) / frame[IP]


def priority_tagged(machine: Machine, neighbour: Machine, mark: bytes) -> Packet:
    frame = own(machine, neighbour, mark)
    return Ether(src=machine.mac, dst=neighbour.mac) / Dot1Q(vlan=0, prio=5) / frame[IP]


def doubly_tagged(machine: Machine, neighbour: Machine, mark: bytes) -> Packet:
    frame = own(machine, neighbour, mark)
    return Ether(src=machine.mac, dst=neighbour.mac) / Dot1AD(vlan=71) / Dot1Q(vlan=71) / frame[IP]


def probe(machine: Machine, neighbour: Machine, mark: bytes) -> Packet:
    """For an address that nobody has: of others the owner's answer comes (RFC 5227 section 2.1.1)."""
    return question(machine.mac, "0.0.0.0", "10.255.255.250") / Raw(mark)


IN_OWN_NETWORK: list[tuple[Forge, str]] = [
    (foreign_address, "source-ip"),
    (neighbours_address, "source-ip"),
    (routers_address, "source-ip"),
    (no_address, "source-ip"),
    (foreign_mac, "source-mac"),
    (neighbours_mac, "source-mac"),
    (both, "source-mac"),
    (all_of_the_neighbour, "source-mac"),
    (arp_with_foreign_address, "arp-sender"),
    (arp_with_foreign_mac, "arp-sender"),
    (arp_as_the_router, "arp-sender"),
    (ipv6, "protocol"),
    (other_protocol, "protocol"),
    (question_for_nobody, "arp-unknown"),
    (unasked_answer, "arp-unknown"),
    (unknown_mac, "unknown-mac"),
    (redirect, "icmp-redirect"),
    (source_quench, "icmp-redirect"),
    (router_advertisement, "icmp-redirect"),
]
# A tag says that the packet is of another attachment, and there is none; probes are counted for all networks at once.
IN_NO_NETWORK: list[tuple[Forge, str]] = [
    (tagged, "no-network"),
    (doubly_tagged, "no-network"),
    (probe, "arp-probe"),
]


@pytest.mark.parametrize("make", [own, priority_tagged])
def test_own_frames_arrive(office: list[Machine], make: Forge) -> None:
    for machine, neighbour in ((office[0], office[1]), (office[1], office[0]), (office[2], office[0])):
        mark = new_mark()
        with Wire(machine.pid) as ours, Wire(neighbour.pid) as theirs:
            ours.send(make(machine, neighbour, mark))
            assert theirs.receive(carries(mark)) is not None


@pytest.mark.parametrize(("forge", "reason"), IN_OWN_NETWORK, ids=lambda value: getattr(value, "__name__", value))
def test_forged_frames_reach_nobody_and_are_counted(
    sandbox: Sandbox, maker: Tenants, office: list[Machine], forge: Forge, reason: str
) -> None:
    machine, neighbour = office[0], office[1]
    key = maker.network_of(machine).key
    refused(sandbox, machine, neighbour, forge, key, reason)


@pytest.mark.parametrize(("forge", "reason"), IN_NO_NETWORK, ids=lambda value: getattr(value, "__name__", value))
def test_frames_of_no_network_reach_nobody_and_are_counted(
    sandbox: Sandbox, office: list[Machine], forge: Forge, reason: str
) -> None:
    refused(sandbox, office[0], office[1], forge, NOBODY, reason)


@pytest.mark.parametrize(
    ("forge", "reason"),
    [(foreign_address, "source-ip"), (foreign_mac, "source-mac"), (arp_as_the_router, "arp-sender")],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_the_same_on_a_vlan(sandbox: Sandbox, maker: Tenants, office: list[Machine], forge: Forge, reason: str) -> None:
    machine, neighbour = office[2], office[0]
    refused(sandbox, machine, neighbour, forge, maker.network_of(machine).key, reason)


def refused(sandbox: Sandbox, machine: Machine, neighbour: Machine, forge: Forge, key: int, reason: str) -> None:
    """What `forge` makes is counted and arrives neither at the neighbour nor in the Internet nor comes back."""
    mark = new_mark()
    with Wire(machine.pid) as ours, Wire(neighbour.pid) as theirs, Wire(sandbox.internet.pid) as outside:
        with counted(sandbox, key, reason, SENT):
            for _ in range(SENT):
                ours.send(forge(machine, neighbour, mark))
        last = new_mark()
        ours.send(own(machine, neighbour, last))
        back = heard_so_far(ours, machine)
        heard = heard_until(theirs, carries(last)) + internet_heard_so_far(outside) + back
    assert not [frame.summary() for frame in heard if mark in bytes(frame)]
    # A probe would be answered with another frame.
    assert not [frame.summary() for frame in back if ARP in frame and frame[ARP].op == 2]


def reaches(machine: Machine, seconds: float = 1.0) -> dict[str, bool]:
    return {
        "udp": SERVER in ask_udp(machine.pid, [SERVER], seconds),
        "tcp": SERVER in ask_tcp(machine.pid, [SERVER], seconds),
        "ping": SERVER in ping(machine.pid, [SERVER], seconds),
    }


ALL = {"udp": True, "tcp": True, "ping": True}
NOTHING = {"udp": False, "tcp": False, "ping": False}


def readdress(machine: Machine, address: str, length: int) -> None:
    """Give the machine's interface one address, and the same router as before."""
    assert machine.lease is not None
    machine.run(
        "sh",
        "-ec",
        f"ip address flush dev {INTERFACE}; ip address add {address}/{length} dev {INTERFACE}; "
        f"ip route replace default via {machine.lease.router} dev {INTERFACE} onlink",
    )


def assert_cut_off_by(
    sandbox: Sandbox, maker: Tenants, machine: Machine, reasons: set[str], change: Callable[[], None]
) -> None:
    key = maker.network_of(machine).key
    before = sandbox.drops(key)
    assert reaches(machine) == ALL
    change()
    assert reaches(machine, 0.6) == NOTHING
    after = sandbox.drops(key)
    grown = {reason for reason, count in after.items() if count > before.get(reason, 0)}
    assert grown
    assert grown <= reasons


@pytest.mark.parametrize("which", ["lone", "office"])
def test_another_address_is_cut_off_until_it_is_changed_back(
    sandbox: Sandbox, maker: Tenants, lone: Machine, office: list[Machine], which: str
) -> None:
    machine = lone if which == "lone" else office[0]
    lease = machine.lease
    assert lease is not None
    foreign = "172.31.255.254" if which == "lone" else "10.255.255.254"

    def change() -> None:
        readdress(machine, foreign, lease.prefix_length)
        # Without an answer to ARP the machine would send no IP at all.
        machine.run("ip", "neighbour", "replace", lease.router, "lladdr", ROUTER_MAC, "dev", INTERFACE)

    assert_cut_off_by(sandbox, maker, machine, {"source-ip", "arp-sender"}, change)
    machine.run("ip", "neighbour", "del", lease.router, "dev", INTERFACE)
    readdress(machine, lease.address, lease.prefix_length)
    assert reaches(machine) == ALL


@pytest.mark.parametrize("which", ["lone", "office"])
def test_another_mac_is_cut_off_until_it_is_changed_back(
    sandbox: Sandbox, maker: Tenants, lone: Machine, office: list[Machine], which: str
) -> None:
    machine = lone if which == "lone" else office[1]
    mac = machine.mac

    def change() -> None:
        machine.run("ip", "link", "set", INTERFACE, "address", STRANGER_MAC)

    assert_cut_off_by(sandbox, maker, machine, {"source-mac"}, change)
    machine.run("ip", "link", "set", INTERFACE, "address", mac)
    assert reaches(machine) == ALL


def test_both_changed_is_cut_off_until_both_are_changed_back(
    sandbox: Sandbox, maker: Tenants, office: list[Machine]
) -> None:
    machine, other = office[2], office[0]
    lease, mac = machine.lease, machine.mac
    assert lease is not None

    def become_the_neighbour() -> None:
        machine.run("ip", "link", "set", INTERFACE, "address", other.mac)
        readdress(machine, other.address, lease.prefix_length)

    assert_cut_off_by(sandbox, maker, machine, {"source-mac"}, become_the_neighbour)
    machine.run("ip", "link", "set", INTERFACE, "address", mac)
    assert reaches(machine, 0.6) == NOTHING
    readdress(machine, lease.address, lease.prefix_length)
    assert reaches(machine) == ALL
    assert reaches(other) == ALL
