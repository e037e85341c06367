"""Index of the networks that use a port of the bridge, and of the owners of drives."""

from __future__ import annotations

from collections.abc import Collection, Iterable, KeysView

from controller.pipeline.context import network_ports
from state.model import Network


class PortUsers:
    """Networks by key, by the ports their flows depend on and by the addresses of their drives."""

    def __init__(self) -> None:
        self.drives: dict[str, int] = {}
        self._ports_of: dict[int, frozenset[str]] = {}
        self._networks_at: dict[str, set[int]] = {}
        self._drives_of: dict[int, tuple[str, ...]] = {}

    def __len__(self) -> int:
        return len(self._ports_of)

    def keys(self) -> KeysView[int]:
        """The networks there are."""
        return self._ports_of.keys()

    def at(self, ports: Iterable[str]) -> set[int]:
        """The networks that depend on these ports."""
        return {key for port in ports for key in self._networks_at.get(port, ())}

    def owners(self, drives: Collection[str]) -> set[int]:
        """The networks whose drives these are, as far as they are any's."""
        return {self.drives[drive] for drive in drives if drive in self.drives}

    def put(self, key: int, network: Network | None) -> None:
        """The network is now so, or gone."""
        after = network_ports(network)
        for port in self._ports_of.pop(key, frozenset()) - after:
            self._networks_at[port].discard(key)
            if not self._networks_at[port]:
                del self._networks_at[port]
        for port in after:
            self._networks_at.setdefault(port, set()).add(key)
        for drive in self._drives_of.pop(key, ()):
            # It may be another network's by now.
            if self.drives.get(drive) == key:
                del self.drives[drive]
        if network is not None:
            self._ports_of[key] = after
            if network.drives:
                self._drives_of[key] = tuple(drive.address for drive in network.drives)
                self.drives |= dict.fromkeys(self._drives_of[key], key)
