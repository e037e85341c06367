"""What all BGP daemons of customers have in common: one session, a network namespace, a directory of files."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from supervisor import await_condition

_START_SECONDS, _END_SECONDS = 15.0, 5.0
_LOG_SHOWN = 2000


@dataclass(frozen=True, slots=True)
class Session:
    """The one session of a router, as its operator configures it.

    `own_as` and `password` (empty: none) are the router's, `peer_as` is the AS
    it expects. `networks` are announced. `passive`: it waits for the other side
    to connect (RFC 4271 section 8.1.1).
    """

    local: str
    peer: str
    own_as: int
    peer_as: int
    networks: tuple[str, ...] = ()
    password: str = ""
    passive: bool = False

    @property
    def hold_seconds(self) -> int:
        """Shorter than any daemon's default, so that tests end."""
        return 9


class Router(ABC):
    """A BGP daemon in the namespace `name` (of ip-netns(8)), whose files are in `directory`."""

    program: ClassVar[str]

    def __init__(self, name: str, directory: Path) -> None:
        self._name, self._directory = name, directory
        self._process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def configuration(self, session: Session) -> str:
        """The text of its configuration file."""

    @abstractmethod
    def command(self, file: Path) -> Sequence[str]:
        """What starts it in the foreground with a configuration file."""

    @abstractmethod
    def announce(self, *networks: str) -> None:
        """Announce more networks while it runs."""

    @abstractmethod
    def withdraw(self, *networks: str) -> None:
        """Announce these networks no more."""

    @abstractmethod
    def learned(self) -> set[str]:
        """The prefixes it has from its peer."""

    @abstractmethod
    def shut_down(self, text: str) -> str:
        """Close the session as an administrator does; the text it sends with that (RFC 8203), `text` if it can."""

    def write(self, file: Path) -> None:
        """Write its configuration, and what else it needs."""
        file.write_text(self.configuration(self._session))

    def environment(self) -> dict[str, str]:
        """What its environment has besides the test's own."""
        return {}

    def answers(self) -> bool:
        """Whether it has started."""
        return True

    def start(self, session: Session) -> None:
        """Start it. Raises AssertionError with what it says."""
        shutil.rmtree(self._directory, ignore_errors=True)
        # Most give up root for a user of their own.
        self._directory.mkdir(parents=True, mode=0o755)
        self._session = session
        file = self._directory / "router.conf"
        file.touch(mode=0o600)
        self.write(file)
        with (self._directory / "log").open("wb") as output:
            self._process = subprocess.Popen(
                self._inside(*self.command(file)), env={**os.environ, **self.environment()}, stdin=subprocess.DEVNULL,
                stdout=output, stderr=output, start_new_session=True,
            )  # fmt: skip
        process = self._process
        try:
            await_condition(lambda: self.answers() or process.poll() is not None, "started", _START_SECONDS)
            assert process.poll() is None
        except (TimeoutError, AssertionError):
            raise AssertionError(f"{self.program} did not start: {self.log()[-_LOG_SHOWN:]}") from None

    def stop(self) -> None:
        """End it with all its processes."""
        if self._process is None:
            return
        os.killpg(self._process.pid, signal.SIGTERM)
        try:
            self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._process = None

    def log(self) -> str:
        """What it wrote until now."""
        return (self._directory / "log").read_text(errors="replace")

    def ask(self, *command: str) -> str:
        """What a command says in its namespace, whether it fails or not."""
        done = subprocess.run(
            self._inside(*command), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
        )
        return done.stdout

    def tell(self, *command: str) -> None:
        """Run a command in its namespace. Raises CalledProcessError."""
        subprocess.run(self._inside(*command), capture_output=True, check=True)

    def _inside(self, *command: str) -> list[str]:
        return ["nsenter", f"--net=/run/netns/{self._name}", *command]
