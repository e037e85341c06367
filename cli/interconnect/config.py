"""`sluicectl interconnects config`: the configuration of an interconnect's other side."""

from __future__ import annotations

from collections.abc import Callable

import click

from cli import names, output
from cli.command import command, pass_session
from cli.interconnect import peer_aws, peer_cisco_ios, peer_frr, peer_junos
from cli.interconnect.peer_config import BgpPeer, other_side
from cli.session import CliSession
from sluice.v1 import interconnect_pb2, network_pb2

_KINDS: dict[str, Callable[[BgpPeer], str]] = {
    "frr": peer_frr.configuration,
    "cisco-ios": peer_cisco_ios.configuration,
    "junos": peer_junos.configuration,
    "aws": peer_aws.configuration,
}


@command(
    epilog="Examples: sluicectl interconnects config berlin-dc --for frr > berlin-dc.conf;"
    " sluicectl interconnects config berlin-dc --for junos"
)
@click.argument("interconnect", type=names.INTERCONNECTS)
@click.option("--for", "kind", type=click.Choice(tuple(_KINDS)), required=True, help="Router on the other side.")
@pass_session
def config(session: CliSession, interconnect: str, kind: str) -> None:
    """Write the configuration of the other side of an interconnect, ready to paste.

    What must be filled in there is named at its top: the password, for one,
    cannot be read back. What the router cannot do is refused.
    """
    request = interconnect_pb2.GetInterconnectRequest(name=interconnect)
    found = session.interconnects.GetInterconnect(request, timeout=session.timeout)
    text = _KINDS[kind](_seen_from_there(session, found))
    if session.json:
        output.print_json({"interconnect": found.name, "for": kind, "configuration": text})
    else:
        click.echo(text, nl=False)


def _seen_from_there(session: CliSession, found: interconnect_pb2.Interconnect) -> BgpPeer:
    if not found.network:
        return other_side(found, None, ())
    wanted = network_pb2.GetNetworkRequest(name=found.network)
    network = session.networks.GetNetwork(wanted, timeout=session.timeout)
    return other_side(found, network, list(names.DRIVES.all(session, network=found.network)))
