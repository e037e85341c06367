"""`sluicectl`: options, commands, exit codes.

Exit codes: 0 done, 1 refused, 2 wrong usage, 3 nobody answered in time.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import ClassVar

import click
import grpc

from cli import errors
from cli.lazy import LazyGroup
from cli.names import DEFAULT_API
from cli.session import FORMATS, Session

_INTERRUPTED = 130


class _Root(LazyGroup):
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
            session = ctx.find_object(Session)
            failure = errors.from_call(error, session.api if session else DEFAULT_API)
            failure.as_json = session is not None and session.json
            raise failure from error
        except errors.Failure as failure:
            session = ctx.find_object(Session)
            failure.as_json = session is not None and session.json
            raise


def _version() -> str:
    try:
        return metadata.version("sluice")
    except metadata.PackageNotFoundError:
        return "unknown"


@click.group(
    cls=_Root,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110, "show_default": False},
    epilog="Exit codes: 0 done, 1 refused, 2 wrong usage, 3 nobody answered in time.",
)
@click.option("--api", envvar="SLUICE_API", default=DEFAULT_API, show_default=True, show_envvar=True,
              metavar="ADDRESS", help="The API: unix:PATH or HOST:PORT.")  # fmt: skip
@click.option("--timeout", type=click.FloatRange(0.1), default=30.0, show_default=True, metavar="SECONDS",
              help="How long to wait for each answer, and with --wait for flows.")  # fmt: skip
@click.option("--ovs-rundir", envvar="OVS_RUNDIR", default="/run/openvswitch", show_default=True, show_envvar=True,
              type=click.Path(path_type=Path), help="Run directory of Open vSwitch.")  # fmt: skip
@click.option("--bridge", envvar="SLUICE_BRIDGE", default="br-sluice", show_default=True, show_envvar=True,
              metavar="NAME", help="The bridge of Sluice.")  # fmt: skip
@click.option("--metrics", envvar="SLUICE_METRICS", multiple=True, metavar="URL", show_envvar=True,
              help="Metrics of a daemon of Sluice to show in `status`; may be repeated.")  # fmt: skip
@click.option("-o", "--output", type=click.Choice(FORMATS), default="table", show_default=True,
              help="How to write answers: for people, or as JSON for programs.")  # fmt: skip
@click.version_option(_version(), prog_name="sluicectl")
@click.pass_context
def sluicectl(
    context: click.Context,
    api: str,
    timeout: float,
    ovs_rundir: Path,
    bridge: str,
    metrics: tuple[str, ...],
    output: str,
) -> None:
    """Isolated and private networks of one appliance.

    Objects and usage are asked from the API. flows, drops, trace, status and
    doctor look at the bridge and the host as well: run those on the appliance.
    """
    context.obj = Session(api, timeout, ovs_rundir, bridge, metrics, output)


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
