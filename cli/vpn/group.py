"""`sluicectl vpn`: the group of its commands."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from cli.command import CommandGroup, group


class _Vpn(CommandGroup):
    places: ClassVar[Mapping[str, str]] = {
        "gateways": "cli.vpn.gateways:gateways",
        "connections": "cli.vpn.connections:connections",
        "config": "cli.vpn.config:config",
    }


@group(cls=_Vpn)
def vpn() -> None:
    """IPsec between private networks and sites elsewhere."""
