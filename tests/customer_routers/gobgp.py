"""GoBGP (package gobgpd)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from customer_routers.router import Router, Session


class GoBgp(Router):
    """Is told over its API what to announce: a configuration file has no networks."""

    program = "/usr/bin/gobgpd"

    def configuration(self, session: Session) -> str:
        return f"""
[global.config]
  as = {session.own_as}
  router-id = "{session.local}"
[[neighbors]]
  [neighbors.config]
    neighbor-address = "{session.peer}"
    peer-as = {session.peer_as}
    auth-password = "{session.password}"
  [neighbors.timers.config]
    hold-time = {session.hold_seconds}
    keepalive-interval = {session.hold_seconds // 3}
    connect-retry = 1
    idle-hold-time-after-reset = 1
  [neighbors.transport.config]
    passive-mode = {str(session.passive).lower()}
  [[neighbors.afi-safis]]
    [neighbors.afi-safis.config]
      afi-safi-name = "ipv4-unicast"
"""

    def command(self, file: Path) -> Sequence[str]:
        return [self.program, "-f", str(file), "-t", "toml", "-p", "--api-hosts", "127.0.0.1:50051"]

    def answers(self) -> bool:
        return f"AS:        {self._session.own_as}" in self.ask("gobgp", "global")

    def start(self, session: Session) -> None:
        super().start(session)
        self.announce(*session.networks)

    def announce(self, *networks: str) -> None:
        for network in networks:
            self.tell("gobgp", "global", "rib", "add", network)

    def withdraw(self, *networks: str) -> None:
        for network in networks:
            self.tell("gobgp", "global", "rib", "del", network)

    def learned(self) -> set[str]:
        return set(json.loads(self.ask("gobgp", "--json", "neighbor", self._session.peer, "adj-in") or "{}"))

    def shut_down(self, text: str) -> str:
        self.tell("gobgp", "neighbor", self._session.peer, "shutdown", "--reason", text)
        return text
