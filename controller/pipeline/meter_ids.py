"""Meter ids: one range per kind of limit, and the owner of an id."""

from __future__ import annotations

import enum


class MeterClass(enum.IntEnum):
    """What a meter limits, and whose it is; a number is never used again.

    The userspace datapath of OVS takes ids up to 262,144: `METERS_A_CLASS` for
    each class of networks and machines, and what is left above them for the
    appliance's own and the at most 4,095 interconnects. The kernel's datapath
    takes any id, but 200,000 meters at most: there OVS maps an id to one of the
    kernel's.
    """

    NETWORK_ERRORS = 0
    MACHINE_DHCP = 1
    MACHINE_ROUTER = 2
    MACHINE_PUBLIC_OUT = 3
    MACHINE_PUBLIC_IN = 4
    NETWORK_PUBLIC_OUT = 5
    NETWORK_PUBLIC_IN = 6
    MACHINE_STORAGE_OUT = 7
    MACHINE_STORAGE_IN = 8
    NETWORK_STORAGE_OUT = 9
    NETWORK_STORAGE_IN = 10
    MACHINE_PRIVATE_OUT = 11
    MACHINE_PRIVATE_IN = 12
    NETWORK_VPN_OUT = 13
    NETWORK_VPN_IN = 14
    APPLIANCE = 15
    INTERCONNECT_OUT = 16
    INTERCONNECT_IN = 17
    INTERCONNECT_LINK = 18
    NETWORK_CONNECTIONS = 19
    NETWORK_FRAGMENTS = 20

    @property
    def of_machine(self) -> bool:
        """Whether the number in an id is a machine's; else it is a network key, or the appliance's own."""
        return self.name.startswith("MACHINE_")

    @property
    def of_interconnect(self) -> bool:
        """Whether the number in an id is an interconnect's."""
        return self.name.startswith("INTERCONNECT_")


METERS_A_CLASS = 14592
LAST_METER = (1 << 18) - 1
_INTERCONNECTS = tuple(one for one in MeterClass if one.of_interconnect)
_RANGES = tuple(one for one in MeterClass if one is not MeterClass.APPLIANCE and not one.of_interconnect)
_PLACES = {one: place for place, one in enumerate(_RANGES)}
_OF_APPLIANCE = len(_RANGES) * METERS_A_CLASS
_OF_INTERCONNECTS = _OF_APPLIANCE + 1792


def meter(owner: MeterClass, number: int) -> int:
    """Id of the meter of a network key or machine number, 1..14591, interconnect, 1..4095, or `APPLIANCE`, 1..1791."""
    if owner.of_interconnect:
        return _OF_INTERCONNECTS + number * len(_INTERCONNECTS) + _INTERCONNECTS.index(owner)
    if owner is MeterClass.APPLIANCE:
        return _OF_APPLIANCE + number
    return _PLACES[owner] * METERS_A_CLASS + number


def split_meter(value: int) -> tuple[MeterClass | None, int]:
    """Class and number of a meter id; None for one that is not of this pipeline."""
    if value > LAST_METER:
        return None, value
    if value >= _OF_INTERCONNECTS:
        number, kind = divmod(value - _OF_INTERCONNECTS, len(_INTERCONNECTS))
        return _INTERCONNECTS[kind], number
    if value >= _OF_APPLIANCE:
        return MeterClass.APPLIANCE, value - _OF_APPLIANCE
    place, number = divmod(value, METERS_A_CLASS)
    return _RANGES[place], number


GATEWAY_METER = meter(MeterClass.APPLIANCE, 1)
"""What comes from outside for the controller."""

NEXT_HOP_METER = meter(MeterClass.APPLIANCE, 2)
"""ARP answers of the next hop."""

STORAGE_METER = meter(MeterClass.APPLIANCE, 3)
"""ARP answers of the storage network."""

STORAGE_NEWS_METER = meter(MeterClass.APPLIANCE, 4)
"""ARP broadcasts of the storage network."""

FRAGMENTS_METER = meter(MeterClass.APPLIANCE, 5)
"""Fragments for shared addresses, of all senders."""

SENDERS = 64
"""Groups of senders of fragments for shared addresses, by the last bits of their addresses."""


def sender_meter(group: int) -> int:
    """Meter of the fragments for shared addresses of a group of senders, 0..`SENDERS` - 1."""
    return meter(MeterClass.APPLIANCE, SENDERS + group)
