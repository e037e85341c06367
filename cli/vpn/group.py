"""`sluicectl vpn`: the group of its commands."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import click

from cli.lazy import LazyGroup


class _Vpn(LazyGroup):
    places: ClassVar[Mapping[str, str]] = {
        "gateways": "cli.vpn.gateways:gateways",
        "connections": "cli.vpn.connections:connections",
        "config": "cli.vpn.config:config",
    }


@click.group(cls=_Vpn)
def vpn() -> None:
    """IPsec between private networks and sites elsewhere."""
