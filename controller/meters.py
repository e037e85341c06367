"""The meters of the appliance and of each network, and how much each lets through."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass

from controller.pipeline import GATEWAY_METER, NEXT_HOP_METER, STORAGE_METER, STORAGE_NEWS_METER, MeterClass, meter
from state.model import Appliance, Network

_GATEWAY_RATE = 100
_NEXT_HOP_RATE = 10
_STORAGE_RATE = 100


class Unit(enum.IntEnum):
    """What a meter counts; the values are OpenFlow's meter flags (section 7.3.5.3)."""

    KBPS = 1
    PPS = 2


@dataclass(frozen=True, slots=True)
class Rate:
    """What a meter lets through: `value` a second in `unit`, and `burst` at once (kbit or packets)."""

    value: int
    unit: Unit
    burst: int


def packets(value: int) -> Rate:
    """Packets a second, with a burst of one second: who asks twice at once is answered."""
    return Rate(value, Unit.PPS, value)


APPLIANCE_METERS: Mapping[int, Rate] = {
    GATEWAY_METER: packets(_GATEWAY_RATE),
    NEXT_HOP_METER: packets(_NEXT_HOP_RATE),
    STORAGE_METER: packets(_STORAGE_RATE),
    STORAGE_NEWS_METER: packets(_STORAGE_RATE),
}
"""The meters of what comes from outside for the controller."""


def network_meters(network: Network, appliance: Appliance) -> dict[int, Rate]:
    """Every meter the flows of a network use, its machines' included."""
    found = {meter(MeterClass.NETWORK_ERRORS, network.key): packets(appliance.icmp_error_rate)}
    for machine in network.machines:
        found[meter(MeterClass.MACHINE_DHCP, machine.number)] = packets(appliance.dhcp_rate)
        found[meter(MeterClass.MACHINE_ROUTER, machine.number)] = packets(appliance.router_rate)
    return found
