#!/usr/bin/env python3
"""Builds the Debian package: `make deb`, which calls this with a version and a folder to build in.

    build_package.py VERSION FOLDER

The package holds Sluice in /usr/lib/sluice/app, and what it needs from PyPI, at
the versions of requirements.txt, in /usr/lib/sluice/pythonX.Y for each Python
of PYTHONS: one package serves every Debian release that has one of them. From
PyPI come wheels only, so that nothing is compiled for a Python that is not
here. The same commit gives the same bytes.
"""

from __future__ import annotations

import configparser
import gzip
import hashlib
import importlib.metadata
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# Debian 12 and Debian 13.
PYTHONS = ("3.11", "3.13")
# Wheels for the C library of Debian 12, or an older one.
PLATFORMS = tuple(
    f"manylinux{tag}_x86_64" for tag in ("1", "2010", "2014", "_2_17", "_2_24", "_2_27", "_2_28", "_2_31", "_2_34")
)
LIBRARY = "usr/lib/sluice"
# Debian services that Sluice runs by itself, one for each gateway and interconnect.
HOST_SERVICES = ("frr", "strongswan-starter")
OWN = ("agent", "bgp", "cli", "controller", "daemons", "resolver", "state", "vpn")
STUBS = "proto/sluice"
# os-ken asks for these: for NETCONF by SSH, which nothing here speaks, and for a hub that is not used.
UNUSED = ("bcrypt", "eventlet", "greenlet", "invoke", "lxml", "ncclient", "paramiko", "pynacl")
_TESTS = ("os_ken/tests", "netaddr/tests")

_COMMAND = """#!/usr/bin/python3 -IS
import sys

version = "%d.%d" % sys.version_info[:2]
if version not in {pythons!r}:
    sys.exit(f"{name}: this package is for Python {listed}; /usr/bin/python3 is {{version}}")
sys.path[:0] = ["/{library}/app", f"/{library}/python{{version}}"]
from {module} import {function}

sys.exit({function}())
"""


def commands() -> dict[str, str]:
    """What each command calls, `MODULE:FUNCTION`, by its name (setup.cfg)."""
    pairs = (line.partition("=") for line in _setting("options.entry_points", "console_scripts"))
    return {name.strip(): target.strip() for name, _, target in pairs}


def requirements() -> list[str]:
    """Names of the distributions that Sluice itself needs (setup.cfg)."""
    return [line for line in _setting("options", "install_requires") if not line.startswith("#")]


def _setting(section: str, name: str) -> list[str]:
    """Lines of a setting of setup.cfg."""
    configuration = configparser.ConfigParser()
    configuration.read(ROOT / "setup.cfg")
    return configuration[section][name].strip().splitlines()


def install_path(command: str) -> str:
    """Where a command is installed: the administrator's are in sbin."""
    return f"usr/bin/{command}" if command == "sluicectl" else f"usr/sbin/{command}"


def command_script(name: str, target: str) -> str:
    """The text of a command: Debian's Python, isolated from all but the package's own tree."""
    module, _, function = target.partition(":")
    return _COMMAND.format(
        name=name, module=module, function=function, library=LIBRARY, pythons=PYTHONS, listed=" or ".join(PYTHONS)
    )


def source_files() -> Iterator[str]:
    """Files of the repository that are part of the program, as git lists them."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", *OWN],
        cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True,
    ).stdout  # fmt: skip
    yield from filter(None, listed.split("\0"))


def stage_program(tree: Path, version: str) -> None:
    """Sluice's own packages, generated stubs, and commands."""
    app = tree / LIBRARY / "app"
    # What `sluicectl --version` prints.
    metadata = app / f"sluice-{version}.dist-info" / "METADATA"
    metadata.parent.mkdir(parents=True)
    metadata.write_text(f"Metadata-Version: 2.1\nName: sluice\nVersion: {version}\n")
    for name in source_files():
        if (ROOT / name).exists():
            _copy(ROOT / name, app / name)
    for stub in sorted((ROOT / STUBS).glob("v1/*_pb2*.py")):
        _copy(stub, app / "sluice" / stub.relative_to(ROOT / STUBS))
    for name, target in commands().items():
        script = tree / install_path(name)
        script.parent.mkdir(parents=True, exist_ok=True)
        script.write_text(command_script(name, target))
        script.chmod(0o755)
    prepare = tree / LIBRARY / "prepare-database"
    _copy(ROOT / "deploy" / "prepare-database", prepare)
    prepare.chmod(0o755)


def stage_dependencies(tree: Path, wheels: Path) -> None:
    """Pinned distributions from PyPI for each Python. Raises CalledProcessError."""
    constraints = ("--constraint", str(ROOT / "requirements.txt"))
    # A source distribution whose optional extension is of use beside Open vSwitch's headers only: without a compiler
    # it becomes a wheel for every Python.
    _pip("wheel", "--no-deps", "--wheel-dir", str(wheels), *constraints, "ovs", CC="/bin/false")
    for python in PYTHONS:
        target = tree / LIBRARY / f"python{python}"
        tags = [part for platform in PLATFORMS for part in ("--platform", platform)]
        abis = [part for abi in (f"cp{python.replace('.', '')}", "abi3", "none") for part in ("--abi", abi)]
        _pip("install", "--no-compile", "--only-binary=:all:", "--find-links", str(wheels), "--target", str(target),
             "--python-version", python, "--implementation", "cp", *tags, *abis, *constraints,
             *requirements())  # fmt: skip
        for found in importlib.metadata.distributions(path=[str(target)]):
            if found.metadata["Name"].lower() in UNUSED:
                _remove(found)
        for name in ("bin", *_TESTS):
            shutil.rmtree(target / name, ignore_errors=True)
        # dpkg has a list of its own, and pip's has digests of scripts that name the Python which built this.
        for record in target.glob("*.dist-info/RECORD"):
            record.unlink()


def _remove(distribution: importlib.metadata.Distribution) -> None:
    """Delete the files of a distribution, and the folders that become empty."""
    for file in distribution.files or ():
        path = Path(str(distribution.locate_file(file)))
        path.unlink(missing_ok=True)
        while path.parent.is_dir() and not any(path.parent.iterdir()):
            path = path.parent
            path.rmdir()


def stage_documents(tree: Path) -> None:
    """Manual pages, completions, the pages of docs/. Raises CalledProcessError."""
    python = [sys.executable, str(ROOT / "docs" / "generate_manual.py")]
    subprocess.run([*python, str(tree / "usr/share")], check=True, cwd=ROOT)
    # All of them: they link to each other.
    for page in sorted((ROOT / "docs").glob("*.md")):
        _copy(page, tree / "usr/share/doc/sluice" / page.name)


def stage_system(tree: Path) -> None:
    """Units, drop-ins, the user, the runtime folder and the example configuration."""
    deploy, units = ROOT / "deploy", tree / "usr/lib/systemd/system"
    for unit in sorted([*deploy.glob("sluice*.service"), *deploy.glob("sluice*.target")]):
        _copy(unit, units / unit.name)
    for drop_in in sorted(deploy.glob("*.service.d/*.conf")):
        _copy(drop_in, units / drop_in.relative_to(deploy))
    for service in HOST_SERVICES:
        _copy(deploy / "host-services" / "sluice.conf", units / f"{service}.service.d" / "sluice.conf")
    _copy(deploy / "sysusers.conf", tree / "usr/lib/sysusers.d/sluice.conf")
    _copy(deploy / "tmpfiles.conf", tree / "usr/lib/tmpfiles.d/sluice.conf")
    _copy(deploy / "sluice.toml", tree / "etc/sluice/sluice.toml")


def stage_control(tree: Path, version: str, at: datetime) -> None:
    """What dpkg reads (deb(5)): control, maintainer scripts, checksums; and the changelog."""
    changelog = tree / "usr/share/doc/sluice/changelog.gz"
    changelog.parent.mkdir(parents=True, exist_ok=True)
    entry = f"sluice ({version}) stable; urgency=medium\n\n  * As of {at:%Y-%m-%d %H:%M}.\n\n"
    entry += f" -- Sluice <sluice@localhost>  {format_datetime(at)}\n"
    changelog.write_bytes(gzip.compress(entry.encode(), mtime=0))
    _copy(ROOT / "deploy" / "debian" / "copyright", tree / "usr/share/doc/sluice/copyright")
    control = tree / "DEBIAN"
    control.mkdir()
    files = sorted(path for path in tree.rglob("*") if path.is_file() and control not in path.parents)
    sums = (f"{hashlib.md5(path.read_bytes()).hexdigest()}  {path.relative_to(tree)}\n" for path in files)
    (control / "md5sums").write_text("".join(sums))
    size = sum(path.stat().st_size for path in files) // 1024
    text = (ROOT / "deploy" / "debian" / "control").read_text().replace("@VERSION@", version)
    (control / "control").write_text(text.replace("Architecture:", f"Installed-Size: {size}\nArchitecture:"))
    for name in ("conffiles", "triggers", "postinst", "prerm", "postrm"):
        _copy(ROOT / "deploy" / "debian" / name, control / name)
        (control / name).chmod(0o755 if name.startswith("p") else 0o644)


def build(version: str, folder: Path) -> Path:
    """The package, in `folder`. Raises CalledProcessError."""
    work = folder / "package"
    shutil.rmtree(work, ignore_errors=True)
    tree = work / "tree"
    stage_program(tree, version)
    stage_dependencies(tree, work / "wheels")
    stage_documents(tree)
    stage_system(tree)
    seconds = int(_output("git", "log", "-1", "--format=%ct"))
    stage_control(tree, version, datetime.fromtimestamp(seconds, UTC))
    built = folder / f"sluice_{version}_amd64.deb"
    _run("dpkg-deb", "--root-owner-group", "-Zxz", "-z3", "--build", str(tree), str(built),
         cwd=work, env={**os.environ, "SOURCE_DATE_EPOCH": str(seconds)})  # fmt: skip
    shutil.rmtree(work)
    return built


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


def _pip(command: str, *arguments: str, **variables: str) -> None:
    pip = (sys.executable, "-m", "pip", command, "--quiet", "--disable-pip-version-check")
    _run(*pip, *arguments, cwd=ROOT, env={**os.environ, **variables})


def _output(*command: str) -> str:
    return subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout


def _run(*command: str, cwd: Path, env: dict[str, str]) -> None:
    """Run a command; what it said is printed only when it fails. Raises CalledProcessError."""
    done = subprocess.run(
        command, cwd=cwd, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        print(done.stdout[-8000:], file=sys.stderr)
        raise subprocess.CalledProcessError(done.returncode, command)


def main() -> int:
    """The command line above; prints the package's path."""
    version, folder = sys.argv[1:]
    os.umask(0o022)
    try:
        print(build(version, Path(folder).resolve()))
    except subprocess.CalledProcessError as error:
        print(f"package not built: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
