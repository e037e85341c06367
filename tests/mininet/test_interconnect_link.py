"""The link of an interconnect: its VLAN, the leg of its daemons, what is said of its session; nothing leaks there."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from frames import EVERYBODY, carries, is_echo_reply, new_mark, routed
from interconnect_world import (
    PASSWORD,
    PREFIX,
    SITE_PREFIX,
    SMALL_MTU,
    World,
    arriving,
    direct_connect,
    from_peer,
    interconnect_world,
    leg_of,
)
from machines import SERVERS, Machine
from namespaces import within
from packets import ETH_P_ALL, Wire
from probes import ping
from sandbox import Sandbox
from sandboxes import Tenants, network_id
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption_LSRR, IPOption_NOP, IPOption_RR, IPOption_SSRR
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.packet import Packet, Raw
from supervisor import await_condition

from state.interconnect import INTERCONNECT_MAC

__all__ = ["interconnect_world"]

# BFD of 3 x 100 ms misses its time when others need the cores.
pytestmark = pytest.mark.alone


@pytest.fixture
def neighbour(sandbox: Sandbox, interconnect_world: World) -> Iterator[Machine]:
    """Somebody else on the metro Ethernet of the first port, who can send any tag."""
    host: Machine = sandbox.site.net.addHost("neighbour", cls=Machine)
    metro = interconnect_world.ports["xc1"]
    metro.join(host, "eth0", None, "169.254.101.3/24")
    yield host
    metro.part(host)
    sandbox.site.net.delHost(host)


def test_other_vlans_and_what_is_untagged_go_nowhere(interconnect_world: World, neighbour: Machine) -> None:
    one, two = interconnect_world.both
    bad, good = new_mark(), new_mark()
    mac = neighbour.mac
    with Wire(one.machine.pid) as wire, Wire(two.machine.pid) as foreign, Wire(neighbour.pid) as out:
        for tags in ((), (1,), (102,), (999,), (4095,), (0,)):
            frame = Ether(src=mac, dst=INTERCONNECT_MAC)
            for tag in tags:
                frame /= Dot1Q(vlan=tag)
            out.send(frame / IP(src="192.168.50.10", dst=one.machine.address) / UDP(dport=9) / Raw(bad))
        from_peer(one, arriving("192.168.50.10", one.machine.address, good), "files-1")
        first = wire.receive(lambda frame: bad in bytes(frame) or good in bytes(frame), 2.0)
        assert first is not None
        assert good in bytes(first)
        assert foreign.receive(carries(bad), 0.05) is None


def test_nothing_of_one_vlan_is_on_another(interconnect_world: World) -> None:
    one, two = interconnect_world.both
    mark = new_mark()
    with Wire(two.router.pid, "link1") as other, Wire(one.router.pid, "link1") as own:
        with Wire(one.machine.pid) as wire:
            wire.send(routed(one.machine, one.pc_address) / UDP(sport=9, dport=9) / Raw(mark))
        assert own.receive(carries(mark), 2.0) is not None
        assert other.receive(carries(mark), 0.1) is None


def test_the_link_address_takes_only_what_a_session_needs(sandbox: Sandbox, interconnect_world: World) -> None:
    link = interconnect_world.one.links["files-2"]
    router = interconnect_world.one.router
    pid = leg_of(interconnect_world.one, "files-2").pid

    def open_leg() -> socket.socket:
        leg = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        leg.bind(("link", ETH_P_ALL))
        return leg

    def sent(source: str, layer: Packet, mark: bytes) -> None:
        frame = Ether(dst=INTERCONNECT_MAC) / IP(src=source, dst=link.peer) / layer / Raw(mark)
        from_peer(interconnect_world.one, frame, "files-2")

    with within(pid, open_leg) as leg:
        leg.settimeout(2)
        bad, good = new_mark(), new_mark()
        for layer in (TCP(dport=22), UDP(dport=53), UDP(dport=161), TCP(dport=2601), UDP(sport=3784, dport=9)):
            sent(link.ip, layer, bad)
        for source in (interconnect_world.one.pc_address, "169.254.102.3", SERVERS[0], link.peer):
            for layer in (TCP(dport=179), UDP(dport=3784), ICMP()):
                sent(source, layer, bad)
        # Packets whose TTL ends, of sources accepted and others, are not the namespace's to answer.
        for source in (interconnect_world.one.pc_address, "169.254.102.3", SERVERS[0], link.ip):
            for target in (interconnect_world.one.machine.address, SERVERS[0], "10.9.0.99"):
                head = Ether(dst=INTERCONNECT_MAC) / IP(src=source, dst=target, ttl=1)
                from_peer(interconnect_world.one, head / UDP(dport=9) / Raw(bad), "files-2")
        for kind in (4, 5, 9, 10):
            sent(link.ip, ICMP(type=kind), bad)
        for asker in ("169.254.102.3", interconnect_world.one.pc_address, "0.0.0.0"):
            asked = Ether(dst=EVERYBODY) / ARP(hwsrc=router.intf("link2").MAC(), psrc=asker, pdst=link.peer)
            from_peer(interconnect_world.one, asked / Raw(bad), "files-2")
        sent(link.ip, ICMP(), good)
        while good not in (data := leg.recv(4096)):
            assert bad not in data
    assert ping(router.pid, [link.peer]) == {link.peer}
    assert ping(interconnect_world.one.machine.pid, [link.peer], 0.3) == set()


def test_the_link_address_takes_no_source_route(interconnect_world: World) -> None:
    one = interconnect_world.one
    link = one.links["files-2"]
    with Wire(one.router.pid, link.interface) as wire:

        def answered(option: Packet, seconds: float) -> bool:
            head = Ether(dst=INTERCONNECT_MAC) / IP(src=link.ip, dst=link.peer, options=[option])
            from_peer(one, head / ICMP(id=9) / Raw(new_mark()), "files-2")
            return wire.receive(is_echo_reply(link.peer), seconds) is not None

        assert answered(IPOption_NOP(), 2.0)
        for option in (IPOption_LSRR, IPOption_SSRR):
            # With the way still before it, and at its end.
            for pointer in (4, 8):
                assert not answered(option(routers=[one.machine.address], pointer=pointer), 0.3)
        assert answered(IPOption_RR(routers=["0.0.0.0"]), 2.0)


def test_the_leg_sends_only_with_its_own_address(sandbox: Sandbox, interconnect_world: World) -> None:
    """As a BGP daemon taken over by its peer might."""
    one, two = interconnect_world.both
    link = one.links["files-2"]
    pid = leg_of(interconnect_world.one, "files-2").pid

    def open_leg() -> socket.socket:
        leg = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        leg.bind(("link", ETH_P_ALL))
        return leg

    bad, good = new_mark(), new_mark()
    with (
        Wire(one.router.pid, "link2") as wire,
        Wire(one.machine.pid) as machine,
        Wire(two.router.pid, "link1") as foreign,
        Wire(sandbox.internet.pid) as internet,
        within(pid, open_leg) as leg,
    ):
        for source in ("169.254.102.3", "10.9.0.2", "192.168.50.10", SERVERS[0], "203.0.113.64"):
            for target in (link.ip, one.machine.address, SERVERS[0]):
                frame = Ether(src=INTERCONNECT_MAC, dst=EVERYBODY) / IP(src=source, dst=target) / UDP() / Raw(bad)
                leg.send(bytes(frame))
        leg.send(bytes(Ether(src=INTERCONNECT_MAC, dst=EVERYBODY, type=0x88CC) / Raw(bad)))
        frame = Ether(src=INTERCONNECT_MAC, dst=EVERYBODY) / IP(src=link.peer, dst=link.ip) / UDP() / Raw(good)
        leg.send(bytes(frame))
        first = wire.receive(lambda frame: bad in bytes(frame) or good in bytes(frame), 2.0)
        assert first is not None
        assert good in bytes(first)
        for other in (machine, foreign, internet):
            assert other.receive(carries(bad), 0.05) is None


def test_arp_is_answered_to_the_peer_only_for_the_link(interconnect_world: World) -> None:
    one = interconnect_world.one
    link = one.links["files-1"]
    mac = one.router.intf(link.interface).MAC()
    with Wire(one.router.pid, link.interface) as wire:
        for about in (one.machine.address, "10.9.0.1", "10.250.0.10", "203.0.113.2", link.peer):
            wire.send(Ether(src=mac, dst=EVERYBODY) / ARP(op=1, hwsrc=mac, psrc=link.ip, pdst=about))
        told = wire.receive(lambda frame: ARP in frame and frame[ARP].op == 2, 2.0)
    assert told is not None
    assert (told[ARP].psrc, told[ARP].hwsrc) == (link.peer, INTERCONNECT_MAC)


def test_what_is_said_of_a_session(interconnect_world: World) -> None:
    one = interconnect_world.one
    session = interconnect_world.interconnects.session("files-1")
    assert session.peer_mac == one.router.intf("link1").MAC()
    assert sorted(session.announced_prefixes) == sorted([PREFIX, f"{one.drive.address}/32"])
    assert (session.received_prefixes, session.accepted_prefixes) == (1, 1)
    assert session.bfd == session.BFD_UP
    assert interconnect_world.interconnects.accepted("files-1") == [SITE_PREFIX]
    peering = interconnect_world.interconnects.session("peer")
    assert sorted(peering.announced_prefixes) == ["203.0.113.64/28", "203.0.113.96/28"]
    kernel = one.router.run("ip", "route")
    for prefix in (PREFIX, one.drive.address):
        assert f"{prefix} via" in kernel or f"{prefix} nhid" in kernel


def test_no_secret_is_anywhere(sandbox: Sandbox, interconnect_world: World) -> None:
    paths = sandbox.appliance.paths
    for place in (*paths.run.rglob("*"), *paths.bgp_directory.rglob("*"), paths.database_file):
        if place.is_file():
            assert PASSWORD.encode() not in place.read_bytes(), place
    assert PASSWORD not in sandbox.appliance.ofctl("dump-flows")
    processes = "cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ | tr '\\0' ' '"
    assert PASSWORD not in interconnect_world.one.pc.run("sh", "-c", processes)
    assert PASSWORD not in str(interconnect_world.interconnects.get("files-1"))
    own = [place for place in paths.bgp_directory.iterdir() if place.is_dir()]
    assert len(own) >= len(interconnect_world.names)
    assert all(place.stat().st_mode & 0o007 == 0 for place in own)


def test_devices_go_with_their_interconnect(sandbox: Sandbox, interconnect_world: World, tenants: Tenants) -> None:
    made = tenants.network("10.8.0.0/16")

    def devices() -> set[str]:
        ports = {port for port in sandbox.appliance.vsctl("list-ports", "br-sluice").split() if port.startswith("bgp")}
        return ports | {line.split()[0] for line in sandbox.internet.run("ip", "netns", "list").splitlines()}

    before = devices()
    link = interconnect_world.one.links["files-1"]
    fields = direct_connect(link) | {"vlan": 4000, "network": network_id(made)}
    interconnect_world.interconnects.create("brief", **fields)
    assert len(devices() - before) == 2
    interconnect_world.interconnects.delete("brief")
    await_condition(lambda: devices() == before, "port and namespace gone", 10)


def test_a_customer_is_told_the_mtu_of_the_network(interconnect_world: World) -> None:
    two, mark = interconnect_world.two, new_mark()
    link, payload = two.links["till-1"], mark + bytes(1450 - len(mark))
    frame = Ether(src=two.router.intf(link.interface).MAC(), dst=INTERCONNECT_MAC)
    frame /= IP(src=two.pc_address, dst=two.machine.address, flags="DF") / UDP(sport=9, dport=9) / Raw(payload)
    with Wire(two.router.pid, link.interface) as wire, Wire(two.machine.pid) as at_machine:
        wire.send(frame)
        told = wire.receive(lambda found: ICMP in found and found[ICMP].type == 3, 2.0)
        assert told is not None
        assert (told[ICMP].code, told[ICMP].nexthopmtu) == (4, SMALL_MTU)
        assert (told[IP].src, told[IP].dst) == ("10.9.0.1", two.pc_address)
        assert at_machine.receive(carries(mark), 0.1) is None
        # Who may be cut is, and comes in pieces.
        frame[IP].flags = 0
        wire.send(frame)
        first = at_machine.receive(carries(mark), 2.0)
        assert first is not None
        assert first[IP].flags.MF
        assert first[IP].len <= SMALL_MTU
        assert at_machine.receive(lambda found: IP in found and found[IP].frag > 0, 2.0) is not None
