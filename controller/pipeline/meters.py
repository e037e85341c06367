"""Meters of the appliance and of each network, with their rates."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from controller.pipeline.registry import (
    FRAGMENTS_METER,
    GATEWAY_METER,
    NEXT_HOP_METER,
    SENDERS,
    STORAGE_METER,
    STORAGE_NEWS_METER,
    MeterClass,
    meter,
    sender_meter,
)
from state.interconnect import Interconnect
from state.model import Appliance, Kind, Machine, Network

_GATEWAY_RATE = 100
_NEXT_HOP_RATE = 10
_STORAGE_RATE = 100
# A table of 20,000 prefixes comes in some 300 segments, BFD with 20 packets a second at least.
_LINK_RATE = 2000
# A datagram of 64 KiB has 45 fragments: some at once pass at any rate.
_FRAGMENTS_BURST = 200
_CONNECTIONS_BURST_SECONDS = 5
# With 0.1 s a TCP connection gets half of the limit, with 0.25 s all of it; more is over the limit at first.
_BURST_SECONDS = 0.25
# More than one packet of 64 KiB, as a kernel hands it over before it is cut: less would let none of them through.
_LEAST_BURST = 600


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


def connections(value: int) -> Rate:
    """New connections a second, with a burst as of a page of many parts, or of a crawler that starts."""
    return Rate(value, Unit.PPS, value * _CONNECTIONS_BURST_SECONDS)


def fragments(value: int) -> Rate:
    """Fragments a second, with a burst of some large datagrams."""
    return Rate(value, Unit.PPS, max(value, _FRAGMENTS_BURST))


def limit(kbps: int) -> Rate:
    """Kilobits a second, with a burst of `_BURST_SECONDS`, or of `_LEAST_BURST` where that is more."""
    return Rate(kbps, Unit.KBPS, max(round(kbps * _BURST_SECONDS), _LEAST_BURST))


# For meters that only count: a terabit a second.
_NO_LIMIT = Rate(1_000_000_000, Unit.KBPS, 1_000_000_000)

_OUTSIDE_METERS: Mapping[int, Rate] = {
    GATEWAY_METER: packets(_GATEWAY_RATE),
    NEXT_HOP_METER: packets(_NEXT_HOP_RATE),
    STORAGE_METER: packets(_STORAGE_RATE),
    STORAGE_NEWS_METER: packets(_STORAGE_RATE),
}


def appliance_meters(appliance: Appliance) -> dict[int, Rate]:
    """The meters of what comes from outside for the controller, and of fragments for shared addresses."""
    rate = appliance.fragment_rate
    senders = {sender_meter(group): fragments(-(-rate // 4)) for group in range(SENDERS)}
    return {**_OUTSIDE_METERS, FRAGMENTS_METER: fragments(2 * rate), **senders}


def network_meters(network: Network, appliance: Appliance) -> dict[int, Rate]:
    """Every meter the flows of a network use, its machines' included."""
    found = {
        meter(MeterClass.NETWORK_ERRORS, network.key): packets(appliance.icmp_error_rate),
        meter(MeterClass.NETWORK_CONNECTIONS, network.key): connections(appliance.connection_rate),
        meter(MeterClass.NETWORK_FRAGMENTS, network.key): fragments(appliance.fragment_rate),
    }
    for machine in network.machines:
        found[meter(MeterClass.MACHINE_DHCP, machine.number)] = packets(appliance.dhcp_rate)
        found[meter(MeterClass.MACHINE_ROUTER, machine.number)] = packets(appliance.router_rate)
        public = limit(_public_rate(machine, network, appliance))
        found[meter(MeterClass.MACHINE_PUBLIC_OUT, machine.number)] = public
        found[meter(MeterClass.MACHINE_PUBLIC_IN, machine.number)] = public
        if network.drives:
            storage = limit(machine.storage_rate or appliance.storage_rate)
            found[meter(MeterClass.MACHINE_STORAGE_OUT, machine.number)] = storage
            found[meter(MeterClass.MACHINE_STORAGE_IN, machine.number)] = storage
        if network.kind is Kind.PRIVATE:
            found[meter(MeterClass.MACHINE_PRIVATE_OUT, machine.number)] = _NO_LIMIT
            found[meter(MeterClass.MACHINE_PRIVATE_IN, machine.number)] = _NO_LIMIT
    if network.drives:
        storage = limit(network.storage_rate or appliance.storage_rate)
        found[meter(MeterClass.NETWORK_STORAGE_OUT, network.key)] = storage
        found[meter(MeterClass.NETWORK_STORAGE_IN, network.key)] = storage
    if network.kind is Kind.PRIVATE:
        public = limit(network.public_rate or appliance.public_rate)
        found[meter(MeterClass.NETWORK_PUBLIC_OUT, network.key)] = public
        found[meter(MeterClass.NETWORK_PUBLIC_IN, network.key)] = public
        if network.vpn is not None:
            found[meter(MeterClass.NETWORK_VPN_OUT, network.key)] = public
            found[meter(MeterClass.NETWORK_VPN_IN, network.key)] = public
    return found | interconnect_meters(network.interconnects)


def interconnect_meters(interconnects: Iterable[Interconnect]) -> dict[int, Rate]:
    """The meters of interconnects: what each lets through both ways, and what its BGP daemon gets from its peer."""
    found = {}
    for one in interconnects:
        rate = limit(one.rate) if one.rate else _NO_LIMIT
        found[meter(MeterClass.INTERCONNECT_OUT, one.number)] = rate
        found[meter(MeterClass.INTERCONNECT_IN, one.number)] = rate
        found[meter(MeterClass.INTERCONNECT_LINK, one.number)] = packets(_LINK_RATE)
    return found


def _public_rate(machine: Machine, network: Network, appliance: Appliance) -> int:
    own = machine.public_rate or appliance.public_rate
    return min(own, network.public_rate or appliance.public_rate) if network.kind is Kind.ISOLATED else own
