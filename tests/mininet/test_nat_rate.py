"""Half a minute of connections at full rate with reused ports: the switch lives, and every answer is one's own."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from appliance import SWITCH
from gateway_watch import no_inner_source
from machines import SERVERS
from probes import ask_tcp, ask_udp
from rates import SOURCE_PORTS, Client, Server, build, rate_between
from sandbox import Sandbox
from sandboxes import Tenants

# Connections at full rate keep both cores busy.
pytestmark = pytest.mark.alone

SERVER, OTHER_SERVER = SERVERS
PREFIX = "10.77.0.0/16"
SECONDS = 30
# How a connection ends decides what conntrack makes of its ports' next use.
STYLES = (("tcp", "reset"), ("tcp", "client"), ("udp", "reset"))
SLOWEST = 0.5


@pytest.mark.timeout(180)
def test_full_rate_with_reused_ports(sandbox: Sandbox, tenants: Tenants, tmp_path: Path) -> None:
    program = build(tmp_path)
    (ada,), (bob,) = tenants.private(1, PREFIX), tenants.private(1, PREFIX)
    assert ada.address == bob.address
    pid = sandbox.appliance.daemon(SWITCH).pid
    with contextlib.ExitStack() as stack:
        server = Server(program, sandbox.internet, SERVER)
        stack.callback(server.close)
        stack.enter_context(no_inner_source(sandbox))
        clients = []
        for machine in (ada, bob):
            block = tenants.network_of(machine).port_block
            assert SERVER in ask_udp(machine.pid, [SERVER], 5)
            for protocol, close in STYLES:
                options = {
                    "name": f"{machine.name}-{protocol}-{close}",
                    "protocol": protocol,
                    "close": close,
                    "at-once": 16,
                    # Each client has its own source ports: what it finds taken, its own connections hold.
                    "source": SOURCE_PORTS if close == "reset" else "13000-15000",
                    "public": block.address,
                    "block": f"{block.first_port}-{block.last_port}",
                }
                clients.append(Client(program, machine, SERVER, SECONDS, options))
                stack.callback(clients[-1].close)
        runs = [client.reports() for client in clients]
    assert sandbox.appliance.daemon(SWITCH).pid == pid
    assert sandbox.appliance.deaths()[SWITCH] == []
    for run in runs:
        print(run[-1])
        assert run[-1].total
        assert (run[-1].leaks, run[-1].foreign) == (0, 0)
        assert run[-1].ok > 0
    first = sum(rate_between(run, 0, 10) for run in runs)
    last = sum(rate_between(run, SECONDS - 10, SECONDS) for run in runs)
    print(f"connections/s: {first:.0f} in the first ten seconds, {last:.0f} in the last")
    assert last >= SLOWEST * first
    for machine in (ada, bob):
        assert OTHER_SERVER in ask_tcp(machine.pid, [OTHER_SERVER])
