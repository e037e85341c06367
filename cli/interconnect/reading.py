"""`sluicectl interconnects list|show|watch|routes`."""

from __future__ import annotations

import click

from cli import names, options, output, watching
from cli.command import command, pass_session
from cli.interconnect import formatting
from cli.paging import pages
from cli.session import CliSession
from sluice.v1 import interconnect_pb2 as pb

_ROUTE_COLUMNS = ("PREFIX", "AS PATH", ">MED", "STATE", "WHY")


@command("list", epilog="Example: sluicectl interconnects list --network office")
@options.of_network
@options.of_tenant
@pass_session
def list_(session: CliSession, network: str, tenant: str) -> None:
    """List interconnects in order of name; PREFIXES are those accepted of those received."""
    found = names.INTERCONNECTS.all(session, network=network, tenant=tenant)
    output.print_list(found, formatting.COLUMNS, formatting.row, "no interconnects", as_json=session.json)


@command(epilog="Example: sluicectl interconnects show berlin-dc")
@click.argument("interconnect", type=names.INTERCONNECTS)
@options.wait
@pass_session
def show(session: CliSession, interconnect: str, wait: bool) -> None:
    """Show one interconnect, its session and what is announced."""
    request = pb.GetInterconnectRequest(name=interconnect, wait_live=wait)
    formatting.show(session, session.interconnects.GetInterconnect(request, timeout=session.timeout))


@command(epilog="Example: sluicectl interconnects watch --network office")
@options.of_network
@pass_session
def watch(session: CliSession, network: str) -> None:
    """Show what exists, then every change, until Ctrl-C; JSON is one event a line."""
    request = pb.WatchInterconnectsRequest(network=network)
    watching.watch(session, session.interconnects.WatchInterconnects, request, "interconnect", formatting.row)


@command(
    epilog="Examples: sluicectl interconnects routes berlin-dc; sluicectl interconnects routes berlin-dc --refused"
)
@click.argument("interconnect", type=names.INTERCONNECTS)
@click.option("--refused", is_flag=True, help="Only those that are not accepted.")
@pass_session
def routes(session: CliSession, interconnect: str, refused: bool) -> None:
    """List the prefixes the peer announces, in order of address, with the reason where one is not accepted."""
    request = pb.ListInterconnectRoutesRequest(parent=interconnect, refused=refused)
    found = (
        route
        for page in pages(session.interconnects.ListInterconnectRoutes, request, session.timeout)
        for route in page.routes
    )
    output.print_list(found, _ROUTE_COLUMNS, _route_row, "no routes", as_json=session.json)


def _route_row(route: pb.InterconnectRoute) -> tuple[object, ...]:
    state = "accepted" if route.accepted else "refused"
    reason = route.refusal or "graceful shutdown: others are preferred" * route.graceful_shutdown
    return route.prefix, " ".join(map(str, route.as_path)), route.med, state, reason
