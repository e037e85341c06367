"""Machines on a port of their own, on a VLAN of a trunk port, on a VNI of a tunnel port: together, and apart."""

from __future__ import annotations

from collections.abc import Iterator

import grpc
import pytest
from frames import GATEWAY_MAC, INTERNET_MAC, ROUTER_MAC
from machines import SERVERS, TRUNK, TUNNEL, Machine
from packets import Wire
from probes import ask_tcp, ask_udp, ping
from sandbox import Sandbox, Wanted
from sandboxes import Tenants, network_id
from scapy.layers.inet import ICMP, IP
from scapy.layers.l2 import Dot1Q, Ether
from supervisor import await_condition

from sluice.v1 import machine_pb2


@pytest.fixture(scope="module")
def office(sandbox: Sandbox) -> Iterator[list[Machine]]:
    """One private network with a machine of each kind, and two on one VLAN."""
    tenants = Tenants(sandbox)
    try:
        network = network_id(tenants.network())
        kinds = [Wanted("", network), Wanted("", network, vlan=101), Wanted("", network, vni=70001)]
        yield tenants.machines([*kinds, Wanted("", network, vlan=101)])
    finally:
        tenants.close()


def test_each_kind_reaches_the_others_and_the_internet(office: list[Machine]) -> None:
    for machine in office:
        others = {other.address: other.name for other in office if other is not machine}
        assert {to: answer.name for to, answer in ask_udp(machine.pid, others).items()} == others
        assert {to: answer.name for to, answer in ask_tcp(machine.pid, others).items()} == others
        assert ping(machine.pid, [*others, SERVERS[0]]) == {*others, SERVERS[0]}
        assert SERVERS[0] in ask_tcp(machine.pid, [SERVERS[0]])


@pytest.mark.parametrize("tag", [{"vlan": 102}, {"vni": 70002}], ids=["vlan", "vni"])
def test_another_tag_of_the_same_port_is_another_network(
    office: list[Machine], tenants: Tenants, tag: dict[str, int]
) -> None:
    stranger = tenants.machine(Wanted("", **tag))  # type: ignore[arg-type]
    addresses = [machine.address for machine in office]
    assert SERVERS[0] in ask_tcp(stranger.pid, [SERVERS[0]])
    assert not ask_udp(stranger.pid, addresses)
    assert not ask_tcp(stranger.pid, addresses, 1.0)
    for machine in office:
        assert not ask_udp(machine.pid, [stranger.address], 0.5)


@pytest.mark.parametrize("tag", [{"vlan": 103}, {"vni": 70003}], ids=["vlan", "vni"])
def test_a_tag_nobody_has_is_dropped(sandbox: Sandbox, tag: dict[str, int]) -> None:
    # Plugged in, but unknown to the API.
    host = sandbox.plug(Wanted("nobody", **tag))  # type: ignore[arg-type]
    before = sandbox.drops(0)["no-network"]
    try:
        host.run("ip", "address", "add", "172.16.0.2/30", "dev", "eth0")
        host.run("ip", "neighbour", "add", "172.16.0.1", "lladdr", "02:00:00:00:ff:01", "dev", "eth0")
        host.run("ip", "route", "add", "default", "via", "172.16.0.1")
        assert not ask_udp(host.pid, [SERVERS[0]])
        assert not ping(host.pid, [SERVERS[0], "172.16.0.1"])
    finally:
        sandbox.unplug("nobody")
    assert sandbox.drops(0)["no-network"] >= before + 3


@pytest.mark.parametrize(("port", "tag"), [(TRUNK, {"vlan": 101}), (TUNNEL, {"vni": 70001})], ids=["vlan", "vni"])
def test_two_networks_never_share_a_tag(
    office: list[Machine], sandbox: Sandbox, port: str, tag: dict[str, int]
) -> None:
    attachment = machine_pb2.Attachment(port=port, **tag)  # type: ignore[arg-type]
    machine = machine_pb2.Machine(mac_address="02:00:00:00:ee:01", attachment=attachment)
    request = machine_pb2.CreateMachineRequest(machine_id="intruder", machine=machine)
    with pytest.raises(grpc.RpcError) as refused:
        sandbox.machines.CreateMachine(request, timeout=10)
    assert refused.value.code() == grpc.StatusCode.ALREADY_EXISTS


def test_a_priority_without_a_vlan_is_no_tag(sandbox: Sandbox, tenants: Tenants) -> None:
    """Hosts and providers mark frames with IEEE 802.1p priorities on links that have no VLAN (VID 0)."""
    machine = tenants.isolated()
    frames = [
        (machine.pid, Ether(src=machine.mac, dst=ROUTER_MAC), IP(src=machine.address, dst=SERVERS[0])),
        (sandbox.internet.pid, Ether(src=INTERNET_MAC, dst=GATEWAY_MAC), IP(src="203.0.113.1", dst="203.0.113.2")),
    ]
    for pid, link, packet in frames:
        with Wire(pid) as wire:
            for priority in (0, 5):
                ping = link / Dot1Q(vlan=0, prio=priority) / packet / ICMP(id=priority + 1)
                assert wire.exchange(ping, lambda seen: ICMP in seen and seen[ICMP].type == 0, 2) is not None
    # Behind it a tag is no way into a VLAN: what is in the frame is neither IPv4 nor ARP.
    before = tenants.drops(machine)["protocol"]
    with Wire(machine.pid) as wire:
        wire.send(frames[0][1] / Dot1Q(vlan=0) / Dot1Q(vlan=101) / frames[0][2] / ICMP(id=9))
    await_condition(lambda: tenants.drops(machine)["protocol"] == before + 1, "dropped", 5)
