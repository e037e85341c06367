"""All gateways: `Driver.set(desired)` keeps a thread for each, and takes away those that are gone."""

from __future__ import annotations

import logging
import queue
import threading
from pathlib import Path

from agent.vpn import metrics, namespace
from agent.vpn.gateway import Gateway, Surroundings
from agent.vpn.peers import Peers
from agent.vpn.source import Desired
from state.vpn import inside_port, outside_port

log = logging.getLogger("sluice.vpn")

LOOK_SECONDS = 2.0
END_SECONDS = 5.0


class Driver:
    """Keeps gateways as last `set`; before the first time nothing is touched."""

    def __init__(self, around: Surroundings, peers: Peers) -> None:
        self._around, self._peers = around, peers
        self._gateways: dict[int, Gateway] = {}
        self._leaving: dict[int, Gateway] = {}
        self._first = True
        self._queue: queue.SimpleQueue[Desired | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="driver", daemon=True)
        self._thread.start()

    def set(self, desired: Desired) -> None:
        """Have all gateways be as `desired`; returns at once."""
        self._queue.put(desired)

    def stop(self) -> None:
        """Leave all as it is, and end."""
        self._queue.put(None)
        self._thread.join()
        for gateway in self._gateways.values():
            gateway.end(remove=False)
        for gateway in (*self._gateways.values(), *self._leaving.values()):
            gateway.join(END_SECONDS)

    def _run(self) -> None:
        wanted: Desired | None = None
        while True:
            try:
                wanted = self._queue.get(timeout=LOOK_SECONDS)
                if wanted is None:
                    return
                self._apply(wanted)
            except queue.Empty:
                if wanted is not None and self._leaving:
                    self._apply(wanted)
            except Exception:
                metrics.FAULTS.inc()
                log.exception("keeping gateways failed")
            metrics.RUNNING.set(sum(gateway.running for gateway in list(self._gateways.values())))

    def _apply(self, desired: Desired) -> None:
        sites = {site.key: site for site in desired.sites}
        metrics.WANTED.set(len(sites))
        self._peers.set(desired.names, desired.upstream)
        objects = [f"vpnGateways/{site.gateway.name}" for site in desired.sites]
        objects += [f"vpnConnections/{one.name}" for site in desired.sites for one in site.gateway.connections]
        self._around.report.only(objects, desired.names)
        legs = (leg for key in sites for leg in (inside_port(key), outside_port(key)))
        self._around.legs.set(legs)
        if self._first:
            # What a daemon before this one left behind.
            self._first = False
            for key in _left(self._around.directory) - sites.keys():
                self._gateways[key] = Gateway(key, self._around)
        for key in self._gateways.keys() - sites.keys():
            self._leaving[key] = self._gateways.pop(key)
            self._leaving[key].end(remove=True)
        self._leaving = {key: gateway for key, gateway in self._leaving.items() if not gateway.ended}
        # One that is made anew while the last of its key still goes waits for that: see `_run`.
        for key, site in sites.items():
            if key not in self._leaving:
                if key not in self._gateways:
                    self._gateways[key] = Gateway(key, self._around)
                self._gateways[key].set(site)


def _left(directory: Path) -> set[int]:
    """Keys of the networks whose gateways left a namespace or files."""
    files = {int(path.name) for path in directory.glob("*") if path.name.isdecimal()}
    return files | set(namespace.present())
