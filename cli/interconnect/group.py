"""`sluicectl interconnects`: the group of its commands."""

from __future__ import annotations

import click

from cli.interconnect.changes import create, delete, set_
from cli.interconnect.config import config
from cli.interconnect.reading import list_, routes, show, watch


@click.group()
def interconnects() -> None:
    """Direct Connect and peering: VLANs on physical ports, each with a BGP session to one peer."""


for _command in (list_, show, create, set_, delete, watch, routes, config):
    interconnects.add_command(_command)
