"""Drives that come, go, move and are out of reach; errors and sizes of packets on the way to them."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
from appliance import run
from frames import carries, is_error, new_mark, routed
from machines import Machine, StorageHost
from namespaces import open_socket
from packets import Wire
from responders import ECHO_PORT
from sandbox import Sandbox, Wanted
from sandboxes import Tenants, network_id
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Raw
from storage_world import (
    ERROR,
    FILES,
    LIVE,
    OTHER,
    STORAGE_ADDRESS,
    STORAGE_MAC,
    TILL,
    Storage,
    assert_prohibited,
    client_of,
    drives_macs,
    echo_of,
    exchange,
    from_host,
    opened,
    quiet_gateway,
    stack,
    status,
    storage,
    wire_gets,
)
from supervisor import await_condition

__all__ = ["quiet_gateway", "stack", "storage"]

SMALL, LARGE, STORAGE_MTU = 1400, 9000, 1500


def renamed(device: str, name: str) -> None:
    """Give a device of the appliance another name: the port of that name is gone."""
    for command in (["set", device, "down"], ["set", device, "name", name], ["set", name, "up"]):
        run(["ip", "link", *command])


def test_storage_never_leaves_by_the_gateway(
    sandbox: Sandbox, storage: Storage, quiet_gateway: Callable[[], None]
) -> None:
    machine = storage.one.machines[0]
    assert echo_of(machine, FILES) == "files"
    for address in (TILL, OTHER, STORAGE_ADDRESS, "100.64.0.1"):
        assert echo_of(machine, address) is None
    port = sandbox.appliance.settings.storage_port
    # Under another name, or the agent would put it back at once.
    renamed(port, "elsewhere0")
    sandbox.site.bridge.detach(port)
    try:
        gone = (ERROR, f"port {port} is not on the bridge")
        await_condition(lambda: status(sandbox, "files") == gone, "the drive says that its port is gone", 10)
        for kind in range(3):
            with Wire(machine.pid) as wire:
                for target in (FILES, TILL, OTHER):
                    wire.send(routed(machine, target) / (UDP(), TCP(flags="S"), ICMP())[kind])
        assert echo_of(machine, FILES) is None
    finally:
        renamed("elsewhere0", port)
    await_condition(lambda: echo_of(machine, FILES) == "files", "the drive is back with its port", 10)
    quiet_gateway()


def test_a_drive_that_is_off_says_so_and_comes_by_itself(
    sandbox: Sandbox, storage: Storage, quiet_gateway: Callable[[], None]
) -> None:
    machine, address = storage.one.machines[0], "10.250.0.20"
    sandbox.create_drive("later", storage.one.network, address, live=False)
    reason = f"nobody on the storage network answers ARP for {address}"
    await_condition(lambda: status(sandbox, "later") == (ERROR, reason), "the reason", 10)
    mark = new_mark()
    with Wire(machine.pid) as wire:
        told = wire.exchange(routed(machine, address) / UDP(sport=700, dport=7) / Raw(mark), carries(mark))
    assert told is not None
    assert is_error(3, 1, address)(told)
    sandbox.add_storage_host("late", address)
    try:
        await_condition(lambda: status(sandbox, "later") == LIVE, "live by itself", 10)
        assert echo_of(machine, address) == "late"
    finally:
        sandbox.unplug("late")
        sandbox.delete_drive("later")
    quiet_gateway()
    assert_prohibited(machine, address)


def test_a_drive_that_moves_to_another_host_is_followed(sandbox: Sandbox, storage: Storage) -> None:
    """Its new MAC is announced (RFC 5227); the old one is worth nothing afterwards."""
    machine, address = storage.one.machines[0], "10.250.0.21"
    sandbox.add_storage_host("host1", address, "02:00:00:00:fb:01")
    try:
        sandbox.create_drive("mover", storage.one.network, address)
        assert echo_of(machine, address) == "host1"
    finally:
        sandbox.unplug("host1")
    second = sandbox.add_storage_host("host2", address, "02:00:00:00:fb:02")
    try:
        assert echo_of(machine, address) is None
        news = ARP(op=1, hwsrc=second.mac, psrc=address, pdst=address)
        with Wire(second.pid) as wire:
            wire.send(Ether(src=second.mac, dst="ff:ff:ff:ff:ff:ff") / news)
        await_condition(lambda: echo_of(machine, address) == "host2", "the new host reached", 10)
    finally:
        sandbox.unplug("host2")
        sandbox.delete_drive("mover")


def test_a_deleted_drive_is_gone_at_once_for_open_connections(sandbox: Sandbox, storage: Storage) -> None:
    machine, neighbor, address = *storage.one.machines, "10.250.0.22"
    host = sandbox.add_storage_host("brief", address)
    try:
        sandbox.create_drive("brief", storage.one.network, address)
        with opened(machine, address) as connection, opened(neighbor, FILES) as stays:
            assert exchange(connection, b"before")
            sandbox.delete_drive("brief")
            await_condition(lambda: address not in drives_macs(sandbox), "flows gone", 5)
            assert not exchange(connection, b"after")
            assert exchange(stays, b"the other drive's connection")
        own = client_of(machine, FILES)
        mark, last = new_mark(), new_mark()
        with Wire(machine.pid) as wire, Wire(host.pid) as out:
            out.send(from_host(host, own, mark))
            assert wire_gets(wire, storage.one.host, from_host(storage.one.host, own, last), last)
    finally:
        sandbox.unplug("brief")


def test_a_drive_whose_host_goes_away_says_so(sandbox: Sandbox, storage: Storage) -> None:
    """Seen within half a minute, or at once when another claims the address: the drive is asked, and silent."""
    machine, address = storage.one.machines[0], "10.250.0.23"
    sandbox.add_storage_host("leaver", address)
    try:
        sandbox.create_drive("leaver", storage.one.network, address)
        assert echo_of(machine, address) == "leaver"
    finally:
        sandbox.unplug("leaver")
    try:
        claim = ARP(op=1, hwsrc=storage.other.mac, psrc=address, pdst=address)
        with Wire(storage.other.pid) as wire:
            wire.send(Ether(src=storage.other.mac, dst="ff:ff:ff:ff:ff:ff") / claim)
        gone = (ERROR, f"nobody on the storage network answers ARP for {address}")
        await_condition(lambda: status(sandbox, "leaver") == gone, "said to be gone", 15)
        assert echo_of(machine, FILES) == "files"
        sandbox.add_storage_host("leaver", address)
        await_condition(lambda: status(sandbox, "leaver") == LIVE, "live again", 10)
        assert echo_of(machine, address) == "leaver"
        sandbox.unplug("leaver")
    finally:
        sandbox.delete_drive("leaver")


def test_icmp_errors_of_both_sides_are_about_what_the_other_knows(storage: Storage) -> None:
    machine, host = storage.one.machines[0], storage.one.host
    for asker, asked in ((machine, FILES), (host, client_of(machine, FILES))):
        with open_socket(asker.pid, socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(3)
            client.connect((asked, 9))
            client.send(b"?")
            with pytest.raises(ConnectionRefusedError):
                client.recv(10)


def test_fragments_are_dropped_and_counted(sandbox: Sandbox, storage: Storage) -> None:
    machine = storage.one.machines[0]
    key = Tenants(sandbox).network_of(machine).key
    before = sandbox.drops(key).get("fragment", 0)
    with Wire(machine.pid) as wire:
        wire.send(routed(machine, FILES, flags="MF") / UDP(sport=700, dport=ECHO_PORT) / Raw(bytes(24)))
    await_condition(lambda: sandbox.drops(key).get("fragment", 0) > before, "counted", 5)


@dataclass
class Sized:
    """A machine in a network of its own MTU, with a drive."""

    machine: Machine
    host: StorageHost


@pytest.fixture(scope="module")
def sized(sandbox: Sandbox, storage: Storage) -> Iterator[Callable[[int], Sized]]:
    made: dict[int, Sized] = {}
    maker = Tenants(sandbox)
    hosts: list[str] = []

    def size(mtu: int) -> Sized:
        if mtu not in made:
            network = network_id(maker.network(mtu=mtu))
            machine = maker.machines([Wanted("", network)])[0]
            sandbox.appliance.vsctl("set", "interface", machine.name, f"mtu_request={mtu}")
            name, address = f"mtu{mtu}", f"10.250.0.{40 + len(made)}"
            host = sandbox.add_storage_host(name, address)
            hosts.append(name)
            sandbox.create_drive(name, network, address)
            made[mtu] = Sized(machine, host)
        return made[mtu]

    yield size
    for mtu in made:
        sandbox.delete_drive(f"mtu{mtu}")
    maker.close()
    for name in hosts:
        sandbox.unplug(name)


@pytest.mark.parametrize("mtu", [SMALL, STORAGE_MTU, LARGE])
def test_large_transfers_both_ways(sized: Callable[[int], Sized], mtu: int) -> None:
    one = sized(mtu)
    data = bytes(range(256)) * 128
    with opened(one.machine, one.host.address) as connection:
        connection.settimeout(10)
        for _ in range(10):
            connection.sendall(data)
            got = b""
            while len(got) < len(data):
                got += connection.recv(1 << 16)
            assert got == data


def test_who_sends_too_large_packets_is_told_the_mtu(sized: Callable[[int], Sized]) -> None:
    large, small = sized(LARGE), sized(SMALL)
    mark = new_mark()
    packet = routed(large.machine, large.host.address, flags="DF") / UDP(sport=700, dport=7) / Raw(mark + bytes(3000))
    with Wire(large.machine.pid) as wire:
        told = wire.exchange(packet, is_error(3, 4, large.host.address))
    assert told is not None
    assert large.machine.lease is not None
    assert (told[ICMP].nexthopmtu, told[IP].src) == (STORAGE_MTU, large.machine.lease.router)
    client = client_of(small.machine, small.host.address)
    packet = (
        Ether(src=small.host.mac, dst=STORAGE_MAC)
        / IP(src=small.host.address, dst=client, flags="DF")
        / UDP(sport=700, dport=7)
        / Raw(mark + bytes(1420))
    )
    with Wire(small.host.pid) as wire:
        told = wire.exchange(packet, is_error(3, 4, client))
    assert told is not None
    assert (told[ICMP].nexthopmtu, told[IP].src) == (SMALL, STORAGE_ADDRESS)
