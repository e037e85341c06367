"""One whole appliance in a sandbox: switch, database, agent and controller, supervised.

Runs inside a private world (`world.py`). What systemd does on an appliance
(the units in deploy/) is done here by `supervisor.py`: the same commands, the
same order, the same restore of flows before a restarted switch forwards.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Sequence
from pathlib import Path

import world
from settings import BRIDGE, Paths, Settings
from supervisor import Daemon, Program, Supervisor, await_condition

log = logging.getLogger("sluice.appliance")

ROOT = Path(__file__).resolve().parent.parent
VSWITCH_SCHEMA = Path("/usr/share/openvswitch/vswitch.ovsschema")
SLUICE_SCHEMA = ROOT / "state" / "sluice.ovsschema"

SWITCH_DATABASE, SWITCH, DATABASE, AGENT, CONTROLLER = "ovsdb-server", "ovs-vswitchd", "database", "agent", "controller"
RESOLVER, VPN, BGP = "resolver", "vpn", "bgp"

METRICS = {
    AGENT: "127.0.0.1:7401",
    CONTROLLER: "127.0.0.1:7402",
    RESOLVER: "127.0.0.1:7403",
    VPN: "127.0.0.1:7404",
    BGP: "127.0.0.1:7405",
}

START_SECONDS = 30.0


class RunningAppliance:
    """What can be asked of a running appliance, whoever runs its daemons.

    `datapath` is `system` or `netdev`.
    """

    def __init__(self, settings: Settings, paths: Paths, datapath: str) -> None:
        self.settings, self.paths, self.datapath = settings, paths, datapath

    def start(self) -> None:
        """Start everything and wait until the API answers and the switch obeys the controller. Raises DaemonError."""
        raise NotImplementedError

    def stop(self, name: str | None = None) -> None:
        """Stop one daemon, or all."""
        raise NotImplementedError

    def deaths(self) -> dict[str, list[str]]:
        """How each daemon died on its own, since the start."""
        raise NotImplementedError

    def vsctl(self, *arguments: str) -> str:
        """Run `ovs-vsctl`. Raises CalledProcessError."""
        return run(["ovs-vsctl", "--timeout=10", f"--db=unix:{self.paths.switch_socket}", *arguments])

    def ofctl(self, command: str, *arguments: str) -> str:
        """Run `ovs-ofctl COMMAND BRIDGE ARGUMENTS` with names. Raises CalledProcessError."""
        bridge = f"unix:{self.paths.management_socket}"
        return run(["ovs-ofctl", "-O", "OpenFlow14", "--names", command, bridge, *arguments])

    def metrics(self, name: str) -> dict[str, float]:
        """Metrics of a daemon in `METRICS` now, by name and labels; empty while it does not answer."""
        try:
            # Straight to loopback: a proxy of the environment is of no use in a world.
            opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
            with opener.open(f"http://{METRICS[name]}/metrics", timeout=5) as answer:
                lines = answer.read().decode().splitlines()
        except OSError:
            return {}
        pairs = (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
        return {metric: float(value) for metric, value in pairs}

    def controller_settled(self) -> bool:
        """Whether the controller has the bridge and nothing left to send.

        Not asked of the bridge: it tells of a new session only some seconds later.
        """
        now = self.metrics(CONTROLLER)
        return now.get("sluice_switch_connected") == 1 and now.get("sluice_networks_pending") == 0

    def _bridge_exists(self) -> bool:
        return BRIDGE in self.vsctl("list-br").split()


class Appliance(RunningAppliance):
    """The daemons of one appliance in a sandbox.

    Names for `stop`, `start`, `restart` and `kill`: `ovsdb-server` and
    `ovs-vswitchd` (the switch), `database` (desired state), `agent`,
    `controller`, `resolver`, `vpn`, `bgp`.
    """

    def __init__(
        self, settings: Settings | None = None, state: Path | None = None, datapath: str | None = None
    ) -> None:
        if not world.inside():
            raise world.WorldError("an appliance is started only inside a private world (mininet/world.py)")
        paths = Paths(world.RUN_DIRECTORY, state or world.RUN_DIRECTORY)
        super().__init__(settings or Settings(), paths, datapath or usable_datapath())
        self.restores: list[str] = []
        self._supervisor = Supervisor()
        for program in self._programs():
            self._supervisor.add(program)

    def start(self) -> None:
        """Start everything and wait until the API answers and the switch obeys the controller.

        Raises DaemonError with the end of the log of the daemon that failed.
        """
        self.start_switch()
        for name in (DATABASE, CONTROLLER, AGENT, RESOLVER, VPN, BGP):
            self._supervisor[name].start()
            if name == DATABASE:
                self._await_socket(name, self.paths.database_socket)
        self.wait_ready()

    def start_switch(self) -> None:
        """Start only Open vSwitch and its database."""
        self._supervisor[SWITCH_DATABASE].start()
        self._await_socket(SWITCH_DATABASE, self.paths.switch_socket)
        self.vsctl("--no-wait", "init")
        self._supervisor[SWITCH].start()
        self.daemon(SWITCH).await_running(self._switch_configured, "Open vSwitch configured", START_SECONDS)

    def wait_ready(self, seconds: float = START_SECONDS) -> None:
        """Wait until the API answers and the controller has brought the bridge to desired state. Raises DaemonError."""
        self._await_socket(SWITCH_DATABASE, self.paths.switch_socket, seconds)
        self._await_socket(AGENT, self.paths.api_socket, seconds)
        self.daemon(AGENT).await_running(self._bridge_exists, f"bridge {BRIDGE} made", seconds)
        if self.settings.resolver_port:
            self.daemon(RESOLVER).await_running(self._names_plugged, "resolver's port on the bridge", seconds)
        self.daemon(CONTROLLER).await_running(self.controller_settled, "controller at one with the bridge", seconds)

    def stop(self, name: str | None = None) -> None:
        """Stop one daemon, or all in reverse order."""
        if name is None:
            self._supervisor.stop()
        else:
            self._supervisor[name].stop()

    def start_one(self, name: str) -> None:
        """Start a daemon that was stopped."""
        self._supervisor[name].start()

    def restart(self, name: str) -> None:
        """Stop and start one daemon."""
        self._supervisor[name].restart()

    def kill(self, name: str, number: int = 9) -> None:
        """Send a signal to one daemon; if that ends it, it is started again."""
        self._supervisor[name].kill(number)

    def await_restart(self, name: str, deaths: int, seconds: float = START_SECONDS) -> None:
        """Wait until a daemon that had died `deaths` times has died once more and runs again. Raises TimeoutError."""
        daemon = self._supervisor[name]
        await_condition(lambda: len(daemon.deaths) > deaths and daemon.pid is not None, f"{name} again", seconds)

    def daemon(self, name: str) -> Daemon:
        """One daemon, with its pid, its deaths and its log."""
        return self._supervisor[name]

    def deaths(self) -> dict[str, list[str]]:
        """How each daemon died on its own, since the start."""
        return {daemon.program.name: list(daemon.deaths) for daemon in self._supervisor}

    def _names_plugged(self) -> bool:
        return self.settings.resolver_port in self.vsctl("list-ports", BRIDGE).split()

    def _switch_configured(self) -> bool:
        state = json.loads(self.vsctl("--format=json", "--columns=cur_cfg,next_cfg", "list", "Open_vSwitch", "."))
        current, wanted = state["data"][0]
        return bool(current >= wanted and self._unixctl_linked())

    def _unixctl_linked(self) -> bool:
        """Give the control socket a name without a process id, for tools outside the world."""
        sockets = list(self.paths.run.glob(f"{SWITCH}.[0-9]*.ctl"))
        link = self.paths.run / f"{SWITCH}.ctl"
        link.unlink(missing_ok=True)
        if sockets:
            link.symlink_to(max(sockets, key=lambda path: path.stat().st_mtime).name)
        return bool(sockets)

    def _await_socket(self, name: str, path: Path, seconds: float = START_SECONDS) -> None:
        self.daemon(name).await_running(lambda: accepts(path), f"{name} listening on {path}", seconds)

    def _programs(self) -> list[Program]:
        paths, run_directory = self.paths, self.paths.run
        python = {"PYTHONUNBUFFERED": "1"}
        switch_file = paths.run / "conf.db"
        return [
            Program(
                SWITCH_DATABASE,
                _ovsdb_server(switch_file, paths.switch_socket, run_directory / "ovsdb-server.pid"),
                paths.log(SWITCH_DATABASE),
                before=lambda: create_database(switch_file, VSWITCH_SCHEMA),
            ),
            Program(
                SWITCH,
                [
                    "ovs-vswitchd",
                    f"unix:{paths.switch_socket}",
                    f"--pidfile={run_directory / SWITCH}.pid",
                    "-vconsole:info",
                    "-vsyslog:off",
                ],
                paths.log(SWITCH),
                before=self._hold_forwarding,
                after=self._restore_flows,
            ),
            Program(
                DATABASE,
                _ovsdb_server(paths.database_file, paths.database_socket, run_directory / "sluice-database.pid"),
                paths.log(DATABASE),
                before=lambda: prepare_database(paths.database_file),
            ),
            Program(
                CONTROLLER,
                [
                    *(sys.executable, "-m", "controller.main"),
                    *("--database", str(paths.database_socket)),
                    *("--bridge", BRIDGE),
                    *("--ovs-rundir", str(run_directory)),
                    *("--listen", str(paths.controller_socket)),
                    *("--metrics-port", METRICS[CONTROLLER].rpartition(":")[2]),
                    *("--usage-seconds", str(self.settings.usage_seconds)),
                ],
                paths.log(CONTROLLER),
                python,
            ),
            Program(
                RESOLVER,
                [
                    *(sys.executable, "-m", "resolver.main"),
                    *("--database", str(paths.database_socket)),
                    *("--metrics-port", METRICS[RESOLVER].rpartition(":")[2]),
                ],
                paths.log(RESOLVER),
                python,
            ),
            Program(
                VPN,
                [
                    *(sys.executable, "-m", "vpn.main"),
                    *("--database", str(paths.database_socket)),
                    *("--ovsdb", str(paths.switch_socket)),
                    *("--bridge", BRIDGE),
                    *("--key", str(paths.vpn_key)),
                    *("--directory", str(paths.vpn_directory)),
                    *("--metrics-port", METRICS[VPN].rpartition(":")[2]),
                ],
                paths.log(VPN),
                python,
            ),
            Program(
                BGP,
                [
                    *(sys.executable, "-m", "bgp.main"),
                    *("--database", str(paths.database_socket)),
                    *("--ovsdb", str(paths.switch_socket)),
                    *("--bridge", BRIDGE),
                    *("--key", str(paths.vpn_key)),
                    *("--directory", str(paths.bgp_directory)),
                    *("--metrics-port", METRICS[BGP].rpartition(":")[2]),
                ],
                paths.log(BGP),
                python,
            ),
            Program(
                AGENT,
                [sys.executable, "-m", "agent.main", "--config", str(paths.configuration)],
                paths.log(AGENT),
                python,
                before=self._configure,
            ),
        ]

    def _configure(self) -> None:
        text = self.settings.configuration(self.paths, self.datapath, METRICS[AGENT])
        self.paths.configuration.write_text(text)

    def _hold_forwarding(self) -> None:
        """Before the switch starts: have it forward nothing until the flows are back."""
        for socket_file in self.paths.run.glob(f"{SWITCH}.[0-9]*.ctl"):
            socket_file.unlink()
        if self._bridge_exists():
            self.vsctl("--no-wait", "set", "Open_vSwitch", ".", "other_config:flow-restore-wait=true")

    def _restore_flows(self) -> None:
        """After the switch has started: give it its flows, then let it forward."""
        if not self._bridge_exists():
            return
        try:
            await_condition(lambda: accepts(self.paths.management_socket), "bridge made again", START_SECONDS)
            done = run(
                [
                    *(sys.executable, "-m", "controller.restore"),
                    *("--database", str(self.paths.database_socket)),
                    *("--bridge", BRIDGE),
                    *("--ovs-rundir", str(self.paths.run)),
                ]
            )
            self.restores.append(done)
        except (TimeoutError, subprocess.CalledProcessError) as error:
            log.error("flows not restored, the controller will install them: %s", error)
        finally:
            # Whatever happened, the controller may connect only when this is gone.
            self.vsctl("--no-wait", "--if-exists", "remove", "Open_vSwitch", ".", "other_config", "flow-restore-wait")
            self._unixctl_linked()


def _ovsdb_server(file: Path, socket_path: Path, pidfile: Path) -> list[str]:
    return [
        "ovsdb-server",
        str(file),
        f"--remote=punix:{socket_path}",
        f"--pidfile={pidfile}",
        f"--unixctl={socket_path.with_suffix('.ctl')}",
        "-vconsole:info",
        "-vsyslog:off",
    ]


def create_database(file: Path, schema: Path) -> None:
    """Make an empty database unless there is one."""
    if not file.exists():
        run(["ovsdb-tool", "create", str(file), str(schema)])


def prepare_database(file: Path) -> None:
    """Make the database of desired state, or convert it to this version's schema, as the unit does."""
    run([str(ROOT / "deploy" / "prepare-database"), str(file), str(SLUICE_SCHEMA)])


def accepts(path: Path) -> bool:
    """Whether something accepts connections on a unix socket."""
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True


def run(command: Sequence[str], seconds: float = 60) -> str:
    """Run a command and return its output. Raises CommandError, TimeoutExpired."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)
    if done.returncode:
        raise CommandError(done.returncode, command, done.stdout, done.stderr)
    return done.stdout


class CommandError(subprocess.CalledProcessError):
    """A command that failed, with what it said."""

    def __str__(self) -> str:
        return f"{super().__str__()} {str(self.stderr).strip()}"


def usable_datapath() -> str:
    """`system` where the kernel has the Open vSwitch module, else `netdev` (userspace).

    SLUICE_DATAPATH overrides.
    """
    if chosen := os.environ.get("SLUICE_DATAPATH"):
        return chosen
    subprocess.run(["modprobe", "-q", "openvswitch"], capture_output=True, check=False)
    return "system" if Path("/sys/module/openvswitch").exists() else "netdev"
