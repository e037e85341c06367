"""Names of machines: known inside their own network, and nowhere else."""

from __future__ import annotations

import socket
import time
from dataclasses import dataclass

import pytest
from appliance import RESOLVER
from digs import dig, told
from frames import ROUTER_MAC, counted
from google.protobuf import field_mask_pb2
from machines import Machine
from namespaces import within
from packets import Wire
from sandbox import CALL_SECONDS, Sandbox, Wanted
from sandboxes import Tenants, network_id
from scapy.layers.dns import DNS, DNSQR, DNSRR
from scapy.layers.inet import IP, UDP, IPOption_LSRR, IPOption_NOP, IPOption_SSRR
from scapy.layers.l2 import Ether
from scapy.packet import Packet
from supervisor import await_condition

from sluice.v1 import machine_pb2, network_pb2

ROUTER = "10.0.0.1"


@dataclass(frozen=True, slots=True)
class Office:
    """A network with two machines, the second of which is called db1."""

    network: network_pb2.Network
    pc: Machine
    db: Machine

    @property
    def domain(self) -> str:
        """Where its names are."""
        return f"{network_id(self.network)}.internal"


def make_office(maker: Tenants) -> Office:
    network = maker.network("10.0.0.0/16")
    wanted = [Wanted("", network_id(network)), Wanted("", network_id(network), hostname="db1")]
    return Office(network, *maker.machines(wanted))


@pytest.fixture(scope="module")
def office(maker: Tenants) -> Office:
    return make_office(maker)


@pytest.fixture(scope="module")
def rival(maker: Tenants) -> Office:
    """Another tenant's, with the same prefix; its db1 has another address."""
    network = maker.network("10.0.0.0/16")
    wanted = [Wanted("", network_id(network)), Wanted("", network_id(network), hostname="db1", address="10.0.7.7")]
    return Office(network, *maker.machines(wanted))


@pytest.fixture(scope="module")
def lone(maker: Tenants) -> Machine:
    return maker.isolated()


def test_the_lease_says_where_names_are(office: Office) -> None:
    lease = office.pc.lease
    assert lease is not None
    assert lease.dns_servers == (ROUTER,)
    assert (lease.domain, lease.search) == (office.domain, office.domain)


@pytest.mark.parametrize("transport", ["+notcp", "+tcp"])
def test_two_networks_have_a_db1_each(office: Office, rival: Office, transport: str) -> None:
    for one, address in ((office, office.db.address), (rival, "10.0.7.7")):
        for name in (("db1", "+search"), (f"db1.{one.domain}",), (f"DB1.{one.domain.upper()}",)):
            said = told(one.pc, *name, transport)
            assert (said.status, said.data, said.server) == ("NOERROR", [address], ROUTER)
            assert "aa" in said.flags
        assert told(one.pc, "-x", address, transport).data == [f"db1.{one.domain}."]
        assert told(one.db, "-x", ROUTER).data == [f"{one.domain}."]
    assert office.db.address != "10.0.7.7"


def test_a_machine_alone_has_a_name_too(lone: Machine) -> None:
    assert told(lone, f"{lone.name}.{lone.name}.internal").data == [lone.address]
    assert told(lone, "-x", lone.address).data == [f"{lone.name}.{lone.name}.internal."]


def test_there_are_no_names_of_others(office: Office, rival: Office, lone: Machine) -> None:
    for machine, names in (
        (office.pc, [("db1." + rival.domain,), (rival.domain,), ("-x", "10.0.7.7"), ("-x", lone.address),
                     (f"{lone.name}.{lone.name}.internal",)]),
        (rival.pc, [("db1." + office.domain,), ("-x", office.db.address)]),
        (lone, [("db1." + office.domain,), (office.domain,), ("-x", office.db.address), ("-x", "10.0.7.7")]),
    ):  # fmt: skip
        for name in names:
            said = told(machine, *name)
            if name == ("-x", office.db.address) and machine is rival.pc:
                # The same address is another machine's here.
                assert said.data == [f"db1.{rival.domain}."] or said.status == "NXDOMAIN"
            else:
                assert (said.status, said.answer) == ("NXDOMAIN", ()), name


@pytest.mark.parametrize("kind", ["AAAA", "MX", "TXT", "HTTPS"])
def test_a_name_without_such_a_record(office: Office, kind: str) -> None:
    said = told(office.pc, f"db1.{office.domain}", kind)
    assert (said.status, said.answer) == ("NOERROR", ())


def test_other_routers_are_not_asked(office: Office, rival: Office, lone: Machine) -> None:
    router = str(lone.lease.router) if lone.lease else ""
    assert dig(office.pc, f"@{router}", "www.example.com", seconds=1) is None
    assert dig(lone, f"@{ROUTER}", "www.example.com", seconds=1) is None


def test_nobody_outside_is_answered(sandbox: Sandbox, office: Office, lone: Machine) -> None:
    questions = sandbox.appliance.metrics(RESOLVER)
    router = str(lone.lease.router) if lone.lease else ""
    for address in (sandbox.appliance.settings.gateway_address.split("/")[0], "203.0.113.64", ROUTER, router):
        for transport in ("+notcp", "+tcp"):
            assert dig(sandbox.internet, f"@{address}", f"db1.{office.domain}", transport, seconds=1) is None
    assert asked(sandbox.appliance.metrics(RESOLVER)) == asked(questions)


def asked(metrics: dict[str, float]) -> float:
    """How many questions have reached the resolver."""
    return sum(value for name, value in metrics.items() if name.startswith("sluice_names_queries_total"))


def test_other_ports_of_the_resolver_are_closed(sandbox: Sandbox, office: Office) -> None:
    """The router refuses them; from port 53 the resolver's namespace is reached, where nobody listens but at 53."""
    questions = asked(sandbox.appliance.metrics(RESOLVER))

    def connect(source: int, port: int) -> str:
        with socket.socket() as one:
            one.settimeout(0.5)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            one.bind(("0.0.0.0", source))
            try:
                one.connect((ROUTER, port))
            except OSError as error:
                return type(error).__name__
            return "connected"

    for port in (22, 5353, 7403, 40000):
        assert within(office.pc.pid, lambda port=port: connect(0, port)) == "ConnectionRefusedError"
        assert within(office.pc.pid, lambda port=port: connect(53, port)) == "TimeoutError"
    assert asked(sandbox.appliance.metrics(RESOLVER)) == questions


def test_a_neighbour_cannot_answer_in_the_routers_name(sandbox: Sandbox, office: Office, rival: Office) -> None:
    """Neither to a machine, nor, as the machine of a waiting question, to the resolver."""
    liar, victim = office.pc, office.db
    lie = DNS(id=1, qr=1, qd=DNSQR(qname="bank.example"), an=DNSRR(rrname="bank.example", rdata="10.0.0.2"))
    with (
        Wire(liar.pid) as wire,
        Wire(victim.pid) as seen,
        counted(sandbox, network_key(sandbox, office), "source-ip", 2),
    ):
        wire.send(
            Ether(src=liar.mac, dst=victim.mac) / IP(src=ROUTER, dst=victim.address) / UDP(sport=53, dport=999) / lie
        )
        wire.send(
            Ether(src=liar.mac, dst=ROUTER_MAC) / IP(src=victim.address, dst=ROUTER) / UDP(sport=53, dport=999) / lie
        )
        assert seen.receive(lambda frame: DNS in frame, 0.5) is None


def test_a_question_with_a_source_route_is_not_answered(office: Office) -> None:
    mine = office.pc
    with Wire(mine.pid) as wire:

        def answered(option: Packet, seconds: float) -> bool:
            head = Ether(src=mine.mac, dst=ROUTER_MAC) / IP(src=mine.address, dst=ROUTER, options=[option])
            frame = head / UDP(sport=9998, dport=53) / DNS(id=9, rd=1, qd=DNSQR(qname=f"db1.{office.domain}"))
            found = wire.exchange(frame, lambda heard: DNS in heard and heard[DNS].id == 9, seconds)
            return found is not None

        assert answered(IPOption_NOP(), 2.0)
        for option in (IPOption_LSRR, IPOption_SSRR):
            # With the way still before it, and at its end.
            for pointer in (4, 8):
                assert not answered(option(routers=[office.db.address], pointer=pointer), 0.3)


def network_key(sandbox: Sandbox, office: Office) -> int:
    """The network's key, which its flows have."""
    return sandbox.network(network_id(office.network)).key


@pytest.mark.alone
def test_a_flooding_machine_disturbs_nobody(sandbox: Sandbox, office: Office, rival: Office) -> None:
    mine = office.pc
    flood = Ether(src=mine.mac, dst=ROUTER_MAC) / IP(src=mine.address, dst=ROUTER) / UDP(sport=9999, dport=53)
    frame = bytes(flood / DNS(id=7, rd=1, qd=DNSQR(qname="www.example.com")))
    before = sandbox.drops(network_key(sandbox, office)).get("router-rate", 0)
    with Wire(mine.pid) as wire:
        for turn in range(10):
            for _ in range(300):
                wire.send(frame)
            for other in (office.db, rival.pc):
                began = time.monotonic()
                assert told(other, "www.example.com").data == ["198.51.100.1"], turn
                assert time.monotonic() - began < 2
    assert sandbox.drops(network_key(sandbox, office)).get("router-rate", 0) > before + 1000


def rename(sandbox: Sandbox, machine: Machine, hostname: str) -> None:
    sandbox.machines.UpdateMachine(
        machine_pb2.UpdateMachineRequest(
            machine=machine_pb2.Machine(name=f"machines/{machine.name}", hostname=hostname),
            update_mask=field_mask_pb2.FieldMask(paths=["hostname"]),
        ),
        timeout=CALL_SECONDS,
    )


@pytest.mark.alone
def test_changes_are_known_within_a_second(sandbox: Sandbox, tenants: Tenants) -> None:
    one = make_office(tenants)
    rename(sandbox, one.db, "db2")
    await_condition(lambda: told(one.pc, "db2", "+search").data == [one.db.address], "new name", 1)
    assert told(one.pc, "db1", "+search").status == "NXDOMAIN"
    assert told(one.pc, "-x", one.db.address).data == [f"db2.{one.domain}."]
    new = tenants.machine(Wanted("", network_id(one.network), hostname="db1"), lease=False)
    address = sandbox.machine(new.name).address
    await_condition(lambda: told(one.pc, "db1", "+search").data == [address], "new machine", 1)
    sandbox.delete_machine(new.name)
    await_condition(lambda: told(one.pc, "db1", "+search").status == "NXDOMAIN", "machine gone", 1)


def test_a_killed_resolver_comes_back(sandbox: Sandbox, office: Office) -> None:
    daemon = sandbox.appliance.daemon(RESOLVER)
    deaths = len(daemon.deaths)
    sandbox.appliance.kill(RESOLVER)
    sandbox.appliance.await_restart(RESOLVER, deaths)
    await_condition(lambda: dig(office.pc, "db1", "+search", seconds=1) is not None, "names again", 10)
    assert told(office.pc, "db1", "+search").data == [office.db.address]
    daemon.deaths.clear()
