"""Interconnects in the cache, with the BGP daemon's status and the routes of their peers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from sortedcontainers import SortedDict

from agent.cache.learned_routes import LearnedRoutes
from agent.cache.records import (
    InterconnectRecord,
    InterconnectView,
    NetworkRecord,
    Peerings,
    View,
    interconnect_status,
)
from agent.ipam.appliance_pools import Pools
from state import interconnect_rows, rows
from state.interconnect_rows import InterconnectStatus
from state.ovsdb import Row, RowChange

ByTable = Mapping[str, Sequence[RowChange]]


class InterconnectCache:
    """A part of `DesiredStateCache`, under its lock: the interconnects of one database.

    `by_place` has each by its port and VLAN, as attachments of machines are
    written. `listener` is that of the replica.
    """

    def __init__(self, pools: Pools, listener: Callable[[View | None, View | None], None]) -> None:
        self.by_name: SortedDict[str, InterconnectRecord] = SortedDict()
        self.by_place: dict[str, InterconnectRecord] = {}
        self.peerings = Peerings()
        self._pools, self._listener = pools, listener
        self._by_uuid: dict[str, InterconnectRecord] = {}
        self._said: dict[str, InterconnectStatus] = {}
        self._routes: dict[str, LearnedRoutes] = {}

    def deleted(self, by_table: ByTable) -> None:
        """Forget what was deleted, and where those that changed were."""
        for change in by_table.get("Interconnect", ()):
            if change.new is None:
                self._gone(change.uuid)
            elif change.old is not None:
                del self.by_place[self._by_uuid[change.uuid].interconnect.where]

    def apply(self, by_table: ByTable, networks: Mapping[str, NetworkRecord]) -> None:
        """Take in rows that are there after an update, statuses and routes; `networks` are known by uuid."""
        concerned: set[str] = set()
        # A row that says something anew may come with the end of the one before.
        for change in sorted(by_table.get("Interconnect_Status", ()), key=lambda c: c.new is not None):
            concerned.add(self._status(change))
        for change in sorted(by_table.get("Interconnect_Routes", ()), key=lambda c: c.new is not None):
            self._part(change)
        for change in sorted(by_table.get("Network_Status", ()), key=lambda c: c.new is not None):
            if (change.new or change.old or {})["network"] == "":
                self.peerings.status = None if change.new is None else rows.status(change.new)
                concerned.update(self.peerings.interconnects)
        for change in by_table.get("Interconnect", ()):
            if change.new is not None:
                self._interconnect(change.uuid, change.new, networks)
        for name in sorted(concerned):
            record = self.by_name.get(name)
            if record is not None:
                self._look(record, record.view)
                _wake(record)

    def look(self, network: NetworkRecord) -> None:
        """Work out how clients see a network's interconnects now, and tell of differences."""
        for record in network.interconnects.values():
            self._look(record, record.view)

    def routes(self, record: InterconnectRecord) -> LearnedRoutes:
        """What the peer of an interconnect announces."""
        # Rows of routes have no revision: with nothing said of this interconnect they are of an earlier one.
        return self._routes.get(record.interconnect.name, _NONE) if self._told(record) else _NONE

    def _status(self, change: RowChange) -> str:
        row = change.new or change.old
        assert row is not None
        name: str = row["interconnect"]
        if change.new is None:
            self._said.pop(name, None)
        else:
            self._said[name] = interconnect_rows.status(change.new)
        return name

    def _part(self, change: RowChange) -> None:
        row = change.new or change.old
        assert row is not None
        name: str = row["interconnect"]
        known = self._routes.setdefault(name, LearnedRoutes())
        known.put(row["part"], change.new)
        if not known:
            del self._routes[name]

    def _interconnect(self, uuid: str, row: Row, networks: Mapping[str, NetworkRecord]) -> None:
        of = interconnect_rows.network_of(row)
        owner = self.peerings if of is None else networks[of]
        value = interconnect_rows.interconnect(row)
        since = owner.network.revision if isinstance(owner, NetworkRecord) else value.revision
        record = self._by_uuid.get(uuid)
        before = None
        if record is None:
            record = InterconnectRecord(uuid, value, owner, since)
            self._by_uuid[uuid] = self.by_name[value.name] = owner.interconnects[value.name] = record
            self._pools.interconnect.use(str(value.number))
            if value.client:
                self._pools.number.use(str(value.client))
        else:
            before = record.view
            record.interconnect, record.since = value, since
        self.by_place[value.where] = record
        self._look(record, before)

    def _told(self, record: InterconnectRecord) -> InterconnectStatus | None:
        """What the BGP daemon says of an interconnect, not of an earlier one of its name."""
        said = self._said.get(record.interconnect.name)
        # Revisions grow from the time of creation on.
        return None if said is None or said.revision < record.created_at else said

    def _look(self, record: InterconnectRecord, before: InterconnectView | None) -> None:
        value, owner, said = record.interconnect, record.owner, self._told(record)
        name = tenant = ""
        if isinstance(owner, NetworkRecord):
            name, tenant = owner.network.name, owner.network.tenant
        shown = replace(value, password="", revision=0)
        session = None if said is None else said.session
        status = interconnect_status(record, said)
        record.view = InterconnectView(shown, name, tenant, bool(value.password), status, session)
        if record.view != before:
            self._listener(before, record.view)

    def _gone(self, uuid: str) -> None:
        record = self._by_uuid.pop(uuid)
        value = record.interconnect
        del self.by_name[value.name], record.owner.interconnects[value.name], self.by_place[value.where]
        self._pools.interconnect.unuse(str(value.number))
        if value.client:
            self._pools.number.unuse(str(value.client))
        record.gone = True
        _wake(record)
        self._listener(record.view, None)


_NONE = LearnedRoutes()


def _wake(record: InterconnectRecord) -> None:
    """Let those look again who wait for an interconnect."""
    if record.owner.waiting is not None:
        record.owner.waiting.notify_all()
