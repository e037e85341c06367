"""Encryption at rest, with the key in one file of mode 0600.

The agent seals what clients send before it reaches the database, and the VPN
and BGP daemons open it; nobody else has the file. A copy of the database alone tells
nothing.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
import stat
import tempfile
import threading
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken

log = logging.getLogger("sluice.encryption")

_LOOK_SECONDS = 0.2


class EncryptionError(Exception):
    """The key cannot be used, or does not open a secret; the text names neither."""


class SecretBox:
    """Seals and opens texts (Fernet: AES-128-CBC and HMAC-SHA-256, random each time)."""

    def __init__(self, key: bytes) -> None:
        try:
            self._fernet = Fernet(key)
        except ValueError as error:
            raise EncryptionError("the key is not 32 bytes in URL-safe base64") from error
        self._digest_key = hashlib.sha256(b"digest " + key).digest()

    @classmethod
    def at(cls, path: Path) -> SecretBox:
        """The seal whose key is in the file at `path`, which is made unless it exists. Raises EncryptionError."""
        try:
            try:
                return cls(_read(path))
            except FileNotFoundError:
                _make(path)
                return cls(_read(path))
        except OSError as error:
            raise EncryptionError(f"{path}: {error.strerror}") from error

    @classmethod
    def once_made(cls, path: Path, stopped: threading.Event) -> SecretBox | None:
        """The seal whose key is in the file at `path`, as soon as sluice-agent has made it; None: stopped before.

        Raises EncryptionError.
        """
        waiting = False
        while not stopped.is_set():
            try:
                return cls(_read(path))
            except FileNotFoundError:
                if not waiting:
                    log.info("waiting for the key, which sluice-agent makes", extra={"key": str(path)})
                waiting = True
                stopped.wait(_LOOK_SECONDS)
            except OSError as error:
                raise EncryptionError(f"{path}: {error.strerror}") from error
        return None

    def seal(self, secret: str) -> str:
        """What may be stored in place of `secret`."""
        return self._fernet.encrypt(secret.encode()).decode()

    def open(self, sealed: str) -> str:
        """The secret that was sealed. Raises EncryptionError when it was sealed with another key."""
        try:
            return self._fernet.decrypt(sealed.encode()).decode()
        except InvalidToken as error:
            raise EncryptionError("the secret was sealed with another key") from error

    def holds(self, sealed: str, secret: str) -> bool:
        """Whether `sealed` (empty: nothing) is this very secret."""
        try:
            return bool(sealed) and self.open(sealed) == secret
        except EncryptionError:
            return False

    def digest(self, secret: str) -> str:
        """The same text for the same secret, from which nobody without the key can guess it."""
        return hmac.new(self._digest_key, secret.encode(), hashlib.sha256).hexdigest()


def _read(path: Path) -> bytes:
    """The key in a file that its owner alone may read. Raises OSError, EncryptionError."""
    with path.open("rb") as file:
        mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
        if mode & 0o077:
            raise EncryptionError(f"{path} has mode {mode:04o}: others may read the key; chmod 600 it")
        return file.read().strip()


def _make(path: Path) -> None:
    """Write a new key, whole and on disk before it has its name; whoever is first wins."""
    # A name of its own: threads may make one at once, and a process that was killed may have left one behind.
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    unfinished = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(Fernet.generate_key() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(unfinished, path)
        except FileExistsError:
            return
    finally:
        unfinished.unlink()
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
