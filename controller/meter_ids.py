"""Ids of meters: sixteen classes of ids, by what a meter limits and whose it is; the last has some more in it."""

from __future__ import annotations

import enum


class MeterClass(enum.IntEnum):
    """What a meter limits, and whose it is; a number is never used again.

    Each class has `METERS_A_CLASS` ids, of which the userspace datapath of OVS
    takes 16 classes (262,144). The kernel's datapath takes any id, but 200,000
    meters at most: there OVS maps an id to one of the kernel's. Those after `APPLIANCE`, of the at most 4,095
    interconnects, lie in the upper three quarters of its ids.
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

    @property
    def of_machine(self) -> bool:
        """Whether the number in an id is a machine's; else it is a network key, or the appliance's own."""
        return self.name.startswith("MACHINE_")

    @property
    def of_interconnect(self) -> bool:
        """Whether the number in an id is an interconnect's."""
        return self > MeterClass.APPLIANCE


METERS_A_CLASS = 16384
_OF_INTERCONNECTS = 4096
_AN_INTERCONNECT = 3


def meter(owner: MeterClass, number: int) -> int:
    """Id of the meter of a network key or machine number, 1..16383, interconnect or `APPLIANCE` number, 1..4095."""
    if owner.of_interconnect:
        kind = owner - MeterClass.INTERCONNECT_OUT
        return MeterClass.APPLIANCE * METERS_A_CLASS + _OF_INTERCONNECTS + number * _AN_INTERCONNECT + kind
    return owner * METERS_A_CLASS + number


def split_meter(value: int) -> tuple[MeterClass | None, int]:
    """Class and number of a meter id; None for one that is not of this pipeline."""
    owner, number = divmod(value, METERS_A_CLASS)
    if owner == MeterClass.APPLIANCE and number >= _OF_INTERCONNECTS:
        number, kind = divmod(number - _OF_INTERCONNECTS, _AN_INTERCONNECT)
        return MeterClass(MeterClass.INTERCONNECT_OUT + kind), number
    known = owner <= MeterClass.APPLIANCE and owner in MeterClass.__members__.values()
    return (MeterClass(owner) if known else None), number


GATEWAY_METER = meter(MeterClass.APPLIANCE, 1)
"""What comes from outside for the controller."""

NEXT_HOP_METER = meter(MeterClass.APPLIANCE, 2)
"""ARP answers of the next hop."""

STORAGE_METER = meter(MeterClass.APPLIANCE, 3)
"""ARP answers of the storage network."""

STORAGE_NEWS_METER = meter(MeterClass.APPLIANCE, 4)
"""ARP broadcasts of the storage network."""
