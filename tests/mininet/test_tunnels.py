"""Machines on another host, behind a VXLAN port: the VNI says whose they are."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest
from appliance import run
from frames import (
    EVERYBODY,
    ROUTER_MAC,
    carries,
    counted,
    heard_so_far,
    heard_until,
    new_mark,
)
from machines import INTERFACE, SERVERS, Machine
from mininet.link import Intf
from packets import Wire
from probes import ask_tcp, ask_udp, ping
from sandbox import CALL_SECONDS, Sandbox, Wanted, require_live
from sandboxes import Tenants, network_id
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Dot1Q, Ether
from scapy.packet import Raw

from sluice.v1 import machine_pb2

SERVER = SERVERS[0]
UNDERLAY, TUNNEL = "br-underlay", "vxlan0"
APPLIANCE_END, HOST_END = "198.18.0.1", "198.18.0.2"
VXLAN_PORT = 4789
# 50 bytes of headers around a frame.
MTU = 1450
OURS, THEIRS, NOBODYS = 300, 301, 302
NOBODY = 0


class RemoteHost:
    """A hypervisor beside the appliance: its machines are namespaces, each behind a VXLAN device of one VNI."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._host: Machine = sandbox.site.net.addHost("hyper", cls=Machine)
        self._machines: list[Machine] = []

    def start(self) -> None:
        """Link it to the appliance, which gets a tunnel port."""
        appliance = self._sandbox.appliance
        appliance.vsctl("add-br", UNDERLAY, "--", "set", "bridge", UNDERLAY, f"datapath_type={appliance.datapath}")
        end = f"{UNDERLAY}-h"
        run(["ip", "link", "add", end, "type", "veth", "peer", "name", INTERFACE, "netns", str(self._host.pid)])
        run(["ethtool", "-K", end, "tx", "off"])
        run(["ip", "link", "set", end, "up"])
        appliance.vsctl("add-port", UNDERLAY, end)
        run(["ip", "address", "add", f"{APPLIANCE_END}/30", "dev", UNDERLAY])
        run(["ip", "link", "set", UNDERLAY, "up"])
        self._host.settle()
        self._host.run("ip", "address", "add", f"{HOST_END}/30", "dev", INTERFACE)
        appliance.vsctl(
            *("add-port", self._sandbox.site.bridge.name, TUNNEL),
            *("--", "set", "interface", TUNNEL, "type=vxlan", f"options:remote_ip={HOST_END}", "options:key=flow"),
        )

    def stop(self) -> None:
        """Take it all away."""
        for machine in self._machines:
            self._sandbox.responders.remove(machine.name)
            self._sandbox.site.net.delHost(machine)
        self._sandbox.appliance.vsctl("--if-exists", "del-port", TUNNEL, "--", "--if-exists", "del-br", UNDERLAY)
        self._sandbox.site.net.delHost(self._host)

    def add_machine(self, name: str, vni: int, mac: str) -> Machine:
        """A machine whose interface is the VXLAN device itself."""
        machine: Machine = self._sandbox.site.net.addHost(name, cls=Machine)
        self._machines.append(machine)
        self._host.run(
            *("ip", "link", "add", f"vx{vni}", "address", mac, "mtu", str(MTU), "type", "vxlan", "id", str(vni)),
            *("remote", APPLIANCE_END, "local", HOST_END, "dstport", str(VXLAN_PORT), "nolearning"),
        )
        self._host.run("ip", "link", "set", f"vx{vni}", "netns", str(machine.pid), "name", INTERFACE)
        Intf(INTERFACE, node=machine, mac=mac, moveIntfFn=lambda *_: True)
        machine.settle()
        self._sandbox.responders.add(name, machine.pid)
        return machine


@dataclass(frozen=True)
class Offices:
    """Two tenants with the same prefix; each has a machine here and one behind the tunnel."""

    here: Machine
    remote: Machine
    other_here: Machine
    other_remote: Machine
    stranger: Machine


@pytest.fixture(scope="module")
def offices(sandbox: Sandbox) -> Iterator[Offices]:
    maker, hypervisor = Tenants(sandbox), RemoteHost(sandbox)
    made: list[str] = []
    hypervisor.start()

    def office(name: str, vni: int, mac: str) -> tuple[Machine, Machine]:
        network = network_id(maker.network("10.44.0.0/16", mtu=MTU))
        here = maker.machine(Wanted("", network))
        remote = hypervisor.add_machine(name, vni, mac)
        request = machine_pb2.CreateMachineRequest(
            machine_id=name,
            machine=machine_pb2.Machine(
                network=f"networks/{network}",
                mac_address=mac,
                attachment=machine_pb2.Attachment(port=TUNNEL, vni=vni),
            ),
            wait_live=True,
        )
        require_live(sandbox.machines.CreateMachine(request, timeout=CALL_SECONDS))
        made.append(name)
        remote.obtain_lease()
        return here, remote

    try:
        stranger = hypervisor.add_machine("remote-none", NOBODYS, "02:00:00:02:00:03")
        yield Offices(
            *office("remote-ours", OURS, "02:00:00:02:00:01"),
            *office("remote-theirs", THEIRS, "02:00:00:02:00:02"),
            stranger,
        )
    finally:
        for name in made:
            sandbox.machines.DeleteMachine(
                machine_pb2.DeleteMachineRequest(name=f"machines/{name}"), timeout=CALL_SECONDS
            )
        maker.close()
        hypervisor.stop()


def test_both_tenants_have_the_same_addresses(offices: Offices) -> None:
    assert offices.here.address == offices.other_here.address == "10.44.0.2"
    assert offices.remote.address == offices.other_remote.address == "10.44.0.3"


def test_neighbours_and_the_internet_are_reached_through_the_tunnel(offices: Offices) -> None:
    for here, remote in ((offices.here, offices.remote), (offices.other_here, offices.other_remote)):
        for machine, neighbour in itertools.permutations((here, remote)):
            to = neighbour.address
            assert ask_udp(machine.pid, [to])[to].name == neighbour.name
            assert ask_tcp(machine.pid, [to])[to].name == neighbour.name
            assert to in ping(machine.pid, [to])
        assert remote.lease is not None
        assert ping(remote.pid, [remote.lease.router, SERVER]) == {remote.lease.router, SERVER}
        assert SERVER in ask_tcp(remote.pid, [SERVER])
        full = ["ping", "-n", "-c1", "-W1", "-Mdo", "-s", str(MTU - 28)]
        assert "1 received" in remote.run(*full, here.address)


def test_broadcast_crosses_the_tunnel_once_and_within_the_network_only(offices: Offices) -> None:
    pairs = [(offices.here, offices.remote), (offices.other_here, offices.other_remote)]
    everybody = [machine for pair in pairs for machine in pair]
    for sender, neighbour in [*pairs, *((remote, here) for here, remote in pairs)]:
        mark, last = new_mark(), new_mark()
        with ExitStack() as stack:
            wires = {machine: stack.enter_context(Wire(machine.pid)) for machine in everybody}
            for payload in (mark, last):
                packet = Ether(src=sender.mac, dst=EVERYBODY) / IP(src=sender.address, dst="255.255.255.255")
                wires[sender].send(packet / UDP(sport=4000, dport=9) / Raw(payload))
            heard = heard_until(wires[neighbour], carries(last))
            assert sum(mark in bytes(frame) for frame in heard) == 1
            for other in everybody:
                if other is not neighbour:
                    assert not [frame for frame in heard_so_far(wires[other], other) if mark in bytes(frame)]


def test_a_machine_behind_the_tunnel_is_held_to_its_own_addresses(sandbox: Sandbox, offices: Offices) -> None:
    remote, mark = offices.remote, new_mark()
    key = sandbox.network(sandbox.machine("remote-ours").network.removeprefix("networks/")).key
    own = Ether(src=remote.mac, dst=ROUTER_MAC) / IP(src=remote.address, dst=offices.here.address)
    foreign_ip, foreign_mac = own.copy(), own.copy()
    foreign_ip[IP].src = "10.44.0.9"
    # The other tenant's machine on the same port has this MAC.
    foreign_mac[Ether].src = offices.other_remote.mac
    with Wire(remote.pid) as wire, Wire(offices.here.pid) as here, Wire(offices.other_here.pid) as other:
        for forged, reason in ((foreign_ip, "source-ip"), (foreign_mac, "source-mac")):
            with counted(sandbox, key, reason, 3):
                for _ in range(3):
                    wire.send(forged / UDP(sport=4000, dport=9) / Raw(mark))
        heard = heard_so_far(here, offices.here) + heard_so_far(other, offices.other_here)
    assert not [frame.summary() for frame in heard if mark in bytes(frame)]


def test_a_vni_of_nobody_leads_nowhere(sandbox: Sandbox, offices: Offices) -> None:
    mark = new_mark()
    with Wire(offices.stranger.pid) as wire, Wire(offices.here.pid) as here:
        with counted(sandbox, NOBODY, "no-network", 3):
            for source in (offices.stranger, offices.remote, offices.other_remote):
                frame = Ether(src=source.mac, dst=EVERYBODY) / IP(src=offices.remote.address, dst="255.255.255.255")
                wire.send(frame / UDP(sport=4000, dport=9) / Raw(mark))
        assert not [frame for frame in heard_so_far(here, offices.here) if mark in bytes(frame)]


def test_a_tag_inside_the_tunnel_leads_nowhere(sandbox: Sandbox, offices: Offices) -> None:
    mark = new_mark()
    with Wire(offices.remote.pid) as wire, Wire(offices.here.pid) as here:
        with counted(sandbox, NOBODY, "no-network", 2):
            for _ in range(2):
                frame = Ether(src=offices.remote.mac, dst=offices.here.mac) / Dot1Q(vlan=7)
                packet = IP(src=offices.remote.address, dst=offices.here.address) / UDP(sport=4000, dport=9)
                wire.send(frame / packet / Raw(mark))
        assert not [frame for frame in heard_so_far(here, offices.here) if mark in bytes(frame)]
