"""Options that say what an interconnect is, for `create` and `set`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from cli import secrets
from cli.integers import INT32, INT64
from cli.options import fill, options
from sluice.v1 import interconnect_pb2 as pb

_PATH = click.Path(dir_okay=False, allow_dash=True)

# Every option is None or () unless it was given, so that `set` knows what to change.
interconnect_options = options(
    click.option("--port", help="Port of the bridge."),
    click.option("--vlan", type=INT32, metavar="NUMBER", help="VLAN on that port; 0: what is untagged.  [default: 0]"),
    click.option("--local-address", metavar="ADDRESS/LENGTH", help="The appliance's address on the link, and its prefix"
                 " length, such as 169.254.101.1/30."),
    click.option("--peer-address", metavar="ADDRESS", help="The peer's address on the link."),
    click.option("--local-as", type=INT64, metavar="AS", help="AS number of the appliance.  [default: its own]"),
    click.option("--peer-as", type=INT64, metavar="AS", help="AS number of the peer."),
    click.option("--password-file", type=_PATH, metavar="FILE",
                 help="File of the password of TCP MD5; `-` reads it from stdin, without echo on a terminal."),
    click.option("--accept", multiple=True, metavar="PREFIX",
                 help="Prefix of which the peer may announce any part, and send from; may be repeated;"
                 " '' is any public one, for peerings."),
    click.option("--announce", multiple=True, metavar="PREFIX",
                 help="Prefix to announce; may be repeated; '' is all there is.  [default: the network and its drives,"
                 " or the pools of public addresses]"),
    click.option("--maximum-prefixes", type=INT32, metavar="NUMBER",
                 help="The session is closed when the peer announces more.  [default: 100]"),
    click.option("--preference", type=INT32, metavar="NUMBER",
                 help="Of several with a route the one with the highest is used.  [default: 100]"),
    click.option("--rate", type=INT64, metavar="KBITPS", help="Most traffic each way in kbit/s; 0: no limit."),
    click.option("--bfd/--no-bfd", default=None, help="Notice a dead peer by BFD.  [default: --bfd]"),
    click.option("--bfd-interval", type=INT32, metavar="MILLISECONDS",
                 help="Time between BFD packets, of which three may be lost.  [default: 100]"),
    click.option("--hold", type=INT32, metavar="SECONDS",
                 help="Silence after which BGP takes the peer for gone.  [default: 9]"),
    click.option("--enable/--disable", "enable", default=None,
                 help="Open the session, or keep it closed as for maintenance.  [default: --enable]"),
)  # fmt: skip
# Option, as click names it → field of the same meaning.
_FIELDS = {
    "port": "port",
    "vlan": "vlan",
    "local_address": "local_address",
    "peer_address": "peer_address",
    "local_as": "local_as",
    "peer_as": "peer_as",
    "maximum_prefixes": "maximum_prefixes",
    "preference": "preference",
    "rate": "rate_kbps",
    "bfd_interval": "bfd_interval_milliseconds",
    "hold": "hold_seconds",
    "accept": "accept_prefixes",
    "announce": "announce_prefixes",
}
# The field says the opposite of the option.
_OPPOSITES = {"bfd": "disable_bfd", "enable": "disabled"}


def interconnect_of(given: Mapping[str, Any]) -> tuple[pb.Interconnect, list[str]]:
    """The interconnect that the options given describe, and the fields they set. Raises click.UsageError."""
    wanted = pb.Interconnect()
    paths = fill(wanted, given, _FIELDS)
    for option, field in _OPPOSITES.items():
        if given[option] is not None:
            setattr(wanted, field, not given[option])
            paths.append(field)
    if given["password_file"] is not None:
        wanted.password = secrets.line_of("--password-file", given["password_file"], "Password of TCP MD5")
        if not wanted.password:
            # The API takes an empty one for none, which would leave the session open to anybody unnoticed.
            raise click.UsageError("--password-file: the password is empty")
        paths.append("password")
    return wanted, paths
