"""ICMP errors pass NAT in both directions, and quote what the side that gets them knows."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Iterator

import pytest
from frames import ROUTER_MAC
from gateway_watch import no_inner_source
from machines import SERVERS, Machine
from namespaces import within
from packets import Wire
from probes import ask_udp, echo_request, internet_checksum
from responders import ECHO_PORT
from sandbox import Sandbox
from sandboxes import Tenants
from scapy.layers.inet import ICMP, IP, UDP, ICMPerror, IPerror, TCPerror, UDPerror, fragment
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

SERVER = SERVERS[0]
UPSTREAM = "203.0.113.1"
# Not an address of any host: the Internet forwards what is for it.
REMOTE = "198.51.100.200"
CLOSED_PORT = 99
SECONDS = 5.0
UNREACHABLE, SOURCE_QUENCH, TIME_EXCEEDED = 3, 4, 11
PORT_UNREACHABLE = 3


@pytest.fixture(scope="module")
def machines(sandbox: Sandbox) -> Iterator[dict[str, Machine]]:
    """One alone, one of a private network."""
    maker = Tenants(sandbox)
    try:
        with no_inner_source(sandbox):
            alone = maker.isolated()
            # Until the next hop's MAC is known, packets are lost.
            assert SERVER in ask_udp(alone.pid, [SERVER], SECONDS)
            yield {"isolated": alone, "private": maker.private(2, "10.77.0.0/16")[0]}
    finally:
        maker.close()


KINDS = pytest.mark.parametrize("kind", ["isolated", "private"])


def client_of(machine: Machine, kind: int = socket.SOCK_DGRAM, *, ttl: int = 64) -> socket.socket:
    """A socket of the machine."""

    def make() -> socket.socket:
        one = socket.socket(socket.AF_INET, kind)
        one.settimeout(SECONDS)
        one.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, ttl)
        one.bind(("0.0.0.0", 0))
        return one

    return within(machine.pid, make)


def is_error(kind: int, about: type[Packet]) -> Callable[[Packet], bool]:
    """Whether a frame is an ICMP error of a type, about a packet of a protocol."""
    return lambda frame: ICMP in frame and frame[ICMP].type == kind and about in frame


def well_formed(frame: Packet) -> bool:
    """Whether the checksums are right: of the IP header, the ICMP message and the quoted IP header (RFC 1071)."""
    packet = bytes(frame[IP])[: frame[IP].len]
    message = packet[frame[IP].ihl * 4 :]
    quoted = message[8 : 8 + frame[IPerror].ihl * 4]
    return not any(map(internet_checksum, (packet[: frame[IP].ihl * 4], message, quoted)))


@KINDS
def test_port_unreachable_of_a_server_reaches_the_machine(machines: dict[str, Machine], kind: str) -> None:
    machine = machines[kind]
    with Wire(machine.pid) as wire, client_of(machine) as client:
        client.connect((SERVER, CLOSED_PORT))
        client.send(b"anybody there?")
        # The kernel believes the error only if the quoted addresses and ports are those of this socket.
        with pytest.raises(ConnectionRefusedError):
            client.recv(100)
        seen = wire.receive(is_error(UNREACHABLE, UDPerror), SECONDS)
        assert seen is not None
        assert (seen[IP].src, seen[IP].dst, seen[ICMP].code) == (SERVER, machine.address, PORT_UNREACHABLE)
        assert (seen[IPerror].src, seen[IPerror].dst) == (machine.address, SERVER)
        assert (seen[UDPerror].sport, seen[UDPerror].dport) == (client.getsockname()[1], CLOSED_PORT)
        assert well_formed(seen)


@KINDS
def test_time_exceeded_upstream_reaches_the_machine(machines: dict[str, Machine], forwarding: None, kind: str) -> None:
    machine = machines[kind]
    # The appliance takes the first, the Internet's router the second.
    with Wire(machine.pid) as wire, client_of(machine, ttl=2) as client:
        client.sendto(b"how far?", (REMOTE, 33434))
        seen = wire.receive(is_error(TIME_EXCEEDED, UDPerror), SECONDS)
        assert seen is not None
        assert (seen[IP].src, seen[IP].dst) == (UPSTREAM, machine.address)
        assert (seen[IPerror].src, seen[IPerror].dst) == (machine.address, REMOTE)
        assert (seen[UDPerror].sport, seen[UDPerror].dport) == (client.getsockname()[1], 33434)
        assert well_formed(seen)


@KINDS
def test_time_exceeded_about_tcp_reaches_the_machine(machines: dict[str, Machine], forwarding: None, kind: str) -> None:
    machine = machines[kind]
    with Wire(machine.pid) as wire, client_of(machine, socket.SOCK_STREAM, ttl=2) as client:
        client.setblocking(False)
        assert client.connect_ex((REMOTE, 80)) == errno.EINPROGRESS
        seen = wire.receive(is_error(TIME_EXCEEDED, TCPerror), SECONDS)
        assert seen is not None
        assert (seen[IPerror].src, seen[IPerror].dst) == (machine.address, REMOTE)
        assert (seen[TCPerror].sport, seen[TCPerror].dport) == (client.getsockname()[1], 80)


@KINDS
def test_time_exceeded_about_a_ping_reaches_the_machine(
    machines: dict[str, Machine], forwarding: None, kind: str
) -> None:
    machine = machines[kind]

    def ping() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as client:
            client.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 2)
            client.sendto(echo_request(4711), (REMOTE, 0))

    with Wire(machine.pid) as wire:
        within(machine.pid, ping)
        seen = wire.receive(is_error(TIME_EXCEEDED, ICMPerror), SECONDS)
    assert seen is not None
    assert (seen[IPerror].src, seen[IPerror].dst) == (machine.address, REMOTE)
    assert seen[ICMPerror].id == 4711


@KINDS
def test_traceroute_names_the_router_and_the_upstream(
    machines: dict[str, Machine], forwarding: None, kind: str
) -> None:
    machine = machines[kind]
    assert machine.lease is not None
    lines = machine.run("traceroute", "-n", "-q", "1", "-w", "2", "-m", "2", REMOTE).splitlines()[1:]
    assert [line.split()[1] for line in lines] == [machine.lease.router, UPSTREAM]


@KINDS
def test_an_error_of_a_machine_reaches_the_server_in_the_servers_words(
    sandbox: Sandbox, machines: dict[str, Machine], kind: str
) -> None:
    machine = machines[kind]
    with client_of(machine) as client, Wire(sandbox.internet.pid) as wire:
        client.sendto(b"who am I?", (SERVER, ECHO_PORT))
        address, port = client.recv(2048).split(b"\n")[0].decode().split()[1:]
        client.close()

        def tell() -> None:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
                # Beside the echo server, by the very address and port the machine spoke to.
                server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                server.bind((SERVER, ECHO_PORT))
                server.settimeout(SECONDS)
                server.connect((address, int(port)))
                server.send(b"too late")
                # The server's kernel believes the error only if it quotes what was sent.
                with pytest.raises(ConnectionRefusedError):
                    server.recv(100)

        within(sandbox.internet.pid, tell)
        seen = wire.receive(is_error(UNREACHABLE, UDPerror), SECONDS)
    assert seen is not None
    assert (seen[IP].src, seen[IP].dst, seen[ICMP].code) == (address, SERVER, PORT_UNREACHABLE)
    assert (seen[IPerror].src, seen[IPerror].dst) == (SERVER, address)
    assert (seen[UDPerror].sport, seen[UDPerror].dport) == (ECHO_PORT, int(port))
    assert well_formed(seen)


@pytest.mark.parametrize("fragments", [False, True], ids=["whole", "fragments"])
@pytest.mark.parametrize("error", [UNREACHABLE, SOURCE_QUENCH, TIME_EXCEEDED])
def test_an_error_about_a_connection_of_another_network_does_not_leave(
    sandbox: Sandbox, tenants: Tenants, machines: dict[str, Machine], error: int, fragments: bool
) -> None:
    """Not the second time either: the first must not have made the connection the attacker's own."""
    victim, attacker = machines["isolated"], tenants.isolated()
    with client_of(victim) as client, Wire(sandbox.internet.pid) as wire, Wire(attacker.pid) as out:
        client.sendto(b"mine", (SERVER, ECHO_PORT))
        client.recv(2048)
        quoted = IP(src=SERVER, dst=victim.address) / UDP(sport=ECHO_PORT, dport=client.getsockname()[1])
        forged = IP(src=attacker.address, dst=SERVER) / ICMP(type=error, code=1) / quoted / Raw(bytes(1400))
        for _ in range(2):
            for packet in fragment(forged, 1200) if fragments else [forged]:
                out.send(Ether(src=attacker.mac, dst=ROUTER_MAC) / packet)
            assert wire.receive(lambda frame: ICMP in frame and frame[ICMP].type == error, 0.5) is None
        # The victim's own still leave.
        own = IP(src=victim.address, dst=SERVER) / ICMP(type=UNREACHABLE, code=PORT_UNREACHABLE) / quoted
        with Wire(victim.pid) as inside:
            inside.send(Ether(src=victim.mac, dst=ROUTER_MAC) / own)
        assert wire.receive(is_error(UNREACHABLE, UDPerror), SECONDS) is not None


@KINDS
def test_an_error_about_nothing_that_was_sent_does_not_get_in(
    sandbox: Sandbox, tenants: Tenants, machines: dict[str, Machine], kind: str
) -> None:
    machine = machines[kind]
    block = tenants.network_of(machine).port_block
    before = sandbox.drops(0).get("unsolicited", 0)
    quoted = IP(src=block.address, dst=SERVER) / UDP(sport=block.last_port, dport=53)
    forged = IP(src=SERVER, dst=block.address) / ICMP(type=UNREACHABLE, code=PORT_UNREACHABLE) / quoted

    def send() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
            raw.sendto(bytes(forged), (block.address, 0))

    with Wire(machine.pid) as wire:
        within(sandbox.internet.pid, send)
        assert wire.receive(lambda frame: ICMP in frame, 0.5) is None
    assert sandbox.drops(0)["unsolicited"] == before + 1
