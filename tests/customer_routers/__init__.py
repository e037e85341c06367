"""BGP daemons that a customer's router may run, from Debian's packages, each configured as its own manual has it.

A module a daemon, with a subclass of `Router` that writes its configuration and
says how it is started and asked; `ROUTERS` has them by package.
"""

from __future__ import annotations

from customer_routers.bird import Bird
from customer_routers.exabgp import ExaBgp
from customer_routers.gobgp import GoBgp
from customer_routers.openbgpd import OpenBgpd
from customer_routers.router import Router, Session

__all__ = ["ROUTERS", "Router", "Session"]

ROUTERS: dict[str, type[Router]] = {
    "bird2": Bird,
    "gobgpd": GoBgp,
    "openbgpd": OpenBgpd,
    "exabgp": ExaBgp,
}
