"""Ids of meters: sixteen classes of ids, by what a meter limits and whose it is."""

from __future__ import annotations

import enum


class MeterClass(enum.IntEnum):
    """What a meter limits, and whose it is; a number is never used again.

    Each class has `METERS_A_CLASS` ids, of which the userspace datapath of OVS
    takes 16 classes (262,144).
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

    @property
    def of_machine(self) -> bool:
        """Whether the number in an id is a machine's; else it is a network key, or the appliance's own."""
        return self.name.startswith("MACHINE_")


METERS_A_CLASS = 16384


def meter(owner: MeterClass, number: int) -> int:
    """Id of the meter of a network key, machine number or `APPLIANCE` number, each 1..16383."""
    return owner * METERS_A_CLASS + number


def split_meter(value: int) -> tuple[MeterClass | None, int]:
    """Class and number of a meter id; None for one that is not of this pipeline."""
    owner, number = divmod(value, METERS_A_CLASS)
    return (MeterClass(owner) if owner in MeterClass.__members__.values() else None), number


GATEWAY_METER = meter(MeterClass.APPLIANCE, 1)
"""What comes from outside for the controller."""

NEXT_HOP_METER = meter(MeterClass.APPLIANCE, 2)
"""ARP answers of the next hop."""

STORAGE_METER = meter(MeterClass.APPLIANCE, 3)
"""ARP answers of the storage network."""

STORAGE_NEWS_METER = meter(MeterClass.APPLIANCE, 4)
"""ARP broadcasts of the storage network."""
