"""Creates network namespaces of this host, with veth pairs to the bridge."""

from __future__ import annotations

import ctypes
import json
import os
import socket
import subprocess
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

DIRECTORY = Path("/run/netns")
_CLONE_NEWNET = 0x40000000
_SECONDS = 10
# Namespaces are named by mounts, which have to be the host's: a unit has mounts of its own, into which those of
# process 1 come, but not the other way round (mount_namespaces(7)).
_HOST_MOUNTS = ("nsenter", "--mount=/proc/1/ns/mnt")

_libc = ctypes.CDLL(None, use_errno=True)
Result = TypeVar("Result")


class NamespaceError(Exception):
    """A namespace or its legs could not be made; the text says why."""


def run(*command: str, text: str = "") -> str:
    """Output of a command that is given `text`. Raises NamespaceError."""
    try:
        done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NamespaceError(str(error)) from error
    if done.returncode:
        raise NamespaceError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout


def exists(device: str) -> bool:
    """Whether the caller's network namespace has a device of that name."""
    try:
        socket.if_nametoindex(device)
    except OSError:
        return False
    return True


def numbers_of(start: str) -> list[int]:
    """N of every namespace named `start` and N."""
    names = (path.name.removeprefix(start) for path in DIRECTORY.glob(f"{start}*"))
    return [int(name) for name in names if name.isdecimal()]


class NetworkNamespace:
    """The network namespace `name`, which may or may not exist."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.file = DIRECTORY / name

    @property
    def present(self) -> bool:
        """Whether it exists; a quick look."""
        return os.path.ismount(self.file)

    def identity(self) -> int:
        """Which namespace it is (inode of nsfs); 0: none."""
        return self.file.stat().st_ino if self.present else 0

    def have(self) -> None:
        """Make it unless it is there. Raises NamespaceError, OSError."""
        if not self.present:
            # The name may be there without the namespace: the mount ended with whoever made it.
            run(*_HOST_MOUNTS, "rm", "-f", str(self.file))
            run(*_HOST_MOUNTS, "ip", "netns", "add", self.name)

    def delete(self) -> None:
        """Take it away. Raises NamespaceError."""
        if self.present or self.file.exists():
            run(*_HOST_MOUNTS, "ip", "netns", "delete", self.name)

    def within(self, call: Callable[[], Result]) -> Result:
        """The result of `call`, run in the namespace. Raises what it raises, and OSError."""
        with ThreadPoolExecutor(1, "namespace") as thread:
            thread.submit(self._enter).result()
            return thread.submit(call).result()

    def run(self, *command: str, text: str = "") -> str:
        """Output of a command in the namespace. Raises NamespaceError."""
        # Not by `ip netns exec`, which needs mounts of its own as well.
        return run("nsenter", f"--net={self.file}", *command, text=text)

    def ip(self, *lines: str) -> None:
        """Do all this with ip(8) in the namespace. Raises NamespaceError."""
        self.run("ip", "-batch", "-", text="".join(f"{line}\n" for line in lines))

    def shown(self, *command: str) -> list[dict[str, Any]]:
        """What ip(8) shows in the namespace. Raises NamespaceError."""
        found: list[dict[str, Any]] = json.loads(self.run("ip", "-json", *command) or "[]")
        return found

    def add_leg(self, port: str, leg: str, mac: str, mtu: int = 0) -> None:
        """Make a veth pair, `port` here and `leg` in the namespace; `mtu` 0: the kernel's. Raises NamespaceError."""
        size = ["mtu", str(mtu)] if mtu else []
        ends = ["type", "veth", "peer", "name", leg, "address", mac]
        run("ip", "link", "add", port, *size, *ends, *size, "netns", self.name)
        # The userspace datapath passes packets on as they are: checksums must be whole.
        run("ethtool", "-K", port, "tx", "off")
        self.run("ethtool", "-K", leg, "tx", "off")

    def set_ipv4(self, devices: Iterable[str], settings: Mapping[str, str]) -> None:
        """Set IPv4 settings (ip-sysctl) of devices, and take IPv6 off them. Raises NamespaceError.

        `/proc/sys` of a unit may be read-only, that of process 1 is not.
        """
        lines = []
        for device in devices:
            lines += [f"echo {value} >/proc/sys/net/ipv4/conf/{device}/{key}" for key, value in settings.items()]
            ipv6 = f"/proc/sys/net/ipv6/conf/{device}/disable_ipv6"
            lines.append(f"[ ! -e {ipv6} ] || echo 1 >{ipv6}")
        run(*_HOST_MOUNTS, f"--net={self.file}", "sh", "-e", text="\n".join(lines))

    def _enter(self) -> None:
        descriptor = os.open(self.file, os.O_RDONLY | os.O_CLOEXEC)
        try:
            if _libc.setns(descriptor, _CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), f"setns(2) to {self.file}")
        finally:
            os.close(descriptor)
