"""Commands and groups of sluicectl: global options may stand before a command's name or after it."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import click
from click.core import ParameterSource

from cli.session import CliSession

FORMATS = ("table", "json")
_DEFAULTS = CliSession()


class GlobalOption(click.Option):
    """An option of every command, whose value is the session's field of its name.

    The environment and defaults are looked at once, by the root; below it only
    what was typed counts, and the last of it.
    """

    def __init__(self, *declarations: str, **settings: Any) -> None:
        super().__init__(declarations, expose_value=False, callback=self._keep, show_default=True, show_envvar=True,
                         **settings)  # fmt: skip

    def _keep(self, context: click.Context, parameter: click.Parameter, value: Any) -> None:
        typed = context.get_parameter_source(self.name) is ParameterSource.COMMANDLINE
        # While completing, what is missing has no default.
        if value is not None and (typed or context.parent is None):
            setattr(context.ensure_object(CliSession), self.name, value)

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        """Explained by the root only; every other help names them in one paragraph."""
        return super().get_help_record(ctx) if ctx.parent is None else None

    def named(self, context: click.Context) -> str:
        """As that paragraph has it."""
        return f"{', '.join(self.opts)} {self.make_metavar(context)}"


GLOBAL_OPTIONS = (
    GlobalOption("format", "-o", "--output", type=click.Choice(FORMATS), default=_DEFAULTS.format,
                 help="How to write answers: for people, or as JSON for programs."),
    GlobalOption("api", "--api", envvar="SLUICE_API", default=_DEFAULTS.api, metavar="ADDRESS",
                 help="The API: unix:PATH or HOST:PORT."),
    GlobalOption("timeout", "--timeout", type=click.FloatRange(0.1), default=_DEFAULTS.timeout, metavar="SECONDS",
                 help="How long to wait for each answer, and with --wait for flows."),
    GlobalOption("rundir", "--ovs-rundir", envvar="OVS_RUNDIR", default=_DEFAULTS.rundir, metavar="PATH",
                 type=click.Path(path_type=Path), help="Run directory of Open vSwitch."),
    GlobalOption("bridge", "--bridge", envvar="SLUICE_BRIDGE", default=_DEFAULTS.bridge, metavar="NAME",
                 help="The bridge of Sluice."),
    GlobalOption("metrics", "--metrics", envvar="SLUICE_METRICS", multiple=True, metavar="URL",
                 help="Metrics of a daemon of Sluice to show in `status`; may be repeated."),
)  # fmt: skip


class _TakesGlobalOptions(click.Command):
    """What commands and groups have in common."""

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Its own and the global ones."""
        return [*GLOBAL_OPTIONS, *super().get_params(ctx)]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Its own with their help, then the global ones by name."""
        super().format_options(ctx, formatter)
        if ctx.parent is not None:
            with formatter.section("Global options, here or before the command"):
                formatter.write_text("; ".join(option.named(ctx) for option in GLOBAL_OPTIONS))


class Command(_TakesGlobalOptions):
    """A command that may be given the global options."""


class CommandGroup(_TakesGlobalOptions, click.Group):
    """A group of such commands.

    Those at `places` (name → `MODULE:ATTRIBUTE`) are imported when they are
    used: a call pays for its own command only.
    """

    command_class = Command
    places: ClassVar[Mapping[str, str]] = {}

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Their names, in the order of the alphabet."""
        return sorted({*super().list_commands(ctx), *self.places})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name; None where there is none."""
        if cmd_name not in self.places:
            return super().get_command(ctx, cmd_name)
        module, _, attribute = self.places[cmd_name].partition(":")
        found = getattr(importlib.import_module(module), attribute)
        assert isinstance(found, click.Command)
        return found


pass_session = click.make_pass_decorator(CliSession)


def command(name: str | None = None, **settings: Any) -> Callable[[Callable[..., Any]], Command]:
    """As `click.command`."""
    return click.command(name, cls=Command, **settings)


def group(cls: type[CommandGroup] = CommandGroup, **settings: Any) -> Callable[[Callable[..., Any]], CommandGroup]:
    """As `click.group`."""
    return click.group(cls=cls, **settings)
