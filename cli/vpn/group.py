"""`sluicectl vpn`: the group of its commands."""

from __future__ import annotations

import click

from cli.vpn.config import config
from cli.vpn.connections import connections
from cli.vpn.gateways import gateways


@click.group()
def vpn() -> None:
    """IPsec between private networks and sites elsewhere."""


for _command in (gateways, connections, config):
    vpn.add_command(_command)
