"""Sets the size of the userspace datapath's connection and fragment tables.

`UserspaceTables.apply` asks ovs-vswitchd by its control socket (`dpctl/ct-set-maxconns` and
`dpctl/ipf-set-max-nfrags` of ovs-vswitchd(8)), which takes JSON-RPC as RFC 7047 section 4
describes it, and does so again when the switch restarts.
"""

from __future__ import annotations

import json
import logging
import socket
from pathlib import Path

log = logging.getLogger("sluice.conntrack")

# The one userspace datapath of a switch; bridges share it.
DATAPATH = "netdev@ovs-netdev"
# The most that it takes (lib/ipf.c of Open vSwitch); each is forgotten after 15 s.
MAX_FRAGMENTS = 5000
_TIMEOUT = 5.0
_PART = 65536


class ControlError(Exception):
    """ovs-vswitchd refused a command, or does not answer."""


def call(path: Path, method: str, *arguments: str) -> str:
    """The answer of the daemon at control socket `path` to one command of ovs-appctl(8). Raises ControlError."""
    request = {"id": 0, "method": method, "params": list(arguments)}
    decoder, text = json.JSONDecoder(), ""
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(_TIMEOUT)
            connection.connect(str(path))
            connection.sendall(json.dumps(request).encode())
            while part := connection.recv(_PART):
                text += part.decode()
                try:
                    answer, _ = decoder.raw_decode(text)
                except ValueError:
                    continue
                if answer["error"] is not None:
                    raise ControlError(str(answer["error"]).strip())
                return str(answer["result"] or "").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ControlError(f"{path}: {error}") from error
    raise ControlError(f"{path}: no answer")


class UserspaceTables:
    """Applies the limits once to each process of ovs-vswitchd, whose files are in `rundir`."""

    def __init__(self, rundir: Path) -> None:
        self._rundir = rundir
        # Control socket with its inode, which differ for each process, and the limit.
        self._applied: tuple[Path, int, int] | None = None

    def apply(self, limit: int) -> str:
        """Have conntrack take `limit` connections and `MAX_FRAGMENTS`; returns what is wrong.

        That is empty when nothing is, or no switch runs.
        """
        found = self._socket()
        if found is None or (*found, limit) == self._applied:
            return ""
        path, inode = found
        try:
            if call(path, "dpctl/ct-get-maxconns", DATAPATH) != str(limit):
                call(path, "dpctl/ct-set-maxconns", DATAPATH, str(limit))
                log.info("conntrack limit set", extra={"datapath": DATAPATH, "max_entries": limit})
            call(path, "dpctl/ipf-set-max-nfrags", DATAPATH, str(MAX_FRAGMENTS))
        except ControlError as error:
            return f"conntrack limits of {DATAPATH}: {error}"
        self._applied = (path, inode, limit)
        return ""

    @property
    def control(self) -> Path | None:
        """The control socket of the switch; None while no switch runs."""
        found = self._socket()
        return None if found is None else found[0]

    def _socket(self) -> tuple[Path, int] | None:
        try:
            pid = (self._rundir / "ovs-vswitchd.pid").read_text().strip()
            path = self._rundir / f"ovs-vswitchd.{pid}.ctl"
            return path, path.stat().st_ino
        except OSError:
            return None
