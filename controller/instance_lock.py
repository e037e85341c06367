"""Lock file of the controller: one instance a bridge, visible to others on the host.

Open vSwitch tells of `is_connected` for primary controllers only, and flushes
all flows when a bridge gets its first of those (connmgr_set_controllers of OVS
3.1), so Sluice's is none. A locked file says it instead: a process that was
killed lets go of the lock.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from pathlib import Path


def path_of(rundir: str, bridge: str) -> str:
    """The file of a bridge, in the run directory of Open vSwitch."""
    return str(Path(rundir) / f"{bridge}.sluice.lock")


class InstanceLock:
    """This process is the controller of a bridge until `close`, or until it ends."""

    def __init__(self, path: str) -> None:
        """Raises BlockingIOError when another process is the controller, OSError when there is no such directory."""
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._file)
            raise
        self.tell(connected=False)

    def tell(self, *, connected: bool) -> None:
        """Write whether the switch is connected, and since when (Unix time)."""
        state = {"pid": os.getpid(), "connected": connected, "since": round(time.time())}
        # One write, padded over what was there: a reader never sees half of it.
        os.pwrite(self._file, json.dumps(state).ljust(100).encode() + b"\n", 0)

    def close(self) -> None:
        """Let go of the bridge."""
        os.close(self._file)
