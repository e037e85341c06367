"""What holds for the arguments and refusals of every command."""

from __future__ import annotations

import io
import json
import subprocess
import sys

import click
from cli_tree import commands

from cli.errors import Failure, FieldError
from cli.main import sluicectl


def test_a_call_imports_its_own_command_only() -> None:
    """Vendors' configurations, certificates and the checks of a host take longer to load than a call does."""
    code = "import sys, cli.main; cli.main.run(['machines', '--help']); print(*sorted(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "cli.machines" in loaded
    assert not [name for name in loaded if name.startswith(("cli.vpn", "cli.doctor", "cryptography", "agent"))]


def test_no_number_is_too_large_for_its_field() -> None:
    found = {
        f"{name} {parameter.name}": parameter.type
        for name, command in commands(sluicectl)
        for parameter in command.params
        if isinstance(parameter.type, click.types.IntParamType)
    }
    assert len(found) > 15
    for where, kind in found.items():
        assert isinstance(kind, click.IntRange), where
        assert kind.max is not None, where
        assert kind.max < 2**63, where


def test_an_empty_name_is_nowhere_as_none() -> None:
    for name, command in commands(sluicectl):
        for parameter in command.params:
            if isinstance(parameter, click.Argument) and not parameter.required:
                assert parameter.callback is not None or parameter.nargs == -1, f"{name} {parameter.name}"


def shown(failure: Failure, *, as_json: bool) -> str:
    failure.as_json = as_json
    written = io.StringIO()
    with click.Context(sluicectl):
        failure.show(written)
    return written.getvalue()


def test_programs_get_every_violation_and_people_none_twice() -> None:
    refused = Failure("INVALID_ARGUMENT", "network.mtu: is 7", (FieldError("network.mtu", "is 7"),))
    error = json.loads(shown(refused, as_json=True))["error"]
    assert error["violations"] == [{"subject": "network.mtu", "description": "is 7"}]
    assert shown(refused, as_json=False) == "error: network.mtu: is 7 (INVALID_ARGUMENT)\n"
