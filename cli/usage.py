"""`sluicectl usage`."""

from __future__ import annotations

from collections.abc import Iterator

import click
import grpc

from cli import names, output
from cli.command import command, pass_session
from cli.errors import Failure
from cli.paging import pages
from cli.session import CliSession
from sluice.v1 import usage_pb2

_KINDS = ("public", "private", "storage", "vpn", "interconnect")
_COLUMNS = ("NAME", *(f">{kind.upper()} {way}" for kind in _KINDS for way in ("IN", "OUT")), "LAST COUNTED")
_STEP = 1024
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")


def volume(count: int) -> str:
    """Bytes with a binary prefix (IEC 80000-13): `1.5 MiB`."""
    value, unit = float(count), 0
    # What would be rounded to 1024 has the next unit.
    while value >= _STEP - 0.05 and unit < len(_UNITS) - 1:
        value, unit = value / _STEP, unit + 1
    return f"{count} B" if unit == 0 else f"{value:.1f} {_UNITS[unit]}"


def _row(usage: usage_pb2.Usage) -> tuple[object, ...]:
    traffic = [getattr(usage, kind) for kind in _KINDS]
    counts = [volume(count) for one in traffic for count in (one.bytes_in, one.bytes_out)]
    return (usage.name, *counts, output.moment(usage.update_time))


def _all(session: CliSession, network: str) -> Iterator[usage_pb2.Usage]:
    for page in pages(session.usage.ListUsage, usage_pb2.ListUsageRequest(network=network), session.timeout):
        yield from page.usages


def _named(session: CliSession, name: str) -> usage_pb2.Usage:
    """A network or machine by its name; a bare name means the network where both have it."""
    whole = "/" in name
    for candidate in (name,) if whole else (names.NETWORKS.full(name), names.MACHINES.full(name)):
        try:
            return session.usage.GetUsage(usage_pb2.GetUsageRequest(name=candidate), timeout=session.timeout)
        except grpc.RpcError as error:
            if whole or not isinstance(error, grpc.Call) or error.code() != grpc.StatusCode.NOT_FOUND:
                raise
    raise Failure("NOT_FOUND", f"no network and no machine has the name {name}")


@command(epilog="Examples: sluicectl usage; sluicectl usage office; sluicectl usage --network office -o json")
@click.argument("name", required=False, default="", callback=names.not_empty,
          shell_complete=names.NETWORKS.shell_complete)  # fmt: skip
@click.option("--network", default="", type=names.NETWORKS, help="The machines of this network.")
@pass_session
def usage(session: CliSession, name: str, network: str) -> None:
    """Bytes counted for networks, for the machines of one, or for NAME (a network, else a machine).

    JSON has the exact numbers, and packets too.
    """
    if name and network:
        raise click.UsageError("give NAME or --network, not both")
    of_network = network
    found = [_named(session, name)] if name else list(_all(session, of_network))
    if session.json:
        shown = [output.to_json(one) for one in found]
        output.print_json(shown[0] if name else shown)
    else:
        output.print_table(_COLUMNS, map(_row, found), "nothing to count for")
