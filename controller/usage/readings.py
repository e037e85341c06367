"""Converts readings of meters to rows of `Usage`.

A reading is what a meter let through since it was made. Its difference to the
baseline in a row is added to that row. A counter that began anew (the switch
was restarted, the rate was changed, the meter made again) counts from zero.
Pure: the same rows and readings give the same rows, so that a restart in
between changes nothing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from controller.pipeline.registry import MeterClass, split_meter
from state.usage import Baseline, Usage, column

Reading = Baseline

COUNTED: Mapping[MeterClass, tuple[str, str]] = {
    MeterClass.MACHINE_PUBLIC_OUT: ("public", "out"),
    MeterClass.MACHINE_PUBLIC_IN: ("public", "in"),
    MeterClass.MACHINE_PRIVATE_OUT: ("private", "out"),
    MeterClass.MACHINE_PRIVATE_IN: ("private", "in"),
    MeterClass.MACHINE_STORAGE_OUT: ("storage", "out"),
    MeterClass.MACHINE_STORAGE_IN: ("storage", "in"),
    MeterClass.NETWORK_PUBLIC_OUT: ("public", "out"),
    MeterClass.NETWORK_PUBLIC_IN: ("public", "in"),
    MeterClass.NETWORK_STORAGE_OUT: ("storage", "out"),
    MeterClass.NETWORK_STORAGE_IN: ("storage", "in"),
    MeterClass.NETWORK_VPN_OUT: ("vpn", "out"),
    MeterClass.NETWORK_VPN_IN: ("vpn", "in"),
    MeterClass.INTERCONNECT_OUT: ("interconnect", "out"),
    MeterClass.INTERCONNECT_IN: ("interconnect", "in"),
}
"""Meters that count usage: kind and direction."""

# The switch reads the same clock between the two readings here; what is left is rounding, in ms.
_CLOCK_SLACK = 20


@dataclass(frozen=True, slots=True)
class Owner:
    """A machine or network there is; `summed` are the kinds a network has no meters of its own for."""

    uuid: str
    network: str
    name: str
    summed: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Owners:
    """Who there is: machines by number, networks by key and by the numbers of their interconnects.

    `gone` are the UUIDs of machines deleted a moment ago.
    """

    machines: Mapping[int, Owner] = field(default_factory=dict)
    networks: Mapping[int, Owner] = field(default_factory=dict)
    gone: frozenset[str] = frozenset()
    interconnects: Mapping[int, Owner] = field(default_factory=dict)

    def of(self, meter: int) -> Owner | None:
        """Whose meter it is now."""
        kind, number = split_meter(meter)
        if kind is None or kind not in COUNTED:
            return None
        if kind.of_interconnect:
            return self.interconnects.get(number)
        return (self.machines if kind.of_machine else self.networks).get(number)


def counted(meters: Iterable[int]) -> list[int]:
    """Those of `meters` that count usage."""
    return [meter for meter in meters if split_meter(meter)[0] in COUNTED]


def advance(
    usages: Mapping[str, Usage], owners: Owners, readings: Mapping[int, Reading], now: int, *, complete: bool
) -> dict[str, Usage | None]:
    """The rows that change, by owner (None: removed), once `readings` are taken in at `now`.

    `complete` says that meters missing from the readings do not exist.
    """
    book = _Book(usages, owners)
    for meter, reading in sorted(readings.items()):
        book.take(meter, reading)
    if complete:
        book.forget_others(readings)
    return book.changes(now)


class _Book:
    def __init__(self, usages: Mapping[str, Usage], owners: Owners) -> None:
        self._before, self._owners = usages, owners
        self._holders = {meter: uuid for uuid, usage in usages.items() for meter in usage.baselines}
        everybody = (*owners.machines.values(), *owners.networks.values())
        self._known = {one.uuid: one for one in everybody if one.uuid not in owners.gone}
        self._counts: dict[str, dict[str, int]] = {}
        self._baselines: dict[str, dict[int, Baseline]] = {}
        self._fresh: dict[str, Owner] = {}

    def take(self, meter: int, reading: Reading) -> None:
        owner, holder = self._owners.of(meter), self._holders.get(meter)
        before = None if holder is None else self._before[holder].baselines[meter]
        if before is not None and before.boot == reading.boot and before.at >= reading.at:
            return
        anew = before is None or not _continues(before, reading)
        now_of = owner.uuid if owner is not None else None
        # What was counted before a number changed hands belongs to who had it.
        payee = now_of or holder if anew else holder
        if payee is None:
            return
        if owner is not None:
            self._fresh[owner.uuid] = owner
        packets = reading.packets - (0 if anew or before is None else before.packets)
        volume = reading.bytes - (0 if anew or before is None else before.bytes)
        kind, _ = split_meter(meter)
        assert kind is not None
        self._add(payee, kind, packets, volume)
        target = now_of or holder
        assert target is not None
        if not packets and not volume and target == holder and not anew:
            return
        if holder is not None and holder != target:
            self._baselines_of(holder).pop(meter)
        self._baselines_of(target)[meter] = reading

    def forget_others(self, readings: Mapping[int, Reading]) -> None:
        for meter, holder in self._holders.items():
            if meter not in readings:
                self._baselines_of(holder).pop(meter, None)

    def changes(self, now: int) -> dict[str, Usage | None]:
        found: dict[str, Usage | None] = {}
        for uuid in self._before.keys() | self._counts.keys() | self._baselines.keys():
            before = self._before.get(uuid)
            counts = self._counts.get(uuid)
            baselines = self._baselines.get(uuid, before.baselines if before is not None else {})
            if uuid not in self._known and not baselines:
                if before is not None:
                    found[uuid] = None
                continue
            if before is None:
                owner = self._fresh[uuid]
                before = Usage(owner.uuid, owner.network, owner.name)
            after = dataclasses.replace(before, counts=before.counts if counts is None else counts, baselines=baselines)
            if after != before:
                found[uuid] = dataclasses.replace(after, updated_at=now)
        return found

    def _add(self, payee: str, kind: MeterClass, packets: int, volume: int) -> None:
        if not packets and not volume:
            return
        what, direction = COUNTED[kind]
        receivers = [payee]
        if kind.of_machine:
            row = self._before.get(payee)
            network = self._known.get(row.network if row is not None else self._fresh[payee].network)
            if network is not None and what in network.summed:
                self._fresh[network.uuid] = network
                receivers.append(network.uuid)
        for uuid in receivers:
            counts = self._counts_of(uuid)
            for unit, more in (("bytes", volume), ("packets", packets)):
                name = column(what, direction, unit)
                counts[name] = counts.get(name, 0) + more

    def _counts_of(self, uuid: str) -> dict[str, int]:
        row = self._before.get(uuid)
        return self._counts.setdefault(uuid, dict(row.counts) if row is not None else {})

    def _baselines_of(self, uuid: str) -> dict[int, Baseline]:
        row = self._before.get(uuid)
        return self._baselines.setdefault(uuid, dict(row.baselines) if row is not None else {})


def _continues(before: Baseline, reading: Reading) -> bool:
    """Whether a reading is of the counter that was read before, and not of one that began anew."""
    return (
        (before.boot, before.rate) == (reading.boot, reading.rate)
        and before.packets <= reading.packets
        and before.bytes <= reading.bytes
        and before.earliest <= reading.latest + _CLOCK_SLACK
        and reading.earliest <= before.latest + _CLOCK_SLACK
    )
