"""Keeps daemons running in a sandbox, as systemd does on an appliance."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

log = logging.getLogger("sluice.supervisor")

# systemd's own default (RestartSec=, systemd.service(5)); doubled while a daemon keeps dying young.
RESTART_SECONDS = 0.1
RESTART_LIMIT_SECONDS = 5.0
YOUNG_SECONDS = 2.0


class DaemonError(Exception):
    """A daemon did not do what was asked of it; the text ends with the last lines of its log."""


PATIENCE = float(os.environ.get("SLUICE_PATIENCE", "1"))
"""How many times as long as elsewhere everything may take on this machine, which is emulated if it is not 1."""


def await_condition(condition: Callable[[], bool], what: str, seconds: float, interval: float = 0.02) -> None:
    """Ask `condition` every `interval` seconds until it holds.

    Raises TimeoutError naming `what` when it does not within `seconds` (times PATIENCE).
    """
    seconds *= PATIENCE
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {seconds:g} s")
        time.sleep(interval)


@dataclass(frozen=True, slots=True)
class Program:
    """What to run: `before` runs ahead of every start, `after` once the process was started.

    `after` may raise; that is logged, and the process goes on.
    """

    name: str
    command: Sequence[str]
    log: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    before: Callable[[], None] = lambda: None
    after: Callable[[], None] = lambda: None


class Daemon:
    """One program that is started again, after a short pause, whenever it ends on its own."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.deaths: list[str] = []
        self._lock = threading.RLock()
        self._process: subprocess.Popen[bytes] | None = None
        self._wanted = threading.Event()
        self._pause = RESTART_SECONDS
        self._watcher: threading.Thread | None = None

    @property
    def pid(self) -> int | None:
        """Process id while it runs."""
        process = self._process
        return process.pid if process is not None and process.poll() is None else None

    def start(self) -> None:
        """Start it unless it runs, and keep it running. Raises what the program's `before` raises."""
        with self._lock:
            if self._wanted.is_set():
                return
            self._wanted.set()
            self._launch()
            self._watcher = threading.Thread(target=self._watch, name=f"watch-{self.program.name}", daemon=True)
            self._watcher.start()

    def stop(self, seconds: float = 10.0) -> None:
        """End it by SIGTERM, by SIGKILL after `seconds`, and leave it ended."""
        with self._lock:
            self._wanted.clear()
            process, watcher = self._process, self._watcher
        if process is not None and process.poll() is None:
            process.terminate()
            try:
                process.wait(seconds)
            except subprocess.TimeoutExpired:
                log.warning("%s did not end by SIGTERM in %g s", self.program.name, seconds)
                process.kill()
        if watcher is not None and watcher is not threading.current_thread():
            watcher.join()

    def restart(self) -> None:
        """Stop and start it."""
        self.stop()
        self.start()

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send it a signal; what ends it is put right as any other death."""
        process = self._process
        if process is not None:
            process.send_signal(number)

    def tail(self, lines: int = 15) -> str:
        """The last lines of its log."""
        with contextlib.suppress(FileNotFoundError):
            return "\n".join(self.program.log.read_text(errors="replace").splitlines()[-lines:])
        return ""

    def await_running(self, condition: Callable[[], bool], what: str, seconds: float) -> None:
        """Wait for a condition that this daemon brings about.

        Raises DaemonError, with the end of its log, when it does not in time
        or the daemon dies twice while waiting.
        """
        deaths = len(self.deaths)

        def settled() -> bool:
            return condition() or len(self.deaths) > deaths + 1

        try:
            await_condition(settled, what, seconds)
        except TimeoutError as error:
            raise DaemonError(f"{error}; the log of {self.program.name} ends:\n{self.tail()}") from None
        if not condition():
            raise DaemonError(f"{self.program.name} keeps dying; its log ends:\n{self.tail()}")

    def _launch(self) -> None:
        program = self.program
        program.before()
        with program.log.open("ab") as output:
            self._process = subprocess.Popen(
                program.command,
                env={**os.environ, **program.environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                # A Ctrl-C on the terminal is for the sandbox, which then ends its daemons in order.
                start_new_session=True,
            )

    def _watch(self) -> None:
        while True:
            process = self._process
            assert process is not None
            born = time.monotonic()
            try:
                self.program.after()
            except Exception:
                log.exception("%s: step after the start failed", self.program.name)
            code = process.wait()
            with self._lock:
                if not self._wanted.is_set():
                    return
                death = describe_exit(code)
                self.deaths.append(death)
            log.warning("%s (pid %d) %s; starting it again", self.program.name, process.pid, death)
            young = time.monotonic() - born < YOUNG_SECONDS
            self._pause = min(self._pause * 2, RESTART_LIMIT_SECONDS) if young else RESTART_SECONDS
            time.sleep(self._pause)
            with self._lock:
                if not self._wanted.is_set():
                    return
                self._launch()


def describe_exit(code: int) -> str:
    """A Popen return code in words."""
    return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with status {code}"


class Supervisor:
    """Daemons by name, started in the order they were added and stopped in the reverse."""

    def __init__(self) -> None:
        self._daemons: dict[str, Daemon] = {}

    def __getitem__(self, name: str) -> Daemon:
        return self._daemons[name]

    def __iter__(self) -> Iterator[Daemon]:
        return iter(self._daemons.values())

    def add(self, program: Program) -> Daemon:
        """Take charge of a program, not yet started."""
        daemon = self._daemons[program.name] = Daemon(program)
        return daemon

    def stop(self) -> None:
        """Stop all, last first."""
        for daemon in reversed(self._daemons.values()):
            daemon.stop()
