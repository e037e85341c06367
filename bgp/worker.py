"""Worker thread of one interconnect: its namespace, its FRR and its session."""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import select
import shutil
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bgp import formatting, metrics, probe
from bgp.configuration import configuration, resets, steps, uses_bfd
from bgp.desired_state import Link
from bgp.diagnostics import SessionDiagnostics
from bgp.frr import Frr, FrrError, FrrRefused
from bgp.hold_down import HoldDown, Penalty
from bgp.namespace import InterconnectNamespace
from bgp.progress import SessionObservation, SessionProgress
from bgp.routes import ImportPolicy
from bgp.state_file import FrrStateFile
from bgp.status import InterconnectReport
from daemons.namespaces import NamespaceError
from daemons.programs import BFDD, BGPD
from daemons.veth_ports import VethPorts
from state.encryption import EncryptionError, SecretBox
from state.interconnect import BfdState, BgpSession
from state.interconnect_rows import InterconnectStatus
from state.model import State

log = logging.getLogger("sluice.bgp")

# A session that is lost is to be known within 0.3 s.
SEE_SECONDS, BFD_SECONDS, DIAGNOSE_SECONDS = 0.1, 0.2, 1.0
# Routes are read at most so often, and for at most a quarter of the time. While many come they are waited for, a while.
READ_SECONDS, READ_SHARE, READ_AGAIN_SECONDS = 0.2, 3, 30.0
MANY, MANY_SECONDS, COMING_SECONDS = 200, 0.6, 0.03
LOOK_SECONDS, MEND_SECONDS = 2.0, 30.0
YOUNG_SECONDS, PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 2.0, 0.1, 10.0
RETRY_SECONDS = 1.0


Table = tuple[int, int, int]
"""What changes with the routes: see `_seen`."""
_NOTHING: Table = (0, 0, 0)


@dataclass(frozen=True, slots=True)
class InterconnectContext:
    """What all interconnects share; `directory` holds a directory of files for each."""

    directory: Path
    seal: SecretBox
    legs: VethPorts
    report: InterconnectReport


class InterconnectWorker:
    """Keeps the interconnect of one number; `set` it, and it goes on until it is left alone or taken away."""

    def __init__(self, number: int, around: InterconnectContext) -> None:
        self._number, self._around = number, around
        self._directory = around.directory / str(number)
        self._namespace = InterconnectNamespace(number)
        self._frr = Frr(self._directory, self._namespace)
        self._memory = FrrStateFile(around.directory / f"{number}.json")
        self._diagnosis = SessionDiagnostics(self._frr, self._namespace)
        self._link: Link | None = None
        self._progress: SessionProgress | None = None
        self._judge: ImportPolicy | None = None
        self._problem = ""
        self._fresh, self._settled = True, False
        self._table: Table | None = None
        self._coming: tuple[Table, float] | None = None
        self._look = self._mend = self._bfd = self._diagnose = self._read = self._again = 0.0
        self._born, self._pause, self._retry = 0.0, PAUSE_SECONDS, 0.0
        self._logged = ""
        self._ending = ""
        self._queue: queue.SimpleQueue[Link] = queue.SimpleQueue()
        self._wake, self._waker = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._thread = threading.Thread(target=self._run, name=f"interconnect-{number}", daemon=True)
        self._thread.start()

    @property
    def running(self) -> bool:
        """Whether its FRR runs."""
        return self._frr.running

    @property
    def ended(self) -> bool:
        """Whether it was left alone or is taken away."""
        return not self._thread.is_alive()

    def set(self, link: Link) -> None:
        """Be as `link` says."""
        self._queue.put(link)
        self._call()

    def end(self, *, remove: bool) -> None:
        """Leave all as it is, or take it all away. Does not wait: see `join`."""
        self._ending = "remove" if remove else "leave"
        self._call()

    def join(self, seconds: float) -> None:
        """Wait until it has ended."""
        self._thread.join(seconds)

    def _call(self) -> None:
        with contextlib.suppress(BlockingIOError, OSError):
            os.write(self._waker, b"\0")

    def _run(self) -> None:
        while not self._ending:
            try:
                self._wait()
                self._take()
                if self._link is not None and self._progress is not None and not self._ending:
                    self._reconcile(self._link, self._progress, time.monotonic())
                    self._logged = ""
            except (NamespaceError, FrrError, FrrRefused, OSError) as error:
                self._trouble(str(error))
            except Exception:
                metrics.FAULTS.inc()
                log.exception("keeping an interconnect failed", extra={"number": self._number})
                self._trouble("internal fault; see the log of sluice-bgp")
        if self._ending == "leave":
            self._frr.release()
        else:
            self._remove()
        # Nobody calls any more: whoever ended it does not set it again.
        os.close(self._wake)
        os.close(self._waker)

    def _remove(self) -> None:
        while True:
            try:
                self._frr.stop()
                self._namespace.remove()
                shutil.rmtree(self._directory, ignore_errors=True)
                self._memory.forget()
                log.info("interconnect removed", extra={"number": self._number})
                return
            except (NamespaceError, OSError) as error:
                log.warning("interconnect not removed", extra={"number": self._number, "error": str(error)})
                time.sleep(RETRY_SECONDS)

    def _wait(self) -> None:
        """Until it is time to look, something is asked, or a process has ended."""
        seconds = SEE_SECONDS if self._link is not None else LOOK_SECONDS
        if self._coming is not None:
            seconds = COMING_SECONDS
        if self._retry:
            seconds = max(0.0, self._retry - time.monotonic())
        waiting = select.poll()
        for descriptor in (self._wake, *self._frr.descriptors):
            waiting.register(descriptor, select.POLLIN)
        if self._queue.empty():
            waiting.poll(seconds * 1000)
        with contextlib.suppress(BlockingIOError):
            os.read(self._wake, 4096)

    def _take(self) -> None:
        link: Link | None = None
        with contextlib.suppress(queue.Empty):
            while True:
                link = self._queue.get_nowait()
        if link is None or link == self._link:
            return
        self._link, self._settled, self._retry = link, False, 0.0
        if self._progress is None:
            told = self._around.report.last(link.interconnect.name)
            known = told is not None and told.revision <= link.interconnect.revision
            self._progress = SessionProgress(link, told.session if told is not None and known else BgpSession())
        self._judge, self._table, self._mend = ImportPolicy(link), None, 0.0

    def _reconcile(self, link: Link, progress: SessionProgress, now: float) -> None:
        if now < self._retry:
            return
        self._retry = 0.0
        if self._frr.running and self._frr.ended():
            self._lost_frr(progress)
        if not self._settled or now >= min(self._look, self._mend):
            self._keep_namespace(link, now)
            self._look = now + LOOK_SECONDS
        self._keep_frr(link, progress, now)
        # A change may put right what it was held for.
        holds = self._memory.holds_of(link.interconnect.revision).passed(_wall())
        if holds != self._memory.holds:
            self._memory.holds, self._settled = holds, False
        if not self._settled:
            self._configure(link, progress, now)
        self._observe(link, progress, now)
        self._tell(link, progress)
        self._memory.keep()

    def _keep_namespace(self, link: Link, now: float) -> None:
        if self._namespace.leg_present() and now < self._mend:
            return
        made = self._namespace.make(link)
        self._around.legs.ready([self._namespace.port], renewed=made)
        self._mend = now + MEND_SECONDS
        if made:
            log.info("leg made", extra=self._named(link) | {"namespace": self._namespace.name})

    def _keep_frr(self, link: Link, progress: SessionProgress, now: float) -> None:
        if self._frr.running:
            return
        self._settled = False
        if self._fresh and self._memory.read() and self._frr.adopt():
            log.info("FRR adopted", extra=self._named(link))
        else:
            if self._born:
                metrics.RESTARTS.inc()
                young = now - self._born < YOUNG_SECONDS
                self._pause = min(self._pause * 2, LONGEST_PAUSE_SECONDS) if young else PAUSE_SECONDS
                if young:
                    self._born, self._retry = 0.0, now + self._pause
                    raise FrrError("FRR keeps ending")
            self._memory.forget()
            self._frr.start()
            if progress.up:
                self._lost_frr(progress)
            progress.started()
            log.info("FRR started", extra=self._named(link))
        self._fresh, self._born = False, now

    def _lost_frr(self, progress: SessionProgress) -> None:
        """The session went with the daemons."""
        progress.ended("FRR ended; it is started again", _wall())
        if self._link is not None:
            log.warning("FRR ended", extra=self._named(self._link))
            self._tell(self._link, progress)
            self._around.report.tell_routes(self._link.interconnect.name, ())
        self._table = None

    def _configure(self, link: Link, progress: SessionProgress, now: float) -> None:
        one = link.interconnect
        password = self._problem = ""
        try:
            password = self._around.seal.open(one.password) if one.password else ""
        except EncryptionError as error:
            self._problem = f"the password cannot be used: {error}"
        closed = not one.enabled or self._memory.holds.on or bool(self._problem)
        digest = self._around.seal.digest(password) if password else ""
        before = self._memory.told
        wanted = configuration(link, digest, closed=closed, bfd=progress.up or progress.session.bfd is BfdState.UP)
        if wanted != before:
            reset = resets(before, wanted)
            # If this ends in between, nobody knows what FRR was told.
            self._memory.forget()
            self._frr.configure(steps(before, wanted), password)
            self._memory.told = wanted
            progress.replaced(link, reset=reset)
            if before is not None and before.identity != wanted.identity:
                progress.started()
            if reset:
                self._diagnosis.begin(now)
            log.info("FRR configured", extra=self._named(link))
        else:
            progress.replaced(link, reset=False)
        self._settled = True

    def _observe(self, link: Link, progress: SessionProgress, now: float) -> None:
        one = link.interconnect
        seen = SessionObservation.of(self._frr.shown(BGPD, "bgp ipv4 unicast summary"), one.peer_address)
        if self._memory.holds.on:
            # Not even for the moment until bgpd has closed it.
            seen = replace(seen, established=False)
        was_up = progress.up
        lost, blamed = progress.saw(seen)
        if lost:
            self._on_loss(link, progress, blamed, now)
        if progress.up and seen.table[1] > one.maximum_prefixes:
            self._hold(link, progress, Penalty.PREFIXES, formatting.too_many(one))
        if progress.up:
            if lost or not was_up:
                log.info("session established", extra=self._named(link))
                self._diagnosis.begin(now)
                self._bfd = self._read = 0.0
                self._table = None
            self._see_peer(link, progress, now)
            self._exchange(link, progress, seen, now)
            return
        self._coming = None
        self._see_peer(link, progress, now)
        if now >= self._diagnose:
            self._diagnose = now + DIAGNOSE_SECONDS
            if seen.overflown and not self._memory.holds.on:
                # By a daemon before this one, or for a limit of before.
                self._frr.ask(BGPD, f"clear bgp {one.peer_address}")
                self._diagnosis.begin(now)
            elif one.enabled and not self._memory.holds.on and not self._problem:
                reason = self._diagnosis.look(one, now)
                if reason and reason != progress.reason:
                    log.info("session not established: %s", reason, extra=self._named(link))
                    progress.blame(reason, _wall())

    def _on_loss(self, link: Link, progress: SessionProgress, blamed: int, now: float) -> None:
        one, wall = link.interconnect, _wall()
        if blamed:
            reason, too_many = self._diagnosis.of_loss(one, now)
            progress.blame(reason, wall, anew=True)
            log.warning("session lost: %s", reason, extra=self._named(link))
            holds = self._memory.holds
            holds = holds.hold(Penalty.PREFIXES, reason, wall) if too_many else holds.went_down(blamed, wall)
            self._held(link, progress, holds, Penalty.PREFIXES if too_many else Penalty.FLAPS)
        self._bfd = 0.0
        if not progress.up:
            self._tell(link, progress)
            self._around.report.tell_routes(one.name, ())

    def _hold(self, link: Link, progress: SessionProgress, harm: Penalty, reason: str) -> None:
        """The session is there, and must not be."""
        wall = _wall()
        log.warning("session closed: %s", reason, extra=self._named(link))
        self._held(link, progress, self._memory.holds.hold(harm, reason, wall), harm)
        progress.blame(reason, wall, anew=True)
        self._tell(link, progress)
        self._around.report.tell_routes(link.interconnect.name, ())

    def _held(self, link: Link, progress: SessionProgress, holds: HoldDown, harm: Penalty) -> None:
        if holds.on:
            metrics.HOLDS.labels(harm.value).inc()
            log.warning("session held: %s", holds.detail, extra=self._named(link))
            progress.up, self._settled = False, False
        self._memory.holds = holds

    def _see_peer(self, link: Link, progress: SessionProgress, now: float) -> None:
        _, mac = probe.arp(self._frr.process(), link.interconnect.peer_address)
        progress.met(mac)
        if now < self._bfd:
            return
        self._bfd = now + BFD_SECONDS
        self._diagnosis.hear(now)
        status = ""
        if link.interconnect.bfd_milliseconds:
            peers = self._frr.shown(BFDD, "bfd peers") or ()
            status = next((one["status"] for one in peers if one.get("peer") == link.interconnect.peer_address), "")
        progress.saw_bfd(status)
        used = self._memory.told is not None and uses_bfd(self._memory.told)
        if link.interconnect.bfd_milliseconds and used is not (progress.up or status == "up"):
            self._settled = False

    def _exchange(self, link: Link, progress: SessionProgress, seen: SessionObservation, now: float) -> None:
        """Read the routes, when they may have changed."""
        if self._judge is None or (seen.table == self._table and now < self._again):
            self._coming = None
            return
        if self._still_coming(seen.table, now) or now < self._read:
            return
        peer = link.interconnect.peer_address
        routes = self._judge.routes(self._frr.shown(BGPD, "bgp ipv4 unicast"))
        told = self._frr.shown(BGPD, f"bgp ipv4 unicast neighbors {peer} advertised-routes")
        progress.exchanged(routes, list(told.get("advertisedRoutes", ())))
        self._around.report.tell_routes(link.interconnect.name, routes)
        self._table, self._coming = seen.table, None
        took = time.monotonic() - now
        self._read, self._again = now + took + max(READ_SECONDS, READ_SHARE * took), now + READ_AGAIN_SECONDS

    def _still_coming(self, table: Table, now: float) -> bool:
        """Whether many routes are on their way: read before they are all there, they would be read twice."""
        last, since = self._coming or (self._table or _NOTHING, now)
        self._coming = table, since
        return abs(table[0] - last[0]) > MANY and now - since < MANY_SECONDS

    def _tell(self, link: Link, progress: SessionProgress) -> None:
        one = link.interconnect
        session = progress.status(self._memory.holds, _wall())
        state = State.ERROR if self._problem else State.LIVE
        self._around.report.tell(InterconnectStatus(one.name, one.revision, state, self._problem, session))

    def _trouble(self, problem: str) -> None:
        """All is tried again; who asks is told."""
        self._settled, self._mend = False, 0.0
        self._retry = max(self._retry, time.monotonic() + PAUSE_SECONDS)
        link, progress = self._link, self._progress
        if link is None or progress is None:
            return
        if problem != self._logged:
            self._logged = problem
            log.warning("interconnect unhealthy", extra=self._named(link) | {"error": problem})
        if not self._frr.running:
            progress.ended(problem, _wall())
            self._table = None
            self._around.report.tell_routes(link.interconnect.name, ())
        one, session = link.interconnect, progress.status(self._memory.holds, _wall())
        self._around.report.tell(InterconnectStatus(one.name, one.revision, State.ERROR, problem, session))

    def _named(self, link: Link) -> dict[str, Any]:
        return {"interconnect": link.interconnect.name, "number": self._number}


def _wall() -> int:
    return time.time_ns() // 1_000_000
