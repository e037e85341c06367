"""Reads desired state of a daemon's objects from the database, and reports all of it at every change."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import ClassVar, Generic, TypeVar

from state import rows
from state.model import Appliance
from state.ovsdb import OvsdbClient, Row, RowChange

Desired = TypeVar("Desired")


class DaemonSource(ABC, Generic[Desired]):
    """Desired state of one database, and what was last reported there; empty until `watch`.

    `tables` are read, by name and columns; rows of the table `objects` are the
    daemon's. Networks without any of these cost nothing, however often they change.
    """

    tables: ClassVar[Mapping[str, Iterable[str]]]
    objects: ClassVar[str]

    def __init__(self, client: OvsdbClient) -> None:
        self._client = client
        self._rows: dict[str, dict[str, Row]] = {table: {} for table in self.tables}
        self._networks: frozenset[str] = frozenset()
        self._on_change: Callable[[Desired], None] | None = None
        self._last: Desired | None = None

    def watch(self, on_change: Callable[[Desired], None]) -> None:
        """Read the state, and report all of it, then all of it again at every change.

        `on_change` is called on the thread of the database client and must not call back into the database.
        """
        self._on_change = on_change
        self._client.monitor(self.tables, self._handle)

    def _handle(self, changes: Sequence[RowChange], reset: bool) -> None:
        for change in changes:
            self._take(change)
        if any(change.table == self.objects for change in changes):
            used = map(self._network_of, self._rows[self.objects].values())
            self._networks = frozenset(network for network in used if network is not None)
        if self._on_change is None or not (reset or any(map(self._matters, changes))):
            return
        appliance = next(map(rows.appliance, self._rows["Appliance"].values()), None)
        if appliance is None:
            # The agent has not written its settings yet.
            return
        desired = self._desired(appliance)
        if reset or desired != self._last:
            self._last = desired
            self._on_change(desired)

    def _take(self, change: RowChange) -> None:
        if change.new is None:
            self._rows[change.table].pop(change.uuid, None)
        else:
            self._rows[change.table][change.uuid] = change.new

    def _matters(self, change: RowChange) -> bool:
        """Whether desired state may be another one after a change, which was taken in."""
        return change.table != "Network" or change.uuid in self._networks

    @abstractmethod
    def _network_of(self, row: Row) -> str | None:
        """The network that a row of `objects` belongs to, by uuid; None: to none."""

    @abstractmethod
    def _desired(self, appliance: Appliance) -> Desired:
        """Desired state of the rows there are."""
