"""VPN gateways: who reaches whom through them, two tenants at once with all prefixes the same, and who does not."""

from __future__ import annotations

import socket

import pytest
from echoes import echoes
from fileserver import SHARE, FileServer
from frames import INTERNET_MAC, carries, counted, is_error, new_mark, routed
from machines import SERVERS, Machine
from namespaces import open_socket, within
from packets import Wire
from pinging import unbroken
from probes import ask_tcp, ping
from responders import ECHO_PORT
from sandbox import Sandbox
from sandboxes import Tenants, network_id
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw
from supervisor import await_condition
from vpn_world import SECRET, SITE_PREFIX, Tenancy, World, charon_of, only_sealed, vpn_world

from state.vpn import inside_port, namespace, outside_port

__all__ = ["vpn_world"]

CLIENTS = "100.64."


def test_office_and_machines_reach_each_other(sandbox: Sandbox, vpn_world: World) -> None:
    one, two = vpn_world.both
    assert [m.address for m in one.machines] == [m.address for m in two.machines]
    assert one.site.pc_address == two.site.pc_address
    with only_sealed(sandbox, one.gateway.address):
        for tenancy in vpn_world.both:
            pc = tenancy.site.pc
            for machine in tenancy.machines:
                assert echoes(pc, machine.address) == {machine.name, "ping"}
                assert echoes(machine, tenancy.site.pc_address) == {pc.name, "ping"}


def test_addresses_are_not_translated(vpn_world: World) -> None:
    for tenancy in vpn_world.both:
        pc, machine = tenancy.site.pc, tenancy.machines[1]
        seen = ask_tcp(pc.pid, [machine.address], port=4711)[machine.address]
        assert (seen.address, seen.port) == (tenancy.site.pc_address, 4711)
        seen = ask_tcp(machine.pid, [tenancy.site.pc_address], port=4712)[tenancy.site.pc_address]
        assert (seen.address, seen.port) == (machine.address, 4712)


def test_drives_from_the_office(sandbox: Sandbox, vpn_world: World) -> None:
    clients = set()
    for tenancy in vpn_world.both:
        pc, drive = tenancy.site.pc, tenancy.drive
        assert echoes(pc, drive.address) == {drive.name, "ping"}
        clients.add(ask_tcp(pc.pid, [drive.address])[drive.address].address)
    # To the storage network each gateway is a client of its own.
    assert len(clients) == 2
    assert all(client.startswith(CLIENTS) for client in clients)
    with FileServer(vpn_world.one.drive) as server:
        (server.directory / "readme").write_text("for the whole company")
        pc, address = vpn_world.one.site.pc, vpn_world.one.drive.address
        assert pc.run("nfs-cat", f"nfs://{address}/{SHARE}/readme?version=4").strip() == "for the whole company"
        pc.run("smbclient", "-N", f"//{address}/{SHARE}", "-c", "put /etc/hostname from-office")
        assert (server.directory / "from-office").exists()


def test_drives_do_not_open_connections_to_the_office(vpn_world: World) -> None:
    one = vpn_world.one
    client = ask_tcp(one.site.pc.pid, [one.drive.address])[one.drive.address].address
    one.drive.run("ip", "route", "add", SITE_PREFIX, "via", "10.250.0.2")
    try:
        for target in (client, one.site.pc_address):
            assert echoes(one.drive, target) == set()
    finally:
        one.drive.run("ip", "route", "del", SITE_PREFIX)


def test_what_the_office_does_not_reach(sandbox: Sandbox, vpn_world: World) -> None:
    one, two = vpn_world.both
    pc = one.site.pc
    strangers = [vpn_world.alone.address, two.drive.address, "10.250.0.2", "203.0.113.2", "203.0.113.64", "172.16.0.1"]
    # By the tunnel, whatever the selectors of the site say; what is not in them goes by the Internet otherwise.
    one.site.router.run("ip", "route", "add", "table", "219", "default", "dev", "ipsec0")
    one.site.router.run("ip", "rule", "add", "iif", "lan", "lookup", "219", "priority", "10")
    try:
        for target in strangers:
            assert echoes(pc, target) == set(), target
        assert echoes(pc, one.machines[0].address) == {one.machines[0].name, "ping"}
    finally:
        one.site.router.run("ip", "rule", "del", "priority", "10")
        one.site.router.run("ip", "route", "del", "table", "219", "default")


def test_who_does_not_reach_the_office(vpn_world: World) -> None:
    pc = vpn_world.one.site.pc_address
    mark = new_mark()
    with Wire(vpn_world.alone.pid) as wire:
        frame = routed(vpn_world.alone, pc) / UDP(sport=700, dport=ECHO_PORT) / Raw(mark)
        told = wire.exchange(frame, carries(mark))
        assert told is not None
        assert is_error(3, 0, pc)(told)
    assert echoes(vpn_world.alone, pc) == set()


def test_the_routers_address_answers_the_office_and_offers_nothing(vpn_world: World) -> None:
    one = vpn_world.one
    router = "10.9.0.1"
    assert ping(one.site.pc.pid, [router]) == {router}
    for port in (53, 500, 4500, 179, 22):
        with open_socket(one.site.pc.pid, socket.AF_INET, socket.SOCK_STREAM) as client:
            client.settimeout(0.2)
            assert client.connect_ex((router, port)) != 0


def _from_leg(key: int, device: str, frame: Packet) -> None:
    """Have the gateway's namespace send a frame by hand, as one taken over by its peer might."""
    with _in_namespace(key, device) as wire:
        wire.send(bytes(frame))


def _in_namespace(key: int, device: str) -> socket.socket:
    """A packet socket on a device of a gateway's namespace."""

    def open_wire() -> socket.socket:
        wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        wire.bind((device, 3))
        return wire

    return within(charon_of(key), open_wire)


def _inside(source: str, to: str, mark: bytes) -> Packet:
    return Ether(src="02:00:00:00:ff:05", dst="02:00:00:00:ff:01") / IP(src=source, dst=to) / UDP(dport=9) / Raw(mark)


def test_a_gateway_that_was_taken_over_reaches_only_its_own_network(sandbox: Sandbox, vpn_world: World) -> None:
    one, two = vpn_world.both
    machine, other = one.machines[0], two.machines[0]
    with Wire(machine.pid) as wire, Wire(other.pid) as foreign, Wire(vpn_world.alone.pid) as alone:
        bad = new_mark()
        for source in ("192.168.51.10", "198.51.100.1", "10.9.0.3", "172.16.0.2"):
            _from_leg(one.key, "inside", _inside(source, machine.address, bad))
        for target in (vpn_world.alone.address, "198.51.100.1", "203.0.113.2", "10.250.0.11", "10.9.0.99"):
            _from_leg(one.key, "inside", _inside("192.168.50.10", target, bad))
        good = new_mark()
        _from_leg(one.key, "inside", _inside("192.168.50.10", machine.address, good))
        first = wire.receive(lambda f: bad in bytes(f) or good in bytes(f), 2.0)
        assert first is not None
        assert good in bytes(first)
        for stranger in (foreign, alone):
            assert stranger.receive(carries(bad), 0.05) is None


def test_sources_that_are_not_the_peers_are_counted(sandbox: Sandbox, vpn_world: World) -> None:
    one = vpn_world.one
    with counted(sandbox, one.key, "vpn-source", 3):
        for _ in range(3):
            _from_leg(one.key, "inside", _inside("192.168.51.10", one.machines[0].address, b"x"))


def test_the_outside_leg_sends_only_ike_and_esp_to_its_peer(sandbox: Sandbox, vpn_world: World) -> None:
    one = vpn_world.one
    own, peer = one.gateway.address, one.site.address

    def outside(**ip: str) -> Packet:
        return Ether(src="02:00:00:00:ff:06", dst="02:00:00:00:ff:02") / IP(**{"src": own, "dst": peer} | ip)

    with Wire(sandbox.internet.pid) as wire:
        bad = new_mark()
        for frame in (
            outside() / UDP(sport=4711, dport=4500),
            outside() / UDP(sport=53, dport=53),
            outside() / TCP(sport=4500, dport=80),
            outside() / ICMP(),
            outside(dst="198.51.100.1") / UDP(sport=4500, dport=4500),
            outside(src=one.machines[0].address) / UDP(sport=4500, dport=4500),
            outside(src="203.0.113.2") / UDP(sport=4500, dport=4500),
            outside(src=vpn_world.two.gateway.address) / UDP(sport=4500, dport=4500),
        ):
            _from_leg(one.key, "outside", frame / Raw(bad))
        good = new_mark()
        _from_leg(one.key, "outside", outside() / UDP(sport=4500, dport=4500) / Raw(good))
        first = wire.receive(lambda f: bad in bytes(f) or good in bytes(f), 2.0)
        assert first is not None
        assert good in bytes(first)


def test_strangers_do_not_reach_a_gateway(sandbox: Sandbox, vpn_world: World) -> None:
    one = vpn_world.one

    def arriving(source: str) -> Packet:
        return Ether(src=INTERNET_MAC, dst="02:00:00:00:ff:02") / IP(src=source, dst=one.gateway.address)

    with _in_namespace(one.key, "outside") as wire, Wire(sandbox.internet.pid) as internet:
        wire.settimeout(2)
        bad, good = new_mark(), new_mark()
        for frame in (
            arriving(SERVERS[0]) / UDP(sport=500, dport=500),
            arriving(SERVERS[0]) / UDP(sport=4500, dport=4500),
            arriving(one.site.address) / UDP(sport=500, dport=53),
            arriving(one.site.address) / TCP(sport=500, dport=22),
            arriving(one.site.address) / ICMP(),
        ):
            internet.send(frame / Raw(bad))
        internet.send(arriving(one.site.address) / UDP(sport=500, dport=500) / Raw(good))
        while good not in (data := wire.recv(2048)):
            assert bad not in data
    assert ping(sandbox.internet.pid, [one.gateway.address], 0.3) == set()


def test_segments_fit_the_tunnel_and_large_transfers_pass(vpn_world: World) -> None:
    one = vpn_world.one
    machine, pc = one.machines[0], one.site.pc
    for sender, listener, address in ((machine, pc, one.site.pc_address), (pc, machine, machine.address)):
        with Wire(listener.pid) as wire:
            assert ask_tcp(sender.pid, [address])
            syn = wire.receive(lambda f, to=address: TCP in f and f[TCP].flags == "S" and f[IP].dst == to)  # type: ignore[misc]
            assert syn is not None
            assert dict(syn[TCP].options)["MSS"] <= 1360
        assert _echoed(sender, address, 300_000) == 300_000


def _echoed(sender: Machine, address: str, size: int) -> int:
    """How many of `size` bytes come back from the echo server at `address`."""
    with open_socket(sender.pid, socket.AF_INET, socket.SOCK_STREAM) as client:
        client.settimeout(10)
        client.connect((address, ECHO_PORT))
        greeting = client.recv(2048)
        assert greeting.endswith(b"\n")
        back = 0
        for _ in range(size // 20_000):
            client.sendall(bytes(20_000))
            part = 0
            while part < 20_000:
                part += len(client.recv(65536))
            back += part
        return back


def test_the_path_mtu_is_told(vpn_world: World) -> None:
    one = vpn_world.one
    machine, pc = one.machines[0], one.site.pc_address
    echo = IP(src=machine.address, dst=pc, flags="DF") / ICMP(id=7) / Raw(bytes(1472))
    with Wire(machine.pid) as wire:
        told = wire.exchange(Ether(src=machine.mac, dst="02:00:00:00:ff:01") / echo, is_error(3, 4, pc), 2.0)
    assert told is not None
    assert told[IP].src == "10.9.0.1"
    assert told[ICMP].nexthopmtu == 1400
    # Not forbidden to be cut, it passes.
    assert "1 received" in machine.run("ping", "-c1", "-W2", "-M", "dont", "-s", "3000", pc)


@pytest.mark.parametrize("name", ["one", "two"])
def test_counters_and_usage(sandbox: Sandbox, vpn_world: World, name: str) -> None:
    tenancy: Tenancy = getattr(vpn_world, name)
    before, used = vpn_world.vpn.connection(tenancy.site.name).tunnel, sandbox.usage(f"networks/{tenancy.network}").vpn
    with unbroken(tenancy.machines[0], tenancy.site.pc_address, 0.02):
        await_condition(lambda: _packets(vpn_world, tenancy)[0] >= before.packets_out + 20, "counted", 15)
    await_condition(lambda: _packets(vpn_world, tenancy)[1] >= before.packets_in + 20, "counted", 15)

    def usage() -> bool:
        now = sandbox.usage(f"networks/{tenancy.network}").vpn
        return now.packets_out >= used.packets_out + 20 and now.packets_in >= used.packets_in + 20

    await_condition(usage, "used", 15)


def _packets(world: World, tenancy: Tenancy) -> tuple[int, int]:
    tunnel = world.vpn.connection(tenancy.site.name).tunnel
    return tunnel.packets_out, tunnel.packets_in


def test_no_secret_is_anywhere(sandbox: Sandbox, vpn_world: World) -> None:
    places = [
        *sandbox.appliance.paths.run.rglob("*"),
        *sandbox.appliance.paths.vpn_directory.rglob("*"),
        sandbox.appliance.paths.database_file,
    ]
    for place in places:
        if place.is_file():
            assert SECRET.encode() not in place.read_bytes(), place
    assert SECRET not in sandbox.appliance.ofctl("dump-flows")
    assert SECRET not in vpn_world.one.site.pc.run(
        "sh", "-c", "cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ | tr '\\0' ' '"
    )
    assert sandbox.appliance.paths.vpn_key.stat().st_mode & 0o777 == 0o600
    assert SECRET not in str(vpn_world.vpn.connection(vpn_world.one.site.name))


def test_devices_go_with_their_gateway(sandbox: Sandbox, vpn_world: World, tenants: Tenants) -> None:
    made = tenants.network("10.8.0.0/16")
    vpn_world.vpn.create_gateway("brief", network_id(made))
    ports = {inside_port(made.key), outside_port(made.key)}
    assert ports <= set(sandbox.appliance.vsctl("list-ports", "br-sluice").split())
    vpn_world.vpn.delete_gateway("brief")
    await_condition(
        lambda: ports.isdisjoint(sandbox.appliance.vsctl("list-ports", "br-sluice").split()), "ports gone", 10
    )

    def gone() -> bool:
        return namespace(made.key) not in sandbox.internet.run("ip", "netns", "list")

    await_condition(gone, "namespace gone", 10)
