"""Who answers a host at an address, by every way of asking."""

from __future__ import annotations

from machines import Machine
from probes import ask_tcp, ask_udp, ping


def echoes(asker: Machine, target: str, seconds: float = 0.7) -> set[str]:
    """Who answers `asker` at `target`, by UDP, TCP and ping (`ping`)."""
    found = {answer.name for ask in (ask_udp, ask_tcp) for answer in ask(asker.pid, [target], seconds).values()}
    return found | ({"ping"} if ping(asker.pid, [target], seconds) else set())
