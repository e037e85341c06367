"""`sluicectl interconnects`: the group of its commands."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from cli.command import CommandGroup, group


class _Interconnects(CommandGroup):
    places: ClassVar[Mapping[str, str]] = {
        "list": "cli.interconnect.reading:list_",
        "show": "cli.interconnect.reading:show",
        "create": "cli.interconnect.changes:create",
        "set": "cli.interconnect.changes:set_",
        "delete": "cli.interconnect.changes:delete",
        "watch": "cli.interconnect.reading:watch",
        "routes": "cli.interconnect.reading:routes",
        "config": "cli.interconnect.config:config",
    }


@group(cls=_Interconnects)
def interconnects() -> None:
    """Direct Connect and peering: VLANs on physical ports, each with a BGP session to one peer."""
