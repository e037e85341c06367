"""Maps the source address of a question to the machine and network that ask."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from resolver.decide import ResolverView
from state.model import Appliance, Network
from state.resolver import seen_as, stand_in


@dataclass(frozen=True, slots=True)
class QueryingMachine:
    """A machine that asks, by its number or that of the additional address it asks from; what its network is told."""

    machine: int
    view: ResolverView

    @property
    def network(self) -> int:
        """The key of its network."""
        return self.view.network.key


class Directory:
    """The machines of the appliance by the address each is seen as; one thread's."""

    def __init__(self) -> None:
        self._appliance: Appliance | None = None
        self._networks: dict[int, Network] = {}
        self._machines: dict[str, tuple[int, int]] = {}
        self._views: dict[int, ResolverView] = {}

    def replace(self, appliance: Appliance | None, networks: Iterable[Network]) -> None:
        """Forget all, and know these."""
        self._appliance = appliance
        self._networks.clear()
        self._machines.clear()
        self._views.clear()
        self.update({network.key: network for network in networks})

    def update(self, networks: Mapping[int, Network | None]) -> None:
        """Know networks by key as they are now (None: gone)."""
        if self._appliance is None:
            return
        prefix = stand_in(self._appliance)
        for key in networks:
            self._views.pop(key, None)
            before = self._networks.pop(key, None)
            for asking in before.addressed if before else ():
                seen = seen_as(asking.transit, prefix)
                if self._machines.get(seen, (None,))[0] == key:
                    del self._machines[seen]
        for key, network in networks.items():
            if network is not None:
                self._networks[key] = network
                for asking in network.addressed:
                    self._machines[seen_as(asking.transit, prefix)] = (key, asking.number)

    def find(self, address: str) -> QueryingMachine | None:
        """The machine that is seen as `address`."""
        found = self._machines.get(address)
        if found is None or self._appliance is None:
            return None
        key, number = found
        view = self._views.get(key)
        if view is None:
            # Made when it is needed: most networks are silent most of the time.
            view = self._views[key] = ResolverView(self._networks[key], self._appliance)
        return QueryingMachine(number, view)
