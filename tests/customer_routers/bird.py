"""BIRD 2 (package bird2)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from customer_routers.router import Router, Session


class Bird(Router):
    """Announces blackhole routes of its own; what it announces changes by a new configuration."""

    program = "/usr/sbin/bird"

    def configuration(self, session: Session) -> str:
        routes = "\n    ".join(f"route {network} blackhole;" for network in session.networks)
        return f"""
router id {session.local};
log stderr all;
protocol device {{}}
protocol static own {{
    ipv4;
    {routes}
}}
protocol bgp appliance {{
    local {session.local} as {session.own_as};
    neighbor {session.peer} as {session.peer_as};
    hold time {session.hold_seconds};
    # Minutes and seconds otherwise.
    connect retry time 1;
    connect delay time 1;
    error wait time 1, 2;
    {f'password "{session.password}";' if session.password else ""}
    {"passive on;" if session.passive else ""}
    ipv4 {{
        import all;
        export all;
    }};
}}
"""

    def command(self, file: Path) -> Sequence[str]:
        return [self.program, "-f", "-c", str(file), "-s", str(self._socket)]

    def answers(self) -> bool:
        return "Daemon is up and running" in self.ask("birdc", "-s", str(self._socket), "show", "status")

    def announce(self, *networks: str) -> None:
        self._change(dict.fromkeys((*self._session.networks, *networks)))

    def withdraw(self, *networks: str) -> None:
        self._change(dict.fromkeys(network for network in self._session.networks if network not in networks))

    def learned(self) -> set[str]:
        shown = self.ask("birdc", "-s", str(self._socket), "show", "route", "protocol", "appliance")
        return set(re.findall(r"^(\d[\d./]+) ", shown, re.MULTILINE))

    def shut_down(self, text: str) -> str:
        self._say("disable", "appliance", f'"{text}"')
        return text

    @property
    def _socket(self) -> Path:
        return self._directory / "socket"

    def _change(self, networks: dict[str, None]) -> None:
        self._session = replace(self._session, networks=tuple(networks))
        self.write(self._directory / "router.conf")
        self._say("configure")

    def _say(self, *words: str) -> None:
        self.tell("birdc", "-s", str(self._socket), *words)
