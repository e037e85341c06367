"""Machines on a port of their own, on a VLAN of a trunk port, on a VNI of a tunnel port: together, and apart."""

from __future__ import annotations

from collections.abc import Iterator

import grpc
import pytest
from machines import SERVERS, TRUNK, TUNNEL, Machine
from probes import ask_tcp, ask_udp, ping
from sandbox import Sandbox, Wanted
from sandboxes import Tenants, network_id

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
