#!/usr/bin/env python3
"""Runs a command in a private world: namespaces of its own, nothing left behind.

    mininet/world.py [--share DIR] -- COMMAND...

The command gets its own network, mounts and process ids. `/run` is an empty
tmpfs, so the Open vSwitch tools and Mininet, which look in `/run/openvswitch`,
find the switch the command starts there and never the system's. When the
command ends, or anything above it is killed (SIGKILL included), the kernel
kills every process of the world, and with the last of them go its interfaces,
mounts and files.

With `--share DIR` that directory of the real file system is the world's
`/run/openvswitch`: unix sockets in it can be reached from outside. It is
locked while the world lives, emptied at the next start if a killed one left
something, and removed at the end.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import fcntl
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import NoReturn

# As it is compiled into Debian's Open vSwitch, which connects to a controller's socket only below this very name.
RUN_DIRECTORY = Path("/var/run/openvswitch")
# Compiled into FRR: files for a crash, which stay when a daemon is killed.
FRR_FILES = Path("/var/tmp/frr")
MARK = "SLUICE_WORLD"

# <linux/sched.h>, <linux/mount.h>, <linux/prctl.h>
CLONE_NEWNS, CLONE_NEWPID, CLONE_NEWNET = 0x00020000, 0x20000000, 0x40000000
MS_BIND, MS_REC, MS_PRIVATE = 0x1000, 0x4000, 0x40000
PR_SET_PDEATHSIG = 1

STOP_SECONDS = 20

_libc = ctypes.CDLL(None, use_errno=True)


class WorldError(Exception):
    """The world could not be made; the text says why."""


def inside() -> bool:
    """Whether this process runs in a private world."""
    return os.environ.get(MARK) == "1"


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise WorldError(f"{what}: {os.strerror(number)}")


def _unshare(flags: int) -> None:
    _check(_libc.unshare(flags), "unshare(2)")


def _mount(source: str, target: str, kind: str | None, flags: int = 0) -> None:
    result = _libc.mount(source.encode(), target.encode(), kind.encode() if kind else None, flags, None)
    _check(result, f"mounting {source} on {target}")


def _die_with_parent(parent: int) -> None:
    _check(_libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL), "prctl(2)")
    if os.getppid() != parent:
        os._exit(1)


def _lock(directory: Path) -> None:
    """Hold `directory` for as long as this process lives, and empty it."""
    directory.mkdir(mode=0o755, parents=True, exist_ok=True)
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise WorldError(f"{directory} is in use by another sandbox; end that one first") from None
    _empty(directory)


def _empty(directory: Path) -> None:
    for entry in directory.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()


def _furnish(share: Path | None) -> None:
    """Give the new namespaces their mounts and loopback."""
    # Opened here, before /run is covered: a descriptor of another mount namespace cannot be bound.
    shared = os.open(share, os.O_RDONLY | os.O_DIRECTORY) if share else None
    _mount("none", "/", None, MS_REC | MS_PRIVATE)
    _mount("proc", "/proc", "proc")
    _mount("sysfs", "/sys", "sysfs")
    _mount("tmpfs", "/run", "tmpfs")
    if FRR_FILES.is_dir():
        before = FRR_FILES.stat()
        _mount("tmpfs", str(FRR_FILES), "tmpfs")
        os.chown(FRR_FILES, before.st_uid, before.st_gid)
        FRR_FILES.chmod(before.st_mode & 0o777)
    RUN_DIRECTORY.mkdir()
    if shared is not None:
        _mount(f"/proc/self/fd/{shared}", str(RUN_DIRECTORY), None, MS_BIND)
        os.close(shared)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)


def _run_init(command: Sequence[str], share: Path | None) -> NoReturn:
    """Be process 1 of the world: start the command, reap orphans, end with the command."""
    _furnish(share)
    child = subprocess.Popen(command, env={**os.environ, MARK: "1"})

    def forward(number: int, _frame: FrameType | None) -> None:
        child.send_signal(number)

    signal.signal(signal.SIGTERM, forward)
    signal.signal(signal.SIGHUP, forward)
    # The terminal sends SIGINT to the command as well.
    signal.signal(signal.SIGINT, lambda *_: None)
    while True:
        pid, status = os.wait()
        if pid == child.pid:
            code = os.waitstatus_to_exitcode(status)
            os._exit(code if code >= 0 else 128 - code)


def run(command: Sequence[str], share: Path | None = None) -> int:
    """Run `command` in a private world and return its exit status.

    A command ended by signal N counts as 128 + N. Needs root. Raises
    WorldError when `share` is in use or the kernel refuses a namespace.
    """
    if share:
        _lock(share)
    _unshare(CLONE_NEWPID)
    init = os.fork()
    if init == 0:
        try:
            # Children of process 1 start with a clean slate, so the two flags go here.
            _die_with_parent(0)
            _unshare(CLONE_NEWNS | CLONE_NEWNET)
            _run_init(command, share)
        except (OSError, WorldError, subprocess.SubprocessError) as error:
            print(f"world: {error}", file=sys.stderr)
            os._exit(1)
    if share:
        (share / "world.pid").write_text(f"{init}\n")
    return _wait(init, share)


def _wait(init: int, share: Path | None) -> int:
    def stop(number: int, _frame: FrameType | None) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(init, number)
        signal.alarm(STOP_SECONDS)

    def give_up(_number: int, _frame: FrameType | None) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(init, signal.SIGKILL)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGHUP, stop)
    signal.signal(signal.SIGINT, lambda *_: None)
    signal.signal(signal.SIGALRM, give_up)
    _, status = os.waitpid(init, 0)
    if share:
        _empty(share)
        share.rmdir()
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def main() -> int:
    """The command line above."""
    parser = argparse.ArgumentParser(description="Run a command in a private world.")
    parser.add_argument("--share", type=Path, metavar="DIR", help="make the world's /run/openvswitch visible here")
    parser.add_argument("command", nargs="+")
    options = parser.parse_args()
    if os.geteuid() != 0:
        print("world: needs root, for namespaces and Open vSwitch", file=sys.stderr)
        return 1
    try:
        _die_with_parent(os.getppid())
        return run(options.command, options.share)
    except (OSError, WorldError) as error:
        print(f"world: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
