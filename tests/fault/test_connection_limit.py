"""The limit of userspace conntrack is back on a switch that was killed; the kernel's is the host's and never leaves."""

from __future__ import annotations

import subprocess

import pytest
from appliance import SWITCH
from dummy_switch import wait_until
from sandbox import Sandbox

from agent.config.values import MAX_ENTRIES
from agent.host.connection_limit import DATAPATH


def limit(sandbox: Sandbox) -> str:
    """The switch's own answer; empty while it does not answer."""
    control = sandbox.appliance.paths.run / f"{SWITCH}.ctl"
    command = ["ovs-appctl", "-t", str(control), "dpctl/ct-get-maxconns", DATAPATH]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def test_a_killed_switch_has_the_limit_again(sandbox: Sandbox) -> None:
    if sandbox.appliance.datapath != "netdev":
        pytest.skip("the kernel's limit is set by sluice-host-setup")
    assert limit(sandbox) == str(MAX_ENTRIES)
    deaths = len(sandbox.appliance.daemon(SWITCH).deaths)
    sandbox.appliance.kill(SWITCH)
    sandbox.appliance.await_restart(SWITCH, deaths)
    sandbox.appliance.wait_ready()
    wait_until(lambda: limit(sandbox) == str(MAX_ENTRIES), what="the conntrack limit is set")
