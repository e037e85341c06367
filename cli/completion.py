"""`sluicectl completion`: completion scripts for shells."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from cli.command import command

VARIABLE = "_SLUICECTL_COMPLETE"


@command(
    epilog="Examples: source <(sluicectl completion bash);"
    " sluicectl completion fish > ~/.config/fish/completions/sluicectl.fish"
)
@click.argument("shell", type=click.Choice(("bash", "zsh", "fish")))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Write the completion script of a shell.

    Commands, options and the names of networks, machines, VPNs and interconnects
    are completed; names are asked from the API.
    """
    click.echo(script(context.find_root().command, shell))


def script(root: click.Command, shell: str) -> str:
    """The completion script of a shell for `sluicectl`, whose command is `root`."""
    found = get_completion_class(shell)
    assert found is not None
    return found(root, {}, "sluicectl", VARIABLE).source()
