"""Virtual machines for the tests of the package, one set for each Debian release asked for.

`--release NAME` (bookworm, trixie; may be repeated) chooses, `--core` leaves
out what takes more than a quarter of an hour.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import images
import pytest
import results
from host import Host, build_package, install
from images import RELEASES, Release
from virtual_machine import MachineHung, VirtualMachine

TIMEOUT = 1800.0
# EX_TEMPFAIL of sysexits(3): `make` runs all once more.
HUNG = 75


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options above."""
    group = parser.getgroup("appliance")
    group.addoption("--release", action="append", choices=sorted(RELEASES), help="Debian releases; default: bookworm")
    group.addoption("--table", type=Path, metavar="PAGE", help="write the table of packet tests into this page")
    group.addoption("--core", action="store_true", help="only what fits in a quarter of an hour")


def pytest_configure(config: pytest.Config) -> None:
    """Say what the mark means."""
    config.addinivalue_line("markers", "whole: too long for every day; left out with --core")


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the table of packet tests if that was asked for."""
    page = session.config.getoption("--table", None)
    if page and results.FILE.exists():
        results.write_table(page)


def pytest_exception_interact(call: pytest.CallInfo[object]) -> None:
    """A machine that hangs says nothing of what runs in it: end at once, with an exit status of its own."""
    if call.excinfo is not None and isinstance(call.excinfo.value, MachineHung):
        pytest.exit(f"an emulated machine hung: {call.excinfo.value}", returncode=HUNG)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Everything once for each release."""
    if "release" in metafunc.fixturenames:
        chosen = metafunc.config.getoption("--release", None) or ["bookworm"]
        metafunc.parametrize("release", [RELEASES[name] for name in chosen], ids=chosen, scope="session")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Give virtual machines their time, and leave out what was not asked for."""
    here = Path(__file__).parent
    asked = any(Path(argument.partition("::")[0]).resolve().is_relative_to(here) for argument in config.args)
    for item in items:
        if item.path.parent != here:
            continue
        if not asked:
            item.add_marker(pytest.mark.skip(reason="needs virtual machines: `make test-appliance`"))
        elif config.getoption("--core", False) and item.get_closest_marker("whole"):
            item.add_marker(pytest.mark.skip(reason="not with --core"))
        item.add_marker(pytest.mark.timeout(TIMEOUT))


@pytest.fixture(scope="session")
def folder() -> Iterator[Path]:
    """Where disks and consoles of this run are; removed at the end."""
    made = Path(tempfile.mkdtemp(prefix="sluice-appliance-"))
    yield made
    shutil.rmtree(made)


@pytest.fixture(scope="session")
def package() -> Path:
    """The package of this work tree."""
    return build_package()


@pytest.fixture(scope="session")
def host(release: Release, package: Path, folder: Path) -> Iterator[Host]:
    """A host with the test tools and the package, installed as docs/installation.md says."""
    machine = VirtualMachine(images.tools(release), folder / f"{release.name}-host")
    try:
        machine.start()
        yield install(machine, package)
    finally:
        machine.close()
