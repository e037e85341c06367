"""The IKE daemon of one gateway: strongSwan's charon in the gateway's namespace.

It runs in a session of its own and outlives this process; the next one finds
it by its control socket and adopts it.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import select
import signal
import socket
import subprocess
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import vici

from daemons.programs import CHARON, VPN_PACKAGES
from vpn.namespace import OUTSIDE, GatewayNamespace

log = logging.getLogger("sluice.vpn")

# Debian's AppArmor profile lets charon read and write /run/charon.* and nothing else there.
_FILE = "charon.conf"
ANSWER_SECONDS = 5.0
_START_SECONDS = 10.0
_STOP_SECONDS = 2.0
_BUSY_SECONDS = 0.5
_NONE = -1
EVENTS = ("log", "ike-updown", "child-updown", "ike-rekey", "child-rekey")

_CONFIGURATION = """charon {{
    load = random nonce openssl kdf pem pkcs1 pkcs8 x509 pubkey constraints {kernel} socket-default vici updown
    threads = 16
    install_virtual_ip = no
    install_routes = no
    routing_table = 220
    routing_table_prio = 40000
    interfaces_use = {outside}
    retransmit_timeout = 0.7
    retransmit_base = 1.2
    retransmit_tries = 3
    retry_initiate_interval = 5s
    syslog {{
        daemon {{
            default = -1
        }}
    }}
    plugins {{
        vici {{
            socket = unix:///run/charon.vici
        }}
        kernel-libipsec {{
            allow_peer_ts = yes
        }}
    }}
}}
"""


class CharonError(Exception):
    """Charon does not run, or does not answer; the text says why."""


class CharonRefused(Exception):
    """Charon answered a command by no; the text is what it says."""


def plain(value: Any) -> Any:
    """A message of vici with texts instead of bytes."""
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    return value


def _listed(session: Any, message: Mapping[str, str]) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for one in session.streamed_request("list-sas", "list-sa", message):
        for name, facts in plain(one).items():
            found[name].append(facts)
    return found


class Charon:
    """The IKE daemon of a gateway whose files are in `directory`; used from one thread.

    `on_event(name, message)` is called on a thread of its own; `on_event("gone", {})`
    when this daemon has ended.
    """

    def __init__(
        self,
        directory: Path,
        namespace: GatewayNamespace,
        kernel_esp: bool,
        on_event: Callable[[str, dict[str, Any]], None],
    ) -> None:
        self._directory, self._namespace, self._on_event = directory, namespace, on_event
        kernel = "kernel-netlink" if kernel_esp else "kernel-libipsec kernel-netlink"
        self._configuration = _CONFIGURATION.format(kernel=kernel, outside=OUTSIDE)
        self._process: subprocess.Popen[bytes] | None = None
        # Of the process: its number may be another's by the time it is needed.
        self._held = _NONE
        self._link: socket.socket | None = None
        self._session: Any = None

    @property
    def running(self) -> bool:
        """Whether there is one to command."""
        return self._session is not None

    def adopt(self) -> bool:
        """Take charge of one that runs with this configuration in this namespace. Ends any other."""
        pid = self._found()
        if not pid:
            return False
        self._hold(pid)
        try:
            same = (self._directory / _FILE).read_text() == self._configuration
            here = os.stat(f"/proc/{pid}/ns/net").st_ino == self._namespace.identity()
            if same and here:
                self._attach()
                return True
        except (OSError, CharonError) as error:
            log.warning("IKE daemon found cannot be used", extra={"pid": pid, "error": str(error)})
        self.kill()
        return False

    def start(self) -> None:
        """Start one, whatever another left behind. Raises CharonError, NamespaceError, OSError."""
        if not os.access(CHARON, os.X_OK):
            raise CharonError(f"strongSwan is not installed: apt install {VPN_PACKAGES}")
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Charon does not start while another seems to run.
        for stale in ("charon.pid", "charon.vici"):
            (self._directory / stale).unlink(missing_ok=True)
        file = self._directory / _FILE
        file.touch(mode=0o600)
        file.write_text(self._configuration)
        self._end_strays()
        self._namespace.forget_charon()
        # The name of its pid file is compiled in: each daemon has a /run of its own.
        script = 'mount --make-rprivate / && mount --bind "$0" /run && exec "$1"'
        self._process = subprocess.Popen(
            ["nsenter", f"--net={self._namespace.file}", "unshare", "--mount", "sh", "-c", script,
             str(self._directory), CHARON],
            env={"PATH": os.environ.get("PATH", "/usr/sbin:/usr/bin"), "STRONGSWAN_CONF": f"/run/{_FILE}"},
            cwd="/", stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip
        self._hold(self._process.pid)
        deadline = time.monotonic() + _START_SECONDS
        while not self._found():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise CharonError("the IKE daemon does not start")
            time.sleep(0.005)
        self._attach()

    def kill(self) -> None:
        """End it at once, if there is one."""
        self._end(signal.SIGKILL, _STOP_SECONDS)

    def stop(self) -> None:
        """Have it close its connections and end."""
        if self._held == _NONE and (pid := self._found()):
            self._hold(pid)
        self._end(signal.SIGTERM, _STOP_SECONDS)
        self._end(signal.SIGKILL, _STOP_SECONDS)
        self._end_strays()

    def alive(self) -> bool:
        """Whether it answers; one that does not within `ANSWER_SECONDS` is ended."""
        try:
            self.command("version")
        except CharonError:
            return False
        return True

    def release(self) -> None:
        """Let it run alone."""
        self._detach()
        if self._held != _NONE:
            os.close(self._held)
            self._held = _NONE

    def command(self, name: str, message: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """What charon answers to a command of vici. Raises CharonRefused, CharonError."""
        session = self._alive()
        try:
            answer = plain(session.request(name, message))
        except vici.exception.CommandException as error:
            raise CharonRefused(str(error).removeprefix("Command failed: ")) from None
        except (OSError, vici.exception.SessionException, vici.exception.DeserializationException) as error:
            raise self._lost(error) from error
        return dict(answer)

    def security_associations(self) -> dict[str, list[dict[str, Any]]]:
        """Facts of IKE SAs by connection (`list-sas`), without those charon is working on. Raises CharonError."""
        try:
            return _listed(self._alive(), {"noblock": "yes"})
        except (OSError, vici.exception.SessionException, vici.exception.DeserializationException) as error:
            raise self._lost(error) from error

    def associations_of(self, connection: str) -> list[dict[str, Any]] | None:
        """Facts of the IKE SAs of one connection, waiting for those charon is working on; None: for too long.

        Raises CharonError.
        """
        self._alive()
        try:
            # By a link of its own: an answer that comes too late must not be taken for that of another command.
            with self._connect() as link:
                link.settimeout(_BUSY_SECONDS)
                return _listed(vici.Session(link), {"ike": connection}).get(connection, [])
        except TimeoutError:
            return None
        except (OSError, vici.exception.SessionException, vici.exception.DeserializationException) as error:
            raise self._lost(error) from error

    def _alive(self) -> Any:
        if self._session is None:
            raise CharonError("the IKE daemon does not run")
        return self._session

    def _lost(self, error: Exception) -> CharonError:
        hung = isinstance(error, TimeoutError)
        self.kill()
        return CharonError("the IKE daemon did not answer" if hung else "the IKE daemon ended")

    def _connect(self) -> socket.socket:
        link = socket.socket(socket.AF_UNIX)
        try:
            link.settimeout(ANSWER_SECONDS)
            link.connect(str(self._directory / "charon.vici"))
        except OSError:
            link.close()
            raise
        return link

    def _found(self) -> int:
        """Process id of whoever listens at the control socket; 0: nobody."""
        try:
            with self._connect() as link:
                # struct ucred of unix(7): pid, uid, gid.
                credentials = link.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        except OSError:
            return 0
        return int.from_bytes(credentials[:4], "little")

    def _attach(self) -> None:
        """Begin a session for commands and one for events. Raises CharonError."""
        try:
            self._link, events = self._connect(), self._connect()
            self._session = vici.Session(self._link)
            self._session.version()
        except OSError as error:
            raise CharonError(f"the control socket of the IKE daemon does not answer: {error}") from error
        threading.Thread(target=self._listen, args=(events,), name="charon", daemon=True).start()

    def _listen(self, link: socket.socket) -> None:
        with link:
            try:
                session = vici.Session(link)
                for name, message in session.listen(EVENTS, timeout=None):
                    self._on_event(name.decode(), plain(message))
            except (OSError, vici.exception.SessionException, vici.exception.DeserializationException):
                self._on_event("gone", {})

    def _detach(self) -> None:
        if self._link is not None:
            self._link.close()
        self._link = self._session = None

    def _end_strays(self) -> None:
        """End those in the namespace whose control socket is gone: they hold the ports of IKE."""
        here = self._namespace.identity()
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if (process / "comm").read_text() == "charon\n" and os.stat(process / "ns/net").st_ino == here:
                    self._hold(int(process.name))
                    self._end(signal.SIGKILL, _STOP_SECONDS)

    def _hold(self, pid: int) -> None:
        """Be about this process, if there is one of that number."""
        if self._held != _NONE:
            os.close(self._held)
        try:
            self._held = os.pidfd_open(pid)
        except ProcessLookupError:
            self._held = _NONE

    def _end(self, number: int, seconds: float) -> None:
        """Send a signal and wait until the process has ended, for so long."""
        self._detach()
        if self._held == _NONE:
            return
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._held, number)
        waiting = select.poll()
        waiting.register(self._held, select.POLLIN)
        if not waiting.poll(seconds * 1000):
            return
        os.close(self._held)
        self._held = _NONE
        if self._process is not None and self._process.poll() is not None:
            self._process = None


class CharonStateFile:
    """What was loaded and counted, beside the charon it is about, for the next process."""

    def __init__(self, directory: Path) -> None:
        self._file = directory / "loaded.json"
        self.loaded: dict[str, str] = {}
        self.counted: dict[str, dict[str, list[int]]] = {}
        self.keys: dict[str, str] = {}
        self._written = ""

    def read(self) -> None:
        """Remember what was kept; nothing when that cannot be read."""
        try:
            kept = json.loads(self._file.read_text())
            self.loaded, self.counted, self.keys = kept["loaded"], kept["counted"], kept["keys"]
        except (OSError, ValueError, KeyError):
            self.forget()

    def forget(self) -> None:
        """Remember nothing: charon is a new one."""
        self.loaded, self.counted, self.keys = {}, {}, {}
        self._file.unlink(missing_ok=True)

    def keep(self) -> None:
        """Write it down. Raises OSError."""
        text = json.dumps({"loaded": self.loaded, "counted": self.counted, "keys": self.keys})
        if text != self._written:
            unfinished = self._file.with_suffix(".new")
            unfinished.write_text(text)
            unfinished.replace(self._file)
            self._written = text
