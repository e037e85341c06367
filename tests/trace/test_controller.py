"""The controller process with a real switch: rows in, flows and status out, whatever is restarted."""

from __future__ import annotations

import dataclasses
import functools
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator

import examples
import pytest
from controllers import ROOT, ControllerWorld, controller_world
from dummy_switch import wait_until

from controller.openflow.client import OpenFlowClient
from controller.pipeline.meters import packets
from controller.pipeline.registry import Table, split_cookie
from controller.reconcile.diff import FlowId
from state.model import Network, PortBlock, State

NETWORKS = examples.NETWORKS


@pytest.fixture
def world() -> Iterator[ControllerWorld]:
    with controller_world() as started:
        yield started


@pytest.fixture
def running(world: ControllerWorld) -> ControllerWorld:
    world.write(*world.insert(*NETWORKS))
    world.start()
    world.await_live(*NETWORKS)
    return world


def durations(world: ControllerWorld) -> dict[FlowId, float]:
    text = world.switch.ofctl("dump-flows", world.switch.bridge)
    found = {}
    for line in text.splitlines()[1:]:
        parts = dict(part.split("=", 1) for part in line.strip().split(" actions=")[0].split(", ") if "=" in part)
        found[int(parts["table"]), int(parts["cookie"], 16)] = float(parts["duration"].rstrip("s"))
    return found


def test_rows_become_flows(running: ControllerWorld) -> None:
    assert running.flow_ids() == running.desired(*NETWORKS)
    assert running.switch.ofctl("get-frags", running.switch.bridge).strip() == "nx-match"
    with OpenFlowClient(running.switch.mgmt) as bridge:
        assert bridge.meters()[NETWORKS[0].key] == packets(examples.APPLIANCE.icmp_error_rate)
    assert running.metric("sluice_networks") == len(NETWORKS)
    assert running.metric("sluice_flows_installed") == len(running.desired(*NETWORKS))
    assert running.metric("sluice_switch_connected") == 1


def test_tables_have_names(running: ControllerWorld) -> None:
    running.await_log("tables named")
    text = running.switch.ofctl("--names", "dump-flows", running.switch.bridge)
    assert f'table="{Table.PORT_SECURITY.title}",' in text
    assert f"table={Table.CLASSIFY.title}," in text
    assert f"goto_table:{Table.FORWARD.title}" in text
    assert "in_port=web1" in text


def test_a_new_network_is_live_and_a_removed_one_leaves_nothing(running: ControllerWorld) -> None:
    extra = examples.isolated(9, "web2")
    running.write(*running.insert(extra))
    running.await_live(extra)
    assert running.flow_ids() == running.desired(*NETWORKS, extra)
    running.write(*running.remove(extra))
    wait_until(lambda: extra.name not in running.statuses, what="status gone")
    assert running.flow_ids() == running.desired(*NETWORKS)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_restart_touches_no_flow(running: ControllerWorld, how: signal.Signals) -> None:
    before = durations(running)
    assert running.stop(how) == (0 if how is signal.SIGTERM else -how)
    assert running.flow_ids() == set(before)
    running.start()
    running.await_live(*NETWORKS)
    extra = examples.isolated(9, "web2")
    running.write(*running.insert(extra))
    running.await_live(extra)
    after = durations(running)
    assert all(after[flow] >= age for flow, age in before.items())
    assert running.metric('sluice_bundles_total{result="committed"}') == 1
    assert running.metric('sluice_flow_changes_total{change="deleted"}') == 0


def test_what_changed_while_it_was_away(running: ControllerWorld) -> None:
    running.stop(signal.SIGKILL)
    running.write(*running.remove(NETWORKS[0]))
    extra = examples.isolated(9, "web2")
    running.write(*running.insert(extra))
    running.start()
    running.await_live(extra)
    wait_until(lambda: running.flow_ids() == running.desired(*NETWORKS[1:], extra), what="flows as desired")
    wait_until(lambda: NETWORKS[0].name not in running.statuses, what="status gone")


def test_a_port_that_comes_later(world: ControllerWorld) -> None:
    world.switch.vsctl("del-port", "web1")
    network = examples.ISOLATED
    world.write(*world.insert(network))
    world.start()
    world.await_live(network)
    reason = world.statuses[network.name].machines
    assert reason == {network.machines[0].name: "port web1 is not on the bridge"}
    world.switch.add_port("web1", 77)
    wait_until(lambda: not world.statuses[network.name].machines, what="machine live")
    assert world.flow_ids() == world.desired(network)
    classify = f"table={Table.CLASSIFY.number}"
    assert "in_port=77" in world.switch.ofctl("dump-flows", world.switch.bridge, classify)
    world.switch.vsctl("del-port", "web1")
    wait_until(lambda: world.statuses[network.name].machines == reason, what="machine not live")
    assert world.flow_ids() == world.desired(network)


def test_a_switch_that_was_killed_gets_its_flows_again(running: ControllerWorld) -> None:
    running.switch.stop("vswitchd")
    running.await_log("switch disconnected")
    running.switch.start_vswitchd()
    running.await_log("flows of the switch read", 2)
    wait_until(lambda: running.flow_ids() == running.desired(*NETWORKS), what="flows back")
    assert running.switch.ofctl("get-frags", running.switch.bridge).strip() == "nx-match"


def test_a_database_that_was_killed(running: ControllerWorld) -> None:
    before = durations(running)
    running.switch.stop("sluice-db")
    running.switch.start_database()
    running.client.wait_connected(5)
    running.await_log("desired state read", 2)
    extra = examples.isolated(9, "web2")
    running.write(*running.insert(extra))
    running.await_live(extra)
    after = durations(running)
    assert all(after[flow] >= age for flow, age in before.items())


def test_a_refused_network_says_why_and_others_live(running: ControllerWorld) -> None:
    impossible = dataclasses.replace(examples.isolated(9, "web2"), block=PortBlock("203.0.113.64", 20000, 10000))
    good = examples.isolated(50, "web2", vlan=9)
    running.write(*running.insert(impossible, good))
    running.await_live(good)
    wait_until(lambda: impossible.name in running.statuses, what="a status")
    status = running.statuses[impossible.name]
    assert status.state is State.ERROR
    assert "the switch refused a flow: OFPET_BAD_ACTION(2), OFPBAC_BAD_ARGUMENT(5)" in status.detail
    assert "203.0.113.64:20000-10000" in status.detail
    assert running.flow_ids() == running.desired(*NETWORKS, good)


def test_next_hop_is_asked_for_and_believed(running: ControllerWorld) -> None:
    assert running.neighbors == {}
    gateway = examples.APPLIANCE.gateway
    mac = "02:00:00:00:00:fe"
    reply = (
        f"{gateway.mac}{mac}08060001080006040002{mac}".replace(":", "")
        + bytes(map(int, gateway.next_hop.split("."))).hex()
        + gateway.mac.replace(":", "")
        + bytes(map(int, gateway.ip.split("."))).hex()
    )

    def learned() -> bool:
        running.switch.run("ovs-appctl", "-t", str(running.switch.directory / "vswitchd.ctl"),
                           "netdev-dummy/receive", "uplink", reply)  # fmt: skip
        return running.neighbors == {gateway.next_hop: mac}

    wait_until(learned, what="next hop learned")
    wait_until(lambda: running.flow_ids() == running.desired(*NETWORKS), what="flow to the next hop")
    assert f"set_field:{mac}->eth_dst" in running.switch.ofctl(
        "dump-flows", running.switch.bridge, f"table={Table.GATEWAY_OUT.number}"
    )


def _is(running: ControllerWorld, sample: str, value: float) -> bool:
    return running.metric(sample) == value


def test_drops_are_counted_by_network_and_reason(running: ControllerWorld) -> None:
    control = str(running.switch.directory / "vswitchd.ctl")
    frame = "ffffffffffff020000ffffff0800" + 46 * "00"
    for _ in range(3):
        running.switch.run("ovs-appctl", "-t", control, "netdev-dummy/receive", "web1", frame)
    sample = f'sluice_dropped_packets_total{{network="{examples.ISOLATED.name}",reason="source-mac"}}'
    wait_until(lambda: running.metric(sample) == 3.0, what="drops counted")
    # What its machine asks and sends for nobody counts for it too, not for the appliance.
    machine = examples.ISOLATED.machines[0]
    mac = machine.mac.replace(":", "")
    address, nobody = (socket.inet_aton(one).hex() for one in (machine.address, "10.9.9.9"))
    question = f"ffffffffffff{mac}08060001080006040001{mac}{address}{12 * '0'}{nobody}"
    astray = f"020000999999{mac}0800450000140000000040110000{address}{nobody}"
    for frame, reason in ((question, "arp-unknown"), (astray, "unknown-mac")):
        for _ in range(3):
            running.switch.run("ovs-appctl", "-t", control, "netdev-dummy/receive", "web1", frame)
        counted = sample.replace("source-mac", reason)
        wait_until(functools.partial(_is, running, counted, 3.0), what=reason)
        assert running.metric(counted.replace(examples.ISOLATED.name, "")) is None
    # What meters drop is there as well, and what the network has of its rate of new connections.
    assert running.metric(sample.replace("source-mac", "connection-rate")) is None
    assert running.metric(f'sluice_new_connections_total{{network="{examples.ISOLATED.name}"}}') == 0.0


def test_drift_is_found_and_repaired(world: ControllerWorld) -> None:
    world.write(*world.insert(*NETWORKS))
    world.start("--verify-seconds", "0.2")
    world.await_live(*NETWORKS)
    table, cookie = next(flow for flow in world.flow_ids() if split_cookie(flow[1])[0] == examples.OFFICE.key)
    text = world.switch.ofctl("--no-stats", "dump-flows", world.switch.bridge)
    world.switch.ofctl("del-flows", world.switch.bridge, f"table={table},cookie={cookie:#x}/-1")
    world.switch.ofctl("add-flow", world.switch.bridge, "table=0,priority=65000,cookie=0x123,actions=normal")
    wait_until(lambda: world.flow_ids() == world.desired(*NETWORKS), what="repaired")
    assert sorted(world.switch.ofctl("--no-stats", "dump-flows", world.switch.bridge).splitlines()) == sorted(
        text.splitlines()
    )
    assert world.metric('sluice_drift_total{kind="missing"}') == 1
    assert world.metric('sluice_drift_total{kind="stray"}') == 1


def test_flows_that_somebody_takes_are_back_within_three_seconds(world: ControllerWorld) -> None:
    world.write(*world.insert(*NETWORKS))
    world.start()
    world.await_live(*NETWORKS)
    right = sorted(world.switch.ofctl("--no-stats", "dump-flows", world.switch.bridge).splitlines())

    def whole() -> bool:
        return sorted(world.switch.ofctl("--no-stats", "dump-flows", world.switch.bridge).splitlines()) == right

    for match in (f"table={Table.CLASSIFY.number}", ""):
        world.switch.ofctl("del-flows", world.switch.bridge, *([match] if match else []))
        wait_until(whole, 3, what="flows back")
    meter = re.findall(r"meter:(\d+)", "".join(right))[0]
    world.switch.ofctl("del-meter", world.switch.bridge, f"meter={meter}")
    wait_until(whole, 3, what="flows and meter back")
    assert world.metric("sluice_foreign_flow_changes_total") == 3
    assert "somebody else changed flows of the switch" in world.log.read_text()


def test_actions_that_somebody_changed_are_mended_by_the_next_start(world: ControllerWorld) -> None:
    world.write(*world.insert(*NETWORKS))
    world.start()
    world.await_live(*NETWORKS)
    right = sorted(world.switch.ofctl("--no-stats", "dump-flows", world.switch.bridge).splitlines())
    world.stop()
    world.switch.ofctl("mod-flows", world.switch.bridge, f"table={Table.CLASSIFY.number},actions=drop")
    world.start()
    wait_until(
        lambda: sorted(world.switch.ofctl("--no-stats", "dump-flows", world.switch.bridge).splitlines()) == right,
        what="actions as before",
    )


def many(key: int) -> Network:
    """One of as many isolated networks as one likes, each on a VLAN of the trunk."""
    network = examples.isolated(key % 60 + 1, "trunk", vlan=key)
    address = f"172.20.1.{key}"
    machine = dataclasses.replace(network.machines[0], name=f"m{key}", number=key, address=address, transit=address)
    block = dataclasses.replace(network.block, address=f"203.0.113.{64 + key // 60}")
    return dataclasses.replace(network, key=key, name=f"n{key}", block=block, machines=(machine,))


def test_an_empty_database_deletes_nothing(world: ControllerWorld) -> None:
    networks = [many(key) for key in range(1, 70)]
    world.write(*world.insert(*networks))
    world.start()
    world.await_live(*networks)
    before = world.flow_ids()
    world.stop(signal.SIGKILL)
    world.write(*world.remove(*networks))
    world.log.write_bytes(b"")
    world.launch()
    message = (
        "most flows of the switch are of networks that desired state does not have; nothing is deleted"
        " (--force deletes)"
    )
    world.await_log(message)
    assert world.flow_ids() == before
    assert world.metric("sluice_reconcile_refused") == 1
    world.stop()
    world.start("--force")
    wait_until(lambda: world.flow_ids() == world.desired(), what="deleted")


def test_two_controllers_do_not_take_each_others_switch(running: ControllerWorld) -> None:
    first = running.process
    running.metrics_port = 0
    second = running.launch()
    assert second.wait(10) == 1
    assert running.logged()[-1]["message"] == "cannot start: is another controller running?"
    running.process = first
    extra = examples.isolated(9, "web2")
    running.write(*running.insert(extra))
    running.await_live(extra)


def test_restore_before_anything_is_forwarded(running: ControllerWorld) -> None:
    running.stop(signal.SIGKILL)
    running.switch.vsctl("set", "Open_vSwitch", ".", "other_config:flow-restore-wait=true")
    running.switch.stop("vswitchd")
    running.switch.start_vswitchd()
    done = subprocess.run(
        [sys.executable, "-m", "controller.restore", "--database", running.switch.database,
         "--bridge", running.switch.bridge, "--ovs-rundir", str(running.switch.directory)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "flow-restore-wait" not in running.switch.vsctl("get", "Open_vSwitch", ".", "other_config")
    before = durations(running)
    assert set(before) == running.desired(*NETWORKS)
    assert running.switch.ofctl("get-frags", running.switch.bridge).strip() == "nx-match"
    running.start()
    running.await_live(*NETWORKS)
    assert all(age >= before[flow] for flow, age in durations(running).items())
    assert not running.metric('sluice_flow_changes_total{change="added"}')


def test_restore_without_a_database_leaves_the_switch_waiting(world: ControllerWorld) -> None:
    world.switch.vsctl("set", "Open_vSwitch", ".", "other_config:flow-restore-wait=true")
    done = subprocess.run(
        [sys.executable, "-m", "controller.restore", "--database", "/nowhere/db.sock", "--timeout", "0.2",
         "--bridge", world.switch.bridge, "--ovs-rundir", str(world.switch.directory)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "no answer from the database at /nowhere/db.sock" in done.stderr
    assert "flow-restore-wait" in world.switch.vsctl("get", "Open_vSwitch", ".", "other_config")


def test_the_bridge_may_be_the_one_that_connects(world: ControllerWorld) -> None:
    world.write(*world.insert(*NETWORKS))
    world.start("--listen", world.switch.controller)
    world.await_live(*NETWORKS)
    before = durations(world)
    assert set(before) == world.desired(*NETWORKS)
    # What it leaves behind when it is killed is not in the way of the next.
    world.stop(signal.SIGKILL)
    world.start("--listen", world.switch.controller)
    extra = examples.isolated(9, "web2")
    world.write(*world.insert(extra))
    world.await_live(extra)
    assert all(age >= before.get(flow, 0.0) for flow, age in durations(world).items())
