"""Connections at full rate: builds bench/connection_rate.c, runs its server and clients, reads their reports."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

SOURCE = Path(__file__).resolve().parent.parent / "bench" / "connection_rate.c"
FIRST_PORT = 9000
# Few source ports, each used again at once, to many ports of one server.
DESTINATION_PORTS = 64
SOURCE_PORTS = "10000-12000"
GRACE_SECONDS = 30.0


class Host(Protocol):
    """Where a program is started: `machines.Machine`, or any process' network namespace."""

    @property
    def pid(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Report:
    """Counts since the report before, or of the whole run; latencies in milliseconds. See connection_rate.c."""

    name: str
    total: bool
    at: float
    rate: float
    ok: int
    leaks: int
    foreign: int
    refused: int
    timeouts: int
    local: int
    late: int
    p50: float
    p99: float


def build(directory: Path) -> Path:
    """Compile the program into a directory. Raises CalledProcessError."""
    program = directory / "connection_rate"
    subprocess.run(["gcc", "-O2", "-Wall", "-Wextra", "-Werror", "-o", str(program), str(SOURCE)], check=True)
    return program


def _inside(host: Host, command: Sequence[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        ["mnexec", "-a", str(host.pid), *command], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True
    )


class Server:
    """The server of a run; listens when made."""

    def __init__(self, program: Path, host: Host, address: str, ports: int = DESTINATION_PORTS) -> None:
        command = [str(program), "server", address, str(FIRST_PORT), str(ports)]
        self._process = _inside(host, command)
        assert self._process.stdout is not None
        if self._process.stdout.readline() != "listening\n":
            raise OSError(f"no server at {address}")

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()


class Client:
    """One client under way."""

    def __init__(
        self,
        program: Path,
        host: Host,
        address: str,
        seconds: float,
        options: Mapping[str, object],
        ports: int = DESTINATION_PORTS,
    ) -> None:
        self._seconds = seconds
        command = [str(program), "client", address, str(FIRST_PORT), str(ports), str(seconds)]
        self._process = _inside(host, [*command, *(f"{key}={value}" for key, value in options.items())])

    def reports(self) -> list[Report]:
        """All reports, the one of the whole run last, once the run has ended. Raises TimeoutExpired."""
        try:
            output, _ = self._process.communicate(timeout=self._seconds + GRACE_SECONDS)
        finally:
            self.close()
        return [Report(**json.loads(line)) for line in output.splitlines()]

    def close(self) -> None:
        """End it now."""
        if self._process.poll() is None:
            os.kill(self._process.pid, signal.SIGKILL)
            self._process.wait()


def rate_between(reports: Sequence[Report], begin: float, end: float) -> float:
    """Connections a second that were right, from second `begin` to second `end` of the run."""
    inside = [one for one in reports if not one.total and begin < one.at <= end + 0.5]
    return sum(one.ok for one in inside) / (end - begin)
