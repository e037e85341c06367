"""A virtual machine with the package on it, installed as docs/installation.md says, and looked at from inside."""

from __future__ import annotations

import json
import re
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from images import ROOT
from virtual_machine import VirtualMachine

TARGET = "sluice.target"
CONFIGURATION = "/etc/sluice/sluice.toml"
LAB = "/opt/lab"
START_SECONDS = 120.0
# All that the shipped configuration needs for a trial; its addresses are those of the laboratory.
EDITS = (
    '/^\\[gateway\\]/,/^\\[/ s/^port = .*/port = "gateway"/',
    '/^\\[dns\\]/,/^\\[/ s/^# port = .*/port = "names"/',
    '/^\\[pools\\]/,/^\\[/ s|^# public = .*|public = ["203.0.113.128/28"]|',
)
GUEST = Path(__file__).resolve().parent / "guest"


@dataclass(frozen=True, slots=True)
class Host:
    """An appliance as its operator sees it."""

    machine: VirtualMachine

    def run(self, command: str, seconds: float = 120.0) -> str:
        """What a shell command printed. Raises CommandError."""
        return self.machine.run(command, seconds)

    def units(self) -> list[str]:
        """The services of the package, as systemd lists the target's."""
        listed = self.run(f"systemctl list-dependencies --plain --no-pager {TARGET}")
        return [name.strip() for name in listed.splitlines() if re.fullmatch(r"\s*sluice-[\w-]+\.service", name)]

    def properties(self, unit: str, *names: str) -> dict[str, str]:
        """Properties of a unit (systemctl(1), `show`)."""
        shown = self.run(f"systemctl show {unit} " + " ".join(f"-p {name}" for name in names))
        return dict(line.split("=", 1) for line in shown.splitlines())

    def main_pid(self, unit: str) -> int:
        """The main process of a unit; 0 without one."""
        return int(self.properties(unit, "MainPID")["MainPID"])

    def restarts(self) -> dict[str, int]:
        """How often systemd had to restart each service of the package."""
        return {unit: int(self.properties(unit, "NRestarts")["NRestarts"]) for unit in self.units()}

    def exposure(self, unit: str) -> float:
        """What `systemd-analyze security` says of a unit: 0 (locked in) to 10."""
        said = self.machine.attempt(f"systemd-analyze security --no-pager {unit} | tail -n 2").stdout
        level = re.search(r"exposure level for \S+: ([\d.]+)", said)
        assert level, said
        return float(level[1])

    def listening(self) -> set[tuple[str, str]]:
        """Process and address:port of each socket that is open to other hosts, TCP and UDP."""
        found = set()
        for line in self.run("ss -Hlntup").splitlines():
            fields = line.split()
            local, process = fields[4], re.search(r'\(\("([^"]+)"', line)
            address = local.rpartition(":")[0].partition("%")[0].strip("[]")
            if not (address.startswith("127.") or address == "::1"):
                found.add((process[1] if process else "the kernel", local))
        return found

    def await_true(self, command: str, what: str, seconds: float = START_SECONDS) -> None:
        """Wait until a shell command succeeds. Raises TimeoutError with what it said last."""
        end = time.monotonic() + seconds
        while (done := self.machine.attempt(command)).returncode:
            if time.monotonic() > end:
                raise TimeoutError(f"{what} within {seconds:g} s\n{done.stdout}{done.stderr}")
            time.sleep(0.2)

    def await_active(self) -> None:
        """Wait until every service runs and the API answers. Raises TimeoutError."""
        self.await_true(f"systemctl is-active {' '.join(self.units())}", "all units active")
        self.await_true("sluicectl status", "sluicectl status content")

    def sluicectl(self, arguments: str) -> object:
        """The JSON that a command of sluicectl prints. Raises CommandError."""
        printed: object = json.loads(self.run(f"sluicectl {arguments} -o json"))
        return printed


def build_package(version: str = "") -> Path:
    """Build the package, as docs/installation.md says. Raises CalledProcessError."""
    command = [
        "make",
        "--no-print-directory",
        "-s",
        "-C",
        str(ROOT),
        "deb",
        *([f"VERSION={version}"] if version else []),
    ]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return max((ROOT / "build").glob(f"sluice_{version or '*'}_amd64.deb"), key=lambda file: file.stat().st_mtime)


def install(machine: VirtualMachine, package: Path) -> Host:
    """Install, edit the configuration, enable, as docs/installation.md says. Raises CommandError, TimeoutError."""
    host = Host(machine)
    machine.copy([package], "/root")
    machine.copy([GUEST / "lab.py", ROOT / "mininet" / "udhcpc-script"], LAB)
    host.run(f"apt-get install -y /root/{package.name}", 600)
    # A real host has its ports before the program; here they are those of the laboratory.
    host.run(f"python3 {LAB}/lab.py up")
    host.run("sed -i " + " ".join(f"-e '{edit}'" for edit in EDITS) + f" {CONFIGURATION}")
    host.run(f"sluice-agent --config {CONFIGURATION} --check")
    host.run(f"systemctl enable --now {TARGET}", 300)
    host.await_active()
    return host
