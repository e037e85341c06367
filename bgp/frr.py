"""The routing daemons of one interconnect: FRR's zebra, bfdd and bgpd in its namespace, with a directory of their own.

They run in sessions of their own and outlive this process; the next one finds
them by their pid files and adopts them. One that ends takes the others along.
"""

from __future__ import annotations

import contextlib
import grp
import json
import os
import pwd
import select
import shutil
import signal
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from bgp.configuration import Step
from bgp.vty import Vty, VtyError, VtyHung, VtyRefused
from daemons.namespaces import NetworkNamespace
from daemons.programs import BFDD, BGPD, FRR_DAEMONS, FRR_PACKAGES, FRR_PROGRAM

_EMPTY = "empty.conf"
# Where a daemon of FRR has files for a crash, compiled in: of one that is killed they stay.
_CRASH = Path("/var/tmp/frr")
_START_SECONDS, _STOP_SECONDS = 10.0, 2.0
# Of the log of notifications, before it begins anew.
_LOG_BYTES = 1 << 16


class FrrError(Exception):
    """FRR does not run, or does not answer; the text says why."""


class FrrRefused(Exception):
    """FRR did not take a line of configuration; the text says which, without passwords."""


class Frr:
    """The daemons of the interconnect in `namespace`, whose files are in `directory`; used from one thread."""

    def __init__(self, directory: Path, namespace: NetworkNamespace) -> None:
        self._directory, self._namespace = directory, namespace
        # Of the processes: their numbers may be others' by the time they are needed.
        self._held: dict[str, int] = {}
        self._pids: dict[str, int] = {}
        self._read = 0
        self._vty = {program: Vty(directory / f"{program}.vty") for program in FRR_DAEMONS}

    @property
    def running(self) -> bool:
        """Whether all are there; see `ended`."""
        return len(self._held) == len(FRR_DAEMONS)

    @property
    def descriptors(self) -> list[int]:
        """Of each process one, which can be read from once it has ended."""
        return list(self._held.values())

    def adopt(self) -> bool:
        """Take charge of those that run here. Ends any that are not whole."""
        for program in FRR_DAEMONS:
            self._hold(program, self._found(program))
        with contextlib.suppress(FrrError):
            if self.running:
                self._log_notifications()
                return True
        self.kill()
        return False

    def start(self) -> None:
        """Start all, without any configuration, whatever others left behind. Raises FrrError, OSError."""
        if not all(os.access(FRR_PROGRAM.format(program), os.X_OK) for program in FRR_DAEMONS):
            raise FrrError(f"FRR is not installed: apt install {FRR_PACKAGES}")
        self.kill()
        self._end_strays()
        shutil.rmtree(self._directory, ignore_errors=True)
        self._directory.mkdir(mode=0o700)
        (self._directory / _EMPTY).touch(mode=0o644)
        shutil.chown(self._directory, *_account())
        for program in FRR_DAEMONS:
            self._launch(program)
            self._hold(program, self._found(program))
        if not self.running:
            self.kill()
            raise FrrError("FRR ended as soon as it was started")
        self._log_notifications()

    def stop(self) -> None:
        """Have them close the session and end."""
        for program in FRR_DAEMONS:
            if program not in self._held:
                self._hold(program, self._found(program))
        self._end(BGPD, signal.SIGTERM)
        self.kill()
        self._end_strays()

    def kill(self) -> None:
        """End all that are there at once."""
        for program in reversed(FRR_DAEMONS):
            self._end(program, signal.SIGKILL)

    def release(self) -> None:
        """Let them run alone."""
        for program in FRR_DAEMONS:
            self._drop(program)

    def ended(self) -> bool:
        """Whether one of them has ended, of which the others are ended then."""
        waiting = select.poll()
        for descriptor in self._held.values():
            waiting.register(descriptor, select.POLLIN)
        if self._held and waiting.poll(0):
            self.kill()
            return True
        return not self.running

    def ask(self, program: str, command: str) -> str:
        """What one of them answers to a command; if it does not, all are ended. Raises FrrError."""
        try:
            return self._vty[program].ask(command)
        except VtyRefused as error:
            raise FrrError(f"{program} does not know: {command}") from error
        except VtyError as error:
            raise self._lost(program, error) from error

    def shown(self, program: str, command: str) -> Any:
        """What one of them answers to `show COMMAND json`. Raises FrrError."""
        try:
            return json.loads(self.ask(program, f"show {command} json") or "{}")
        except ValueError as error:
            raise FrrError(f"{program} answers no JSON: show {command}") from error

    def configure(self, steps: Iterable[Step], password: str) -> None:
        """Change the configuration that runs. Raises FrrRefused, FrrError."""
        for step in steps:
            lines = step.texts
            if step.secret:
                lines = tuple(text.rsplit(" ", 1)[0] + f" {password}" if _sets(text) else text for text in lines)
            try:
                self._vty[step.program].configure(step.context, lines)
            except VtyRefused:
                # Its own words would repeat the password.
                what = "the password" if step.secret else "; ".join(step.texts)
                raise FrrRefused(f"{step.program} does not take {what}") from None
            except VtyError as error:
                raise self._lost(step.program, error) from error

    def notifications(self) -> list[str]:
        """The lines bgpd logged since the last call, of each notification one. Raises OSError."""
        if self._log.stat().st_size == self._read:
            return []
        with self._log.open("rb+") as file:
            file.seek(self._read)
            lines = file.read().splitlines(keepends=True)
            if lines and not lines[-1].endswith(b"\n"):
                lines.pop()
            self._read += sum(map(len, lines))
            if self._read > _LOG_BYTES:
                # bgpd appends; a line that comes just now is lost.
                file.truncate(0)
                self._read = 0
        return [line.decode(errors="replace") for line in lines]

    def process(self) -> Path:
        """What the kernel says of bgpd and of its namespace, proc(5)."""
        return Path(f"/proc/{self._found(BGPD)}")

    def _lost(self, program: str, error: VtyError) -> FrrError:
        self.kill()
        return FrrError(f"{program} did not answer" if isinstance(error, VtyHung) else f"FRR ended: {program}")

    @property
    def _log(self) -> Path:
        return self._directory / "bgpd.log"

    def _log_notifications(self) -> None:
        """Have bgpd log them: of a connection that the peer opened, it knows nothing else once it is closed."""
        try:
            self._vty[BGPD].configure((), (f"log file {self._log} informational",))
            # What was logged before this process has been told.
            self._read = self._log.stat().st_size
        except (VtyRefused, VtyError, OSError) as error:
            raise FrrError(f"{BGPD} does not log") from error

    def _launch(self, program: str) -> None:
        directory = self._directory
        user, group = _account()
        command = ["nsenter", f"--net={self._namespace.file}", FRR_PROGRAM.format(program),
                   "-d", "-u", user, "-g", group, "--vty_socket", str(directory),
                   "-A", "127.0.0.1", "-P", "0", "--limit-fds", "1024",
                   "-f", str(directory / _EMPTY), "-i", str(directory / f"{program}.pid"),
                   "-z", str(directory / "zserv.api"), "--log", "syslog", "--log-level", "warnings"]  # fmt: skip
        # Routes are the switch's, not the kernel's.
        command += {BGPD: ["-n"], BFDD: ["--bfdctl", str(directory / "bfdd.sock")]}.get(program, [])
        nothing = subprocess.DEVNULL
        try:
            # It goes on by itself once it answers.
            done = subprocess.run(
                command, cwd="/", stdin=nothing, stdout=nothing, stderr=subprocess.PIPE, start_new_session=True,
                timeout=_START_SECONDS, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise FrrError(f"{program} does not start within {_START_SECONDS:g} s") from None
        if done.returncode:
            said = done.stderr.decode(errors="replace").strip().splitlines()
            raise FrrError(f"{program} does not start: {said[-1] if said else f'status {done.returncode}'}")

    def _found(self, program: str) -> int:
        """Process id of the one that runs here by its pid file; 0: none does."""
        try:
            pid = int((self._directory / f"{program}.pid").read_text())
        except (OSError, ValueError):
            return 0
        return pid if self._is_here(Path(f"/proc/{pid}"), program) else 0

    def _is_here(self, process: Path, program: str) -> bool:
        try:
            named = (process / "comm").read_text().strip() == program
            return named and os.stat(process / "ns/net").st_ino == self._namespace.identity()
        except OSError:
            return False

    def _end_strays(self) -> None:
        """End those in the namespace whose pid file is gone: they hold the ports of BGP and BFD."""
        for process in Path("/proc").glob("[0-9]*"):
            for program in FRR_DAEMONS:
                if self._is_here(process, program):
                    self._hold(program, int(process.name))
                    self._end(program, signal.SIGKILL)

    def _hold(self, program: str, pid: int) -> None:
        """Be about this process, if there is one of that number."""
        self._drop(program)
        if pid:
            with contextlib.suppress(ProcessLookupError):
                self._held[program], self._pids[program] = os.pidfd_open(pid), pid

    def _drop(self, program: str) -> None:
        self._vty[program].close()
        if program in self._held:
            os.close(self._held.pop(program))

    def _end(self, program: str, number: int) -> None:
        """Send a signal and wait until the process has ended, for a while."""
        self._vty[program].close()
        held = self._held.get(program)
        if held is None:
            return
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(held, number)
        waiting = select.poll()
        waiting.register(held, select.POLLIN)
        if waiting.poll(_STOP_SECONDS * 1000):
            self._drop(program)
            # Named after the process that started it, which ended long ago; in it is its own number.
            for file in _CRASH.glob(f"{program}.*/logbuf.{self._pids[program]}"):
                shutil.rmtree(file.parent, ignore_errors=True)


def _account() -> tuple[str, str]:
    """User and group that the daemons run as: this process's own, or FRR's where this is root."""
    if os.geteuid() == 0:
        return "frr", "frr"
    return pwd.getpwuid(os.geteuid()).pw_name, grp.getgrgid(os.getegid()).gr_name


def _sets(text: str) -> bool:
    return not text.startswith("no ")
