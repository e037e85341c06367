"""`sluicectl interconnects list|show|watch|routes`."""

from __future__ import annotations

import click

from cli import names, output
from cli.interconnect import words
from cli.paging import pages
from cli.session import Session, output_option, pass_session
from sluice.v1 import interconnect_pb2 as pb

_ROUTE_COLUMNS = ("PREFIX", "AS PATH", ">MED", "STATE", "WHY")


@click.command("list", epilog="Example: sluicectl interconnects list --network office")
@click.option("--network", default="", shell_complete=names.complete_network, help="Only those of this network.")
@output_option
@pass_session
def list_(session: Session, network: str) -> None:
    """List interconnects in order of name; PREFIXES are those accepted of those received."""
    wanted = network and names.network_name(network)
    found = names.all_interconnects(session.interconnects, wanted, session.timeout)
    output.print_list(found, words.COLUMNS, words.row, "no interconnects", as_json=session.json)


@click.command(epilog="Example: sluicectl interconnects show berlin-dc")
@click.argument("interconnect", shell_complete=names.complete_interconnect)
@click.option("--wait", is_flag=True, help="Wait until it is live or in error, at most --timeout.")
@output_option
@pass_session
def show(session: Session, interconnect: str, wait: bool) -> None:
    """Show one interconnect, its session and what is announced."""
    request = pb.GetInterconnectRequest(name=names.interconnect_name(interconnect), wait_live=wait)
    words.show(session, session.interconnects.GetInterconnect(request, timeout=session.timeout))


@click.command(epilog="Example: sluicectl interconnects watch --network office")
@click.option("--network", default="", shell_complete=names.complete_network, help="Only those of this network.")
@output_option
@pass_session
def watch(session: Session, network: str) -> None:
    """Show what exists, then every change, until Ctrl-C; JSON is one event a line."""
    request = pb.WatchInterconnectsRequest(network=network and names.network_name(network))
    events = session.interconnects.WatchInterconnects(request)
    output.print_changes(events, lambda event: event.interconnect, words.row, as_json=session.json)


@click.command(
    epilog="Examples: sluicectl interconnects routes berlin-dc; sluicectl interconnects routes berlin-dc --refused"
)
@click.argument("interconnect", shell_complete=names.complete_interconnect)
@click.option("--refused", is_flag=True, help="Only those that are not accepted.")
@output_option
@pass_session
def routes(session: Session, interconnect: str, refused: bool) -> None:
    """List the prefixes the peer announces, in order of address, with the reason where one is not accepted."""
    request = pb.ListInterconnectRoutesRequest(parent=names.interconnect_name(interconnect), refused=refused)
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
