"""One virtual machine: QEMU with a disk that is thrown away, and SSH into it."""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import shlex
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from images import NETWORK, Image

BOOT_SECONDS = 300.0
# Emulated, everything takes longer (mininet/supervisor.py).
PATIENCE = 5
_MEMORY = "3072"
PR_SET_PDEATHSIG = 1
_SSH_FAILED = 255
# What Linux writes when a processor gets nowhere (Documentation/admin-guide/lockup-watchdogs.rst, RCU/stallwarn.rst).
_STUCK = re.compile(r"soft lockup|rcu: INFO: .* stall|blocked for more than \d+ seconds")
_TROUBLE_LINES, _LAST_LINES = 60, 30


class CommandError(Exception):
    """A command failed in the virtual machine; the text has the command and what it said."""


class MachineLost(Exception):
    """SSH to the machine ended, as when its kernel does; the text has the end of the console."""


class MachineHung(MachineLost):
    """The machine does not answer, and its console says that one of its processors is stuck."""


class VirtualMachine:
    """A running machine with the disk of `image`.

    What it writes goes to a layer in `folder`; the image does not change. The
    machine ends with this process, whatever ends that.
    """

    def __init__(self, image: Image, folder: Path) -> None:
        self._image, self._folder = image, folder
        folder.mkdir(parents=True, exist_ok=True)
        self.disk = folder / "disk.qcow2"
        layer = ["qemu-img", "create", "-q", "-f", "qcow2", "-b", str(image.disk), "-F", "raw", str(self.disk)]
        subprocess.run(layer, check=True)
        self._port = _free_port()
        self._qemu: subprocess.Popen[bytes] | None = None
        # From the first answer of SSH until the machine is told to end.
        self._booted = False

    def start(self) -> None:
        """Boot, and wait until SSH answers. Raises TimeoutError with the end of the console."""
        self._qemu = subprocess.Popen(
            [
                "qemu-system-x86_64",
                *("-machine", "q35", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", _MEMORY),
                *("-display", "none", "-monitor", "none", "-serial", f"file:{self._folder / 'console.log'}"),
                *("-kernel", str(self._image.kernel), "-initrd", str(self._image.initrd)),
                *("-append", "root=/dev/vda rw console=ttyS0 net.ifnames=0 panic=5"),
                *("-drive", f"file={self.disk},format=qcow2,if=virtio,cache=unsafe"),
                *("-netdev", f"user,id=management,net={NETWORK},restrict=on,hostfwd=tcp:127.0.0.1:{self._port}-:22"),
                *("-device", "virtio-net-pci,netdev=management", "-device", "virtio-rng-pci"),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            preexec_fn=_die_with_parent,
        )
        self._await_ssh()

    def run(self, command: str, seconds: float = 120.0) -> str:
        """What a shell command (`sh -e`) printed. Raises CommandError, TimeoutExpired."""
        done = self.attempt(command, seconds)
        if done.returncode:
            raise CommandError(f"{command}\nexit status {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout

    def attempt(self, command: str, seconds: float = 120.0) -> subprocess.CompletedProcess[str]:
        """As `run`, whatever its exit status. Raises TimeoutExpired, MachineLost."""
        with self._answering(command):
            done = subprocess.run(
                [*self._ssh(), f"sh -ec {shlex.quote(command)}"],
                stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=seconds, check=False,
            )  # fmt: skip
            if done.returncode == _SSH_FAILED and self._booted:
                raise MachineLost(f"{command}\n{done.stdout}{done.stderr}\nThe console says:\n{self._console()}")
        return done

    @contextlib.contextmanager
    def _answering(self, command: str) -> Iterator[None]:
        """Tell a machine that is stuck from one that is slow. Raises MachineHung."""
        try:
            yield
        except (subprocess.TimeoutExpired, subprocess.CalledProcessError, MachineLost) as error:
            if self._booted and _STUCK.search(self._log()):
                raise MachineHung(f"{command}\nThe console says:\n{self._console()}") from error
            raise

    def write(self, path: str, text: str, mode: str = "644") -> None:
        """Write a file, with its folders. Raises CommandError, TimeoutExpired, MachineHung."""
        script = f"mkdir -p {shlex.quote(str(Path(path).parent))} && cat >{path} && chmod {mode} {path}"
        with self._answering(f"writing {path}"):
            done = subprocess.run(
                [*self._ssh(), script], input=text, capture_output=True, text=True, timeout=60, check=False
            )
        if done.returncode:
            raise CommandError(f"writing {path}: {done.stderr}")

    def copy(self, files: Sequence[Path], folder: str) -> None:
        """Copy files into a folder of the machine. Raises CalledProcessError."""
        archive = ["tar", "-c"]
        for file in files:
            archive += ["-C", str(file.parent), file.name]
        self._unpack(archive, folder)

    def copy_tree(self, tree: Path, folder: str) -> None:
        """Copy what is in a directory tree into a folder of the machine. Raises CalledProcessError."""
        self._unpack(["tar", "-c", "-C", str(tree), "."], folder)

    def reboot(self) -> None:
        """Reboot in order, and wait until SSH answers again. Raises TimeoutError."""
        before = self.run("cat /proc/sys/kernel/random/boot_id")
        self._booted = False
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.attempt("systemctl reboot", 30)
        self._close_ssh()
        self._await_ssh(lambda: self.attempt("cat /proc/sys/kernel/random/boot_id", 30).stdout not in ("", before))

    def close(self) -> None:
        """End the machine at once."""
        if self._qemu is not None:
            self._qemu.kill()
            self._qemu.wait()
            self._forget()

    def _forget(self) -> None:
        self._qemu = None
        self._close_ssh()

    def _close_ssh(self) -> None:
        subprocess.run([*self._ssh()[:-1], "-O", "exit", self._ssh()[-1]], capture_output=True, check=False)

    def _ssh(self) -> list[str]:
        settings = {
            "StrictHostKeyChecking": "no",
            "UserKnownHostsFile": "/dev/null",
            "LogLevel": "ERROR",
            "ConnectTimeout": "30",
            "ServerAliveInterval": "15",
            "ServerAliveCountMax": "20",
            "ControlMaster": "auto",
            "ControlPath": f"{self._folder}/ssh",
            "ControlPersist": "600",
        }
        options = [part for name, value in settings.items() for part in ("-o", f"{name}={value}")]
        return ["ssh", "-p", str(self._port), "-i", str(self._image.key), *options, "root@127.0.0.1"]

    def _unpack(self, archive: Sequence[str], folder: str) -> None:
        script = f"mkdir -p {folder} && tar -x --no-same-owner -C {folder}"
        with self._answering(script), subprocess.Popen(archive, stdout=subprocess.PIPE) as packed:
            subprocess.run([*self._ssh(), script], stdin=packed.stdout, check=True, timeout=300, capture_output=True)

    def _await_ssh(self, ready: Callable[[], bool] | None = None) -> None:
        end = time.monotonic() + BOOT_SECONDS
        while time.monotonic() < end:
            if self._qemu is None or self._qemu.poll() is not None:
                raise TimeoutError("QEMU ended")
            with contextlib.suppress(subprocess.TimeoutExpired):
                if ready() if ready else self.attempt("true", 60).returncode == 0:
                    self._booted = True
                    return
            time.sleep(0.5)
        raise TimeoutError(f"no SSH after {BOOT_SECONDS:g} s; the console ends with:\n{self._console()}")

    def _log(self) -> str:
        return (self._folder / "console.log").read_text(errors="replace")

    def _console(self) -> str:
        lines = self._log().splitlines()
        stuck = next((at for at, line in enumerate(lines) if _STUCK.search(line)), len(lines))
        last = max(min(stuck + _TROUBLE_LINES, len(lines)), len(lines) - _LAST_LINES)
        return "\n".join([*lines[stuck : stuck + _TROUBLE_LINES], *lines[last:]])


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() == 1:
        os._exit(1)
