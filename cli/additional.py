"""Additional addresses of a machine: the option of `create` and `set`, and how they are shown."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import click

from cli.mac import colons
from sluice.v1 import machine_pb2


def address_option(text: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a command `--additional-address`; `text` says what it does."""
    return click.option("--additional-address", "additional", multiple=True, metavar="IP[,MAC]", help=text)


def addresses(given: Iterable[str]) -> list[machine_pb2.AdditionalAddress]:
    """The messages of `IP` and `IP,MAC`; what is neither, the API refuses."""
    parts = (one.partition(",") for one in given)
    return [
        machine_pb2.AdditionalAddress(address=address.strip(), mac_address=colons(mac.strip()))
        for address, _, mac in parts
    ]


def shown(attachment: machine_pb2.Attachment) -> str:
    """As given to the option, for people."""
    return " ".join(
        one.address + (f",{one.mac_address}" if one.mac_address else "") for one in attachment.additional_addresses
    )
