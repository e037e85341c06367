"""Usage: known packets are counted to the byte, once, whatever is killed meanwhile."""

from __future__ import annotations

import pytest
from appliance import CONTROLLER, SWITCH
from machines import SERVERS, Machine
from probes import ask_udp
from sandbox import Sandbox
from sandboxes import Tenants, network_id
from supervisor import Daemon, await_condition

from sluice.v1 import limits_pb2, machine_pb2, usage_pb2

SERVER = SERVERS[0]
PING_HEADERS = 14 + 20 + 8
SECONDS = 15


def pings(machine: Machine, target: str, count: int, payload: int) -> None:
    """Echo requests of that many bytes of payload, each of them answered."""
    said = machine.run("ping", "-n", "-q", "-c", str(count), "-i", "0.01", "-s", str(payload), target)
    assert f"{count} packets transmitted, {count} received" in said


def traffic(packets: int, payload: int, *, back: int | None = None) -> usage_pb2.Traffic:
    """As much in as out (or `back` packets in), all of pings of one size."""
    answers = packets if back is None else back
    size = PING_HEADERS + payload
    return usage_pb2.Traffic(bytes_out=packets * size, packets_out=packets, bytes_in=answers * size, packets_in=answers)


def plus(*several: usage_pb2.Traffic) -> usage_pb2.Traffic:
    """Their sum."""
    fields = ("bytes_in", "bytes_out", "packets_in", "packets_out")
    return usage_pb2.Traffic(**{name: sum(getattr(one, name) for one in several) for name in fields})


def kill(daemon: Daemon) -> None:
    """Kill a daemon, and wait until it was started again."""
    before = daemon.pid
    daemon.kill()
    await_condition(lambda: daemon.pid not in (None, before), f"{daemon.program.name} started again", 10)


def await_public(sandbox: Sandbox, name: str, expected: usage_pb2.Traffic) -> usage_pb2.Usage:
    """The usage of `name` once it is `expected`; with what it was instead when that does not come."""

    def arrived() -> bool:
        counted = sandbox.usage(name).public
        # More is never less again.
        assert counted.packets_out <= expected.packets_out
        return counted == expected

    try:
        await_condition(arrived, f"usage of {name}", SECONDS)
    except TimeoutError:
        pytest.fail(f"{name}: {sandbox.usage(name)} instead of {expected}")
    return sandbox.usage(name)


def test_public_traffic_of_a_machine_alone_and_of_its_network(sandbox: Sandbox, tenants: Tenants) -> None:
    machine = tenants.isolated()
    assert sandbox.usage(f"machines/{machine.name}").public == usage_pb2.Traffic()
    pings(machine, SERVER, 20, 1000)
    expected = traffic(20, 1000)
    counted = await_public(sandbox, f"machines/{machine.name}", expected)
    assert counted.HasField("update_time")
    assert (counted.private, counted.storage, counted.vpn) == (usage_pb2.Traffic(),) * 3
    await_public(sandbox, tenants.network_of(machine).name, expected)


def test_private_traffic_directly_and_by_the_router(sandbox: Sandbox, tenants: Tenants) -> None:
    one, two = tenants.private(2)
    pings(one, two.address, 10, 500)
    # The router's own answers, and names nobody has, are no traffic of the network.
    pings(one, sandbox.network(network_id(tenants.network_of(one))).router_address, 3, 500)
    one.run("ip", "route", "add", f"{two.address}/32", "via", tenants.network_of(one).router_address)
    pings(one, two.address, 5, 500)
    name = tenants.network_of(one).name
    total = plus(traffic(15, 500), traffic(15, 500))
    await_condition(lambda: sandbox.usage(name).private == total, "usage of the network", SECONDS)
    for machine in (one, two):
        counted = sandbox.usage(f"machines/{machine.name}")
        assert (counted.private, counted.public) == (traffic(15, 500), usage_pb2.Traffic())


def test_what_goes_nowhere_is_not_counted(sandbox: Sandbox, tenants: Tenants) -> None:
    machine, neighbour = tenants.private(2)
    assert not ask_udp(machine.pid, ["192.0.2.1", "10.255.255.1"], 0.5)
    pings(machine, SERVER, 3, 100)
    await_public(sandbox, f"machines/{machine.name}", traffic(3, 100))
    assert sandbox.usage(f"machines/{machine.name}").private == usage_pb2.Traffic()
    assert sandbox.usage(f"machines/{neighbour.name}").public == usage_pb2.Traffic()


@pytest.mark.parametrize("while_counting", [False, True], ids=["between", "during"])
def test_a_killed_controller_counts_nothing_twice(sandbox: Sandbox, tenants: Tenants, while_counting: bool) -> None:
    machine = tenants.isolated()
    name, sent = f"machines/{machine.name}", 0
    controller = sandbox.appliance.daemon(CONTROLLER)
    for _ in range(4):
        pings(machine, SERVER, 25, 200)
        sent += 25
        if not while_counting:
            await_public(sandbox, name, traffic(sent, 200))
        kill(controller)
    sandbox.appliance.wait_ready()
    await_public(sandbox, name, traffic(sent, 200))
    pings(machine, SERVER, 1, 200)
    await_public(sandbox, name, traffic(sent + 1, 200))


def test_a_new_limit_neither_loses_nor_repeats_anything(sandbox: Sandbox, tenants: Tenants) -> None:
    machine = tenants.isolated()
    sent = 0
    for kbps in (50_000, 80_000, 50_000, 0):
        pings(machine, SERVER, 10, 300)
        sent += 10
        wanted = machine_pb2.Machine(name=f"machines/{machine.name}", limits=limits_pb2.Limits(public_kbps=kbps))
        request = machine_pb2.UpdateMachineRequest(machine=wanted, wait_live=True)
        request.update_mask.paths.append("limits")
        sandbox.machines.UpdateMachine(request, timeout=30)
    pings(machine, SERVER, 10, 300)
    await_public(sandbox, f"machines/{machine.name}", traffic(sent + 10, 300))


def test_a_deleted_machine_is_counted_to_its_end_and_stays_in_the_networks_total(
    sandbox: Sandbox, tenants: Tenants
) -> None:
    stays, goes = tenants.private(2)
    name = tenants.network_of(stays).name
    pings(goes, SERVER, 10, 400)
    pings(goes, stays.address, 10, 400)
    # At once, before the next reading is due.
    sandbox.delete_machine(goes.name)
    await_public(sandbox, name, traffic(10, 400))
    total = plus(traffic(10, 400), traffic(10, 400))
    await_condition(lambda: sandbox.usage(name).private == total, "usage of the network", SECONDS)
    pings(stays, SERVER, 5, 400)
    await_public(sandbox, name, traffic(15, 400))
    assert sandbox.usage(name).private == total


def test_a_killed_switch_counts_nothing_twice(sandbox: Sandbox, tenants: Tenants) -> None:
    machine = tenants.isolated()
    name = f"machines/{machine.name}"
    pings(machine, SERVER, 30, 200)
    await_public(sandbox, name, traffic(30, 200))
    switch = sandbox.appliance.daemon(SWITCH)
    kill(switch)
    sandbox.appliance.wait_ready()
    await_condition(lambda: SERVER in ask_udp(machine.pid, [SERVER], 0.5), "traffic goes on", 20)
    seen = sandbox.usage(name).public.packets_out
    pings(machine, SERVER, 40, 200)
    await_condition(lambda: sandbox.usage(name).public.packets_out >= 30 + 40, "counting goes on", SECONDS)
    # The few questions asked while it came back, and no repetition of what was counted before.
    assert seen <= sandbox.usage(name).public.packets_out - 40 + 1
    assert sandbox.usage(name).public.packets_out < 30 + 40 + 30
