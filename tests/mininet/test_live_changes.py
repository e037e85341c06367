"""Changes while machines are up: moved, unplugged, deleted; the traffic follows at once."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from frames import carries, counted, datagram, heard_so_far, internet_heard_so_far, new_mark
from google.protobuf import field_mask_pb2
from machines import INTERFACE, SERVERS, Machine
from packets import Wire
from pinging import unbroken
from probes import ask_tcp, ask_udp, ping
from sandbox import CALL_SECONDS, Sandbox, Wanted
from sandboxes import Tenants, network_id
from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw
from supervisor import await_condition

from sluice.v1 import machine_pb2, status_pb2

SERVER = SERVERS[0]
NOBODY = 0


def move(sandbox: Sandbox, name: str, attachment: machine_pb2.Attachment) -> machine_pb2.Machine:
    """Have the API say that a machine is attached elsewhere."""
    return sandbox.machines.UpdateMachine(
        machine_pb2.UpdateMachineRequest(
            machine=machine_pb2.Machine(name=f"machines/{name}", attachment=attachment),
            update_mask=field_mask_pb2.FieldMask(paths=["attachment"]),
            wait_live=True,
        ),
        timeout=CALL_SECONDS,
    )


@pytest.fixture
def elsewhere(sandbox: Sandbox) -> Iterator[str]:
    """A name for a second place to plug a machine in."""
    name = f"else{time.monotonic_ns() % 10**9}"
    yield name
    if name in sandbox.site.machines:
        sandbox.unplug(name)


def become(twin: Machine, machine: Machine) -> None:
    """Give `twin` the address of `machine`, whose MAC it has: the same machine on another host."""
    assert machine.lease is not None
    lease = machine.lease
    twin.run(
        "sh",
        "-ec",
        f"ip address add {lease.address}/{lease.prefix_length} broadcast + dev {INTERFACE}; "
        f"ip route add default via {lease.router}",
    )
    twin.lease = lease


@pytest.mark.alone
@pytest.mark.parametrize("vlan", [None, 91], ids=["port", "vlan"])
def test_a_moved_machine_takes_its_traffic_along(
    sandbox: Sandbox, tenants: Tenants, elsewhere: str, vlan: int | None
) -> None:
    machine, neighbour = tenants.private(2)
    twin = sandbox.plug(Wanted(elsewhere, mac=machine.mac, vlan=vlan))
    become(twin, machine)
    mark = new_mark()

    def send(wire: Wire) -> None:
        packet = Ether(src=neighbour.mac, dst=machine.mac) / IP(src=neighbour.address, dst=machine.address)
        wire.send(packet / UDP(sport=4000, dport=7) / Raw(mark))

    def is_question(frame: Packet) -> bool:
        # Not the error about its answer, which quotes the mark.
        return mark in bytes(frame) and UDP in frame and ICMP not in frame

    with Wire(machine.pid) as here, Wire(twin.pid) as there, Wire(neighbour.pid) as theirs:
        send(theirs)
        assert here.receive(is_question) is not None
        assert SERVER in ask_udp(machine.pid, [SERVER])
        assert SERVER not in ask_udp(twin.pid, [SERVER], 0.5)
        assert there.receive(is_question, 0.01) is None

        place = {"port": elsewhere} if vlan is None else {"port": "trunk0", "vlan": vlan}
        made = move(sandbox, machine.name, machine_pb2.Attachment(**place))
        assert made.status.state == status_pb2.Status.LIVE

        # The switch may use what it cached of the old flows for some milliseconds after they were replaced.
        def arrived() -> bool:
            send(theirs)
            return there.receive(is_question, 0.02) is not None

        await_condition(arrived, "packets arrive at the new place", 1)
        # From then on all do, and none at the old one.
        mark = new_mark()
        for _ in range(5):
            send(theirs)
            assert there.receive(is_question) is not None
        assert SERVER in ask_udp(twin.pid, [SERVER])
        assert neighbour.address in ask_tcp(twin.pid, [neighbour.address])
        assert SERVER not in ask_udp(machine.pid, [SERVER], 0.5)
        assert neighbour.address not in ping(machine.pid, [neighbour.address], 0.5)
        assert here.receive(is_question, 0.01) is None
    assert sandbox.machine(machine.name).address == machine.address
    # And back.
    move(sandbox, machine.name, machine_pb2.Attachment(port=machine.name))
    assert SERVER in ask_udp(machine.pid, [SERVER])
    assert SERVER not in ask_udp(twin.pid, [SERVER], 0.5)


def test_a_connection_survives_the_move(sandbox: Sandbox, tenants: Tenants, elsewhere: str) -> None:
    """The public address and port stay, so a server in the Internet sees the same peer."""
    machine = tenants.isolated()
    twin = sandbox.plug(Wanted(elsewhere, mac=machine.mac))
    become(twin, machine)
    before = ask_udp(machine.pid, [SERVER], port=40001)[SERVER]
    move(sandbox, machine.name, machine_pb2.Attachment(port=elsewhere))
    assert ask_udp(twin.pid, [SERVER], port=40001)[SERVER] == before


def test_moving_to_a_port_that_is_not_there_is_an_error_that_names_it(sandbox: Sandbox, tenants: Tenants) -> None:
    machine = tenants.isolated()
    made = move(sandbox, machine.name, machine_pb2.Attachment(port="nowhere0"))
    assert made.status.state == status_pb2.Status.ERROR
    assert "nowhere0" in made.status.detail
    assert SERVER not in ask_udp(machine.pid, [SERVER], 0.5)
    made = move(sandbox, machine.name, machine_pb2.Attachment(port=machine.name))
    assert made.status.state == status_pb2.Status.LIVE
    assert SERVER in ask_udp(machine.pid, [SERVER])


def test_an_unplugged_port_is_an_error_that_names_it_until_it_is_back(sandbox: Sandbox, tenants: Tenants) -> None:
    machine, neighbour = tenants.private(2)

    def status() -> status_pb2.Status:
        return sandbox.machine(machine.name).status

    sandbox.site.bridge.detach(machine.name)
    await_condition(lambda: status().state == status_pb2.Status.ERROR, "the machine is in error", 5)
    assert machine.name in status().detail
    assert "not on the bridge" in status().detail
    # Only the machine has gone, not its network.
    assert sandbox.machine(neighbour.name).status.state == status_pb2.Status.LIVE
    assert SERVER in ask_udp(neighbour.pid, [SERVER])
    assert machine.address not in ask_udp(neighbour.pid, [machine.address], 0.5)

    sandbox.site.bridge.attach(machine.name)
    await_condition(lambda: status().state == status_pb2.Status.LIVE, "the machine is live again", 5)
    assert status().detail == ""
    assert ask_udp(neighbour.pid, [machine.address])[machine.address].name == machine.name
    assert SERVER in ask_udp(machine.pid, [SERVER])


def test_a_machine_made_before_its_port_is_live_once_it_is_plugged_in(sandbox: Sandbox, elsewhere: str) -> None:
    request = machine_pb2.CreateMachineRequest(
        machine_id=elsewhere,
        machine=machine_pb2.Machine(mac_address="02:00:00:00:77:01", attachment=machine_pb2.Attachment(port=elsewhere)),
        wait_live=True,
    )
    made = sandbox.machines.CreateMachine(request, timeout=CALL_SECONDS)
    try:
        assert made.status.state == status_pb2.Status.ERROR
        assert elsewhere in made.status.detail
        host = sandbox.plug(Wanted(elsewhere, mac="02:00:00:00:77:01"))
        assert host.obtain_lease().address == made.address
        assert sandbox.machine(elsewhere).status.state == status_pb2.Status.LIVE
        assert SERVER in ask_udp(host.pid, [SERVER])
    finally:
        sandbox.machines.DeleteMachine(machine_pb2.DeleteMachineRequest(name=made.name), timeout=CALL_SECONDS)


@pytest.mark.parametrize("private", [False, True], ids=["isolated", "private"])
def test_a_deleted_machine_neither_sends_nor_receives(sandbox: Sandbox, tenants: Tenants, private: bool) -> None:
    machine = tenants.private(2)[0] if private else tenants.isolated()
    public = ask_udp(machine.pid, [SERVER], port=40002)[SERVER]
    answer_mark, mark = new_mark(), new_mark()
    answer = Ether(src="02:00:00:00:fe:01", dst="02:00:00:00:ff:02") / IP(src=SERVER, dst=public.address)
    answer /= UDP(sport=7, dport=public.port) / Raw(answer_mark)
    witness = tenants.isolated()
    with Wire(machine.pid) as wire, Wire(sandbox.internet.pid) as outside, Wire(witness.pid) as other:
        outside.send(answer)
        assert wire.receive(carries(answer_mark)) is not None

        sandbox.machines.DeleteMachine(
            machine_pb2.DeleteMachineRequest(name=f"machines/{machine.name}"), timeout=CALL_SECONDS
        )
        gone = machine.mac
        await_condition(lambda: gone not in sandbox.appliance.ofctl("dump-flows"), "its flows are gone", 5)
        with counted(sandbox, NOBODY, "no-network", 3):
            for _ in range(3):
                wire.send(datagram(machine, SERVER, mark))
        outside.send(answer)
        assert not [frame for frame in internet_heard_so_far(outside) if mark in bytes(frame)]
        heard_so_far(other, witness)
        assert wire.receive(carries(answer_mark), 0.05) is None
        assert SERVER not in ask_udp(machine.pid, [SERVER], 0.5)


def test_a_released_address_rests_before_it_is_given_again(sandbox: Sandbox, tenants: Tenants) -> None:
    network = network_id(tenants.network())
    rest = sandbox.appliance.settings.reuse_after_seconds

    def create(name: str, mac: str) -> machine_pb2.Machine:
        machine = machine_pb2.Machine(
            network=f"networks/{network}", mac_address=mac, attachment=machine_pb2.Attachment(port=name)
        )
        request = machine_pb2.CreateMachineRequest(machine_id=name, machine=machine)
        return sandbox.machines.CreateMachine(request, timeout=CALL_SECONDS)

    def delete(name: str) -> None:
        sandbox.machines.DeleteMachine(machine_pb2.DeleteMachineRequest(name=f"machines/{name}"), timeout=CALL_SECONDS)

    addresses: dict[str, float] = {}

    def come_and_go(number: int) -> str:
        """The address of a machine that is deleted at once."""
        made = create(f"rest{number}", "02:00:00:00:78:00")
        delete(f"rest{number}")
        return made.address

    def given_again() -> bool:
        address = come_and_go(len(addresses))
        again, now = address in addresses, time.monotonic()
        # Whatever comes again was released long enough ago.
        assert not again or now - addresses[address] >= rest
        addresses.setdefault(address, now)
        return again

    await_condition(given_again, "an address is given again", rest + 5, 0.1)
    # Had none rested, the second machine would have had the address of the first.
    assert len(addresses) > 1


@pytest.mark.alone
def test_machines_come_and_go_without_disturbing_a_neighbour(tenants: Tenants) -> None:
    network = network_id(tenants.network())
    stays = tenants.machine(Wanted("", network))
    with unbroken(stays, SERVER, 0.01):
        for _ in range(5):
            guest = tenants.machine(Wanted("", network))
            assert stays.address in ping(guest.pid, [stays.address], 5)
            tenants.sandbox.delete_machine(guest.name)
            # Here addresses rest for a moment only, and a neighbour remembers for longer whose one was.
            stays.run("ip", "neighbour", "del", guest.address, "dev", "eth0")
