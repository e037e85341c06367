"""sluicectl against a real Open vSwitch that holds the flows of the example networks."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import examples
import pytest
from dummy_switch import DummySwitch, dummy_switch, wait_until
from fake_api import FakeApi, fake_api, office, pc

import cli.switch
from cli.main import run
from cli.session import CliSession
from controller.instance_lock import InstanceLock, path_of
from controller.openflow import group_messages, wire
from controller.openflow.client import OpenFlowClient
from controller.pipeline.registry import Table
from controller.reconcile.compile import compile_network, compile_shared
from sluice.v1 import machine_pb2, network_pb2

Sluicectl = Callable[..., Any]


@pytest.fixture(scope="module")
def switch() -> Iterator[DummySwitch]:
    with dummy_switch() as started:
        target = f"unix:{started.mgmt}"
        for name, number in examples.SITE.ports.items():
            started.add_port(name, number)
        names = [f"flow_tables:{table.number}=@t{table.number}" for table in Table]
        rows: list[str] = []
        for table in Table:
            rows += ["--", f"--id=@t{table.number}", "create", "Flow_Table", f"name={table.title}"]
        started.vsctl("set", "Bridge", started.bridge, *names, *rows)
        for compiled in (
            compile_shared(examples.SITE),
            *(compile_network(n, examples.SITE) for n in examples.NETWORKS),
        ):
            with OpenFlowClient(started.mgmt) as bridge:
                assert bridge.send(wire.meter_add(*one) for one in compiled.meters.items()) == {}
                groups = compiled.groups.items()
                assert bridge.send(group_messages.add(n, group_messages.buckets(group)) for n, group in groups) == {}
            file = started.directory / "flows"
            file.write_text("".join(f"cookie={c:#x},{flow.text()}\n" for c, flow in compiled.flows.items()))
            started.ofctl("add-flows", target, str(file))
        yield started


@pytest.fixture(scope="module")
def api() -> Iterator[FakeApi]:
    with fake_api() as served:
        for network in examples.NETWORKS:
            kind = network_pb2.Network.PRIVATE if network.kind.value == "private" else network_pb2.Network.ISOLATED
            name = f"networks/{network.name}"
            served.networks[name] = office(
                name=name, kind=kind, prefix=network.prefix, key=network.key, router_address=network.router
            )
            for machine in network.machines:
                at = machine.attachment
                attachment = machine_pb2.Attachment(port=at.port, vlan=at.vlan, vni=at.vni)
                full = f"machines/{machine.name}"
                served.machines[full] = pc(
                    1, name=full, network=name, mac_address=machine.mac, address=machine.address, attachment=attachment
                )
        yield served


@pytest.fixture
def sluicectl(switch: DummySwitch, api: FakeApi, capsys: pytest.CaptureFixture[str]) -> Sluicectl:
    def call(*arguments: str, code: int = 0, target: str = api.target) -> str:
        directory = str(switch.directory)
        assert run(["--api", target, "--ovs-rundir", directory, "--bridge", switch.bridge, *arguments]) == code
        return capsys.readouterr().out

    return call


@pytest.mark.parametrize("network", examples.NETWORKS, ids=lambda n: n.name)
def test_flows_of_a_network_are_exactly_its_own(sluicectl: Sluicectl, network: Any) -> None:
    shown = json.loads(sluicectl("flows", network.name, "-o", "json"))
    compiled = compile_network(network, examples.SITE)
    assert sorted((f["table"], f["feature"], f["priority"], f["dropReason"]) for f in shown) == sorted(
        (f.table.title, f.feature.label, int(f.priority), "" if f.actions else f.why) for f in compiled.flows.values()
    )
    assert {f["networkKey"] for f in shown} == {network.key}
    by_key = json.loads(sluicectl("flows", "--key", str(network.key), "-o", "json", target="unix:/nowhere"))
    assert by_key == shown


def test_flows_are_readable_and_sorted(sluicectl: Sluicectl) -> None:
    lines = sluicectl("flows", "office").splitlines()
    assert lines[0].split() == ["TABLE", "FEATURE", "PRIORITY", "PACKETS", "MATCH", "ACTIONS"]
    assert any("snat 203.0.113.64:3072-4095, → snat-check" in line for line in lines)
    order = [Table[line.split()[0].upper().replace("-", "_")].number for line in lines[1:]]
    assert order == sorted(order)
    assert "metadata" not in "\n".join(lines)
    assert any("in_port=trunk,vlan=30" in line for line in lines)
    assert any("multicast" in line and "vlan=30" in line for line in lines)


def test_every_word_of_a_dump_is_translated(sluicectl: Sluicectl) -> None:
    text = sluicectl("flows", "--appliance") + "".join(sluicectl("flows", n.name) for n in examples.NETWORKS)
    for left in ("reg0[", "NXM", "goto_table", "write_metadata", "0x1fff", "CONTROLLER", "drop: unknown\n", '"'):
        assert left not in text


def test_raw_is_what_ovs_ofctl_prints(sluicectl: Sluicectl) -> None:
    assert 'table="port-security"' in sluicectl("flows", "office", "--raw")


def test_a_spoofed_packet_is_counted_for_its_network_and_reason(sluicectl: Sluicectl, switch: DummySwitch) -> None:
    assert sluicectl("drops", "web1") == ""
    frame = (
        "in_port(11),eth(src=02:00:00:01:00:01,dst=02:00:00:00:ff:01),eth_type(0x0800),"
        "ipv4(src=9.9.9.9,dst=198.51.100.1,proto=17,tos=0,ttl=64,frag=no),udp(src=1,dst=2)"
    )
    switch.run("ovs-appctl", "-t", str(switch.directory / "vswitchd.ctl"), "netdev-dummy/receive", "web1", frame)
    found = json.loads(sluicectl("drops", "-o", "json"))
    assert [(d["network"], d["table"], d["reason"], d["packets"]) for d in found] == [
        ("networks/web1", "port-security", "source-ip", 1)
    ]
    assert sluicectl("drops", "office", "--all").count("source-ip") == 1
    assert sluicectl("drops", "office") == ""


def test_a_trace_to_the_internet_names_every_table(sluicectl: Sluicectl) -> None:
    text = sluicectl("trace", "office3", "198.51.100.10", "--protocol", "tcp", "--port", "443")
    met = [table.title for table in Table if f"{table.title}: " in text]
    assert met[:2] == ["priority-tag", "classify"]
    assert met[-1] == "gateway-out"
    assert {"port-security", "router", "transit", "snat", "snat-check"} <= set(met)
    assert "network 3, snat" in text
    assert "output:uplink" in text
    assert text.splitlines()[-1] == "verdict: leaves by uplink"


def test_a_verdict_is_for_programs_too(sluicectl: Sluicectl) -> None:
    told = json.loads(sluicectl("trace", "office3", "10.0.0.2", "-o", "json"))["verdict"]
    assert told == {"delivered": True, "ports": ["vxlan"], "reason": ""}
    told = json.loads(sluicectl("trace", "web1", "198.51.100.10", "--source", "172.16.9.9", "-o", "json", code=1))
    assert told["verdict"] == {"delivered": False, "ports": [], "reason": "source-ip"}


def test_a_trace_to_a_neighbour_is_switched_and_to_another_tenant_is_not(sluicectl: Sluicectl) -> None:
    assert "forward: " in sluicectl("trace", "office3", "10.0.0.2")
    told = sluicectl("trace", "web1", "10.0.0.2", code=1)
    assert "CONTROLLER:65535: unreachable, " in told
    assert told.splitlines()[-1].startswith("verdict: dropped: unreachable, ")
    assert "switch: " not in told


@pytest.mark.parametrize("group", ["10.0.255.255", "255.255.255.255", "224.0.0.251", "239.255.255.250"])
def test_a_trace_to_a_group_goes_to_all_neighbours(sluicectl: Sluicectl, group: str) -> None:
    told = sluicectl("trace", "office3", group, "--protocol", "udp", "--port", "5353")
    assert "unreachable" not in told
    assert "Datapath actions: drop" not in told


def test_a_trace_with_a_foreign_source_is_dropped(sluicectl: Sluicectl) -> None:
    told = sluicectl("trace", "web1", "198.51.100.10", "--source", "172.16.9.9", code=1)
    assert "drop: source-ip" in told
    assert told.splitlines()[-1] == "verdict: dropped: source-ip, the source address is not the machine's own"
    assert "Datapath actions: drop" in told


def test_status_tells_what_is_wrong(sluicectl: Sluicectl) -> None:
    answer = json.loads(sluicectl("status", "-o", "json", code=1))
    checks = {check["name"]: check for check in answer["checks"]}
    assert {name: check["state"] for name, check in checks.items()} == {
        "api": "ok", "database": "ok", "switch": "ok", "datapath": "ok", "controller": "missing", "next hop": "ok",
    }  # fmt: skip
    assert answer["limitations"] == []
    assert re.fullmatch(r"dummy, at most [\d,]+ meters", checks["datapath"]["detail"])
    assert checks["next hop"]["detail"] == "02:00:00:00:00:fe"
    assert answer["networks"] == {"live": len(examples.NETWORKS)}
    assert answer["tunnels"] == {}


def test_status_knows_the_controller(sluicectl: Sluicectl, switch: DummySwitch) -> None:
    def told(code: int) -> tuple[str, str]:
        answer = json.loads(sluicectl("status", "-o", "json", code=code))
        return next((check["state"], check["detail"]) for check in answer["checks"] if check["name"] == "controller")

    instance_lock = InstanceLock(path_of(str(switch.directory), switch.bridge))
    assert told(1)[0] == "disconnected"
    instance_lock.tell(connected=True)
    state, detail = told(0)
    assert state == "ok"
    assert detail.startswith(f"process {os.getpid()}, for ")
    with pytest.raises(BlockingIOError):
        InstanceLock(path_of(str(switch.directory), switch.bridge))
    instance_lock.close()
    assert told(1)[0] == "stopped"
    Path(path_of(str(switch.directory), switch.bridge)).unlink()


@pytest.mark.parametrize(
    ("capability", "state"), [("check_pkt_len", "limited"), ("recirc", "failed"), ("explicit_drop_action", "ok")]
)
def test_status_names_what_the_datapath_lacks(
    sluicectl: Sluicectl, monkeypatch: pytest.MonkeyPatch, capability: str, state: str
) -> None:
    monkeypatch.setattr("cli.switch.capabilities", lambda *_: {capability: "false", "ct_zone": "true"})
    answer = json.loads(sluicectl("status", "-o", "json", code=1))
    (check,) = (check for check in answer["checks"] if check["name"] == "datapath")
    assert check["state"] == state
    assert [one["capability"] for one in answer["limitations"]] == ([] if state == "ok" else [capability])
    assert all(one["meaning"] in check["detail"] for one in answer["limitations"])


def test_capabilities_are_those_the_switch_reports(switch: DummySwitch) -> None:
    session = CliSession("", 1, switch.directory, switch.bridge, ())
    assert cli.switch.capabilities(session, "dummy") == {}
    switch.vsctl(
        "--",
        "--id=@d",
        "create",
        "Datapath",
        "datapath_version=x",
        "--",
        "set",
        "Open_vSwitch",
        ".",
        "datapaths:dummy=@d",
    )
    try:
        wait_until(lambda: cli.switch.capabilities(session, "dummy"), what="the switch reports capabilities")
        assert cli.switch.capabilities(session, "dummy")["recirc"] == "true"
        assert cli.switch.capabilities(session, "system") == {}
    finally:
        switch.vsctl("clear", "Open_vSwitch", ".", "datapaths")


@pytest.fixture
def no_sockets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tools of Open vSwitch say what they say to a user who may not use its sockets."""
    for tool in ("ovs-vsctl", "ovs-ofctl", "ovs-appctl"):
        script = tmp_path / tool
        script.write_text(f"#!/bin/sh\necho '{tool}: br-test: failed to open socket (Permission denied)' >&2\nexit 1\n")
        script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")


@pytest.mark.usefixtures("no_sockets")
def test_status_without_root_shows_what_it_cannot_look_at_and_judges_the_rest(
    sluicectl: Sluicectl, switch: DummySwitch
) -> None:
    def states(code: int) -> dict[str, str]:
        answer = json.loads(sluicectl("status", "-o", "json", code=code))
        return {check["name"]: check["state"] for check in answer["checks"]}

    hidden = dict.fromkeys(("switch", "datapath", "next hop"), "not permitted")
    assert states(1) == {"api": "ok", "database": "ok", "controller": "missing", **hidden}
    instance_lock = InstanceLock(path_of(str(switch.directory), switch.bridge))
    instance_lock.tell(connected=True)
    assert states(0) == {"api": "ok", "database": "ok", "controller": "ok", **hidden}
    instance_lock.close()
    Path(path_of(str(switch.directory), switch.bridge)).unlink()


@pytest.mark.usefixtures("no_sockets")
@pytest.mark.parametrize("command", [
    ("flows", "office"), ("flows", "--appliance"), ("drops",), ("drops", "office"), ("trace", "web1", "198.51.100.10"),
])  # fmt: skip
def test_commands_that_ask_the_switch_say_that_they_need_root(
    switch: DummySwitch, api: FakeApi, capsys: pytest.CaptureFixture[str], command: tuple[str, ...]
) -> None:
    assert run(["--api", api.target, "--ovs-rundir", str(switch.directory), "--bridge", switch.bridge, *command]) == 1
    assert "error: needs root: the sockets of Open vSwitch in" in capsys.readouterr().err


def test_a_missing_bridge_exits_3(sluicectl: Sluicectl) -> None:
    sluicectl("--bridge", "br-none", "flows", "--key", "1", code=3)
    sluicectl("--ovs-rundir", "/nowhere", "trace", "web1", "198.51.100.10", code=3)
