"""DHCP: every machine gets what desired state says, from the appliance and from nobody else."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from frames import (
    EVERYBODY,
    GATEWAY_MAC,
    INTERNET_MAC,
    ROUTER_MAC,
    counted,
    heard_so_far,
    heard_until,
    internet_heard_so_far,
    routed,
)
from machines import Machine, NoLease
from packets import Wire
from probes import ask_udp
from sandbox import CALL_SECONDS, Sandbox, Wanted, creation
from sandboxes import Tenants
from scapy.layers.dhcp import BOOTP, DHCP
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether
from scapy.packet import Packet

# Of `state.model.Appliance`, which the sandbox leaves as it is.
REQUESTS_A_SECOND = 10
BROADCAST_FLAG = 0x8000


@pytest.fixture(scope="module")
def office(maker: Tenants) -> list[Machine]:
    return maker.private(2)


@pytest.fixture(scope="module")
def lone(maker: Tenants) -> Machine:
    return maker.isolated()


def message(
    machine: Machine,
    kind: str,
    *options: tuple[str, object],
    number: int = 1,
    mac: str = "",
    source: str = "0.0.0.0",
    to: str = "255.255.255.255",
    flags: int = 0,
    relay: str = "0.0.0.0",
) -> Packet:
    """A DHCP message of a machine; `mac` is the client's in the message, `source` also `ciaddr`."""
    client = bytes.fromhex((mac or machine.mac).replace(":", ""))
    head = Ether(src=machine.mac, dst=EVERYBODY if to == "255.255.255.255" else ROUTER_MAC) / IP(src=source, dst=to)
    bootp = BOOTP(op=1, chaddr=client, xid=number, ciaddr=source, giaddr=relay, flags=flags)
    return head / UDP(sport=68, dport=67) / bootp / DHCP(options=[("message-type", kind), *options, "end"])


def is_answer(number: int) -> Callable[[Packet], bool]:
    return lambda frame: BOOTP in frame and frame[BOOTP].op == 2 and frame[BOOTP].xid == number


def options_of(frame: Packet) -> dict[str, object]:
    found: dict[str, object] = {}
    for option in frame[DHCP].options:
        if isinstance(option, tuple):
            found[option[0]] = option[1] if len(option) == 2 else list(option[1:])
    return found


OFFER, ACK, NAK = 2, 5, 6


class OneMachine:
    """A machine with a lease, deleted at the end of a `with` statement; `hostname` as the API would have it."""

    def __init__(self, sandbox: Sandbox, wanted: Wanted, hostname: str = "") -> None:
        self.sandbox, self.wanted, self.hostname = sandbox, wanted, hostname

    def __enter__(self) -> Machine:
        host = self.sandbox.plug(self.wanted)
        request = creation(self.wanted, host)
        request.machine.hostname = self.hostname
        request.wait_live = True
        self.sandbox.machines.CreateMachine(request, timeout=CALL_SECONDS)
        host.obtain_lease()
        return host

    def __exit__(self, *_: object) -> None:
        self.sandbox.delete_machine(self.wanted.name)


def test_a_machine_alone_gets_its_half_of_a_30(sandbox: Sandbox, lone: Machine) -> None:
    lease, network = lone.lease, sandbox.network(lone.name)
    assert lease is not None
    assert (lease.address, lease.prefix_length) == (sandbox.machine(lone.name).address, 30)
    assert (lease.router, lease.server) == (network.router_address, network.router_address)
    assert (lease.mtu, lease.dns_servers) == (1500, (lease.router,))
    assert lease.search == lease.domain
    assert (lease.hostname, lease.domain, lease.seconds) == (lone.name, f"{lone.name}.internal", 3600)


def test_a_network_has_its_own_mtu_and_dns_servers(sandbox: Sandbox, maker: Tenants) -> None:
    sandbox.create_network("dhcp-own", prefix="10.77.0.0/16", mtu=1400, dns_servers=("10.77.0.2", "198.51.100.1"))
    try:
        with OneMachine(sandbox, Wanted("dhcp-own-1", "dhcp-own", address="10.77.3.4")) as host:
            lease = host.lease
            assert lease is not None
            assert (lease.address, lease.prefix_length, lease.router) == ("10.77.3.4", 16, "10.77.0.1")
            assert (lease.mtu, lease.dns_servers) == (1400, ("10.77.0.2", "198.51.100.1"))
            assert "mtu 1400" in host.run("ip", "link", "show", "eth0")
    finally:
        sandbox.delete_network("dhcp-own")


def test_a_machine_is_told_the_hostname_it_was_given(sandbox: Sandbox) -> None:
    with OneMachine(sandbox, Wanted("dhcp-named"), "accounts-db") as host:
        assert host.lease is not None
        assert host.lease.hostname == "accounts-db"


def test_two_tenants_get_the_same_addresses_each_from_its_own_router(maker: Tenants) -> None:
    ours, theirs = maker.private(2, "10.66.0.0/16"), maker.private(2, "10.66.0.0/16")
    for machines in (ours, theirs):
        assert [machine.address for machine in machines] == ["10.66.0.2", "10.66.0.3"]
        neighbour = ask_udp(machines[0].pid, ["10.66.0.3"])["10.66.0.3"]
        assert neighbour.name == machines[1].name


@pytest.mark.parametrize("which", ["lone", "office"])
def test_discover_is_offered_and_request_acknowledged(lone: Machine, office: list[Machine], which: str) -> None:
    machine = lone if which == "lone" else office[0]
    assert machine.lease is not None
    with Wire(machine.pid) as wire:
        offer = wire.exchange(message(machine, "discover", number=11), is_answer(11))
        assert offer is not None
        given = options_of(offer)
        assert (given["message-type"], offer[BOOTP].yiaddr) == (OFFER, machine.address)
        assert (offer[Ether].dst, offer[Ether].src, offer[IP].src) == (machine.mac, ROUTER_MAC, machine.lease.router)
        chosen = [("server_id", given["server_id"]), ("requested_addr", offer[BOOTP].yiaddr)]
        ack = wire.exchange(message(machine, "request", *chosen, number=12, flags=BROADCAST_FLAG), is_answer(12))
    assert ack is not None
    assert (options_of(ack)["message-type"], ack[BOOTP].yiaddr) == (ACK, machine.address)
    # It asked for an answer to everybody, having no address to hear it by.
    assert (ack[Ether].dst, ack[IP].dst) == (EVERYBODY, "255.255.255.255")
    assert options_of(ack)["lease_time"] == 3600
    assert options_of(ack)["subnet_mask"] == ("255.255.255.252" if which == "lone" else "255.255.0.0")


def test_a_lease_is_renewed_by_unicast(lone: Machine) -> None:
    assert lone.lease is not None
    with Wire(lone.pid) as wire:
        renewal = message(lone, "request", number=21, source=lone.address, to=lone.lease.router)
        ack = wire.exchange(renewal, is_answer(21))
    assert ack is not None
    assert (options_of(ack)["message-type"], ack[BOOTP].yiaddr, ack[BOOTP].ciaddr) == (ACK, lone.address, lone.address)
    assert (ack[Ether].dst, ack[IP].dst) == (lone.mac, lone.address)


def test_a_wrong_address_is_refused(office: list[Machine]) -> None:
    machine, neighbour = office
    with Wire(machine.pid) as wire, Wire(neighbour.pid) as theirs:
        for number, wanted in ((31, neighbour.address), (32, "192.168.1.5"), (33, "10.0.200.200")):
            nak = wire.exchange(
                message(machine, "request", ("requested_addr", wanted), number=number), is_answer(number)
            )
            assert nak is not None
            assert options_of(nak)["message-type"] == NAK
            assert (nak[BOOTP].yiaddr, nak[Ether].dst, nak[IP].dst) == ("0.0.0.0", EVERYBODY, "255.255.255.255")
        # Though sent to everybody it is for this machine only.
        assert not [frame for frame in heard_so_far(theirs, neighbour) if BOOTP in frame]
        own = ("requested_addr", machine.address)
        ack = wire.exchange(message(machine, "request", own, number=34), is_answer(34))
    assert ack is not None
    assert options_of(ack)["message-type"] == ACK


def test_what_is_not_for_the_appliance_is_not_answered(lone: Machine) -> None:
    assert lone.lease is not None
    silent = [
        message(lone, "request", ("server_id", "10.9.9.9"), ("requested_addr", lone.address), number=41),
        message(lone, "discover", number=42, mac="02:00:00:00:99:99"),
        message(lone, "discover", number=43, relay="10.9.9.9"),
        message(lone, "release", number=44, source=lone.address, to=lone.lease.router),
        message(lone, "decline", ("requested_addr", lone.address), number=45),
    ]
    with Wire(lone.pid) as wire:
        for packet in silent:
            wire.send(packet)
        # The controller answers in order, so answers to those would have come before.
        wire.send(message(lone, "discover", number=46))
        heard = heard_until(wire, is_answer(46))
    assert not [frame.summary() for frame in heard if BOOTP in frame]


def test_an_unknown_mac_gets_nothing(sandbox: Sandbox, lone: Machine) -> None:
    key = sandbox.network(lone.name).key
    with Wire(lone.pid) as wire:
        stranger = message(lone, "discover", number=51, mac="02:00:00:00:99:99")
        stranger[Ether].src = "02:00:00:00:99:99"
        with counted(sandbox, key, "source-mac", 3):
            for _ in range(3):
                wire.send(stranger)
        assert not [frame for frame in heard_so_far(wire, lone) if BOOTP in frame]


def test_an_unknown_machine_gets_no_lease_until_it_is_created(sandbox: Sandbox) -> None:
    wanted = Wanted("dhcp-later")
    host = sandbox.plug(wanted)
    try:
        with pytest.raises(NoLease):
            host.obtain_lease(1)
        request = creation(wanted, host)
        request.wait_live = True
        made = sandbox.machines.CreateMachine(request, timeout=CALL_SECONDS)
        assert host.obtain_lease().address == made.address
    finally:
        sandbox.delete_machine(wanted.name)


def test_neighbours_do_not_hear_a_discover(office: list[Machine]) -> None:
    machine, neighbour = office
    with Wire(machine.pid) as wire, Wire(neighbour.pid) as theirs:
        assert wire.exchange(message(machine, "discover", number=61), is_answer(61)) is not None
        assert not [frame for frame in heard_so_far(theirs, neighbour) if UDP in frame and frame[UDP].dport == 67]


@pytest.mark.parametrize("everybody", [True, False], ids=["broadcast", "unicast"])
@pytest.mark.parametrize("port", [67, 6767])
def test_a_foreign_server_is_not_heard(
    sandbox: Sandbox, maker: Tenants, office: list[Machine], port: int, everybody: bool
) -> None:
    victim, rogue = office
    options = [("message-type", "offer"), ("server_id", rogue.address), ("router", rogue.address), "end"]
    offer = (
        Ether(src=rogue.mac, dst=EVERYBODY if everybody else victim.mac)
        / IP(src=rogue.address, dst="255.255.255.255" if everybody else victim.address)
        / UDP(sport=port, dport=68)
        / BOOTP(op=2, yiaddr="10.0.99.99", chaddr=bytes.fromhex(victim.mac.replace(":", "")), xid=71)
        / DHCP(options=options)
    )
    with Wire(rogue.pid) as wire, Wire(victim.pid) as theirs:
        with counted(sandbox, maker.network_of(victim).key, "dhcp-server", 4):
            for _ in range(4):
                wire.send(offer)
        assert not [frame for frame in heard_so_far(theirs, victim) if BOOTP in frame]


def test_nor_does_one_reach_a_machine_alone_or_the_internet(
    sandbox: Sandbox, lone: Machine, office: list[Machine]
) -> None:
    rogue = office[0]
    payload = UDP(sport=67, dport=68) / BOOTP(op=2, xid=72) / DHCP(options=[("message-type", "offer"), "end"])
    with Wire(rogue.pid) as wire, Wire(lone.pid) as theirs, Wire(sandbox.internet.pid) as outside:
        wire.send(routed(rogue, lone.address) / payload)
        wire.send(routed(rogue, "198.51.100.1") / payload)
        for to, mac in ((lone.address, GATEWAY_MAC), ("255.255.255.255", EVERYBODY)):
            outside.send(Ether(src=INTERNET_MAC, dst=mac) / IP(src="203.0.113.1", dst=to) / payload)
        heard_so_far(wire, rogue)
        heard = internet_heard_so_far(outside) + heard_so_far(theirs, lone)
    assert not [frame for frame in heard if BOOTP in frame and frame[BOOTP].xid == 72]


@pytest.mark.alone
def test_a_flood_gets_answers_at_its_rate_and_disturbs_nobody(
    sandbox: Sandbox, tenants: Tenants, lone: Machine
) -> None:
    flooder, neighbour = tenants.private(2)
    with Wire(flooder.pid) as wire, Wire(neighbour.pid) as theirs:
        packet, sent, answers = bytes(message(flooder, "discover", number=81)), 300, 0
        began = time.monotonic()
        for number in range(1, sent + 1):
            wire.send(packet)
            # More at once would overflow the socket the switch reads from.
            if number % 50 == 0:
                answers += len([frame for frame in heard_so_far(wire, flooder) if is_answer(81)(frame)])
                other = message(neighbour, "discover", number=100 + number)
                assert theirs.exchange(other, is_answer(100 + number)) is not None
        while wire.receive(is_answer(81), 0.3) is not None:
            answers += 1
        took = time.monotonic() - began
    # The lease took some of its burst.
    assert 3 <= answers <= REQUESTS_A_SECOND * (took + 1) + 1
    assert took < 5
    assert tenants.drops(flooder)["dhcp-rate"] == sent - answers
    assert neighbour.obtain_lease(2).address == neighbour.address
    assert lone.obtain_lease(2).address == lone.address
