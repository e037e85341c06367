"""Interconnects to customers whose routers run another BGP daemon than FRR, in the lab of the BGP daemon."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import world
from bgp_lab import HERE, OUR_AS, PEER_AS, THERE, Lab, in_namespace
from customer_routers import ROUTERS, Router, Session

# Whatever it is that the router runs, it is not reached: sessions are those that it opens.
_NO_CONNECTIONS = "nft add table ip f; nft 'add chain ip f i { type filter hook input priority 0; }'; \
nft add rule ip f i tcp dport 179 drop"


@dataclass(frozen=True)
class Customer:
    """An interconnect and the router at its far end."""

    number: int
    router: Router
    namespace: str

    @property
    def opened(self) -> bool:
        """Whether its session is one that the router opened: from a port that is not BGP's."""
        shown = in_namespace(self.namespace, "ss", "-Htn", "state", "established", "dport", "179")
        return bool(shown.strip())


def customer(
    lab: Lab, stack: ExitStack, package: str, *networks: str, ours: str = "", only_opens: bool = False, **session: Any
) -> Customer:
    """An interconnect with the password `ours`, and the router of a package, whose `session` may have another."""
    number = lab.interconnect(password=ours, bfd_milliseconds=0)
    peer = lab.peer(number)
    if only_opens:
        in_namespace(peer.name, "sh", "-c", _NO_CONNECTIONS)
    router = ROUTERS[package](peer.name, world.RUN_DIRECTORY / "routers" / peer.name)
    # Before its namespace is taken away.
    stack.callback(router.stop)
    router.start(Session(THERE, HERE, **{"own_as": PEER_AS, "peer_as": OUR_AS, "networks": networks, **session}))
    return Customer(number, router, peer.name)
