"""Addresses of the storage network: clients and drives."""

from __future__ import annotations

import functools
import ipaddress

from state.model import Storage


@functools.lru_cache(maxsize=4)
def _first(clients: str) -> int:
    return int(ipaddress.IPv4Network(clients).network_address)


@functools.lru_cache(maxsize=4)
def storage_prefix(storage: Storage) -> str:
    """The prefix of the storage network, ADDRESS/LENGTH without host bits."""
    return str(ipaddress.IPv4Interface(storage.address).network)


def storage_prefixes(storage: Storage | None) -> tuple[str, ...]:
    """The storage network and the addresses of its clients; none without a storage port."""
    return () if storage is None else (storage_prefix(storage), storage.clients)


def client_address(storage: Storage, number: int) -> str:
    """The address the machine of that number has on the storage network.

    The prefix of clients has 15 bits at most and machines' numbers have 14, so
    every machine has an address of its own there.
    """
    return str(ipaddress.IPv4Address(_first(storage.clients) + number))
