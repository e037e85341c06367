"""A file server in a machine's namespace: one directory by NFSv4 (ganesha.nfsd(8)) and by SMB (smbd(8))."""

from __future__ import annotations

import contextlib
import functools
import subprocess
import tempfile
import types
from pathlib import Path

from machines import Machine
from supervisor import await_condition

START_SECONDS = 20.0
SHARE = "share"
PORTS = {"ganesha.nfsd": 2049, "smbd": 445}

# Both run as root without users: who may mount what is the network's matter here.
_SMB = """
[global]
server role = standalone server
map to guest = Bad User
guest account = root
private dir = {files}/private
lock directory = {files}/lock
state directory = {files}/state
cache directory = {files}/cache
pid directory = {files}
ncalrpc dir = {files}/ncalrpc
log file = {files}/smbd.log
smb ports = 445
disable netbios = yes
load printers = no
printcap name = /dev/null
disable spoolss = yes
[{share}]
path = {files}/{share}
guest ok = yes
read only = no
force user = root
"""
_NFS = """
NFS_CORE_PARAM {{ Protocols = 4; Enable_NLM = false; Enable_RQUOTA = false; }}
NFSv4 {{ Graceless = true; RecoveryBackend = fs; RecoveryRoot = {files}/state; Only_Numeric_Owners = true; }}
EXPORT {{
    Export_Id = 1; Path = {files}/{share}; Pseudo = /{share}; Access_Type = RW; Squash = No_Root_Squash;
    SecType = sys; Protocols = 4; Transports = TCP; FSAL {{ Name = VFS; }}
}}
"""


class FileServer:
    """Serves `directory` until it is closed; both servers take some 100 ms to start."""

    def __init__(self, host: Machine) -> None:
        self._files = tempfile.TemporaryDirectory(dir="/run")
        files = Path(self._files.name)
        for name in (SHARE, "private", "lock", "state", "cache", "ncalrpc"):
            (files / name).mkdir()
        self.directory = files / SHARE
        Path("/run/ganesha").mkdir(exist_ok=True)
        (files / "smb.conf").write_text(_SMB.format(files=files, share=SHARE))
        (files / "nfs.conf").write_text(_NFS.format(files=files, share=SHARE))
        commands = (
            ("smbd", "--foreground", "--no-process-group", f"--configfile={files}/smb.conf"),
            ("ganesha.nfsd", "-F", "-f", f"{files}/nfs.conf", "-L", f"{files}/nfs.log", "-p", f"{files}/nfs.pid"),
        )
        silent = subprocess.DEVNULL
        # In sessions of their own: smbd ends its whole process group with itself.
        self._daemons = [
            host.start(*command, stdin=silent, stdout=silent, stderr=silent, start_new_session=True)
            for command in commands
        ]
        for name, port in PORTS.items():
            await_condition(functools.partial(_listens, host, port), f"{name} of {host.name} listens", START_SECONDS)

    def __enter__(self) -> FileServer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, at: types.TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End both servers and remove what they served."""
        for daemon in self._daemons:
            daemon.terminate()
        for daemon in self._daemons:
            with contextlib.suppress(subprocess.TimeoutExpired):
                daemon.wait(5)
            daemon.kill()
            daemon.wait()
        self._files.cleanup()


def _listens(host: Machine, port: int) -> bool:
    return bool(host.run("ss", "-Hltn", f"sport = :{port}"))
