"""Shared drives: mounted by the machines of one network, and nothing else of the storage network reached."""

from __future__ import annotations

from collections.abc import Callable

from fileserver import SHARE, FileServer
from frames import ROUTER_MAC, carries, new_mark
from packets import Wire
from probes import ask_tcp, ask_udp, ping
from sandbox import Sandbox
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Raw
from storage_world import (
    FILES,
    OTHER,
    STORAGE_ADDRESS,
    STORAGE_MAC,
    TILL,
    Storage,
    assert_nobody_gets,
    assert_prohibited,
    client_of,
    drives_macs,
    echo_of,
    from_host,
    quiet_gateway,
    stack,
    storage,
    wire_gets,
)

__all__ = ["quiet_gateway", "stack", "storage"]


def test_each_tenant_reaches_its_own_drive_at_once(storage: Storage) -> None:
    assert [m.address for m in storage.one.machines] == [m.address for m in storage.two.machines]
    for _ in range(3):
        for tenancy in (storage.one, storage.two):
            for machine in tenancy.machines:
                address = tenancy.host.address
                assert echo_of(machine, address) == tenancy.host.name
                assert ask_udp(machine.pid, [address])[address].name == tenancy.host.name
                assert ping(machine.pid, [address]) == {address}


def test_the_server_tells_machines_apart_and_sees_their_ports(sandbox: Sandbox, storage: Storage) -> None:
    seen = {}
    for port, machine in enumerate([*storage.one.machines, *storage.two.machines], 700):
        address = (storage.one if machine in storage.one.machines else storage.two).host.address
        answer = ask_tcp(machine.pid, [address], port=port)[address]
        # Ports below 1024 are what NFS servers ask of clients by default.
        assert answer.port == port
        assert answer.address.startswith("100.64.")
        seen[answer.address] = machine
    assert len(seen) == 4


def test_files_by_nfs_and_smb(storage: Storage) -> None:
    one, two = storage.one, storage.two
    with FileServer(one.host) as first, FileServer(two.host) as second:
        for server, tenancy in ((first, one), (second, two)):
            (server.directory / "whose").write_text(f"of {tenancy.drive}")
        for server, tenancy in ((first, one), (second, two)):
            machine, neighbor = tenancy.machines
            address = tenancy.host.address
            at = f"nfs://{address}/{SHARE}"
            assert "whose" in machine.run("nfs-ls", f"{at}?version=4")
            for reader in (machine, neighbor):
                assert reader.run("nfs-cat", f"{at}/whose?version=4").strip() == f"of {tenancy.drive}"
            machine.run("sh", "-c", f"echo by nfs of {machine.name} >/run/put-{machine.name}")
            machine.run("nfs-cp", f"/run/put-{machine.name}", f"{at}/nfs?version=4")
            assert (server.directory / "nfs").read_text() == f"by nfs of {machine.name}\n"
            share = f"//{address}/{SHARE}"
            assert "whose" in machine.run("smbclient", "-N", share, "-c", "ls")
            neighbor.run("smbclient", "-N", share, "-c", f"put /run/put-{machine.name} smb")
            assert (server.directory / "smb").read_text() == f"by nfs of {machine.name}\n"
        large = bytes(range(256)) * 40_000
        (first.directory / "large").write_bytes(large)
        one.machines[0].run("smbclient", "-N", f"//{FILES}/{SHARE}", "-c", "get large /run/large")
        with open("/run/large", "rb") as got:
            assert got.read() == large


def test_the_drive_of_another_tenant_is_prohibited(storage: Storage) -> None:
    for tenancy, foreign in ((storage.one, TILL), (storage.two, FILES)):
        for machine in tenancy.machines:
            assert_prohibited(machine, foreign)


def test_an_isolated_machine_reaches_no_drive(storage: Storage) -> None:
    for address in (FILES, TILL, OTHER, STORAGE_ADDRESS):
        assert_prohibited(storage.alone, address)


def test_nothing_else_of_the_storage_network_is_reached(storage: Storage) -> None:
    clients = [answer.address for answer in ask_tcp(storage.one.machines[0].pid, [FILES]).values()]
    for address in (OTHER, STORAGE_ADDRESS, "10.250.0.1", "10.250.0.255", "100.64.0.0", "100.127.255.255", *clients):
        assert_prohibited(storage.one.machines[0], address)


def test_a_drive_reaches_the_machines_of_its_network_and_nobody_else(
    sandbox: Sandbox, storage: Storage, quiet_gateway: Callable[[], None]
) -> None:
    one, two = storage.one, storage.two
    own, foreign = client_of(one.machines[0], FILES), client_of(two.machines[0], TILL)
    mark = new_mark()
    with Wire(one.machines[0].pid) as wire:
        # Its own packets come through: what follows does not pass for another reason.
        assert wire_gets(wire, one.host, from_host(one.host, own, mark), mark)
    targets = [foreign, one.machines[0].address, "10.9.0.1", "172.16.0.2", storage.alone.address, "203.0.113.2",
               "203.0.113.64", "198.51.100.1", STORAGE_ADDRESS]  # fmt: skip
    watched = [*two.machines, storage.alone, sandbox.internet]
    for via in (STORAGE_MAC, "02:00:00:00:ff:01", "02:00:00:00:ff:02"):
        for target in targets:
            assert_nobody_gets(storage, watched, one.host, lambda mark, t=target, v=via: from_host(
                one.host, t, mark, via=v))  # fmt: skip
    quiet_gateway()


def test_a_storage_host_does_not_speak_for_a_drive(storage: Storage) -> None:
    """By the address of a drive, its MAC learned too, only who has both comes through."""
    one = storage.one
    own = client_of(one.machines[0], FILES)
    for source in (FILES, TILL, OTHER):
        mark, last = new_mark(), new_mark()
        with Wire(one.machines[0].pid) as wire, Wire(storage.other.pid) as out:
            out.send(from_host(storage.other, own, mark, source=source))
            assert wire_gets(wire, one.host, from_host(one.host, own, last), last)
        with Wire(one.machines[0].pid) as wire:
            assert wire.receive(carries(mark), 0.02) is None


def test_arp_answers_of_others_are_not_believed(sandbox: Sandbox, storage: Storage) -> None:
    """A reply with a drive's address is believed from anybody, as ARP is; one for other addresses is not."""
    stray = ARP(op=2, hwsrc=storage.other.mac, psrc=OTHER, hwdst=STORAGE_MAC, pdst=STORAGE_ADDRESS)
    with Wire(storage.other.pid) as wire:
        wire.send(Ether(src=storage.other.mac, dst=STORAGE_MAC) / stray)
        question = ARP(op=1, hwsrc=storage.other.mac, psrc=OTHER, pdst=STORAGE_ADDRESS)
        answer = wire.exchange(Ether(src=storage.other.mac, dst="ff:ff:ff:ff:ff:ff") / question,
                               lambda f: ARP in f and f[ARP].op == 2 and f[ARP].psrc == STORAGE_ADDRESS)  # fmt: skip
        assert answer is not None
        assert answer[ARP].hwsrc == STORAGE_MAC
        for target in ("10.9.0.2", "203.0.113.64", "100.64.0.1", "10.9.0.1", FILES + "0"):
            question = ARP(op=1, hwsrc=storage.other.mac, psrc=OTHER, pdst=target)
            frame = Ether(src=storage.other.mac, dst="ff:ff:ff:ff:ff:ff") / question
            assert wire.exchange(frame, lambda f: ARP in f and f[ARP].op == 2, 0.1) is None
    assert OTHER not in drives_macs(sandbox)


def test_machines_do_not_reach_the_storage_port_at_layer_2(storage: Storage) -> None:
    machine, host = storage.one.machines[0], storage.one.host
    mark, last = new_mark(), new_mark()
    with Wire(host.pid) as wire, Wire(machine.pid) as out:
        for mac in (host.mac, STORAGE_MAC, "ff:ff:ff:ff:ff:ff"):
            out.send(Ether(src=machine.mac, dst=mac) / IP(src=machine.address, dst=FILES) / UDP() / Raw(mark))
        out.send(Ether(src=machine.mac, dst=ROUTER_MAC) / IP(src=machine.address, dst=FILES) / UDP() / Raw(last))
        assert wire.receive(carries(last), 2.0) is not None
    with Wire(host.pid) as wire:
        assert wire.receive(carries(mark), 0.02) is None
