"""`sluicectl`: options, commands, exit codes.

Exit codes: 0 done, 1 refused, 2 wrong usage, 3 nobody answered in time.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from importlib import metadata
from typing import ClassVar

import click
import grpc

from cli import errors
from cli.command import CommandGroup, group
from cli.session import CliSession

_INTERRUPTED = 130


class _Root(CommandGroup):
    """The root group: turns failures into words and exit codes once for all commands."""

    places: ClassVar[Mapping[str, str]] = {
        "networks": "cli.networks:networks",
        "machines": "cli.machines:machines",
        "addresses": "cli.addresses:addresses",
        "drives": "cli.drives:drives",
        "vpn": "cli.vpn.group:vpn",
        "interconnects": "cli.interconnect.group:interconnects",
        "flows": "cli.flows:flows",
        "drops": "cli.flows:drops",
        "usage": "cli.usage:usage",
        "status": "cli.status:status",
        "doctor": "cli.doctor.command:doctor",
        "who": "cli.who:who",
        "trace": "cli.trace:trace",
        "completion": "cli.completion:completion",
    }

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except grpc.RpcError as error:
            failure = errors.from_call(error, ctx.ensure_object(CliSession).api)
            failure.as_json = ctx.ensure_object(CliSession).json
            raise failure from error
        except errors.Failure as failure:
            failure.as_json = ctx.ensure_object(CliSession).json
            raise


def _version() -> str:
    try:
        return metadata.version("sluice")
    except metadata.PackageNotFoundError:
        return "unknown"


@group(
    cls=_Root,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110, "show_default": False},
    epilog="Exit codes: 0 done, 1 refused, 2 wrong usage, 3 nobody answered in time.",
)
@click.version_option(_version(), prog_name="sluicectl")
def sluicectl() -> None:
    """Isolated and private networks of one appliance.

    Objects and usage are asked from the API. flows, drops, trace, status and
    doctor look at the bridge and the host as well: run those on the appliance.
    Every option but --version may stand after the command too.
    """


def run(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code."""
    try:
        result = sluicectl.main(list(arguments), prog_name="sluicectl", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return _INTERRUPTED
    except BrokenPipeError:
        # The reader, `head` for one, has had enough; the interpreter must not flush into it again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    # `--help` and `--version` leave by their exit code.
    return result if isinstance(result, int) else 0


def main() -> None:
    """Entry point of the command."""
    sys.exit(run(sys.argv[1:]))
