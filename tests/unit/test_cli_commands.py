"""What every command has: global options before and after its name, and the verbs of every kind of object."""

from __future__ import annotations

import click
import pytest
from cli_tree import commands
from fake_api import FakeApi, Sluicectl, api, office, sluicectl
from generate_manual import command_page, escape

from cli.command import GLOBAL_OPTIONS, Command, CommandGroup
from cli.main import run
from cli.main import sluicectl as root
from cli.names import Collection

__all__ = ["api", "sluicectl"]

ALL = dict(commands(root))
LEAVES = {name: one for name, one in ALL.items() if not isinstance(one, click.Group)}


@pytest.mark.parametrize("name", ALL)
def test_every_command_takes_every_global_option_once(name: str) -> None:
    assert isinstance(ALL[name], (Command, CommandGroup))
    context = click.Context(ALL[name], parent=click.Context(root) if name else None)
    given = [option for parameter in ALL[name].get_params(context) for option in parameter.opts]
    assert len(given) == len(set(given))
    assert {option for one in GLOBAL_OPTIONS for option in one.opts} <= set(given)


@pytest.mark.parametrize(
    "arguments",
    [
        ["-o", "json", "networks", "list"],
        ["networks", "-o", "json", "list"],
        ["networks", "list", "-o", "json"],
        ["networks", "list", "--output=json"],
        ["-o", "table", "networks", "list", "-o", "json"],
    ],
    ids=" ".join,
)
def test_the_last_place_of_an_option_counts(api: FakeApi, sluicectl: Sluicectl, arguments: list[str]) -> None:
    api.networks["networks/office"] = office()
    assert sluicectl(*arguments).json()[0]["name"] == "networks/office"


def test_the_api_and_how_long_to_wait_are_told_after_the_command(
    api: FakeApi, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLUICE_API", "unix:/nonexistent/api.sock")
    assert run(["networks", "list"]) == 3
    assert run(["networks", "list", "--api", api.target, "--timeout", "5"]) == 0
    # The environment does not take back what was typed before the command.
    assert run(["--api", api.target, "networks", "list"]) == 0
    assert run(["networks", "list", "--api", "unix:/nonexistent/other.sock", "-o", "json"]) == 3
    assert "/nonexistent/other.sock" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [["networks", "list", "-o", "xml"], ["networks", "list", "--timeout", "0"], ["networks", "list", "--api"]],
)
def test_a_wrong_one_is_wrong_after_the_command_too(api: FakeApi, sluicectl: Sluicectl, arguments: list[str]) -> None:
    assert (sluicectl(*arguments).code, api.requests) == (2, [])


@pytest.mark.parametrize("name", ["", "networks", "networks list", "trace"])
def test_help_explains_global_options_once(capsys: pytest.CaptureFixture[str], name: str) -> None:
    assert run([*name.split(), "--help"]) == 0
    shown = capsys.readouterr().out
    assert shown.count("-o, --output [table|json]") == 1
    # Explained by the root, named by the others.
    assert shown.count("How to write answers") == (not name)
    assert ("Global options, here or before the command:" in shown) == bool(name)


def test_names_are_completed_from_the_api_that_stands_after_the_command(
    api: FakeApi, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    api.networks["networks/office"] = office()
    monkeypatch.setenv("_SLUICECTL_COMPLETE", "bash_complete")
    for words in (f"sluicectl networks show --api {api.target} of", f"sluicectl networks --api {api.target} show of"):
        monkeypatch.setenv("COMP_WORDS", words)
        monkeypatch.setenv("COMP_CWORD", "5")
        with pytest.raises(SystemExit):
            run([])
        assert capsys.readouterr().out.split() == ["plain,office"]
    monkeypatch.setenv("COMP_WORDS", "sluicectl networks list --")
    monkeypatch.setenv("COMP_CWORD", "3")
    with pytest.raises(SystemExit):
        run([])
    assert {"plain,--output", "plain,--api", "plain,--tenant"} <= set(capsys.readouterr().out.split())


def test_the_manual_explains_global_options_once() -> None:
    page = command_page("sluicectl")
    assert page.count(escape("-o, --output [table|json]")) == 1


KINDS = ("networks", "machines", "addresses", "drives", "vpn gateways", "vpn connections", "interconnects")
# The API changes nothing of these.
FIXED = ("drives", "vpn gateways")


def _options(command: click.Command) -> set[str]:
    return {option for one in command.params if isinstance(one, click.Option) for option in one.opts}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_object_has_the_same_verbs_with_the_same_options(kind: str) -> None:
    group = ALL[kind]
    assert isinstance(group, click.Group)
    verbs = {"list", "show", "create", "delete", "watch", *(() if kind in FIXED else ("set",))}
    assert verbs <= set(group.list_commands(click.Context(group)))
    for verb in verbs:
        command = ALL[f"{kind} {verb}"]
        names = [one for one in command.params if isinstance(one, click.Argument)]
        if verb in ("show", "set", "delete"):
            # Its name, in full for the API and completed for people; of those to delete several.
            assert [isinstance(one.type, Collection) for one in names] == [True], verb
            assert names[0].nargs == (-1 if verb == "delete" else 1)
        assert ("--wait" in _options(command)) == (verb in ("show", "create", "set")), verb
        assert ("--tenant" in _options(command)) or verb != "list"
        assert command.epilog, f"{kind} {verb} shows no example"
    assert "--request-id" in _options(ALL[f"{kind} create"])
