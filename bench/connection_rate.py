#!/usr/bin/env python3
"""Connections at full rate from two tenants with the same addresses, beside a plain bridge in the same run.

Each tenant runs three clients of connection_rate.c (TCP closed by reset, TCP
closed by FIN, UDP) with few source ports used again at once, to 64 ports of
one server. Before and after, the same clients run over a bridge that only
switches, without Sluice. Prints counts, rates and ratios, and judges only what
must not be: exit status 1 when ovs-vswitchd ended, or an answer came to the
wrong tenant.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "proto"), str(ROOT / "mininet")]

import world  # noqa: E402
from appliance import SWITCH  # noqa: E402
from machines import INTERFACE, SERVERS, ApplianceBridge, Machine  # noqa: E402
from mininet.link import Link  # noqa: E402
from probes import ask_udp  # noqa: E402
from rates import Client, Report, Server, build, rate_between  # noqa: E402
from sandbox import Sandbox, Wanted  # noqa: E402

SERVER = SERVERS[0]
PREFIX = "10.77.0.0/16"
PLAIN = "plain"
PLAIN_SERVER = "192.168.77.1"
TENANTS = ("ada", "bob")
# Protocol, how a connection ends, source ports.
STYLES = (
    ("tcp", "reset", "10000-12000"),
    ("tcp", "client", "13000-15000"),
    ("udp", "reset", "10000-12000"),
)
AT_ONCE = 16


@dataclass(frozen=True, slots=True)
class Run:
    """What all clients of one run reported, client by client."""

    clients: list[list[Report]]

    def rate(self, begin: float, end: float) -> float:
        """Right connections a second of all clients between two seconds of the run."""
        return sum(rate_between(reports, begin, end) for reports in self.clients)

    def totals(self) -> list[Report]:
        """The whole run, client by client."""
        return [reports[-1] for reports in self.clients]

    @property
    def whole(self) -> float:
        """Right connections a second over the whole run."""
        return sum(total.rate for total in self.totals())


def load(program: Path, hosts: Sequence[tuple[Machine, dict[str, str]]], server: str, seconds: float) -> Run:
    """All clients at once, from every host."""
    clients = [
        Client(
            program,
            host,
            server,
            seconds,
            {"name": f"{host.name} {kind} {close}", "protocol": kind, "close": close, "source": source,
             "at-once": AT_ONCE, **expected},
        )
        for host, expected in hosts
        for kind, close, source in STYLES
    ]  # fmt: skip
    try:
        return Run([client.reports() for client in clients])
    finally:
        for client in clients:
            client.close()


def add_plain(sandbox: Sandbox) -> tuple[Machine, list[tuple[Machine, dict[str, str]]]]:
    """A server and as many clients as tenants on a bridge of their own that only switches."""
    sandbox.appliance.vsctl(
        "add-br", PLAIN, "--", "set", "bridge", PLAIN, f"datapath_type={sandbox.appliance.datapath}"
    )
    net = sandbox.site.net
    bridge = net.addSwitch(PLAIN, cls=ApplianceBridge, appliance=sandbox.appliance)
    hosts = []
    for number, name in enumerate(("plain-server", *(f"plain-{tenant}" for tenant in TENANTS)), 1):
        host: Machine = net.addHost(name, cls=Machine)
        net.addLink(host, bridge, cls=Link, intfName1=INTERFACE, intfName2=name, addr1=f"02:00:00:00:77:0{number}")
        bridge.attach(name)
        host.configure()
        host.run("ip", "address", "add", f"192.168.77.{number}/24", "dev", INTERFACE)
        hosts.append(host)
    return hosts[0], [(host, {"public": f"192.168.77.{number}"}) for number, host in enumerate(hosts[1:], 2)]


def add_tenants(sandbox: Sandbox) -> list[tuple[Machine, dict[str, str]]]:
    """A machine of each tenant, all with the same address, and what the server must see of them."""
    hosts = []
    for tenant in TENANTS:
        block = sandbox.create_network(f"{tenant}-office", tenant=tenant, prefix=PREFIX).port_block
        machine = sandbox.create_machine(Wanted(tenant, f"{tenant}-office", tenant))
        ask_udp(machine.pid, [SERVER], 5)
        hosts.append((machine, {"public": block.address, "block": f"{block.first_port}-{block.last_port}"}))
    return hosts


def print_run(run: Run) -> None:
    """One line a client."""
    print("  client                      ok  per s   refused  timeouts  local  leaks  foreign   p50 ms   p99 ms")
    for one in run.totals():
        print(
            f"  {one.name:22} {one.ok:8} {one.rate:6.0f} {one.refused:9} {one.timeouts:9} {one.local:6}"
            f" {one.leaks:6} {one.foreign:8} {one.p50:8.1f} {one.p99:8.1f}"
        )


def connections(sandbox: Sandbox) -> str:
    """Entries of conntrack, as the switch counts them."""
    command = ["ovs-appctl", "-t", str(sandbox.appliance.paths.run / f"{SWITCH}.ctl"), "dpctl/ct-get-nconns"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip() or "not known"


def measure(sandbox: Sandbox, seconds: float, plain_seconds: float, step: float) -> bool:
    """Run and print; whether nothing happened that must not."""
    sandbox.start()
    with tempfile.TemporaryDirectory() as directory:
        program = build(Path(directory))
        far, near = add_plain(sandbox)
        tenants = add_tenants(sandbox)
        switch = sandbox.appliance.daemon(SWITCH)
        pid = switch.pid
        servers = (Server(program, far, PLAIN_SERVER), Server(program, sandbox.internet, SERVER))
        try:
            print(f"plain bridge, before: {plain_seconds:g} s", flush=True)
            before = load(program, near, PLAIN_SERVER, plain_seconds)
            print_run(before)
            print(f"Sluice, {len(TENANTS)} tenants with the same address: {seconds:g} s", flush=True)
            ours = load(program, tenants, SERVER, seconds)
            print(f"  conntrack entries at the end: {connections(sandbox)}")
            print_run(ours)
            print(f"plain bridge, after: {plain_seconds:g} s", flush=True)
            after = load(program, near, PLAIN_SERVER, plain_seconds)
            print_run(after)
        finally:
            for server in servers:
                server.close()
    print("Sluice over time, connections/s:")
    begin = 0.0
    while begin + step <= seconds:
        print(f"  {begin:5.0f}-{begin + step:3.0f} s {ours.rate(begin, begin + step):8.0f}")
        begin += step
    plain = (before.whole + after.whole) / 2
    print(f"connections/s: Sluice {ours.whole:.0f}, plain bridge {plain:.0f}, ratio {ours.whole / plain:.2f}")
    first, last = ours.rate(0, step), ours.rate(seconds - step, seconds)
    print(f"last {step:g} s to first {step:g} s: {last / first:.2f}")
    for name in ("p50", "p99"):
        theirs = max(getattr(one, name) for run in (before, after) for one in run.totals())
        worst = max(getattr(one, name) for one in ours.totals())
        print(f"{name} of the slowest client: Sluice {worst:.1f} ms, plain {theirs:.1f} ms, ratio {worst / theirs:.2f}")
    wrong = sum(one.leaks + one.foreign for one in ours.totals())
    print(f"answers to the wrong tenant: {wrong}; ovs-vswitchd: {'the same process' if switch.pid == pid else 'ENDED'}")
    return wrong == 0 and switch.pid == pid


def main() -> int:
    """The command line; goes into a private world first."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=300, help="of full rate through Sluice (default %(default)g)")
    parser.add_argument("--plain", type=float, default=20, help="seconds on the plain bridge (default %(default)g)")
    parser.add_argument("--step", type=float, default=30, help="seconds of one line over time (default %(default)g)")
    options = parser.parse_args()
    if not world.inside():
        os.execv(
            sys.executable,
            [sys.executable, str(ROOT / "mininet" / "world.py"), "--", sys.executable, __file__, *sys.argv[1:]],
        )
    sandbox = Sandbox()
    try:
        return 0 if measure(sandbox, options.seconds, options.plain, options.step) else 1
    finally:
        sandbox.stop()


if __name__ == "__main__":
    sys.exit(main())
