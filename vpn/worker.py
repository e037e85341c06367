"""Worker thread of one VPN gateway: its namespace, its IKE daemon and its connections."""

from __future__ import annotations

import logging
import queue
import re
import shutil
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from daemons.namespaces import NamespaceError
from daemons.veth_ports import VethPorts
from state.encryption import EncryptionError, SecretBox
from state.model import State
from state.vpn import Authentication, Tunnel, VpnConnection, inside_port, outside_port
from state.vpn_rows import VpnStatus
from vpn import diagnostics, metrics
from vpn.charon import Charon, CharonError, CharonRefused, CharonStateFile
from vpn.connection import certificates, connection_message, fingerprint, shared_message
from vpn.desired_state import VpnGatewayConfig
from vpn.log_deduplication import LogDeduplication
from vpn.namespace import GatewayNamespace
from vpn.progress import ConnectionProgress, unreachable
from vpn.status import GatewayStatus
from vpn.tunnels import confirm, count, see

log = logging.getLogger("sluice.vpn")

LOOK_SECONDS, COUNT_SECONDS = 2.0, 5.0
# Routes and rules are compared with what they must be.
MEND_SECONDS = 30.0
# Lines of the log come after the events they belong to.
SETTLE_SECONDS = 0.05
YOUNG_SECONDS, PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 2.0, 0.1, 10.0
RETRY_SECONDS = 1.0
_INITIATING = re.compile(r"(\d+\.\d+\.\d+\.\d+) is initiating")
_REMEMBERED, _CLOSINGS = 50, 5
_PACKETS = ("NET", "ENC")


@dataclass(frozen=True, slots=True)
class GatewayContext:
    """What all gateways share; `directory` holds a directory of files for each."""

    directory: Path
    seal: SecretBox
    legs: VethPorts
    report: GatewayStatus
    kernel_esp: bool


class GatewayWorker:
    """The gateway of one network; `set` it, and it goes on until it is left alone or taken away."""

    def __init__(self, key: int, around: GatewayContext) -> None:
        self._key, self._around = key, around
        self._directory = around.directory / str(key)
        self._namespace = GatewayNamespace(key, around.kernel_esp)
        self._memory = CharonStateFile(self._directory)
        self._events: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
        self._charon = Charon(
            self._directory, self._namespace, around.kernel_esp, lambda name, message: self._events.put((name, message))
        )
        self._site: VpnGatewayConfig | None = None
        self._progress: dict[str, ConnectionProgress] = {}
        self._narrowed: set[str] = set()
        self._closed: frozenset[str] = frozenset()
        self._repetition = LogDeduplication()
        self._peers: dict[str, str] = {}
        self._strangers: dict[str, tuple[str, str, str]] = {}
        self._ending = ""
        self._fresh, self._settled = True, False
        self._look = self._see = self._count = self._mend = 0.0
        self._born, self._pause, self._retry = 0.0, PAUSE_SECONDS, 0.0
        self._told = ""
        self._thread = threading.Thread(target=self._run, name=f"gateway-{key}", daemon=True)
        self._thread.start()

    @property
    def running(self) -> bool:
        """Whether its IKE daemon answers."""
        return self._charon.running

    @property
    def ended(self) -> bool:
        """Whether it was left alone or is taken away."""
        return not self._thread.is_alive()

    def set(self, site: VpnGatewayConfig) -> None:
        """Be as `site` says."""
        self._events.put(("site", site))

    def end(self, *, remove: bool) -> None:
        """Leave all as it is, or take it all away. Does not wait: see `join`."""
        self._events.put(("end", "remove" if remove else "leave"))

    def join(self, seconds: float) -> None:
        """Wait until it has ended."""
        self._thread.join(seconds)

    def _run(self) -> None:
        while not self._ending:
            try:
                self._take(self._wait())
                if self._site is not None and not self._ending:
                    self._reconcile(self._site, time.monotonic())
                self._told = ""
            except (NamespaceError, CharonError, OSError) as error:
                self._trouble(str(error))
            except Exception:
                metrics.FAULTS.inc()
                log.exception("keeping a gateway failed", extra={"key": self._key})
                self._trouble("internal fault; see the log of sluice-vpn")
        if self._ending == "leave":
            self._charon.release()
            return
        while True:
            try:
                self._charon.stop()
                self._namespace.remove()
                shutil.rmtree(self._directory, ignore_errors=True)
                log.info("gateway removed", extra={"key": self._key})
                return
            except (NamespaceError, OSError) as error:
                log.warning("gateway not removed", extra={"key": self._key, "error": str(error)})
                time.sleep(RETRY_SECONDS)

    def _wait(self) -> float:
        soonest = min(self._look, self._see, self._count)
        if self._retry:
            soonest = self._retry
        return max(0.0, min(soonest - time.monotonic(), 0.25 if self._site is not None else LOOK_SECONDS))

    def _take(self, seconds: float) -> None:
        try:
            event = self._events.get(timeout=seconds) if seconds > 0 else self._events.get_nowait()
            while True:
                self._event(*event)
                event = self._events.get_nowait()
        except queue.Empty:
            pass

    def _event(self, name: str, message: Any) -> None:
        match name:
            case "site":
                if message != self._site:
                    self._site, self._settled, self._retry = message, False, 0.0
            case "end":
                self._ending = message
            case "gone":
                # One that was replaced says so too.
                if self._charon.running:
                    self._look = 0.0
            case "log":
                self._heard(message)
            case _:
                self._see = min(self._see, time.monotonic() + SETTLE_SECONDS)
                self._changed(name, message)

    def _changed(self, name: str, message: Mapping[str, Any]) -> None:
        """An SA came, went or has new keys; its counters are the last there are of it."""
        for connection, facts in message.items():
            if name == "ike-updown":
                self._repetition.forget(connection)
            progress = self._progress.get(connection)
            if progress is None or not isinstance(facts, dict):
                continue
            shown = list(facts.get("child-sas", {}).values())
            if name == "child-rekey":
                progress.rekeyed()
                shown = [one[which] for one in shown for which in ("old", "new") if which in one]
            counters = {one["uniqueid"]: count(one) for one in shown if "uniqueid" in one}
            progress.count(self._memory.counted.setdefault(connection, {}), counters)

    def _heard(self, message: Mapping[str, Any]) -> None:
        line, number = message.get("msg", ""), message.get("ikesa-uniqueid", "")
        name = message.get("ikesa-name", "")
        site, wall = self._site, _wall()
        group = message.get("group", "")
        # Packets of a tunnel at rest come every few seconds, and so do attempts to reach a dead peer.
        known = group in _PACKETS or not self._repetition.new(name, line, time.monotonic())
        level = logging.DEBUG if known else logging.INFO
        extra = {"gateway": site.gateway.name if site else self._key, "connection": name, "group": group}
        log.log(level, "charon: %s", line, extra=extra)
        if found := _INITIATING.search(line):
            self._peers[number] = found[1]
        if found_stranger := diagnostics.stranger(line):
            self._strangers[number] = found_stranger
        if (prefix := diagnostics.narrowed(line)) and prefix not in self._narrowed:
            self._narrowed.add(prefix)
            self._settled = False
        if line == "no matching peer config found" and number in self._strangers:
            own, peer, theirs = self._strangers[number]
            for progress in self._of(peer):
                progress.fail(diagnostics.stranger_error(own, theirs, progress.offer), number, wall)
        elif peer := diagnostics.nobody(line):
            for progress in self._of(peer):
                progress.fail(diagnostics.nobody_error(progress.offer), number, wall)
        elif name in self._progress:
            self._progress[name].heard(line, number, wall)
        else:
            for progress in self._of(self._peers.get(number, "")):
                progress.heard(line, number, wall)
        self._see = min(self._see, time.monotonic() + SETTLE_SECONDS)

    def _of(self, peer: str) -> list[ConnectionProgress]:
        """The connections with a peer of this address."""
        return [one for one in self._progress.values() if peer and peer in one.connection.peer_addresses]

    def _reconcile(self, site: VpnGatewayConfig, now: float) -> None:
        if now < self._retry:
            return
        self._retry = 0.0
        if now >= self._mend:
            self._settled, self._mend = False, now + MEND_SECONDS
        if not self._settled or now >= self._look:
            self._keep_namespace(site)
            self._keep_charon(site, now)
            self._look = now + LOOK_SECONDS
        if not self._settled:
            self._keep_connections(site)
            self._settled = True
            self._see = 0.0
        if now >= min(self._see, self._count):
            self._observe(now)
        self._act(now)

    def _keep_namespace(self, site: VpnGatewayConfig) -> None:
        if self._namespace.legs_present() and self._settled:
            return
        made = self._namespace.make(site)
        self._around.legs.ready((inside_port(self._key), outside_port(self._key)), renewed=made)
        if made:
            self._settled = False
            log.info("namespace made", extra={"gateway": site.gateway.name, "namespace": self._namespace.name})

    def _keep_charon(self, site: VpnGatewayConfig, now: float) -> None:
        if self._charon.running and self._charon.alive():
            return
        self._settled = False
        if self._fresh and self._charon.adopt():
            self._memory.read()
            log.info("IKE daemon adopted", extra={"gateway": site.gateway.name})
        else:
            if self._born:
                young = now - self._born < YOUNG_SECONDS
                self._pause = min(self._pause * 2, LONGEST_PAUSE_SECONDS) if young else PAUSE_SECONDS
                metrics.RESTARTS.inc()
                log.warning("IKE daemon ended; starting it again", extra={"gateway": site.gateway.name})
                if young:
                    self._born = 0.0
                    self._retry = now + self._pause
                    raise CharonError("the IKE daemon keeps ending")
            self._charon.kill()
            self._memory.forget()
            self._charon.start()
            for progress in self._progress.values():
                progress.restart()
            log.info("IKE daemon started", extra={"gateway": site.gateway.name})
        self._fresh, self._born = False, now

    def _keep_connections(self, site: VpnGatewayConfig) -> None:
        """Load what is new or changed, and forget what is gone; the others are not touched."""
        self._namespace.route(site, self._narrowed, self._closed)
        wanted = {one.name: one for one in site.gateway.connections}
        for name in self._memory.loaded.keys() - wanted.keys():
            self._unload(name)
        for name in self._progress.keys() - wanted.keys():
            del self._progress[name]
        for name, connection in wanted.items():
            self._keep_connection(site, name, connection)
        self._memory.keep()
        gateway = VpnStatus(f"vpnGateways/{site.gateway.name}", site.gateway.created_at, State.LIVE)
        self._around.report.tell(gateway)

    def _keep_connection(self, site: VpnGatewayConfig, name: str, connection: VpnConnection) -> None:
        mark = fingerprint(site, connection, not self._around.kernel_esp)
        same = self._memory.loaded.get(name) == mark
        progress = self._progress.get(name)
        if progress is None:
            told = self._around.report.last(f"vpnConnections/{name}")
            tunnel = told.tunnel if told is not None and told.tunnel is not None else Tunnel()
            progress = self._progress[name] = ConnectionProgress(site, connection, tunnel, adopted=same)
        else:
            progress.replaced(site, connection, changed=not same)
        if same:
            progress.loaded = True
            return
        if name in self._memory.loaded:
            self._unload(name)
        if connection.peer and not connection.peer_addresses:
            return
        try:
            self._load(site, connection)
        except (EncryptionError, CharonRefused) as error:
            progress.problem = str(error)
            log.warning("connection not loaded", extra={"connection": name, "error": str(error)})
            return
        progress.loaded, self._memory.loaded[name] = True, mark

    def _load(self, site: VpnGatewayConfig, connection: VpnConnection) -> None:
        """Have charon know it. Raises EncryptionError, CharonRefused, CharonError."""
        if connection.authentication is Authentication.PRE_SHARED_KEY:
            secret = self._around.seal.open(connection.secret)
            self._charon.command("load-shared", shared_message(site, connection, secret))
        else:
            key = {"type": "any", "data": self._around.seal.open(connection.secret)}
            self._memory.keys[connection.name] = self._charon.command("load-key", key)["id"]
            for certificate in certificates(connection.certificate)[1:]:
                self._charon.command("load-cert", {"type": "X509", "flag": "NONE", "data": certificate})
        self._charon.command("load-conn", connection_message(site, connection, not self._around.kernel_esp))

    def _unload(self, name: str) -> None:
        """Close it and have charon forget it."""
        key = self._memory.keys.pop(name, "")
        self._try("unload-conn", {"name": name}, name)
        # Until there is none: an SA may have been made meanwhile.
        for _ in range(_CLOSINGS):
            if not self._try("terminate", {"ike": name, "force": "yes", "timeout": "1000"}, name):
                break
        self._try("unload-shared", {"id": name}, name)
        if key and key not in self._memory.keys.values():
            self._try("unload-key", {"id": key}, name)
            # Certificates that peers have sent are remembered too.
            self._try("flush-certs", {"type": "X509"}, name)
        del self._memory.loaded[name]

    def _observe(self, now: float) -> None:
        """Look at all SAs, count, and tell."""
        found = self._charon.security_associations()
        established = {name: progress.children for name, progress in self._progress.items() if progress.established}
        unknown = confirm(found, established, self._charon.associations_of)
        wall = _wall()
        for name, progress in self._progress.items():
            if name in unknown:
                continue
            counted = self._memory.counted.setdefault(name, {})
            progress.saw(see(found[name]), counted, now, wall)
            for old in list(counted)[:-_REMEMBERED]:
                del counted[old]
            self._around.report.tell(progress.status())
        closed = unreachable(self._progress.values())
        if closed != self._closed:
            self._closed, self._settled = closed, False
        alive = {facts["uniqueid"] for associations in found.values() for facts in associations}
        for known in (self._peers, self._strangers):
            for number in list(known)[:-_REMEMBERED]:
                if number not in alive:
                    del known[number]
        self._memory.keep()
        self._see = self._count = now + COUNT_SECONDS

    def _act(self, now: float) -> None:
        """Open what is not open, and try once whether keys can be replaced."""
        for name, progress in self._progress.items():
            for child in progress.to_initiate(now):
                self._try("initiate", {"ike": name, "child": child, "timeout": "-1"}, name)
                self._see = min(self._see, now + RETRY_SECONDS)
        rekeyed = [name for name, progress in self._progress.items() if progress.to_rekey(now)]
        if rekeyed:
            # What was sent with the old keys is not told afterwards.
            self._observe(now)
        for name in rekeyed:
            self._try("rekey", {"child": min(self._progress[name].children, default=name)}, name)

    def _try(self, command: str, message: dict[str, str], name: str) -> bool:
        """Whether charon did it. Raises CharonError."""
        try:
            self._charon.command(command, message)
        except CharonRefused as error:
            log.info("%s: %s", command, error, extra={"connection": name})
            return False
        return True

    def _trouble(self, problem: str) -> None:
        """All is tried again; who asks is told."""
        self._settled = False
        self._look = 0.0
        self._retry = max(self._retry, time.monotonic() + PAUSE_SECONDS)
        site = self._site
        if site is None:
            return
        if problem != self._told:
            self._told = problem
            log.warning("gateway unhealthy", extra={"gateway": site.gateway.name, "error": problem})
        gateway = site.gateway
        self._around.report.tell(VpnStatus(f"vpnGateways/{gateway.name}", gateway.created_at, State.ERROR, problem))
        if not self._charon.running:
            for progress in self._progress.values():
                progress.lost(problem, _wall())
                self._around.report.tell(progress.status())


def _wall() -> int:
    return time.time_ns() // 1_000_000
