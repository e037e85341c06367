"""Additional addresses: two machines take one from each other, as VRRP and clusters do; nobody else can."""

from __future__ import annotations

import functools
import socket
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from appliance import CONTROLLER
from frames import ROUTER_MAC, answers_for, carries, counted, datagram, heard_so_far, new_mark, question
from google.protobuf.field_mask_pb2 import FieldMask
from machines import INTERFACE, SERVERS, Machine
from namespaces import within
from packets import Wire
from probes import ask_tcp, ask_udp, ping, read_answer
from responders import ECHO_PORT
from sandbox import CALL_SECONDS, Sandbox, Wanted, require_live
from sandboxes import Tenants, network_id
from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Packet, Raw
from supervisor import await_condition

from controller.pipeline.registry import Table
from sluice.v1 import machine_pb2, network_pb2

PREFIX, ROUTER = "10.9.0.0/16", "10.9.0.1"
VIRTUAL, VRRP, VRRP_MAC = "10.9.9.9", "10.9.9.10", "00:00:5e:00:01:33"
SERVER, DRIVE = SERVERS[0], "10.250.0.60"
EVERYBODY = "ff:ff:ff:ff:ff:ff"


@dataclass(frozen=True, slots=True)
class Cluster:
    """A network with two machines that may take the addresses, a client, and a machine that may not."""

    network: network_pb2.Network
    one: Machine
    two: Machine
    client: Machine
    stranger: Machine

    @property
    def key(self) -> int:
        """Its key."""
        return self.network.key


def make_cluster(sandbox: Sandbox, maker: Tenants, vlan: int = 95) -> Cluster:
    network = maker.network(PREFIX)
    name = network_id(network)
    machines = maker.machines([Wanted("", name), Wanted("", name, vlan=vlan), Wanted("", name), Wanted("", name)])
    for machine in machines[:2]:
        may_take(sandbox, machine, VIRTUAL, f"{VRRP},{VRRP_MAC}")
    return Cluster(network, *machines)


@pytest.fixture
def cluster(sandbox: Sandbox, tenants: Tenants) -> Cluster:
    return make_cluster(sandbox, tenants)


@pytest.fixture
def drive(sandbox: Sandbox, cluster: Cluster) -> Iterator[str]:
    """The name of a drive's host."""
    sandbox.add_storage_host("clusterdisk", DRIVE)
    sandbox.create_drive("clusterdisk", network_id(cluster.network), DRIVE)
    yield "clusterdisk"
    sandbox.delete_drive("clusterdisk")
    sandbox.unplug("clusterdisk")


def may_take(sandbox: Sandbox, machine: Machine, *listed: str) -> machine_pb2.Machine:
    """Have the API list these addresses (`IP` or `IP,MAC`) for a machine."""
    pairs = (one.partition(",")[::2] for one in listed)
    addresses = [machine_pb2.AdditionalAddress(address=address, mac_address=mac) for address, mac in pairs]
    wanted = machine_pb2.Machine(
        name=f"machines/{machine.name}", attachment=machine_pb2.Attachment(additional_addresses=addresses)
    )
    mask = FieldMask(paths=["attachment.additional_addresses"])
    request = machine_pb2.UpdateMachineRequest(machine=wanted, update_mask=mask, wait_live=True)
    changed = sandbox.machines.UpdateMachine(request, timeout=CALL_SECONDS)
    require_live(changed)
    return changed


def gratuitous(address: str, mac: str, operation: int = 1) -> Packet:
    """What a machine sends that takes an address (RFC 5227 section 3; keepalived's is a request)."""
    return Ether(src=mac, dst=EVERYBODY) / ARP(op=operation, hwsrc=mac, psrc=address, hwdst=EVERYBODY, pdst=address)


def announce(machine: Machine, address: str, mac: str = "", operation: int = 1) -> None:
    with Wire(machine.pid) as wire:
        wire.send(gratuitous(address, mac or machine.mac, operation))


def add(machine: Machine, address: str = VIRTUAL) -> None:
    machine.run("ip", "address", "replace", f"{address}/32", "dev", INTERFACE)


def take(machine: Machine, former: Machine | None = None, address: str = VIRTUAL) -> None:
    """As keepalived does when a machine becomes master."""
    if former is not None:
        former.run("ip", "address", "del", f"{address}/32", "dev", INTERFACE)
    add(machine, address)
    announce(machine, address)


def who(asker: Machine, target: str = VIRTUAL) -> str | None:
    """The name of who answers at an address, by TCP."""
    found = ask_tcp(asker.pid, [target], seconds=0.5).get(target)
    return found.name if found else None


def await_holder(asker: Machine, holder: Machine, seconds: float = 3.0) -> None:
    await_condition(lambda: who(asker) == holder.name, f"{holder.name} answers {asker.name} at {VIRTUAL}", seconds)


def ask_from(machine: Machine, source: str, target: str) -> tuple[str, str] | None:
    """Who answers a machine that asks from one of its addresses, and the address it was seen with."""

    def ask() -> tuple[str, str] | None:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as client:
            client.settimeout(2)
            client.bind((source, 0))
            try:
                client.connect((target, ECHO_PORT))
                answer = read_answer(client.recv(2048))
            except OSError:
                return None
            return answer.name, answer.address

    return within(machine.pid, ask)


def routed_reaches(sender: Machine, receiver: Machine, address: str = VIRTUAL) -> bool:
    """Whether a datagram that the router is given arrives at `receiver`."""
    mark = new_mark()
    with Wire(receiver.pid) as theirs, Wire(sender.pid) as ours:
        ours.send(datagram(sender, address, mark))
        return theirs.receive(carries(mark), 0.5) is not None


def holders(sandbox: Sandbox, cluster: Cluster) -> list[str]:
    """The flows that say who holds addresses of a network."""
    dump = sandbox.appliance.ofctl("dump-flows", f"table={Table.HOLDERS.number}").splitlines()
    return [line for line in dump if f"metadata=0x{cluster.key:x}," in f"{line},".replace(" ", ",")]


def test_failover_from_machine_to_machine_and_back(sandbox: Sandbox, cluster: Cluster, drive: str) -> None:
    one, two, client = cluster.one, cluster.two, cluster.client
    assert who(client) is None
    former: Machine | None = None
    for holder in (one, two, one):
        take(holder, former)
        # The neighbour that had asked before learns of it by the announcement, and the router too.
        await_holder(client, holder)
        await_condition(lambda at=holder: routed_reaches(client, at), "what is routed follows", 3)
        assert ping(client.pid, [VIRTUAL]) == {VIRTUAL}
        # Out by NAT, to the drive and to the router's names; each answer comes back to the address.
        seen = ask_from(holder, VIRTUAL, SERVER)
        assert seen is not None
        assert seen == ("internet", cluster.network.port_block.address)
        stored = ask_from(holder, VIRTUAL, DRIVE)
        assert stored is not None
        assert stored[0] == drive
        own = ask_from(holder, holder.address, DRIVE)
        assert own is not None
        assert own[1] != stored[1]
        assert ask_from(holder, VIRTUAL, client.address) == (client.name, VIRTUAL)
        holder.run("ping", "-c1", "-W2", "-I", VIRTUAL, ROUTER)
        name = f"{client.name}.{network_id(cluster.network)}.internal"
        assert client.address in holder.run("dig", "+short", "-b", VIRTUAL, name, f"@{ROUTER}")
        former = holder


def test_an_open_connection_s_answers_follow_the_address(sandbox: Sandbox, cluster: Cluster) -> None:
    one, two = cluster.one, cluster.two
    take(one)
    await_holder(cluster.client, one)
    mark, reply = new_mark(), new_mark()
    with Wire(sandbox.internet.pid) as outside, Wire(two.pid) as theirs:
        with Wire(one.pid) as ours:
            out = Ether(src=one.mac, dst=ROUTER_MAC) / IP(src=VIRTUAL, dst=SERVER)
            ours.send(out / UDP(sport=4000, dport=9) / Raw(mark))
        sent = outside.receive(carries(mark), 2.0)
        assert sent is not None
        take(two, one)
        await_holder(cluster.client, two)
        back = Ether(src=sent.dst, dst=sent.src) / IP(src=SERVER, dst=sent[IP].src)
        outside.send(back / UDP(sport=9, dport=sent[UDP].sport) / Raw(reply))
        came = theirs.receive(carries(reply), 2.0)
    assert came is not None
    assert (came.dst, came[IP].dst, came[UDP].dport) == (two.mac, VIRTUAL, 4000)


def test_who_does_not_list_an_address_cannot_take_it(sandbox: Sandbox, tenants: Tenants, cluster: Cluster) -> None:
    one, client, stranger = cluster.one, cluster.client, cluster.stranger
    rival = make_cluster(sandbox, tenants, vlan=96)
    take(one)
    await_holder(client, one)
    before = holders(sandbox, cluster)
    assert len(before) == 1
    add(stranger)
    forged = [gratuitous(VIRTUAL, stranger.mac), gratuitous(VIRTUAL, stranger.mac, 2)]
    answer = ARP(op=2, hwsrc=stranger.mac, psrc=VIRTUAL, pdst=client.address)
    forged.append(Ether(src=stranger.mac, dst=client.mac) / answer)
    forged.append(Ether(src=stranger.mac, dst=EVERYBODY) / ARP(op=1, hwsrc=one.mac, psrc=VIRTUAL, pdst=VIRTUAL))
    with Wire(stranger.pid) as wire, Wire(client.pid) as heard:
        with counted(sandbox, cluster.key, "arp-sender", len(forged)):
            for frame in forged:
                wire.send(frame)
        mark = new_mark()
        with counted(sandbox, cluster.key, "source-ip", 1):
            wire.send(Ether(src=stranger.mac, dst=ROUTER_MAC) / IP(src=VIRTUAL, dst=SERVER) / UDP() / Raw(mark))
        with counted(sandbox, cluster.key, "source-mac", 2):
            wire.send(gratuitous(VRRP, VRRP_MAC))
            wire.send(gratuitous(VIRTUAL, one.mac))
        came = heard_so_far(heard, client)
        assert not [frame for frame in came if ARP in frame and frame[ARP].psrc in (VIRTUAL, VRRP)]
    # Another tenant takes the same address in a network of its own.
    take(rival.two)
    await_holder(rival.client, rival.two)
    assert rival.client.address == client.address
    assert who(client) == one.name
    assert routed_reaches(client, one)
    assert [line.split(" actions=")[1] for line in holders(sandbox, cluster)] == [
        line.split(" actions=")[1] for line in before
    ]
    # Once it lists the address, it can.
    may_take(sandbox, stranger, VIRTUAL)
    take(stranger, one)
    await_holder(client, stranger)
    assert who(rival.client) == rival.two.name


def test_an_address_moves_while_no_controller_runs_and_stays_when_one_comes(sandbox: Sandbox, cluster: Cluster) -> None:
    one, two, client = cluster.one, cluster.two, cluster.client
    take(one)
    await_holder(client, one)
    assert routed_reaches(client, one)
    sandbox.appliance.stop(CONTROLLER)
    try:
        take(two, one)
        await_holder(client, two)
        await_condition(lambda: routed_reaches(client, two), "routed without a controller", 3)
        held = holders(sandbox, cluster)
        assert len(held) == 1
    finally:
        sandbox.appliance.start_one(CONTROLLER)
        sandbox.appliance.wait_ready()
    # It compares everything once at its start.
    verified = "sluice_verified_timestamp_seconds"
    await_condition(lambda: sandbox.appliance.metrics(CONTROLLER).get(verified, 0) > 0, "verified", 20, 0.1)
    drift = {name: n for name, n in sandbox.appliance.metrics(CONTROLLER).items() if "sluice_drift_total" in name}
    assert not any(drift.values())
    assert len(holders(sandbox, cluster)) == 1
    assert routed_reaches(client, two)
    assert ask_from(two, VIRTUAL, SERVER) == ("internet", cluster.network.port_block.address)


def test_what_the_switch_forgot_is_asked_for(sandbox: Sandbox, cluster: Cluster) -> None:
    one, client = cluster.one, cluster.client
    take(one)
    await_holder(client, one)
    sandbox.appliance.ofctl("del-flows", f"table={Table.HOLDERS.number}")
    assert holders(sandbox, cluster) == []
    await_condition(lambda: routed_reaches(client, one), "asked and answered", 3)
    assert len(holders(sandbox, cluster)) == 1
    # An address that was configured and never announced.
    one.run("ip", "address", "add", f"{VRRP}/32", "dev", INTERFACE)
    assert who(client, VRRP) == one.name
    await_condition(lambda: routed_reaches(client, one, VRRP), "asked and answered", 3)


def gets(receiver: Wire, sender: Wire, packet: Packet, mark: bytes) -> bool:
    """Whether a packet with `mark` in it arrives, with the virtual MAC as its target."""
    sender.send(packet)
    frame = receiver.receive(carries(mark), 0.3)
    return frame is not None and frame.dst == VRRP_MAC


def test_a_virtual_mac_moves_along(sandbox: Sandbox, cluster: Cluster) -> None:
    one, two, client = cluster.one, cluster.two, cluster.client
    with Wire(one.pid) as first, Wire(two.pid) as second, Wire(client.pid) as asking:
        asking.send(question(client.mac, client.address, VRRP))
        for wire in (first, second):
            assert wire.receive(lambda frame: ARP in frame and frame[ARP].pdst == VRRP, 2.0) is not None
        body = ARP(op=2, hwsrc=VRRP_MAC, psrc=VRRP, hwdst=client.mac, pdst=client.address)
        first.send(Ether(src=VRRP_MAC, dst=client.mac) / body)
        answer = asking.receive(answers_for(VRRP), 2.0)
        assert answer is not None
        assert answer[ARP].hwsrc == VRRP_MAC
        for holder, other, wire, silent in ((one, two, first, second), (two, one, second, first)):
            wire.send(gratuitous(VRRP, VRRP_MAC))
            for target in (VRRP_MAC, ROUTER_MAC):
                mark, final = new_mark(), new_mark()
                to_it = Ether(src=client.mac, dst=target) / IP(src=client.address, dst=VRRP) / UDP()
                arrives = functools.partial(gets, wire, asking, to_it / Raw(mark), mark)
                await_condition(arrives, f"{holder.name} has {VRRP} by {target}", 3)
                asking.send(to_it / Raw(final))
                assert wire.receive(carries(final), 1.0) is not None
                assert silent.receive(carries(final), 0.1) is None, other.name
            out = new_mark()
            with Wire(sandbox.internet.pid) as outside:
                echo = Ether(src=VRRP_MAC, dst=ROUTER_MAC) / IP(src=VRRP, dst=SERVER) / ICMP(id=7) / Raw(out)
                wire.send(echo)
                assert outside.receive(carries(out), 2.0) is not None
            reply = wire.receive(lambda f, m=out: carries(m)(f) and ICMP in f and f[ICMP].type == 0, 2.0)
            assert reply is not None
            assert (reply.dst, reply[IP].dst) == (VRRP_MAC, VRRP)
            # VRRP's own messages: the virtual MAC, and the machine's own address.
            advert = new_mark()
            wire.send(
                Ether(src=VRRP_MAC, dst="01:00:5e:00:00:12")
                / IP(src=holder.address, dst="224.0.0.18", ttl=255, proto=112)
                / Raw(advert)
            )
            assert silent.receive(carries(advert), 2.0) is not None


def test_address_probes_are_answered_and_not_counted_as_forged(sandbox: Sandbox, cluster: Cluster) -> None:
    client, one = cluster.client, cluster.one
    take(one)
    before = sandbox.drops(cluster.key)
    with Wire(client.pid) as wire:
        for address, mac in ((ROUTER, ROUTER_MAC), (one.address, one.mac), (VIRTUAL, one.mac)):
            answer = wire.exchange(question(client.mac, "0.0.0.0", address), answers_for(address), 2.0)
            assert answer is not None, address
            assert answer[ARP].hwsrc == mac
        # Its own, and one that nobody has.
        for address in (client.address, "10.9.77.77"):
            assert wire.exchange(question(client.mac, "0.0.0.0", address), answers_for(address), 0.3) is None
    after = sandbox.drops(cluster.key)
    assert [after.get(reason, 0) for reason in ("arp-sender", "source-ip")] == [
        before.get(reason, 0) for reason in ("arp-sender", "source-ip")
    ]


def test_deletion_takes_everything_away(sandbox: Sandbox, cluster: Cluster) -> None:
    one, two, client = cluster.one, cluster.two, cluster.client
    take(one)
    await_holder(client, one)
    announce(two, VRRP, VRRP_MAC)
    await_condition(lambda: len(holders(sandbox, cluster)) == 2, "both held", 3)
    # Not listed any more by its holder, it is held by nobody; by the other it can be taken.
    may_take(sandbox, one, f"{VRRP},{VRRP_MAC}")
    assert len(holders(sandbox, cluster)) == 1
    with Wire(one.pid) as wire, counted(sandbox, cluster.key, "arp-sender", 1):
        wire.send(gratuitous(VIRTUAL, one.mac))
    take(two, one)
    await_holder(client, two)
    sandbox.delete_machine(two.name)
    assert holders(sandbox, cluster) == []
    may_take(sandbox, one)
    dump = sandbox.appliance.ofctl("dump-flows")
    assert not [line for line in dump.splitlines() if VIRTUAL in line or VRRP in line or VRRP_MAC in line]
    assert ask_udp(client.pid, [one.address])[one.address].name == one.name
