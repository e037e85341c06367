"""The limits of userspace conntrack are back on a switch that was killed; the kernel's never leave."""

from __future__ import annotations

import subprocess

import pytest
from appliance import SWITCH
from dummy_switch import wait_until
from sandbox import Sandbox

from agent.config.values import MAX_ENTRIES
from agent.host.userspace_tables import DATAPATH, MAX_FRAGMENTS


def asked(sandbox: Sandbox, command: str) -> str:
    """The switch's own answer; empty while it does not answer."""
    control = sandbox.appliance.paths.run / f"{SWITCH}.ctl"
    full = ["ovs-appctl", "-t", str(control), command, DATAPATH]
    return subprocess.run(full, capture_output=True, text=True, check=False).stdout.strip()


def limited(sandbox: Sandbox) -> bool:
    """Whether both limits are as they should be."""
    connections, fragments = asked(sandbox, "dpctl/ct-get-maxconns"), asked(sandbox, "dpctl/ipf-get-status")
    return connections == str(MAX_ENTRIES) and f"max num frags (v4/v6): {MAX_FRAGMENTS}\n" in fragments


def test_a_killed_switch_has_the_limits_again(sandbox: Sandbox) -> None:
    if sandbox.appliance.datapath != "netdev":
        pytest.skip("the kernel's limits are set by sluice-host-setup")
    wait_until(lambda: limited(sandbox), what="the limits of conntrack are set")
    deaths = len(sandbox.appliance.daemon(SWITCH).deaths)
    sandbox.appliance.kill(SWITCH)
    sandbox.appliance.await_restart(SWITCH, deaths)
    sandbox.appliance.wait_ready()
    wait_until(lambda: limited(sandbox), what="the limits of conntrack are set")
