"""A throwaway Open vSwitch without root: own database, own run directory, dummy datapath."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from appliance import accepts

SCHEMA = "/usr/share/openvswitch/vswitch.ovsschema"
SLUICE_SCHEMA = Path(__file__).parent.parent / "state" / "sluice.ovsschema"


def wait_until(condition: Callable[[], object], timeout: float = 10.0, what: str = "condition") -> None:
    """Return as soon as `condition()` is true; AssertionError after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {timeout:g} s"
        time.sleep(0.002)


# Children of a test run that was killed must not outlive it (setpriv(1)). Not by
# `preexec_fn`: Python code between fork and exec can crash where gRPC has threads.
DYING_WITH_PARENT = ("setpriv", "--pdeathsig", "KILL", "--")


@dataclass
class DummySwitch:
    """The daemons of one test; paths are unix sockets in `directory`."""

    directory: Path
    bridge: str
    processes: dict[str, subprocess.Popen[bytes]]

    @property
    def ovsdb(self) -> str:
        """Socket of the `Open_vSwitch` database."""
        return str(self.directory / "db.sock")

    @property
    def database(self) -> str:
        """Socket of the `Sluice` database."""
        return str(self.directory / "sluice.sock")

    @property
    def mgmt(self) -> str:
        """Management socket of the bridge."""
        return str(self.directory / f"{self.bridge}.mgmt")

    @property
    def controller(self) -> str:
        """Where a controller of this bridge listens."""
        return str(self.directory / "controller.sock")

    def run(self, *command: str, check: bool = True) -> str:
        """Run a tool against this switch and return its output."""
        environment = {**os.environ, "OVS_RUNDIR": str(self.directory)}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert not check or done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout

    def vsctl(self, *arguments: str) -> str:
        """Run ovs-vsctl."""
        return self.run("ovs-vsctl", f"--db=unix:{self.ovsdb}", "--timeout=10", *arguments)

    def ofctl(self, *arguments: str, check: bool = True) -> str:
        """Run ovs-ofctl with OpenFlow 1.4."""
        return self.run("ovs-ofctl", "-O", "OpenFlow14", *arguments, check=check)

    def add_port(self, name: str, number: int) -> None:
        """Plug a dummy port."""
        self.vsctl(
            "add-port", self.bridge, name, "--", "set", "Interface", name, "type=dummy", f"ofport_request={number}"
        )

    def connect_controller(self, backoff: int = 1000) -> None:
        """Point the bridge at its controller's socket."""
        self.vsctl(
            "set-controller", self.bridge, f"unix:{self.controller}", "--",
            "set", "Controller", self.bridge, "connection_mode=out-of-band", f"max_backoff={backoff}",
            "inactivity_probe=5000", "type=service",
        )  # fmt: skip

    def start_database(self) -> None:
        """Start the server of the `Sluice` database."""
        self._start("sluice-db", "ovsdb-server", f"--remote=punix:{self.database}", "--unixctl=sluice.ctl",
                    "sluice.db", ready=self.database)  # fmt: skip

    def start_vswitchd(self) -> None:
        """Start ovs-vswitchd and wait until it has read its configuration."""
        self._start("vswitchd", "ovs-vswitchd", "--enable-dummy", "--disable-system", "--unixctl=vswitchd.ctl",
                    f"unix:{self.ovsdb}", ready=str(self.directory / "vswitchd.ctl"))  # fmt: skip

    def stop(self, name: str) -> None:
        """Kill one daemon."""
        process = self.processes.pop(name)
        process.kill()
        process.wait()

    def _start(self, name: str, program: str, *arguments: str, ready: str) -> None:
        Path(ready).unlink(missing_ok=True)
        environment = {**os.environ, "OVS_RUNDIR": str(self.directory)}
        process = subprocess.Popen(
            [*DYING_WITH_PARENT, shutil.which(program, path="/usr/sbin:/usr/bin:/sbin:/bin") or program, *arguments,
             f"--log-file={self.directory / name}.log", "-vconsole:off"],
            cwd=self.directory, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.processes[name] = process
        wait_until(lambda: accepts(Path(ready)) or process.poll() is not None, what=f"{name} started")
        if process.poll() is not None:
            raise AssertionError(f"{name} ended with {process.returncode}: {process.communicate()[1]}")


@contextmanager
def dummy_switch(bridge: str = "br-test", ports: tuple[str, ...] = ()) -> Iterator[DummySwitch]:
    """Start databases and switch; ports get the numbers 1, 2, ..."""
    directory = Path(tempfile.mkdtemp(prefix="sluice-"))
    switch = DummySwitch(directory, bridge, {})
    try:
        for schema, file in ((SCHEMA, "conf.db"), (SLUICE_SCHEMA, "sluice.db")):
            subprocess.run(["ovsdb-tool", "create", str(directory / file), str(schema)], check=True)
        switch._start("ovsdb", "ovsdb-server", f"--remote=punix:{switch.ovsdb}", "--unixctl=ovsdb.ctl", "conf.db",
                      ready=switch.ovsdb)  # fmt: skip
        switch.start_database()
        switch.vsctl("--no-wait", "init")
        switch.start_vswitchd()
        switch.vsctl(
            "add-br", bridge, "--", "set", "Bridge", bridge, "datapath_type=dummy", "fail_mode=secure",
            "protocols=OpenFlow10,OpenFlow13,OpenFlow14,OpenFlow15",
        )  # fmt: skip
        for number, name in enumerate(ports, 1):
            switch.add_port(name, number)
        yield switch
    finally:
        for name in list(switch.processes):
            switch.stop(name)
        shutil.rmtree(directory, ignore_errors=True)
