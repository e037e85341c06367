"""`.ci/packages`: what it installs runs no service, now or after the next boot."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / ".ci" / "packages"

# Stand-ins: a package is a file in `installed`, an enabled unit one in `enabled`; installing smbd enables its unit.
_TOOLS = {
    "id": "echo 0",
    "dpkg-query": '[ ! -e "$HOST/installed/$4" ] || printf installed',
    "systemctl": 'for last; do :; done; echo >>"$HOST/calls"; '
    '[ "$(wc -l <"$HOST/calls")" != "$(cat "$HOST/fails" 2>/dev/null)" ] || exit 1; '
    'case "$*" in *list-unit-files*) ls "$HOST/enabled" | sed "s/$/ enabled/" ;; '
    '*disable*) rm "$HOST/enabled/$last" ;; esac',
    "apt-get": "for last; do :; done; "
    '[ "$1" != install ] || { touch "$HOST/installed/$last" "$HOST/enabled/$last.service"; '
    '[ ! -e "$HOST/usr/sbin/policy-rc.d" ] || touch "$HOST/asked"; [ ! -e "$HOST/die" ] || kill -9 $PPID; }',
}


@pytest.fixture
def host(tmp_path: Path) -> Path:
    for folder in ("bin", "installed", "enabled", "var/lib", "usr/sbin"):
        (tmp_path / folder).mkdir(parents=True)
    for name, text in _TOOLS.items():
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    (tmp_path / "enabled" / "ssh.service").touch()
    return tmp_path


def packages(host: Path, *names: str) -> int:
    environment = {"PATH": f"{host}/bin:{os.environ['PATH']}", "HOST": str(host), "SLUICE_SETUP_ROOT": str(host)}
    return subprocess.run([SCRIPT, *names], env=environment, capture_output=True, check=False).returncode


def enabled(host: Path) -> set[str]:
    return {file.name for file in (host / "enabled").iterdir()}


def left(host: Path) -> list[Path]:
    return [*(host / "var/lib").iterdir(), *(host / "usr/sbin").iterdir()]


def test_what_is_installed_starts_nothing_and_is_not_enabled(host: Path) -> None:
    assert packages(host, "smbd") == 0
    assert (host / "installed" / "smbd").exists()
    assert (host / "asked").exists()
    assert enabled(host) == {"ssh.service"}
    assert left(host) == []


def test_what_was_enabled_before_stays_so(host: Path) -> None:
    (host / "enabled" / "smbd.service").touch()
    assert packages(host, "smbd") == 0
    assert enabled(host) == {"ssh.service", "smbd.service"}


def test_a_killed_run_is_made_good_by_the_next(host: Path) -> None:
    (host / "die").touch()
    assert packages(host, "smbd") == -9
    assert enabled(host) == {"ssh.service", "smbd.service"}
    (host / "die").unlink()
    assert packages(host, "smbd") == 0
    assert enabled(host) == {"ssh.service"}
    assert left(host) == []


@pytest.mark.parametrize("call", [1, 2])
def test_a_systemctl_that_fails_disables_nothing_that_was_enabled_before(host: Path, call: int) -> None:
    (host / "fails").write_text(str(call))
    assert packages(host, "smbd") != 0
    assert "ssh.service" in enabled(host)
    (host / "fails").unlink()
    assert packages(host, "smbd") == 0
    assert enabled(host) == {"ssh.service"}


UNPACK = SCRIPT.with_name("unpacked")
# What is missing here is the package and a library; an archive is a file with its own name in it.
_ARCHIVES = {
    "id": "echo 0",
    "apt-cache": ":",
    "apt-get": 'case "$*" in *--simulate*) printf "Inst library (1)\\nInst %s (1)\\nConf library (1)\\nRemv rival\\n" '
    '"$5" ;; *download*) shift 4; for one; do touch "$one.deb"; done ;; esac',
    "dpkg-deb": 'touch "$3/$(basename "$2" .deb)"',
}


def test_what_cannot_be_installed_is_unpacked_with_what_it_needs(host: Path) -> None:
    for name, text in _ARCHIVES.items():
        (host / "bin" / name).write_text(f"#!/bin/sh\n{text}\n")
        (host / "bin" / name).chmod(0o755)
    target = host / "venv" / "libreswan"
    (target / "old").mkdir(parents=True)
    environment = {"PATH": f"{host}/bin:{os.environ['PATH']}", "HOST": str(host)}
    subprocess.run([UNPACK, "libreswan", str(target)], env=environment, check=True)
    assert {file.name for file in target.iterdir()} == {"library", "libreswan"}
    assert list((host / "installed").iterdir()) == []
