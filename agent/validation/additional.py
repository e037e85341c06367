"""Checks additional addresses of machines."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Iterator, Sequence

from agent.errors import Violation
from agent.requests import MachineSpec, MachineUpdate, RequestedAddress
from agent.validation.objects import mac, wrong
from state.addresses import is_address

MAX_ADDITIONAL = 16
FIELD = "machine.attachment.additional_addresses"


def new_listing(request: MachineSpec, own_macs: Collection[str]) -> Iterator[Violation]:
    """Every violation of the additional addresses of a new machine that needs no look at other objects."""
    if request.additional and not request.network:
        yield wrong(FIELD, len(request.additional), "none for a machine without a network")
        return
    yield from listing(request.additional, own_macs)
    for at, one in enumerate(request.additional):
        if one.address == request.address:
            yield wrong(f"{FIELD}[{at}].address", one.address, "an address other than the machine's own")


def listing_change(change: MachineUpdate, own_macs: Collection[str]) -> Iterator[Violation]:
    """Every violation of other additional addresses of a machine that needs no look at other objects."""
    yield from listing(change.additional or (), own_macs)


def listing(asked: Sequence[RequestedAddress], own_macs: Collection[str]) -> Iterator[Violation]:
    """Check additional addresses by themselves; `own_macs` are the appliance's."""
    if len(asked) > MAX_ADDITIONAL:
        yield wrong(FIELD, len(asked), f"at most {MAX_ADDITIONAL}")
    seen: set[str] = set()
    for at, one in enumerate(asked[:MAX_ADDITIONAL]):
        if not is_address(one.address) or one.address in seen:
            yield wrong(f"{FIELD}[{at}].address", one.address, "an IPv4 address of the network, each only once")
        seen.add(one.address)
        if one.mac:
            yield from mac(f"{FIELD}[{at}].mac_address", one.mac, own_macs)


def listing_within(asked: Sequence[RequestedAddress], prefix: str) -> Iterator[Violation]:
    """Check additional addresses against the network's prefix; an isolated network has no address to spare."""
    network = ipaddress.IPv4Network(prefix)
    low, high = network.network_address + 2, network.broadcast_address - 1
    for at, one in enumerate(asked):
        if low == high:
            yield wrong(f"{FIELD}[{at}].address", one.address, "none in an ISOLATED network")
        elif not low <= ipaddress.IPv4Address(one.address) <= high:
            yield wrong(f"{FIELD}[{at}].address", one.address, f"{low} to {high}")
