"""A cross-connect: a metro Ethernet that carries VLANs of one of the appliance's ports to routers of others."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager

from appliance import run
from machines import Machine, far_end
from sandbox import Sandbox

# Where frames of a severed port end up: a VLAN that nobody else is on.
_NOWHERE = 4094


class CrossConnect:
    """The metro Ethernet behind the appliance's port `port`, which is a trunk; made once for each port."""

    def __init__(self, sandbox: Sandbox, port: str) -> None:
        self._sandbox, self.port = sandbox, port
        self._switch = sandbox.site.add_cross_connect(port)
        self._numbers = itertools.count(1)
        self._joined: dict[tuple[str, str], tuple[str, int | None]] = {}

    def join(self, router: Machine, interface: str, vlan: int | None, address: str) -> None:
        """Give a router an interface with ADDRESS/LENGTH on a VLAN of it (None: what is untagged)."""
        port = f"{self.port}-{next(self._numbers)}"
        self._sandbox.site.join(router, interface, self._switch, port, vlan)
        router.run("ip", "address", "add", address, "dev", interface)
        self._joined[router.name, interface] = port, vlan

    def part(self, router: Machine) -> None:
        """Take a router off."""
        self._sandbox.site.part(router, self._switch)
        self._joined = {key: joined for key, joined in self._joined.items() if key[0] != router.name}

    def cut(self, router: Machine, interface: str) -> None:
        """Lose everything between a router and the appliance, silently: both ends keep their carrier."""
        self._switch.attach(self._joined[router.name, interface][0], f"tag={_NOWHERE}")

    def mend(self, router: Machine, interface: str) -> None:
        """Undo `cut`."""
        port, vlan = self._joined[router.name, interface]
        if vlan is None:
            self._sandbox.appliance.vsctl("clear", "port", port, "tag")
        else:
            self._switch.attach(port, f"tag={vlan}")

    @contextmanager
    def severed(self, router: Machine, interface: str) -> Iterator[None]:
        """`cut` while the block runs."""
        self.cut(router, interface)
        try:
            yield
        finally:
            self.mend(router, interface)

    def carrier(self, up: bool) -> None:
        """Plug the cable into the appliance's port, or pull it out."""
        run(["ip", "link", "set", far_end(self.port), "up" if up else "down"])

    @contextmanager
    def unplugged(self) -> Iterator[None]:
        """The cable is out while the block runs."""
        self.carrier(False)
        try:
            yield
        finally:
            self.carrier(True)
