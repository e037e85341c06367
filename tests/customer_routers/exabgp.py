"""ExaBGP (package exabgp)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from customer_routers.router import Router, Session

# RFC 4486: administrative shutdown.
_SHUTDOWN = 2


class ExaBgp(Router):
    """Takes commands from a program it starts, and gives it what it learned: a file each way."""

    program = "/usr/sbin/exabgp"

    def configuration(self, session: Session) -> str:
        routes = "\n        ".join(f"route {network} next-hop self;" for network in session.networks)
        return f"""
process operator {{
    run {self._operator};
    encoder json;
}}
neighbor {session.peer} {{
    router-id {session.local};
    local-address {session.local};
    local-as {session.own_as};
    peer-as {session.peer_as};
    hold-time {session.hold_seconds};
    {f'md5-password "{session.password}"; md5-base64 false;' if session.password else ""}
    {"passive true; listen 179;" if session.passive else ""}
    family {{
        ipv4 unicast;
    }}
    api {{
        processes [ operator ];
        receive {{
            parsed;
            update;
        }}
    }}
    static {{
        {routes}
    }}
}}
"""

    def command(self, file: Path) -> Sequence[str]:
        return [self.program, str(file)]

    def environment(self) -> dict[str, str]:
        # It gives up root before it listens. Its pipes for a command line are one per host.
        return {"exabgp.daemon.user": "root", "exabgp.log.destination": "stderr", "exabgp.api.cli": "false",
                "exabgp.api.ack": "false"}  # fmt: skip

    def write(self, file: Path) -> None:
        super().write(file)
        self._commands.touch()
        self._operator.write_text(f"#!/bin/sh\ntail --pid=$$ -n +1 -f {self._commands} &\nexec cat >{self._learned}\n")
        self._operator.chmod(0o755)

    def answers(self) -> bool:
        return self._learned.exists()

    def announce(self, *networks: str) -> None:
        self._say(*(f"announce route {network} next-hop self" for network in networks))

    def withdraw(self, *networks: str) -> None:
        self._say(*(f"withdraw route {network} next-hop self" for network in networks))

    def learned(self) -> set[str]:
        found: set[str] = set()
        for line in self._learned.read_text().splitlines():
            update = json.loads(line)["neighbor"]["message"].get("update", {})
            for routes in update.get("announce", {}).get("ipv4 unicast", {}).values():
                found |= {route["nlri"] for route in routes}
            found -= {route["nlri"] for route in update.get("withdraw", {}).get("ipv4 unicast", ())}
        return found

    def shut_down(self, text: str) -> str:
        self._say(f"neighbor {self._session.peer} teardown {_SHUTDOWN}")
        # The command takes no text.
        return "Administrative Shutdown"

    @property
    def _operator(self) -> Path:
        return self._directory / "operator"

    @property
    def _commands(self) -> Path:
        return self._directory / "commands"

    @property
    def _learned(self) -> Path:
        return self._directory / "learned"

    def _say(self, *commands: str) -> None:
        with self._commands.open("a") as file:
            file.writelines(f"{command}\n" for command in commands)
