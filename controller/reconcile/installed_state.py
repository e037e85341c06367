"""Installed state: flows, meters and groups on the switch, by network."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from controller.openflow import group_messages, wire
from controller.pipeline.groups import key_of_group
from controller.pipeline.meters import Rate
from controller.pipeline.registry import APPLIANCE_KEY, LEARNED, MeterClass, split_cookie, split_meter
from controller.reconcile.diff import UNKNOWN, Difference, FlowId, Installed, apply


@dataclass(frozen=True, slots=True)
class MeterOwners:
    """Who there is to own meters: network keys by machine number, and by interconnect (0: a peering)."""

    machines: Mapping[int, int]
    interconnects: Mapping[int, int]

    def of(self, kind: MeterClass, number: int) -> int | None:
        """The network key (0: the appliance's) a meter is of; None: of nobody any more."""
        if kind is MeterClass.APPLIANCE:
            return APPLIANCE_KEY
        if kind.of_interconnect:
            return self.interconnects.get(number)
        return self.machines.get(number) if kind.of_machine else number


class InstalledState:
    """Flows, meters and groups on the switch by network key.

    A meter has one owner; a number that went from one network to another
    within one batch stays on the switch and changes its owner.
    """

    def __init__(self) -> None:
        self._flows: dict[int, Mapping[FlowId, int]] = {}
        self._tables: Counter[int] = Counter()
        self._meters: dict[int, dict[int, Rate]] = defaultdict(dict)
        self._owners: dict[int, int] = {}
        self._orphans: dict[int, Rate] = {}
        self._groups: dict[int, dict[int, bytes]] = {}

    @classmethod
    def read(
        cls, flows: Mapping[FlowId, int], meters: Mapping[int, Rate], groups: Mapping[int, bytes], owners: MeterOwners
    ) -> InstalledState:
        """A installed state of what was read from the switch, but for what it made by itself.

        `flows` have the digests that are known.

        Meters of machines and interconnects that are not desired, and of
        another version of the pipeline, are orphans.
        """
        installed_state = cls()
        by_key: dict[int, dict[FlowId, int]] = defaultdict(dict)
        for flow, digest in flows.items():
            if flow[0] not in LEARNED:
                by_key[split_cookie(flow[1])[0]][flow] = digest
        installed_state._flows = dict(by_key)
        installed_state._tables.update(table for found in by_key.values() for table, _ in found)
        for meter, rate in meters.items():
            kind, number = split_meter(meter)
            owner = None if kind is None else owners.of(kind, number)
            if owner is None:
                installed_state._orphans[meter] = rate
            else:
                installed_state._own(meter, rate, owner)
        for number, body in groups.items():
            installed_state._groups.setdefault(key_of_group(number), {})[number] = body
        return installed_state

    def keys(self) -> set[int]:
        """Keys of everything that has flows, meters or groups."""
        return set(self._flows) | {key for key, meters in self._meters.items() if meters} | set(self._groups)

    def count(self, key: int | None = None) -> int:
        """Number of flows of `key`, or of all."""
        return self._tables.total() if key is None else len(self._flows.get(key, ()))

    def counts(self) -> dict[int, int]:
        """Number of flows by table, of those that have any."""
        return {table: count for table, count in self._tables.items() if count}

    def installed(self, key: int) -> Installed:
        """What the switch holds of one network."""
        flows, groups = self._flows.get(key, {}), dict(self._groups.get(key, {}))
        return Installed(flows, dict(self._meters.get(key, {})), groups)

    def digest(self, flow: FlowId) -> int:
        """The digest of a flow's text, UNKNOWN where it was only read."""
        return self._flows.get(split_cookie(flow[1])[0], {}).get(flow, UNKNOWN)

    def meter_messages(self, difference: Difference) -> list[tuple[int, Rate, bytes]]:
        """What to send for the meters of `difference` before its flows: meter, rate, message."""
        messages = []
        for meter, rate in difference.meters.items():
            present = self._rate(meter)
            if present is None:
                messages.append((meter, rate, wire.meter_add(meter, rate)))
            elif present != rate:
                messages.append((meter, rate, wire.meter_modify(meter, rate)))
        return messages

    def group_messages(self, key: int, difference: Difference) -> list[tuple[int, bytes, bytes]]:
        """What to send for the groups of `difference` before its flows: group, buckets, message."""
        present = self._groups.get(key, {})
        return [
            (number, body, (group_messages.modify if number in present else group_messages.add)(number, body))
            for number, body in difference.groups.items()
        ]

    def meters_that_end(self, difference: Difference) -> list[int]:
        """Meters on the switch that `difference` removes, gives another rate or another owner: they are read before."""
        return [meter for meter in difference.meters if self._rate(meter) is not None] + list(difference.stale_meters)

    def meter_done(self, key: int, meter: int, rate: Rate) -> None:
        """The switch took a meter of `key`."""
        self._own(meter, rate, key)

    def group_done(self, key: int, number: int, body: bytes) -> None:
        """The switch took a group of `key`."""
        self._groups.setdefault(key, {})[number] = body

    def flows_done(self, key: int, difference: Difference) -> None:
        """The switch took the flows of `difference`."""
        before = self._flows.get(key, {})
        after = apply(difference, Installed(before))
        self._tables.subtract(table for table, _ in before.keys() - after.flows.keys())
        self._tables.update(table for table, _ in after.flows.keys() - before.keys())
        if after.flows:
            self._flows[key] = after.flows
        else:
            self._flows.pop(key, None)
        for meter, rate in difference.meters.items():
            self._own(meter, rate, key)

    def flows_verified(self, key: int, flows: Mapping[FlowId, int]) -> None:
        """The switch was seen to hold exactly these flows of `key`."""
        if flows:
            self._flows[key] = flows

    def remove_stale(self, key: int, difference: Difference) -> list[bytes]:
        """What to send to remove groups and meters that `key` does not use any more; not meters others have by now."""
        messages = []
        groups = self._groups.get(key, {})
        for number in difference.stale_groups:
            if groups.pop(number, None) is not None:
                messages.append(group_messages.delete(number))
        if not groups:
            self._groups.pop(key, None)
        for meter in difference.stale_meters:
            if self._owners.get(meter) == key:
                del self._owners[meter], self._meters[key][meter]
                messages.append(wire.meter_delete(meter))
        if key in self._meters and not self._meters[key]:
            del self._meters[key]
        return messages

    def remove_orphans(self) -> list[bytes]:
        """What to send to remove meters that were found and that no network wanted."""
        orphans, self._orphans = self._orphans, {}
        return [wire.meter_delete(meter) for meter in orphans]

    def owner(self, meter: int) -> int | None:
        """The network key (0: the appliance's) whose flows use a meter; None: nobody's."""
        return self._owners.get(meter)

    def _rate(self, meter: int) -> Rate | None:
        owner = self._owners.get(meter)
        return self._orphans.get(meter) if owner is None else self._meters[owner][meter]

    def _own(self, meter: int, rate: Rate, key: int) -> None:
        self._orphans.pop(meter, None)
        before = self._owners.get(meter)
        if before is not None and before != key:
            del self._meters[before][meter]
        self._owners[meter] = key
        self._meters[key][meter] = rate
