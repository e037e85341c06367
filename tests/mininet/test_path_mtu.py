"""Path MTU discovery: who sends too large packets is told so, wherever the narrow link is (RFC 1191)."""

from __future__ import annotations

import errno
import hashlib
import os
import select
import socket
import struct
import threading
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from frames import (
    GATEWAY_MAC,
    INTERNET_MAC,
    NEXT_HOP,
    carries,
    counted,
    heard_so_far,
    is_error,
    new_mark,
)
from machines import INTERFACE, SERVERS, Machine
from namespaces import open_socket
from packets import Wire
from probes import ask_udp
from remote_machine import FAR, NARROW_MTU, remote
from sandbox import Sandbox, Wanted
from sandboxes import Tenants, network_id
from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.l2 import Ether
from scapy.packet import Raw
from supervisor import await_condition

__all__ = ["remote"]

SERVER = SERVERS[0]
ECHO = 7
SMALL, LARGE, GATEWAY_MTU = 1400, 9000, 1500
HEADERS = 28

# <linux/in.h>, <linux/errqueue.h>; not in Python's socket module.
IP_MTU_DISCOVER, IP_RECVERR, IP_MTU = 10, 11, 14
PMTUDISC_DONT, PMTUDISC_DO = 0, 2
MSG_ERRQUEUE = 0x2000
SO_EE_ORIGIN_ICMP = 2


@pytest.fixture(scope="module")
def maker(sandbox: Sandbox) -> Iterator[Tenants]:
    one = Tenants(sandbox)
    try:
        yield one
    finally:
        one.close()
        # What it learned of narrow paths is not for the tests that follow.
        sandbox.internet.run("ip", "route", "flush", "cache")


@pytest.fixture(scope="module")
def small(maker: Tenants) -> Machine:
    return maker.private(1, mtu=SMALL)[0]


@pytest.fixture(scope="module")
def large(sandbox: Sandbox, maker: Tenants) -> list[Machine]:
    """Two neighbours in a network of large packets, on ports that carry them."""
    network = network_id(maker.network(mtu=LARGE))
    machines = maker.machines([Wanted("", network), Wanted("", network)])
    for machine in machines:
        sandbox.appliance.vsctl("set", "interface", machine.name, f"mtu_request={LARGE}")
    for machine in machines:
        await_condition(lambda name=machine.name: _mtu(name) == LARGE, f"MTU of port {machine.name}", 5)
    return machines


def _mtu(interface: str) -> int:
    with open(f"/sys/class/net/{interface}/mtu") as file:
        return int(file.read())


def udp_socket(machine: Machine, *, discover: int, to: tuple[str, int] | None = None) -> socket.socket:
    """A UDP socket that sets DF (PMTUDISC_DO) or does not, with its errors queued."""
    one = open_socket(machine.pid, socket.AF_INET, socket.SOCK_DGRAM)
    one.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, discover)
    one.setsockopt(socket.IPPROTO_IP, IP_RECVERR, 1)
    one.settimeout(2.0)
    if to:
        one.connect(to)
    return one


@dataclass(frozen=True)
class Told:
    """An ICMP error as the kernel hands it over: errno, MTU, who sent it, and the destination it is about."""

    error: int
    kind: tuple[int, int]
    mtu: int
    offender: str
    about: tuple[str, int]


def await_error(one: socket.socket) -> Told:
    """The next ICMP error of a socket (ip(7), IP_RECVERR)."""
    poll = select.poll()
    poll.register(one, select.POLLERR)
    assert poll.poll(2000), "no ICMP error came"
    _, ancillary, _, about = one.recvmsg(2048, 512, MSG_ERRQUEUE)
    data = next(data for level, kind, data in ancillary if (level, kind) == (socket.IPPROTO_IP, IP_RECVERR))
    number, origin, kind, code, _, info, _ = struct.unpack("=IBBBBII", data[:16])
    assert origin == SO_EE_ORIGIN_ICMP
    return Told(number, (kind, code), info, socket.inet_ntoa(data[20:24]), about)


class TestNetworkBelowTheGateway:
    """Packets of 1500 bytes from the Internet for a network of 1400."""

    def test_the_sender_in_the_internet_is_told(self, sandbox: Sandbox, small: Machine) -> None:
        with udp_socket(sandbox.internet, discover=PMTUDISC_DO) as server, Wire(sandbox.internet.pid) as outside:
            server.bind((SERVER, 0))
            with udp_socket(small, discover=PMTUDISC_DO, to=server.getsockname()) as client:
                client.send(b"?")
                _, public = server.recvfrom(100)
                server.sendto(b"x" * (GATEWAY_MTU - HEADERS), public)
                told = await_error(server)
                assert (told.error, told.kind, told.mtu) == (errno.EMSGSIZE, (3, 4), SMALL)
                # Nothing of the private network shows: the error seems to come from the public address.
                assert (told.offender, told.about) == (public[0], public)
                frame = outside.receive(is_error(3, 4))
                assert frame is not None
                assert socket.inet_aton(small.address) not in bytes(frame)
                with pytest.raises(OSError, match="Message too long"):
                    server.sendto(b"x" * (GATEWAY_MTU - HEADERS), public)
                fits = os.urandom(SMALL - HEADERS)
                server.sendto(fits, public)
                assert client.recv(GATEWAY_MTU) == fits

    def test_without_df_the_packet_arrives_in_fragments(self, sandbox: Sandbox, small: Machine) -> None:
        with udp_socket(sandbox.internet, discover=PMTUDISC_DONT) as server, Wire(small.pid) as wire:
            server.bind((SERVER, 0))
            with udp_socket(small, discover=PMTUDISC_DO, to=server.getsockname()) as client:
                client.send(b"?")
                _, public = server.recvfrom(100)
                # Its own kernel may know the narrow path by now; as a packet it does not.
                sent = os.urandom(GATEWAY_MTU - HEADERS)
                packet = Ether(src=INTERNET_MAC, dst=GATEWAY_MAC) / IP(src=SERVER, dst=public[0], id=7)
                with Wire(sandbox.internet.pid) as outside:
                    outside.send(packet / UDP(sport=server.getsockname()[1], dport=public[1]) / Raw(sent))
                    assert client.recv(2 * GATEWAY_MTU) == sent
                sizes = [frame[IP].len for frame in heard_so_far(wire, small) if IP in frame and frame[IP].id == 7]
        assert len(sizes) == 2
        assert max(sizes) <= SMALL

    def test_a_large_download_by_tcp(self, sandbox: Sandbox, small: Machine) -> None:
        """A machine that ignores the network's MTU asks for segments that do not fit: they shrink on the way."""
        sandbox.internet.run("ip", "route", "flush", "cache")
        small.run("ip", "link", "set", INTERFACE, "mtu", str(GATEWAY_MTU))
        try:
            with Wire(small.pid) as wire:
                download(sandbox, small)
                largest = max(frame[IP].len for frame in heard_so_far(wire, small) if IP in frame)
        finally:
            small.run("ip", "link", "set", INTERFACE, "mtu", str(SMALL))
        assert SMALL - 100 < largest <= SMALL
        assert f"mtu {SMALL}" in sandbox.internet.run("ip", "route", "get", public_address(sandbox, small))


def public_address(sandbox: Sandbox, machine: Machine) -> str:
    return ask_udp(machine.pid, [SERVER])[SERVER].address


def download(sandbox: Sandbox, machine: Machine, size: int = 400_000) -> None:
    """Have the machine fetch `size` bytes from the Internet, and compare them."""
    content = os.urandom(size)
    with open_socket(sandbox.internet.pid, socket.AF_INET, socket.SOCK_STREAM) as server:
        server.bind((SERVER, 0))
        server.listen(1)
        server.settimeout(5)

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.settimeout(10)
                connection.sendall(content)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        received = hashlib.sha256()
        with open_socket(machine.pid, socket.AF_INET, socket.SOCK_STREAM) as client:
            client.settimeout(10)
            client.connect(server.getsockname())
            while data := client.recv(65536):
                received.update(data)
        thread.join()
    assert received.digest() == hashlib.sha256(content).digest()


class TestNetworkAboveTheGateway:
    """Packets of up to 9000 bytes from a network behind a gateway of 1500."""

    def test_the_machine_is_told(self, large: list[Machine]) -> None:
        machine = large[0]
        assert machine.lease is not None
        assert machine.lease.mtu == LARGE
        with udp_socket(machine, discover=PMTUDISC_DO, to=(SERVER, ECHO)) as client:
            client.send(b"x" * 8000)
            told = await_error(client)
            assert (told.error, told.kind, told.mtu) == (errno.EMSGSIZE, (3, 4), GATEWAY_MTU)
            assert (told.offender, told.about) == (machine.lease.router, (SERVER, ECHO))
            assert client.getsockopt(socket.IPPROTO_IP, IP_MTU) == GATEWAY_MTU
            with pytest.raises(OSError, match="Message too long"):
                client.send(b"x" * (GATEWAY_MTU - HEADERS + 1))
            fits = b"x" * (GATEWAY_MTU - HEADERS)
            client.send(fits)
            assert client.recv(LARGE).endswith(fits)
        machine.run("ip", "route", "flush", "cache")

    def test_without_df_it_arrives_in_fragments_and_so_does_the_answer(
        self, sandbox: Sandbox, large: list[Machine]
    ) -> None:
        with Wire(sandbox.internet.pid) as outside:
            with udp_socket(large[0], discover=PMTUDISC_DONT, to=(SERVER, ECHO)) as client:
                sent = os.urandom(8000)
                client.send(sent)
                assert client.recv(LARGE).endswith(sent)
            mark = new_mark()
            with udp_socket(large[0], discover=PMTUDISC_DONT, to=(SERVER, ECHO)) as client:
                client.send(mark)
            sizes: list[int] = []

            def last(frame: IP) -> bool:
                if IP in frame:
                    sizes.append(frame[IP].len)
                return mark in bytes(frame)

            assert outside.receive(last) is not None
        assert max(sizes) <= GATEWAY_MTU
        assert len(sizes) > 6

    def test_large_packets_between_neighbours_arrive_whole(self, large: list[Machine]) -> None:
        machine, neighbour = large
        mark = new_mark()
        with Wire(neighbour.pid) as wire:
            with udp_socket(machine, discover=PMTUDISC_DO, to=(neighbour.address, ECHO)) as client:
                client.send(mark + b"x" * 8000)
                assert len(client.recv(LARGE)) > 8000
            arrived = wire.receive(carries(mark))
        assert arrived is not None
        assert arrived[IP].len > 8000

    def test_a_download_by_tcp(self, sandbox: Sandbox, large: list[Machine]) -> None:
        download(sandbox, large[1])


class TestNarrowLinkInTheInternet:
    """A router of the Internet says that a packet is too large: the machine must hear it as about its own packet."""

    @pytest.mark.parametrize("private", [False, True], ids=["isolated", "private"])
    def test_its_error_is_translated_back(self, maker: Tenants, remote: Machine, private: bool) -> None:
        machine = maker.private(1)[0] if private else maker.isolated()
        with udp_socket(machine, discover=PMTUDISC_DO, to=(FAR, ECHO)) as client:
            client.send(b"x" * 1400)
            told = await_error(client)
            assert (told.error, told.kind, told.mtu) == (errno.EMSGSIZE, (3, 4), NARROW_MTU)
            assert (told.offender, told.about) == (NEXT_HOP, (FAR, ECHO))
            fits = os.urandom(NARROW_MTU - HEADERS)
            client.send(fits)
            assert client.recv(2000).startswith(b"far ")

    @pytest.mark.parametrize("private", [False, True], ids=["isolated", "private"])
    def test_the_quote_has_the_machines_own_address(self, maker: Tenants, remote: Machine, private: bool) -> None:
        machine = maker.private(1)[0] if private else maker.isolated()
        with Wire(machine.pid) as wire, udp_socket(machine, discover=PMTUDISC_DO, to=(FAR, ECHO)) as client:
            mark = new_mark()
            client.send(mark + b"x" * 1390)
            frame = wire.receive(is_error(3, 4))
            port = client.getsockname()[1]
        assert frame is not None
        assert checksums_hold(frame)
        quoted = frame[ICMP].payload
        assert (quoted.src, quoted.dst, quoted.payload.sport) == (machine.address, FAR, port)
        assert mark in bytes(frame)

    def test_one_about_no_connection_does_not_come_in(self, sandbox: Sandbox, maker: Tenants) -> None:
        machine, mark = maker.private(1)[0], new_mark()
        public = ask_udp(machine.pid, [SERVER])[SERVER]
        with Wire(sandbox.internet.pid) as outside, Wire(machine.pid) as wire:
            with counted(sandbox, 0, "unsolicited", 1):
                about = IP(src=public.address, dst="198.51.100.99") / UDP(sport=public.port, dport=9) / Raw(mark)
                header = Ether(src=INTERNET_MAC, dst=GATEWAY_MAC) / IP(src=NEXT_HOP, dst=public.address)
                outside.send(header / ICMP(type=3, code=4, nexthopmtu=68) / about)
            assert not [frame for frame in heard_so_far(wire, machine) if mark in bytes(frame) or ICMP in frame]


def checksums_hold(frame: Ether) -> bool:
    """Whether IP and ICMP checksums, the quoted IP header's too, are what scapy makes them."""
    again = Ether(bytes(frame))
    del again[IP].chksum, again[ICMP].chksum, again[ICMP].payload.chksum
    return bytes(again) == bytes(frame)
