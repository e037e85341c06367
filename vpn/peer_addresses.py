"""Resolves domain names of peers, and again when their TTL ends."""

from __future__ import annotations

import ipaddress
import logging
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

import dns.exception
import dns.resolver

from state.vpn import MOST_PEER_ADDRESSES
from vpn import metrics

log = logging.getLogger("sluice.vpn")

LEAST_SECONDS, MOST_SECONDS, RETRY_SECONDS = 5.0, 300.0, 5.0
ASK_SECONDS = 4.0
# Customers choose names: one whose servers are silent must not hold up the others.
AT_ONCE = 16


def resolve(name: str, upstream: tuple[str, ...]) -> tuple[tuple[str, ...], float]:
    """The addresses of a name that count, and for how many seconds they hold. Raises dns.exception.DNSException.

    Asked are the resolvers `upstream`, or those of the host when there are none. A name that does not exist has no
    address.
    """
    resolver = dns.resolver.Resolver(configure=not upstream)
    if upstream:
        resolver.nameservers = list(upstream)
    try:
        answer = resolver.resolve(name, "A", lifetime=ASK_SECONDS, search=False)
    except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
        return (), LEAST_SECONDS
    addresses = sorted({str(record.address) for record in answer}, key=ipaddress.IPv4Address)
    ttl = float(answer.rrset.ttl) if answer.rrset is not None else LEAST_SECONDS
    return tuple(addresses[:MOST_PEER_ADDRESSES]), min(max(ttl, LEAST_SECONDS), MOST_SECONDS)


class PeerAddresses:
    """Asks for names as long as they are wanted; `tell(name, addresses)` is called on threads of its own.

    While nobody answers, a name keeps the addresses it has.
    """

    def __init__(self, tell: Callable[[str, tuple[str, ...]], None]) -> None:
        self._tell = tell
        self._names: frozenset[str] = frozenset()
        self._upstream: tuple[str, ...] = ()
        self._due: dict[str, float] = {}
        self._asking: set[str] = set()
        self._lock = threading.Lock()
        self._changed = threading.Event()
        self._stop = False
        self._thread = threading.Thread(target=self._run, name="peers", daemon=True)
        self._thread.start()

    def set(self, names: Iterable[str], upstream: tuple[str, ...]) -> None:
        """Ask for these names and no others."""
        self._names, self._upstream = frozenset(names), upstream
        self._changed.set()

    def stop(self) -> None:
        """Ask no more."""
        self._stop = True
        self._changed.set()

    def _run(self) -> None:
        pool = ThreadPoolExecutor(AT_ONCE, "peer")
        while not self._stop:
            names, now = self._names, time.monotonic()
            with self._lock:
                self._due = {name: self._due.get(name, now) for name in names}
                waiting = self._due.keys() - self._asking
                due = [name for name in waiting if self._due[name] <= now]
                self._asking |= set(due)
                soonest = min((self._due[name] for name in waiting.difference(due)), default=now + MOST_SECONDS)
            for name in due:
                pool.submit(self._asked, name)
            self._changed.wait(max(0.0, soonest - time.monotonic()))
            self._changed.clear()
        pool.shutdown(wait=False, cancel_futures=True)

    def _asked(self, name: str) -> None:
        seconds = self._ask(name)
        with self._lock:
            self._asking.discard(name)
            if name in self._due:
                self._due[name] = time.monotonic() + seconds
        self._changed.set()

    def _ask(self, name: str) -> float:
        try:
            addresses, seconds = resolve(name, self._upstream)
        except (dns.exception.DNSException, OSError) as error:
            log.warning("peer's name not resolved", extra={"peer": name, "error": str(error)})
            return RETRY_SECONDS
        except Exception:
            metrics.FAULTS.inc()
            log.exception("asking for a peer's name failed")
            return RETRY_SECONDS
        self._tell(name, addresses)
        return seconds
