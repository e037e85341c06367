"""`sluicectl interconnects create|set|delete`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import click
from google.protobuf.field_mask_pb2 import FieldMask

from cli import creation, deletion, names, options
from cli.command import command, pass_session
from cli.establishment import Establishment
from cli.interconnect import formatting
from cli.interconnect.options import interconnect_of, interconnect_options
from cli.session import CliSession
from sluice.v1 import interconnect_pb2 as pb

_REQUIRED = {
    "port": "--port",
    "local_address": "--local-address",
    "peer_address": "--peer-address",
    "peer_as": "--peer-as",
}


def _watch_network(session: CliSession, interconnect: pb.Interconnect, seconds: float) -> Iterable[Any]:
    watched = pb.WatchInterconnectsRequest(network=interconnect.network)
    return session.interconnects.WatchInterconnects(watched, timeout=seconds)


_SESSION = Establishment(
    what="session",
    watch=_watch_network,
    of=lambda event: event.interconnect,
    established=lambda seen: seen.session.state == pb.InterconnectSession.SESSION_ESTABLISHED,
    why=formatting.why,
)


@command(
    epilog="Examples: sluicectl interconnects create berlin-dc --kind direct-connect --network office --port eno3"
    " --vlan 101 --local-address 169.254.101.1/30 --peer-address 169.254.101.2 --peer-as 65010"
    " --accept 192.168.0.0/16 --password-file key --wait-established 30;"
    " sluicectl interconnects create isp --kind peering --port eno4 --local-address 192.0.2.1/31"
    " --peer-address 192.0.2.0 --peer-as 64496 --maximum-prefixes 5000"
)
@click.argument("interconnect", required=False, default="", callback=names.not_empty)
@click.option("--kind", type=click.Choice(tuple(formatting.KINDS)), required=True,
              help="Into one private network, or to our public addresses.")  # fmt: skip
@click.option("--network", default="", type=names.NETWORKS,
              help="Its private network, for direct-connect.")  # fmt: skip
@interconnect_options
@creation.wait_options
@_SESSION.option
@pass_session
def create(
    session: CliSession,
    /,
    interconnect: str,
    kind: str,
    network: str,
    wait: bool,
    request_id: str | None,
    wait_established: float | None,
    **given: Any,
) -> None:
    """Add an interconnect; without INTERCONNECT the appliance chooses its name.

    The password of the session comes from --password-file; it cannot be read
    back. Without that option the session has none.
    """
    wanted, paths = interconnect_of(given)
    missing = [option for field, option in _REQUIRED.items() if field not in paths]
    if missing:
        raise click.UsageError(f"an interconnect needs {', '.join(missing)}")
    wanted.kind = formatting.KINDS[kind]
    if (wanted.kind == pb.Interconnect.DIRECT_CONNECT) != bool(network):
        raise click.UsageError("--network is the network of a direct-connect, and of that only")
    wanted.network = network
    wait = wait or wait_established is not None
    request = pb.CreateInterconnectRequest(
        interconnect_id=names.short(interconnect),
        interconnect=wanted,
        request_id=creation.new_request_id(request_id),
        wait_live=wait,
    )
    made = creation.create(session.interconnects.CreateInterconnect, request, session.timeout)
    if wait_established is None:
        formatting.show(session, made)
    if wait:
        creation.require_live([made])
    if wait_established is not None:
        formatting.show(session, _SESSION.waited(session, made, wait_established))


@command(
    "set",
    epilog="Examples: sluicectl interconnects set berlin-dc --preference 200;"
    " sluicectl interconnects set berlin-dc --disable",
)
@click.argument("interconnect", type=names.INTERCONNECTS)
@interconnect_options
@click.option("--no-password", is_flag=True, help="Take the password away.")
@options.wait
@_SESSION.option
@pass_session
def set_(
    session: CliSession,
    /,
    interconnect: str,
    no_password: bool,
    wait: bool,
    wait_established: float | None,
    **given: Any,
) -> None:
    """Change an interconnect; its session goes on where the change allows it.

    What is not given stays as it is; a list given takes the place of the whole list.
    """
    if no_password and given["password_file"] is not None:
        raise click.UsageError("--password-file and --no-password exclude each other")
    changed, paths = interconnect_of(given)
    if no_password:
        paths.append("password")
    if not paths:
        raise click.UsageError("nothing to change: pass at least one option, such as --preference or --accept")
    changed.name = names.INTERCONNECTS.full(interconnect)
    request = pb.UpdateInterconnectRequest(
        interconnect=changed, update_mask=FieldMask(paths=paths), wait_live=wait or wait_established is not None
    )
    made = session.interconnects.UpdateInterconnect(request, timeout=session.timeout)
    formatting.show(session, _SESSION.waited(session, made, wait_established))


@command(epilog="Example: sluicectl interconnects delete berlin-dc")
@click.argument("interconnect", nargs=-1, required=True, type=names.INTERCONNECTS)
@pass_session
def delete(session: CliSession, interconnect: tuple[str, ...]) -> None:
    """End the sessions of interconnects and delete them; stops at the first refusal."""
    requests = (pb.DeleteInterconnectRequest(name=name) for name in interconnect)
    deletion.delete(session, session.interconnects.DeleteInterconnect, requests)
