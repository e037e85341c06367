"""Conntrack timeouts are on the switch, and in the datapath."""

from __future__ import annotations

import re
import subprocess

from appliance import SWITCH
from machines import SERVERS
from probes import ask_tcp, ask_udp
from sandbox import Sandbox
from sandboxes import Tenants

from agent.config.values import TIMEOUTS
from controller.pipeline.registry import ZONE

SERVER = SERVERS[0]
# RFC 5382 section 5, RFC 4787 section 4.3, in seconds.
LEAST = {"tcp_established": 7440, "udp_multiple": 120}


def appctl(sandbox: Sandbox, *arguments: str) -> str:
    """Ask ovs-vswitchd."""
    control = sandbox.appliance.paths.run / f"{SWITCH}.ctl"
    done = subprocess.run(["ovs-appctl", "-t", str(control), *arguments], capture_output=True, text=True, check=True)
    return done.stdout


def test_the_zone_has_our_timeouts(sandbox: Sandbox) -> None:
    told = sandbox.appliance.vsctl("list-zone-tp", sandbox.appliance.datapath)
    line = next(line for line in told.splitlines() if line.startswith(f"Zone:{ZONE},"))
    seen = {name: int(value) for name, value in re.findall(r"(\w+)=(\d+)", line)}
    assert seen == dict(TIMEOUTS)
    assert LEAST.items() <= seen.items()


def test_the_datapath_uses_them(sandbox: Sandbox, tenants: Tenants) -> None:
    machine = tenants.isolated()
    assert SERVER in ask_udp(machine.pid, [SERVER], 5)
    assert SERVER in ask_tcp(machine.pid, [SERVER])
    flows = appctl(sandbox, "dpctl/dump-flows")
    commits = re.findall(r"ct\(commit,zone=\d+[^)]*", flows)
    assert commits
    assert all("timeout=" in action for action in commits), commits
