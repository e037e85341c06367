"""A controller that comes back touches nothing that is right, and finishes what was under way."""

from __future__ import annotations

import re
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from appliance import AGENT, CONTROLLER, DATABASE, SWITCH
from machines import SERVERS
from probes import ask_udp
from sandbox import CALL_SECONDS, Sandbox, Wanted, creation, require_live
from sandboxes import Tenants
from supervisor import await_condition

from sluice.v1 import machine_pb2, status_pb2

SERVER = SERVERS[0]
# As the switch's log names what changes it.
CHANGES = re.compile(r"received: (?:OFPT_(?:FLOW|METER|GROUP)_MOD|(?:OFPT|ONFT)_BUNDLE_\w+|NXT_FLOW_MOD)")


class Transcript:
    """OpenFlow messages the switch receives, from its own log."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._control = sandbox.appliance.paths.run / f"{SWITCH}.ctl"
        self._log: Path = sandbox.appliance.paths.log(SWITCH)
        self._appctl("vlog/disable-rate-limit", "vconn")
        self._appctl("vlog/set", "vconn:console:dbg")
        self.begin()

    def begin(self) -> None:
        """Forget what came before."""
        self._from = self._log.stat().st_size

    def text(self) -> str:
        """All since `begin`."""
        with self._log.open(errors="replace") as log:
            log.seek(self._from)
            return log.read()

    def changes(self) -> list[str]:
        """Messages that change the switch."""
        return CHANGES.findall(self.text())

    def close(self) -> None:
        """Log as before."""
        self._appctl("vlog/set", "vconn:console:info")

    def _appctl(self, *arguments: str) -> None:
        subprocess.run(["ovs-appctl", "-t", str(self._control), *arguments], check=True, capture_output=True)


@pytest.fixture
def transcript(sandbox: Sandbox) -> Iterator[Transcript]:
    one = Transcript(sandbox)
    try:
        yield one
    finally:
        one.close()


def ages(sandbox: Sandbox) -> dict[str, float]:
    """Every flow, without what counts up, with the seconds since it was added or replaced."""
    counters = re.compile(r" (?:duration|n_packets|n_bytes|idle_age|hard_age)=[^ ,]+,")
    # By numbers: the switch takes a moment until it knows the names of tables.
    dump = sandbox.appliance.ofctl("dump-flows", "--no-names")
    lines = [line for line in dump.splitlines() if "cookie=" in line]
    return {counters.sub("", line): float(re.search(r"duration=([\d.]+)s", line)[1]) for line in lines}  # type: ignore[index]


@pytest.mark.parametrize("how", ["restarted", "killed"])
def test_a_controller_that_comes_back_sends_no_flow_mod(
    sandbox: Sandbox, tenants: Tenants, transcript: Transcript, how: str
) -> None:
    machine, *_ = tenants.isolated(), tenants.private(2)
    assert SERVER in ask_udp(machine.pid, [SERVER], 5)
    before = ages(sandbox)
    assert transcript.changes(), "the transcript shows nothing of the networks just made"
    transcript.begin()
    daemon = sandbox.appliance.daemon(CONTROLLER)
    deaths, log = len(daemon.deaths), sandbox.appliance.paths.log(CONTROLLER)
    read = log.read_text().count("flows of the switch read")
    if how == "killed":
        sandbox.appliance.kill(CONTROLLER)
        sandbox.appliance.await_restart(CONTROLLER, deaths)
    else:
        sandbox.appliance.restart(CONTROLLER)
    await_condition(lambda: log.read_text().count("flows of the switch read") > read, "flows adopted", 20)
    assert transcript.changes() == [], "before the next change"
    # What is made now comes after all the controller had to say about what it found.
    tenants.isolated(lease=False)
    assert transcript.changes() != []
    after = ages(sandbox)
    assert after.keys() > before.keys()
    assert [flow for flow in before if after[flow] < before[flow]] == [], "replaced"


@pytest.mark.parametrize("names", [(CONTROLLER,), (CONTROLLER, DATABASE)], ids="+".join)
def test_a_create_under_way_is_finished_by_the_next_controller(
    sandbox: Sandbox, tenants: Tenants, names: tuple[str, ...]
) -> None:
    wanted = Wanted(f"wait{len(names)}")
    host = sandbox.plug(wanted)
    request = creation(wanted, host)
    request.wait_live = True
    made: list[machine_pb2.Machine] = []

    def create() -> None:
        made.append(sandbox.machines.CreateMachine(request, timeout=CALL_SECONDS))

    sandbox.appliance.stop(CONTROLLER)
    thread = threading.Thread(target=create)
    try:
        thread.start()
        await_condition(lambda: known(sandbox, wanted.name), "the machine in the database", 10)
        assert sandbox.machine(wanted.name).status.state == status_pb2.Status.PENDING
        assert thread.is_alive()
        for name in names[1:]:
            deaths = len(sandbox.appliance.daemon(name).deaths)
            sandbox.appliance.kill(name)
            sandbox.appliance.await_restart(name, deaths)
    finally:
        sandbox.appliance.start_one(CONTROLLER)
        thread.join()
    try:
        require_live(made[0])
        host.obtain_lease()
        assert SERVER in ask_udp(host.pid, [SERVER], 5)
    finally:
        sandbox.delete_machine(wanted.name)


def known(sandbox: Sandbox, name: str) -> bool:
    """Whether the API lists a machine."""
    listed = sandbox.machines.ListMachines(machine_pb2.ListMachinesRequest(page_size=1000), timeout=CALL_SECONDS)
    return f"machines/{name}" in {one.name for one in listed.machines}


def test_everything_killed_at_once_comes_back_as_it_was(sandbox: Sandbox, tenants: Tenants) -> None:
    alone = tenants.isolated()
    one, other = tenants.private(2)
    assert SERVER in ask_udp(alone.pid, [SERVER], 5)
    before = ages(sandbox).keys()
    names = (AGENT, CONTROLLER, DATABASE, SWITCH)
    deaths = {name: len(sandbox.appliance.daemon(name).deaths) for name in names}
    last = tenants.isolated(lease=False)
    for name in names:
        sandbox.appliance.kill(name)
    for name in names:
        sandbox.appliance.await_restart(name, deaths[name])
    sandbox.appliance.wait_ready()
    last.obtain_lease()
    assert SERVER in ask_udp(alone.pid, [SERVER], 10)
    assert SERVER in ask_udp(last.pid, [SERVER], 10)
    assert other.address in ask_udp(one.pid, [other.address], 5)
    assert before <= ages(sandbox).keys()
