"""`sluicectl vpn gateways`."""

from __future__ import annotations

import click

from cli import creation, deletion, names, options, output, watching
from cli.command import group, pass_session
from cli.session import CliSession
from sluice.v1 import vpn_gateway_pb2 as pb

_COLUMNS = ("NAME", "NETWORK", "ADDRESS", "TENANT", "STATE", "DETAIL")


def _row(gateway: pb.VpnGateway) -> tuple[object, ...]:
    return (names.short(gateway.name), names.short(gateway.network), gateway.address, gateway.tenant,
            creation.state_word(gateway.status), gateway.status.detail)  # fmt: skip


def _show(session: CliSession, gateway: pb.VpnGateway) -> None:
    output.print_one(gateway, _COLUMNS, _row, as_json=session.json)


@group()
def gateways() -> None:
    """VPN gateways, one of a private network, each with a public address of its own."""


@gateways.command("list", epilog="Example: sluicectl vpn gateways list --network office")
@options.of_network
@options.of_tenant
@pass_session
def list_(session: CliSession, network: str, tenant: str) -> None:
    """List VPN gateways in order of name."""
    found = names.VPN_GATEWAYS.all(session, network=network, tenant=tenant)
    output.print_list(found, _COLUMNS, _row, "no VPN gateways", as_json=session.json)


@gateways.command(epilog="Example: sluicectl vpn gateways show head --wait")
@click.argument("gateway", type=names.VPN_GATEWAYS)
@options.wait
@pass_session
def show(session: CliSession, gateway: str, wait: bool) -> None:
    """Show one VPN gateway."""
    request = pb.GetVpnGatewayRequest(name=gateway, wait_live=wait)
    _show(session, session.vpn_gateways.GetVpnGateway(request, timeout=session.timeout))


@gateways.command(epilog="Example: sluicectl vpn gateways create head --network office --wait")
@click.argument("gateway", required=False, default="", callback=names.not_empty)
@click.option("--network", required=True, type=names.NETWORKS, help="Its private network.")
@click.option("--address", default="", help="Public address wanted.  [default: the lowest free one]")
@creation.wait_options
@pass_session
def create(session: CliSession, gateway: str, network: str, address: str, wait: bool, request_id: str | None) -> None:
    """Give a private network a VPN gateway; without GATEWAY the appliance chooses its name."""
    request = pb.CreateVpnGatewayRequest(
        vpn_gateway_id=names.short(gateway),
        vpn_gateway=pb.VpnGateway(network=network, address=address),
        request_id=creation.new_request_id(request_id),
        wait_live=wait,
    )
    made = creation.create(session.vpn_gateways.CreateVpnGateway, request, session.timeout)
    _show(session, made)
    if wait:
        creation.require_live([made])


@gateways.command(epilog="Example: sluicectl vpn gateways delete head")
@click.argument("gateway", nargs=-1, required=True, type=names.VPN_GATEWAYS)
@pass_session
def delete(session: CliSession, gateway: tuple[str, ...]) -> None:
    """Delete VPN gateways without connections; stops at the first refusal."""
    requests = (pb.DeleteVpnGatewayRequest(name=name) for name in gateway)
    deletion.delete(session, session.vpn_gateways.DeleteVpnGateway, requests)


@gateways.command(epilog="Example: sluicectl vpn gateways watch --network office")
@options.of_network
@pass_session
def watch(session: CliSession, network: str) -> None:
    """Show what exists, then every change, until Ctrl-C; JSON is one event a line."""
    request = pb.WatchVpnGatewaysRequest(network=network)
    watching.watch(session, session.vpn_gateways.WatchVpnGateways, request, "vpn_gateway", _row)
