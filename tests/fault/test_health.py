"""What a frozen or a dead daemon looks like from the API and the command line: not healthy, by its name."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from appliance import BGP, CONTROLLER, RESOLVER, SWITCH, VPN
from dummy_switch import wait_until
from sandbox import Sandbox, Wanted

from sluice.v1 import appliance_pb2

NAMES = {CONTROLLER: "controller", RESOLVER: "resolver", VPN: "vpn", BGP: "bgp"}
SECONDS = 10.0


def states(sandbox: Sandbox) -> dict[str, str]:
    """Each daemon's state, as the API says."""
    daemons = sandbox.daemons.GetAppliance(appliance_pb2.GetApplianceRequest(), timeout=5).daemons
    return {daemon.name: appliance_pb2.Daemon.State.Name(daemon.state).lower() for daemon in daemons}


def status(sandbox: Sandbox) -> tuple[int, dict[str, str]]:
    """Exit status and checks of `sluicectl status`."""
    paths = sandbox.appliance.paths
    sluicectl = str(Path(sys.executable).parent / "sluicectl")
    command = [sluicectl, "--api", paths.api, "--ovs-rundir", str(paths.run), "status", "-o", "json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, {check["name"]: check["state"] for check in json.loads(done.stdout)["checks"]}


@pytest.fixture(scope="module", autouse=True)
def all_run(sandbox: Sandbox) -> None:
    """All run, also those without work: no gateway and no interconnect is there."""
    sandbox.create_machine(Wanted("watched"))
    wait_until(lambda: set(states(sandbox).values()) == {"running"}, what="all run", timeout=SECONDS)


@pytest.mark.parametrize("daemon", NAMES)
def test_a_frozen_daemon_is_not_healthy(sandbox: Sandbox, daemon: str) -> None:
    pid, name = sandbox.appliance.daemon(daemon).pid, NAMES[daemon]
    sandbox.appliance.kill(daemon, signal.SIGSTOP)
    try:
        # Who has no work is missed by nobody.
        wanted = "silent" if daemon in (CONTROLLER, RESOLVER) else "unused"
        wait_until(lambda: states(sandbox)[name] == wanted, what=f"{name} is {wanted}", timeout=SECONDS)
        code, checks = status(sandbox)
        assert (checks[name], code) == (wanted, 1 if wanted == "silent" else 0), checks
    finally:
        sandbox.appliance.kill(daemon, signal.SIGCONT)
    wait_until(lambda: states(sandbox)[name] == "running", what=f"{name} runs again", timeout=SECONDS)
    assert sandbox.appliance.daemon(daemon).pid == pid
    assert status(sandbox)[1][name] == "ok"


def test_a_frozen_switch_is_not_healthy(sandbox: Sandbox) -> None:
    """It answers nobody; what asks it gives up in time."""
    sandbox.appliance.kill(SWITCH, signal.SIGSTOP)
    try:
        began = time.monotonic()
        code, checks = status(sandbox)
        assert (code, checks["switch"]) == (1, "failed")
        assert time.monotonic() - began < 2 * SECONDS
    finally:
        sandbox.appliance.kill(SWITCH, signal.SIGCONT)
    wait_until(lambda: status(sandbox)[0] == 0, what="all is well again", timeout=30)
