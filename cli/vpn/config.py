"""`sluicectl vpn config`: the configuration of a connection's other side."""

from __future__ import annotations

from collections.abc import Callable

import click

from cli import names, output
from cli.command import command, pass_session
from cli.session import CliSession
from cli.vpn import peer_aws, peer_cisco_ios, peer_fortigate, peer_strongswan
from sluice.v1 import vpn_connection_pb2, vpn_gateway_pb2

_KINDS: dict[str, Callable[[vpn_connection_pb2.VpnConnection, vpn_gateway_pb2.VpnGateway], str]] = {
    "strongswan": peer_strongswan.configuration,
    "cisco-ios": peer_cisco_ios.configuration,
    "fortigate": peer_fortigate.configuration,
    "aws": peer_aws.configuration,
}


@command(
    epilog="Examples: sluicectl vpn config berlin --for strongswan > berlin.conf;"
    " sluicectl vpn config berlin --for cisco-ios"
)
@click.argument("connection", type=names.VPN_CONNECTIONS)
@click.option("--for", "kind", type=click.Choice(tuple(_KINDS)), required=True, help="Device on the other side.")
@pass_session
def config(session: CliSession, connection: str, kind: str) -> None:
    """Write the configuration of the other side of a connection, ready to paste.

    What must be filled in there is named at its top: the pre-shared key, for
    one, cannot be read back. What the device cannot do is refused.
    """
    wanted = vpn_connection_pb2.GetVpnConnectionRequest(name=connection)
    found = session.vpn_connections.GetVpnConnection(wanted, timeout=session.timeout)
    request = vpn_gateway_pb2.GetVpnGatewayRequest(name=found.gateway)
    gateway = session.vpn_gateways.GetVpnGateway(request, timeout=session.timeout)
    text = _KINDS[kind](found, gateway)
    if session.json:
        output.print_json({"connection": found.name, "for": kind, "configuration": text})
    else:
        click.echo(text, nl=False)
