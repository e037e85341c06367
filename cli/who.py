"""`sluicectl who`: which network stood behind a public address and port."""

from __future__ import annotations

from datetime import UTC, datetime

import click
from google.protobuf.timestamp_pb2 import Timestamp

from cli import names, output, timespec
from cli.command import command, pass_session
from cli.session import CliSession
from sluice.v1 import translation_pb2

_LAST_PORT = 65535


@command(
    epilog="Examples: sluicectl who 203.0.113.7:40123; sluicectl who 203.0.113.7:40123 --at '10 minutes ago';"
    " sluicectl who 203.0.113.7:40123 --at 2026-11-23T14:05:00Z -o json"
)
@click.argument("endpoint", metavar="ADDRESS:PORT")
@click.option("--at", metavar="TIME", help=f"When: {timespec.FORMS}.  [default: now]")
@pass_session
def who(session: CliSession, endpoint: str, at: str | None) -> None:
    """Say which network used a public address and port, now or then.

    The answer comes from the history of port blocks, which the agent keeps
    for `pools.history_days`; it names the network also when that is gone.
    """
    address, colon, port = endpoint.rpartition(":")
    if not colon or not (port.isascii() and port.isdigit()) or int(port) > _LAST_PORT:
        raise click.UsageError(f"{endpoint!r} is not ADDRESS:PORT, such as 203.0.113.7:41000")
    request = translation_pb2.LookupTranslationRequest(address=address, port=int(port))
    if at is not None:
        try:
            then = timespec.parse(at, datetime.now(UTC))
        except ValueError as error:
            raise click.UsageError(str(error)) from error
        stamp = Timestamp()
        stamp.FromDatetime(then)
        request.time.CopyFrom(stamp)
    found = session.translations.LookupTranslation(request, timeout=session.timeout)
    if session.json:
        output.print_json(output.to_json(found))
        return
    block = found.port_block
    ports = f"{block.address}:{block.first_port}-{block.last_port}" if found.HasField("port_block") else ""
    output.print_fields(
        (
            ("network", names.short(found.network)),
            ("tenant", found.tenant),
            ("prefix", found.prefix),
            ("block", ports),
            ("machine", names.short(found.machine)),
            ("VPN gateway", names.short(found.vpn_gateway)),
            ("since", found.allocate_time.ToJsonString()),
            ("until", found.release_time.ToJsonString() if found.HasField("release_time") else "still in use"),
        )
    )
