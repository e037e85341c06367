"""The units of deploy/ fit the programs they start, and each other."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import click
import pytest

from agent import main as agent
from agent.config import Config, parse
from agent.host import setup
from bgp import main as bgp
from controller import main as controller
from controller import restore
from resolver import main as resolver
from vpn import main as vpn

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
PROGRAMS = {
    "sluice-agent": agent.main,
    "sluice-bgp": bgp.main,
    "sluice-controller": controller.main,
    "sluice-host-setup": setup.main,
    "sluice-resolver": resolver.main,
    "sluice-restore": restore.main,
    "sluice-vpn": vpn.main,
}
UNITS = [*DEPLOY.glob("*.service"), *DEPLOY.glob("*.service.d/*.conf")]


def commands() -> list[tuple[str, str, list[str]]]:
    """Unit, program and arguments of every start of one of our programs."""
    found = []
    for unit in UNITS:
        text = unit.read_text().replace("\\\n", " ")
        for line in re.findall(r"^Exec\w+=-?(/usr/sbin/sluice-.*)$", text, re.MULTILINE):
            program, *arguments = shlex.split(line)
            found.append((unit.name, Path(program).name, arguments))
    return found


def parameters(program: str, arguments: list[str]) -> dict[str, object]:
    """The options as the program understands them."""
    return dict(PROGRAMS[program].make_context(program, arguments).params)


def started(program: str) -> dict[str, object]:
    """The options a program gets from its unit."""
    return next(parameters(name, arguments) for _, name, arguments in commands() if name == program)


def as_commented() -> Config:
    """The example configuration with every default that its comments show."""
    text = (DEPLOY / "sluice.toml").read_text()
    return parse(re.sub(r"^# (\w+ = )", r"\1", text, flags=re.MULTILINE))


def test_every_unit_starts_a_program_with_options_it_has() -> None:
    assert {name for _, name, _ in commands()} == set(PROGRAMS)
    for unit, program, arguments in commands():
        try:
            parameters(program, arguments)
        except click.UsageError as error:
            pytest.fail(f"{unit}: {program}: {error.format_message()}")


def test_defaults_in_the_example_configuration_are_the_defaults() -> None:
    assert as_commented() == parse((DEPLOY / "sluice.toml").read_text())


def test_everybody_meets_at_the_same_sockets() -> None:
    config = as_commented()
    service = (DEPLOY / "sluice-ovsdb.service").read_text()
    assert f"--remote=punix:{config.database} " in service
    for program in ("sluice-controller", "sluice-restore"):
        options = started(program)
        assert (options["database"], options["bridge"]) == (config.database, config.bridge.name)
    assert started("sluice-resolver")["database"] == config.database
    assert started("sluice-controller")["listen"] == config.bridge.controller
    for program in ("sluice-vpn", "sluice-bgp"):
        options = started(program)
        assert (options["database"], options["ovsdb"], options["bridge"]) == (
            config.database,
            config.bridge.ovsdb,
            config.bridge.name,
        )
    # What the agent seals, both open.
    assert started("sluice-vpn")["key"] == started("sluice-bgp")["key"]


@pytest.mark.parametrize("unit", ["sluice-vpn.service", "sluice-bgp.service"])
def test_what_a_daemon_keeps_outlives_it_and_its_namespaces_are_the_hosts(unit: str) -> None:
    settings = dict(line.split("=", 1) for line in (DEPLOY / unit).read_text().splitlines() if "=" in line)
    assert settings["KillMode"] == "process"
    assert settings["RuntimeDirectoryPreserve"] == "yes"
    # To make them in the mount namespace of process 1: nsenter(1) looks at that process and enters its root.
    assert {"CAP_SYS_ADMIN", "CAP_SYS_CHROOT", "CAP_SYS_PTRACE"} <= set(settings["CapabilityBoundingSet"].split())
    assert "mnt" in settings["RestrictNamespaces"].split()


def test_a_crash_of_the_switchs_database_does_not_restart_the_switch() -> None:
    # Debian's ovs-vswitchd.service has Requires=ovsdb-server.service: Restart= of the one restarts the other.
    assert "\nRestart=no\n" in (DEPLOY / "ovsdb-server.service.d" / "sluice.conf").read_text()
    assert "\nUpholds=ovsdb-server.service\n" in (DEPLOY / "ovs-vswitchd.service.d" / "sluice.conf").read_text()


SERVICES = sorted(path.name for path in DEPLOY.glob("*.service"))


def test_the_target_starts_every_service_and_stops_it() -> None:
    target = (DEPLOY / "sluice.target").read_text()
    wanted = {name for line in re.findall(r"^Wants=(.*)$", target, re.MULTILINE) for name in line.split()}
    assert wanted == set(SERVICES)
    for name in SERVICES:
        assert "PartOf=sluice.target" in (DEPLOY / name).read_text(), name


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd on this machine")
@pytest.mark.parametrize("unit", SERVICES)
def test_exposure_of_a_unit_is_small(unit: str) -> None:
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=yes", "--no-pager", str(DEPLOY / unit)],
        env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    level = re.search(r"exposure level for \S+: ([\d.]+)", done.stdout)
    assert level, done.stderr
    assert float(level[1]) <= 3.0


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "sluice.db"


def prepare(database: Path, schema: Path) -> None:
    subprocess.run([DEPLOY / "prepare-database", database, schema], check=True)


def test_the_database_is_made_once_and_converted_when_the_schema_is_newer(database: Path, tmp_path: Path) -> None:
    schema = ROOT / "state" / "sluice.ovsschema"
    prepare(database, schema)
    made = database.read_bytes()
    prepare(database, schema)
    assert database.read_bytes() == made
    newer = tmp_path / "newer.ovsschema"
    newer.write_text(re.sub(r'"version": "[\d.]+"', '"version": "99.0.0"', schema.read_text()))
    prepare(database, newer)
    kept = [path for path in tmp_path.iterdir() if path.name.startswith("sluice.db.")]
    assert [path.read_bytes() for path in kept if not path.name.endswith("lock")] == [made]
    version = subprocess.run(["ovsdb-tool", "db-version", database], capture_output=True, text=True, check=True)
    assert version.stdout.strip() == "99.0.0"


def test_a_database_that_has_grown_is_compacted(database: Path) -> None:
    schema = ROOT / "state" / "sluice.ovsschema"
    prepare(database, schema)
    row = {"op": "insert", "table": "Daemon", "row": {"name": "x" * 100_000}}
    for operation in [row, {"op": "delete", "table": "Daemon", "where": []}] * 45:
        transaction = json.dumps(["Sluice", operation])
        subprocess.run(["ovsdb-tool", "transact", database, transaction], stdout=subprocess.DEVNULL, check=True)
    assert database.stat().st_size > 4 << 20
    prepare(database, schema)
    assert database.stat().st_size < 100_000


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd on this machine")
def test_systemd_understands_the_units(tmp_path: Path) -> None:
    for unit in UNITS:
        copy = tmp_path / unit.relative_to(DEPLOY)
        copy.parent.mkdir(exist_ok=True)
        # Not installed here: what is to be checked is the rest.
        copy.write_text(re.sub(r"(?<=[=-])/usr/(sbin/sluice-|lib/sluice/)\S+", "/bin/true", unit.read_text()))
    names = [path.name for path in DEPLOY.glob("*.service")]
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *names, "ovs-vswitchd.service"],
        env={"SYSTEMD_UNIT_PATH": f"{tmp_path}:", "PATH": "/usr/bin:/bin"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert str(tmp_path) not in done.stderr
    assert not [line for line in done.stderr.splitlines() if "sluice" in line]
