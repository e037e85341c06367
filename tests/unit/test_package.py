"""The Debian package: nothing that is used is missing from it, and its pages say what the program says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import click
import generate_manual as manual
from build_package import HOST_SERVICES, PYTHONS, command_script, commands, install_path, requirements

ROOT = Path(__file__).parents[2]
DEBIAN = ROOT / "deploy" / "debian"


def test_units_start_commands_that_the_package_has() -> None:
    paths = {f"/{install_path(name)}" for name in commands()}
    for unit in (*ROOT.glob("deploy/*.service"), *ROOT.glob("deploy/*.service.d/*.conf")):
        for path in re.findall(r"/usr/s?bin/sluice\S*", unit.read_text()):
            assert path in paths, unit.name


def test_a_command_refuses_a_python_that_the_package_is_not_for(tmp_path: Path) -> None:
    script = tmp_path / "command"
    text = command_script("sluicectl", "cli.main:main")
    assert f"{sys.version_info[0]}.{sys.version_info[1]}" in PYTHONS, "the rest says nothing then"
    script.write_text(text.replace(repr(PYTHONS), "('2.7',)"))
    done = subprocess.run([sys.executable, "-IS", script], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "sluicectl: this package is for Python" in done.stderr


def test_requirements_are_pinned() -> None:
    pinned = {
        line.partition("==")[0].lower().replace("_", "-") for line in (ROOT / "requirements.txt").read_text().split()
    }
    assert {name.lower().replace("_", "-") for name in requirements()} <= pinned


def test_maintainer_scripts_know_every_unit() -> None:
    units = {path.name for path in ROOT.glob("deploy/*.service")}
    listed = re.search(r'^UNITS="([^"]*)"', (DEBIAN / "postinst").read_text(), re.MULTILINE)
    assert listed
    # What ends by itself is not restarted.
    assert units - set(listed[1].split()) == {"sluice-host-setup.service"}
    for service in HOST_SERVICES:
        assert f"{service}.service" in (DEBIAN / "postinst").read_text()


def test_manual_pages_name_every_command_and_option() -> None:
    def options(context: click.Context) -> set[str]:
        found = {name for parameter in context.command.params for name in parameter.opts if name.startswith("--")}
        if isinstance(context.command, click.Group):
            for name in context.command.list_commands(context):
                below = context.command.get_command(context, name)
                assert below is not None
                found |= options(click.Context(below, info_name=name, parent=context))
        return found

    for name in commands():
        page = manual.command_page(name).replace("\\-", "-")
        for option in options(click.Context(manual.command(name), info_name=name)):
            assert option in page, (name, option)


def test_the_page_of_the_configuration_has_every_setting() -> None:
    shown = {(one.section, one.name) for one in manual.settings((ROOT / "deploy" / "sluice.toml").read_text())}
    table = set(re.findall(r"^\| `\[(\w+)\] (\w+)`", (ROOT / "docs" / "configuration.md").read_text(), re.MULTILINE))
    assert table
    assert table <= shown
    assert all(one.meaning for one in manual.settings((ROOT / "deploy" / "sluice.toml").read_text()))


def test_the_page_of_the_installation_has_three_commands() -> None:
    commands_shown = (ROOT / "docs" / "installation.md").read_text()
    version = re.search(r"^version = (.*)$", (ROOT / "setup.cfg").read_text(), re.MULTILINE)
    assert version
    for command in (
        f"apt install ./sluice_{version[1]}_amd64.deb",
        "editor /etc/sluice/sluice.toml",
        "systemctl enable --now sluice.target",
    ):
        assert f"    {command}" in commands_shown


def test_everything_names_the_same_license() -> None:
    assert "Apache License\n                           Version 2.0" in (ROOT / "LICENSE").read_text()
    assert re.search(r"^license = Apache-2.0$", (ROOT / "setup.cfg").read_text(), re.MULTILINE)
    assert set(re.findall(r"^License: (.*)$", (DEBIAN / "copyright").read_text(), re.MULTILINE)) == {"Apache-2.0"}
