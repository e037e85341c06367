"""`sluicectl doctor`: gathers facts of every subject and shows what they amount to."""

from __future__ import annotations

from dataclasses import asdict

import click

from agent.config import Config
from cli import output
from cli.command import command, pass_session
from cli.doctor import (
    clock,
    configuration,
    files,
    kernel_settings,
    listeners,
    modules,
    open_vswitch,
    ports,
    programs,
    units,
)
from cli.doctor.finding import Finding, Level
from cli.session import CliSession

CONFIGURATION = "/etc/sluice/sluice.toml"


@command(epilog="Examples: sluicectl doctor; sluicectl doctor -o json | jq '.[] | select(.level != \"ok\")'")
@click.option("--config", "path", default=CONFIGURATION, show_default=True, metavar="FILE", help="Configuration file.")
@click.pass_context
@pass_session
def doctor(session: CliSession, context: click.Context, path: str) -> None:
    """Check this host for Sluice, before and after the start; changes nothing.

    Each line is ok, a warning (something may not work) or an error (something
    configured does not work), with what to do. Needs no API; run it as root, or
    some checks are warnings. Exit code 1 when there is an error.
    """
    config, mistakes = configuration.gather(path)
    findings = configuration.judge(path, mistakes)
    if config is not None:
        session.bridge = config.bridge.name
        findings += _of_configuration(session, config)
    findings += [
        *programs.judge(programs.gather()),
        *listeners.judge(listeners.gather()),
        *clock.judge(clock.gather()),
        *files.judge_group(files.group_exists()),
    ]
    if session.json:
        output.print_json([asdict(finding) for finding in findings])
    else:
        rows = ((f.level.value, f.check, f.found, f.advice) for f in findings)
        output.print_table(("LEVEL", "CHECK", "FOUND", "WHAT TO DO"), rows)
    if any(finding.level is Level.ERROR for finding in findings):
        context.exit(1)


def _of_configuration(session: CliSession, config: Config) -> list[Finding]:
    datapath_type = config.bridge.datapath_type
    return [
        *open_vswitch.judge(open_vswitch.gather(session), datapath_type),
        *modules.judge(modules.gather(), datapath_type),
        *kernel_settings.judge(kernel_settings.gather(), config.conntrack, datapath_type),
        *ports.judge(ports.gather(config)),
        *ports.judge_next_hop(ports.next_hop(session, config)),
        *files.judge(*files.gather(config)),
        *units.judge(units.gather(config)),
    ]
