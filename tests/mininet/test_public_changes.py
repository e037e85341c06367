"""Public addresses that come, move and go, with what is open meanwhile; and those reached from inside."""

from __future__ import annotations

import re
import socket
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
from appliance import CONTROLLER, SWITCH
from frames import is_error, routed
from machines import SERVERS, Machine
from namespaces import open_socket
from packets import Wire
from probes import ask_tcp, ask_udp, ping
from responders import ECHO_PORT
from sandbox import Sandbox, Wanted
from sandboxes import Tenants, knows_next_hop, network_id, public_id
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.l2 import ARP
from scapy.packet import Packet, Raw
from supervisor import await_condition

from controller.explain import cookie_filter

SERVER = SERVERS[0]
SECONDS = 5.0
INTERNET = "203.0.113.1"


def talker(sandbox: Sandbox, address: str) -> socket.socket:
    """A connection from the Internet to the echo server at an address, whose greeting was read."""
    one = open_socket(sandbox.internet.pid, socket.AF_INET, socket.SOCK_STREAM)
    one.settimeout(SECONDS)
    one.connect((address, ECHO_PORT))
    greeting = b""
    while not greeting.endswith(b"\n"):
        greeting += one.recv(1)
    return one


def says(word: bytes) -> Callable[[Packet], bool]:
    """Matches a TCP segment with this payload."""
    return lambda frame: TCP in frame and word in bytes(frame[TCP])


def acknowledges_only(frame: Packet) -> bool:
    """Matches a TCP segment without payload."""
    return TCP in frame and frame[IP].len == frame[IP].ihl * 4 + frame[TCP].dataofs * 4


def announces(address: str) -> Callable[[Packet], bool]:
    """Matches an ARP announcement."""
    return lambda frame: ARP in frame and (frame[ARP].psrc, frame[ARP].pdst) == (address, address)


def source_of(machine: Machine) -> str:
    """The address a server sees of a machine."""
    return ask_udp(machine.pid, [SERVER], SECONDS)[SERVER].address


def shared(address: str) -> bool:
    return 64 <= int(address.removeprefix("203.0.113.")) < 80


def test_an_open_connection_follows_a_moved_address_and_comes_back_with_it(sandbox: Sandbox, tenants: Tenants) -> None:
    old, new = tenants.isolated(), tenants.private(1)[0]
    made = tenants.public_address(old)
    name = public_id(made)
    # So that the new machine cannot answer what it does not know with a reset.
    new.run("ip", "route", "add", "blackhole", f"{INTERNET}/32")
    with talker(sandbox, made.address) as client, Wire(old.pid) as at_old, Wire(new.pid) as at_new:
        client.sendall(b"first")
        assert client.recv(100) == b"first"
        assert at_old.receive(says(b"first"), SECONDS) is not None
        # Had the old machine still to repeat its answer, it would do so from the shared address and be reset.
        assert at_old.receive(acknowledges_only, SECONDS) is not None
        sandbox.assign(name, new.name)
        client.sendall(b"second")
        assert at_new.receive(says(b"second"), SECONDS) is not None
        assert at_old.receive(says(b"second"), 0.5) is None
        sandbox.assign(name, old.name)
        assert client.recv(100) == b"second"
        client.sendall(b"third")
        assert client.recv(100) == b"third"
        assert at_new.receive(says(b"third"), 0.5) is None


def test_the_new_machine_resets_what_it_does_not_know(sandbox: Sandbox, tenants: Tenants) -> None:
    old, new = tenants.isolated(), tenants.isolated()
    made = tenants.public_address(old)
    with talker(sandbox, made.address) as client:
        sandbox.assign(public_id(made), new.name)
        client.sendall(b"anybody?")
        with pytest.raises(ConnectionResetError):
            client.recv(100)
    assert ask_tcp(sandbox.internet.pid, [made.address])[made.address].name == new.name
    assert (source_of(new), shared(source_of(old))) == (made.address, True)


def test_machines_made_with_their_public_address_have_it_both_ways(sandbox: Sandbox, tenants: Tenants) -> None:
    office = network_id(tenants.network())
    addresses = [tenants.public_address() for _ in range(2)]
    first, second = (public_id(one) for one in addresses)
    hosts = tenants.machines([Wanted("", public=first), Wanted("", office, public=second), Wanted("", office)])
    assert [source_of(host) for host in hosts[:2]] == [one.address for one in addresses]
    assert shared(source_of(hosts[2]))
    found = ask_tcp(sandbox.internet.pid, [one.address for one in addresses])
    assert [found[one.address].name for one in addresses] == [host.name for host in hosts[:2]]


def test_what_is_released_is_gone_at_once(sandbox: Sandbox, tenants: Tenants) -> None:
    machine = tenants.isolated()
    assert shared(source_of(machine))
    made = tenants.public_address(machine)
    assert source_of(machine) == made.address
    with talker(sandbox, made.address) as client, Wire(machine.pid) as wire:
        sandbox.delete_public_address(public_id(made))
        await_condition(lambda: public_flows(sandbox, made.address) == 0, "flows gone", SECONDS)
        client.sendall(b"too late")
        assert wire.receive(says(b"too late"), 0.5) is None
    assert ping(sandbox.internet.pid, [made.address], 0.5) == set()
    assert shared(source_of(machine))


def public_flows(sandbox: Sandbox, address: str) -> int:
    """Flows that name an address; its prefix, which may be written like the first one in it, has flows of its own."""
    return len(re.findall(rf"\b{re.escape(address)}(?![\d/])", sandbox.appliance.ofctl("dump-flows")))


def test_neighbours_are_told_where_an_address_is(sandbox: Sandbox, tenants: Tenants) -> None:
    first, second = tenants.isolated(), tenants.isolated()
    with Wire(sandbox.internet.pid) as wire:
        made = tenants.public_address(first)
        told = wire.receive(announces(made.address), SECONDS)
        assert told is not None
        assert (told[ARP].hwsrc, told.dst) == ("02:00:00:00:ff:02", "ff:ff:ff:ff:ff:ff")
        # Once more, a little later (RFC 5227).
        assert wire.receive(announces(made.address), SECONDS) is not None
        sandbox.assign(public_id(made), second.name)
        assert wire.receive(announces(made.address), SECONDS) is not None


def test_an_address_takes_at_most_8_flows(sandbox: Sandbox, tenants: Tenants) -> None:
    machine = tenants.isolated()
    key = tenants.network_of(machine).key

    def flows() -> int:
        return len(sandbox.appliance.ofctl("dump-flows", cookie_filter(key)).splitlines())

    before = flows()
    tenants.public_address(machine)
    assert 0 < flows() - before <= 8


def zones(sandbox: Sandbox, address: str) -> set[int]:
    """The zones of an address's fragments that conntrack has entries in."""
    dump = sandbox.appliance.ofctl("dump-flows", "table=public-in")
    own = {int(zone) for line in dump.splitlines() if address in line for zone in re.findall(r"zone=(\d+)", line)}
    control = sandbox.appliance.paths.run / f"{SWITCH}.ctl"
    command = ["ovs-appctl", "-t", str(control), "dpctl/dump-conntrack"]
    entries = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return own & {int(zone) for zone in re.findall(r"zone=(\d+)", entries)}


def fragments(machine: Machine) -> None:
    assert "1 received" in machine.run("ping", "-c", "1", "-W", "3", "-s", "6000", SERVER)


def test_what_conntrack_knows_of_an_assignment_ends_with_it(sandbox: Sandbox, tenants: Tenants) -> None:
    machine, other = tenants.isolated(), tenants.isolated()
    made, others = tenants.public_address(machine), tenants.public_address(other)
    fragments(machine)
    fragments(other)
    (zone,) = zones(sandbox, made.address)
    assert len(zones(sandbox, others.address)) == 1
    sandbox.unassign(public_id(made))
    control = sandbox.appliance.paths.run / f"{SWITCH}.ctl"
    command = ["ovs-appctl", "-t", str(control), "dpctl/dump-conntrack", f"zone={zone}"]
    await_condition(lambda: not subprocess.run(command, capture_output=True, check=True).stdout, "forgotten", SECONDS)
    assert len(zones(sandbox, others.address)) == 1


def test_addresses_survive_a_restart_of_the_controller(sandbox: Sandbox, tenants: Tenants) -> None:
    machine = tenants.isolated()
    address = tenants.public_address(machine).address
    fragments(machine)
    assert len(zones(sandbox, address)) == 1
    sandbox.appliance.restart(CONTROLLER)
    sandbox.appliance.wait_ready()
    # One more change has gone through: whatever the new controller would undo is undone by now.
    other = tenants.isolated()
    assert ask_udp(sandbox.internet.pid, [address], SECONDS)[address].name == machine.name
    assert len(zones(sandbox, address)) == 1
    assert shared(source_of(other))


def test_addresses_survive_a_restart_of_the_switch(sandbox: Sandbox, tenants: Tenants) -> None:
    machine = tenants.isolated()
    address = tenants.public_address(machine).address
    with talker(sandbox, address) as client:
        sandbox.appliance.restart(SWITCH)
        sandbox.appliance.wait_ready()
        await_condition(lambda: knows_next_hop(sandbox), "next hop known", 10)
        # Conntrack never knew of it, so that the connection goes on.
        client.sendall(b"still there?")
        assert client.recv(100) == b"still there?"


@dataclass(frozen=True)
class Inside:
    """Two neighbours and a stranger with public addresses, one neighbour and one stranger without."""

    machines: dict[str, Machine]
    addresses: dict[str, str]


@pytest.fixture(scope="module")
def inside(sandbox: Sandbox) -> Iterator[Inside]:
    maker = Tenants(sandbox)
    try:
        one, two, plain = maker.private(3, "10.89.0.0/16")
        machines = {"one": one, "two": two, "alone": maker.isolated(), "plain": plain, "bare": maker.isolated()}
        addresses = {name: maker.public_address(machines[name]).address for name in ("one", "two", "alone")}
        yield Inside(machines, addresses)
    finally:
        maker.close()


TARGETS = pytest.mark.parametrize("target", ["one", "two", "alone"])
SENDERS = pytest.mark.parametrize("sender", ["one", "alone", "plain", "bare"])


@SENDERS
@TARGETS
def test_public_addresses_are_reached_as_from_outside(inside: Inside, sender: str, target: str) -> None:
    """Another tenant's, a neighbour's and the machine's own."""
    machine, address = inside.machines[sender], inside.addresses[target]
    for answers in (ask_udp(machine.pid, [address], SECONDS), ask_tcp(machine.pid, [address])):
        assert answers[address].name == inside.machines[target].name
        seen = answers[address].address
        assert seen == inside.addresses[sender] if sender in inside.addresses else shared(seen)
    assert ping(machine.pid, [address]) == {address}


@SENDERS
@TARGETS
def test_in_fragments_too(inside: Inside, sender: str, target: str) -> None:
    machine, address = inside.machines[sender], inside.addresses[target]
    assert "1 received" in machine.run("ping", "-c", "1", "-W", "3", "-s", "6000", address)


@pytest.mark.parametrize("sender", ["plain", "bare"])
def test_who_has_none_is_told_that_shared_addresses_are_prohibited(inside: Inside, sender: str) -> None:
    machine = inside.machines[sender]
    with Wire(machine.pid) as wire:
        probe = routed(machine, "203.0.113.64") / UDP(sport=4000, dport=2000) / Raw(b"?")
        assert wire.exchange(probe, is_error(3, 13, "203.0.113.64"), SECONDS) is not None


def test_an_error_inside_quotes_what_its_receiver_sent(inside: Inside) -> None:
    """Between two public addresses, and to a machine behind a shared one."""
    for sender in ("one", "bare"):
        machine, address = inside.machines[sender], inside.addresses["alone"]
        with open_socket(machine.pid, socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(SECONDS)
            client.connect((address, 99))
            client.send(b"?")
            with pytest.raises(ConnectionRefusedError):
                client.recv(100)
