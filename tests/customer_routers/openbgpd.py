"""OpenBGPD (package openbgpd)."""

from __future__ import annotations

import json
import pwd
from collections.abc import Sequence
from pathlib import Path

from customer_routers.router import Router, Session

_USER = "_openbgpd"


class OpenBgpd(Router):
    """Takes routes from no neighbor, and sends none, that its filters do not allow.

    Without `local-address`: with it the socket it listens at has no password (7.7 on Linux).
    """

    program = "/usr/sbin/bgpd"

    def configuration(self, session: Session) -> str:
        networks = "\n".join(f"network {network}" for network in session.networks)
        return f"""
AS {session.own_as}
router-id {session.local}
fib-update no
# Two minutes otherwise.
connect-retry 1
listen on {session.local}
socket "{self._socket}"
{networks}
neighbor {session.peer} {{
    remote-as {session.peer_as}
    holdtime {session.hold_seconds}
    {f'tcp md5sig password "{session.password}"' if session.password else ""}
    {"passive" if session.passive else ""}
}}
allow to ebgp
allow from ebgp
"""

    def command(self, file: Path) -> Sequence[str]:
        return [self.program, "-d", "-v", "-f", str(file)]

    def write(self, file: Path) -> None:
        super().write(file)
        # Its parts that read the network change their root to the home of their user.
        Path(pwd.getpwnam(_USER).pw_dir).mkdir(exist_ok=True)

    def answers(self) -> bool:
        return self._session.peer in self.ask("bgpctl", "-s", str(self._socket), "show")

    def announce(self, *networks: str) -> None:
        for network in networks:
            self._say("network", "add", network)

    def withdraw(self, *networks: str) -> None:
        for network in networks:
            self._say("network", "delete", network)

    def learned(self) -> set[str]:
        shown = self.ask("bgpctl", "-s", str(self._socket), "-j", "show", "rib", "in", "neighbor", self._session.peer)
        return {str(route["prefix"]) for route in json.loads(shown or "{}").get("rib", ())}

    def shut_down(self, text: str) -> str:
        self._say("neighbor", self._session.peer, "down", text)
        return text

    @property
    def _socket(self) -> Path:
        return self._directory / "socket"

    def _say(self, *words: str) -> None:
        self.tell("bgpctl", "-s", str(self._socket), *words)
