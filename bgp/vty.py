"""A client of the vty socket of an FRR daemon, as vtysh speaks it (FRR's lib/vty.c)."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Sequence
from pathlib import Path

ANSWER_SECONDS = 5.0
_SUCCESS, _WARNING = 0, 1
_PART = 1 << 18


class VtyError(Exception):
    """The daemon does not answer, or has ended."""


class VtyHung(VtyError):
    """The daemon did not answer in time."""


class VtyRefused(Exception):
    """The daemon did not take a command; the text does not tell which."""


class Vty:
    """A conversation with one daemon over its socket at `path`, begun when it is first needed; one thread's."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._link: socket.socket | None = None

    def ask(self, command: str) -> str:
        """What the daemon answers to a command. Raises VtyRefused, VtyHung, VtyError."""
        if self._link is None:
            self._link = self._begin()
        code, answer = self._exchange(self._link, command)
        if code not in (_SUCCESS, _WARNING):
            raise VtyRefused(f"return code {code}")
        return answer

    def configure(self, context: Sequence[str], lines: Sequence[str]) -> None:
        """Say lines of configuration in a context. Raises VtyRefused, VtyHung, VtyError."""
        try:
            for command in ("configure terminal", *context, *lines):
                self.ask(command)
        finally:
            # Another context begins from the top.
            if self._link is not None:
                self.ask("end")

    def close(self) -> None:
        """End the conversation."""
        if self._link is not None:
            self._link.close()
            self._link = None

    def _begin(self) -> socket.socket:
        link = socket.socket(socket.AF_UNIX)
        try:
            link.settimeout(ANSWER_SECONDS)
            link.connect(str(self._path))
            self._exchange(link, "enable")
        except OSError as error:
            link.close()
            raise VtyError(f"{self._path.name}: {error}") from error
        except VtyError:
            link.close()
            raise
        return link

    def _exchange(self, link: socket.socket, command: str) -> tuple[int, str]:
        received = bytearray()
        try:
            link.sendall(command.encode() + b"\0")
            # Three zeros and a return code are the end of an answer.
            while received[-4:-1] != b"\0\0\0":
                part = link.recv(_PART)
                if not part:
                    raise VtyError(f"{self._path.name}: ended")
                received += part
        except TimeoutError as error:
            self._forget(link)
            raise VtyHung(f"{self._path.name}: no answer in {ANSWER_SECONDS:g} s") from error
        except (OSError, VtyError) as error:
            self._forget(link)
            raise VtyError(f"{self._path.name}: ended") from error
        return received[-1], received[:-4].decode(errors="replace")

    def _forget(self, link: socket.socket) -> None:
        with contextlib.suppress(OSError):
            link.close()
        if self._link is link:
            self._link = None
