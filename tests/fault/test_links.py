"""A device that is down, deleted or made again: status says so, and everything is back by itself."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from appliance import CONTROLLER
from dummy_switch import wait_until
from machines import INTERFACE, Machine
from probes import ping
from sandbox import Sandbox, Wanted
from storage_world import Storage, stack, storage

from sluice.v1 import appliance_pb2, drive_pb2, status_pb2

__all__ = ["stack", "storage"]

SECONDS = 10.0
State = status_pb2.Status


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)


def state(sandbox: Sandbox, name: str) -> str:
    return State.State.Name(sandbox.machine(name).status.state)


def make_again(host: Machine, port: str) -> None:
    """Give a machine a new interface on a device of the old one's name, with the address it had."""
    lease = host.lease
    assert lease is not None
    mac = "02:00:00:00:77:01"
    ip("link", "add", port, "type", "veth", "peer", "name", INTERFACE, "netns", str(host.pid))
    host.run("sh", "-ec", f"ip link set {INTERFACE} address {mac}; ethtool -K {INTERFACE} tx off >/dev/null; "
             f"ip link set {INTERFACE} up; ip address add {lease.address}/{lease.prefix_length} dev {INTERFACE}; "
             f"ip route add default via {lease.router}")  # fmt: skip
    ip("link", "set", port, "up")


def status(sandbox: Sandbox) -> tuple[int, dict[str, tuple[str, str]], dict[str, int]]:
    """Exit status, checks and states of machines of `sluicectl status`."""
    paths = sandbox.appliance.paths
    sluicectl = str(Path(sys.executable).parent / "sluicectl")
    command = [sluicectl, "--api", paths.api, "--ovs-rundir", str(paths.run), "status", "-o", "json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    answer = json.loads(done.stdout)
    checks = {check["name"]: (check["state"], check["detail"]) for check in answer["checks"]}
    return done.returncode, checks, answer["machines"]


def problems(sandbox: Sandbox) -> dict[str, str]:
    ports = sandbox.daemons.GetAppliance(appliance_pb2.GetApplianceRequest(), timeout=5).ports
    return {port.name: port.problem for port in ports}


def test_a_machine_whose_device_is_gone_is_degraded_and_comes_back_with_it(sandbox: Sandbox) -> None:
    host = sandbox.create_machine(Wanted("gone", mac="02:00:00:00:77:01"))
    other = sandbox.create_machine(Wanted("bystander"))
    try:
        assert host.lease is not None
        assert ping(host.pid, [host.lease.router])
        assert state(sandbox, "gone") == "LIVE"
        ip("link", "delete", "gone")
        wait_until(lambda: state(sandbox, "gone") == "DEGRADED", what="degraded", timeout=SECONDS)
        assert "port gone has no link" in sandbox.machine("gone").status.detail
        assert state(sandbox, "bystander") == "LIVE"
        code, _, machines = status(sandbox)
        assert (code, machines["degraded"]) == (0, 1), "a machine that is off is nobody's fault"
        assert sandbox.appliance.metrics(CONTROLLER)["sluice_degraded_objects"] == 1
        make_again(host, "gone")
        wait_until(lambda: state(sandbox, "gone") == "LIVE", what="live again", timeout=SECONDS)
        wait_until(lambda: bool(ping(host.pid, [host.lease.router])), what="reached again", timeout=SECONDS)
        wait_until(lambda: sandbox.appliance.metrics(CONTROLLER)["sluice_degraded_objects"] == 0, what="none degraded")
        assert other.lease is not None
        assert ping(other.pid, [other.lease.router])
    finally:
        sandbox.delete_machine("gone")
        sandbox.delete_machine("bystander")


def test_a_device_that_is_made_again_at_once_works(sandbox: Sandbox) -> None:
    """Before anybody notices that it was gone."""
    host = sandbox.create_machine(Wanted("quick", mac="02:00:00:00:77:01"))
    try:
        assert host.lease is not None
        ip("link", "delete", "quick")
        make_again(host, "quick")
        wait_until(lambda: bool(ping(host.pid, [host.lease.router])), what="reached again", timeout=SECONDS)
        wait_until(lambda: state(sandbox, "quick") == "LIVE", what="live", timeout=SECONDS)
    finally:
        sandbox.delete_machine("quick")


def test_a_link_that_goes_down_and_up_keeps_its_flows(sandbox: Sandbox) -> None:
    sandbox.create_machine(Wanted("flap"))
    try:
        before = sandbox.appliance.ofctl("dump-flows", "--no-stats")
        ip("link", "set", "flap", "down")
        wait_until(lambda: state(sandbox, "flap") == "DEGRADED", what="degraded", timeout=SECONDS)
        assert sandbox.appliance.ofctl("dump-flows", "--no-stats") == before
        sandbox.appliance.restart(CONTROLLER)
        sandbox.appliance.wait_ready()
        wait_until(lambda: state(sandbox, "flap") == "DEGRADED", what="still degraded", timeout=SECONDS)
        ip("link", "set", "flap", "up")
        wait_until(lambda: state(sandbox, "flap") == "LIVE", what="live again", timeout=SECONDS)
    finally:
        sandbox.delete_machine("flap")


@pytest.mark.parametrize("port", ["gateway", "storage"])
def test_an_own_port_without_a_link_is_a_fault(sandbox: Sandbox, storage: Storage, port: str) -> None:
    def drive_state() -> str:
        drive = sandbox.drives.GetDrive(drive_pb2.GetDriveRequest(name=f"drives/{storage.one.drive}"))
        return State.State.Name(drive.status.state)

    wait_until(lambda: not any(problems(sandbox).values()), what="all well before", timeout=SECONDS)
    ip("link", "set", port, "down")
    try:
        wait_until(lambda: "has no link" in problems(sandbox)[port], what="said", timeout=SECONDS)
        code, checks, _ = status(sandbox)
        assert (code, checks["ports"][0]) == (1, "down")
        assert f"port {port} has no link" in checks["ports"][1]
        assert drive_state() == ("DEGRADED" if port == "storage" else "LIVE")
    finally:
        ip("link", "set", port, "up")
    wait_until(lambda: not any(problems(sandbox).values()), what="all well again", timeout=SECONDS)
    assert status(sandbox)[1]["ports"][0] == "ok"
    wait_until(lambda: drive_state() == "LIVE", what="the drive is live", timeout=SECONDS)
