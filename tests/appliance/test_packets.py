"""The packet tests on the kernel's datapath, in the private worlds they have everywhere.

All modules of a folder run in one world, one after the other: in an emulated
machine the start of a world takes as long as most modules.
"""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import images
import pytest
from images import ROOT, SOURCES, Release
from results import Outcome, outcomes, record
from sources import push
from virtual_machine import PATIENCE, VirtualMachine

# One test of each feature; all the rest are for the whole run.
CORE = ("mininet/test_nat_errors", "mininet/test_public", "mininet/test_path_mtu", "mininet/test_port_security")
FOLDERS = ("mininet", "vpn", "bgp")
MODULES = [
    f"{folder}/{path.stem}" for folder in FOLDERS for path in sorted((ROOT / "tests" / folder).glob("test_*.py"))
]
PARAMETERS = [pytest.param(name, marks=[] if name in CORE else pytest.mark.whole) for name in MODULES]
MOST_SECONDS = 4 * 3600.0
REPORT, LOG = "/root/packets.xml", "/root/packets.log"

Report = Callable[[Sequence[str]], str]


@pytest.fixture(scope="module")
def machine(release: Release, folder: Path) -> Iterator[VirtualMachine]:
    """A host with the test tools, whose own Open vSwitch is stopped."""
    one = VirtualMachine(images.tools(release), folder / f"{release.name}-packets")
    try:
        one.start()
        push(one, ROOT)
        one.run("modprobe openvswitch")
        yield one
    finally:
        one.close()


@pytest.fixture(scope="module")
def kernel(machine: VirtualMachine, release: Release, request: pytest.FixtureRequest) -> Mapping[str, Outcome]:
    """What the chosen modules gave in the machine."""

    def run(command: Sequence[str]) -> str:
        settings = f"SLUICE_DATAPATH=system SLUICE_PATIENCE={PATIENCE}"
        printing = f"{settings} {shlex.join(command)} --junitxml {REPORT} >{LOG} 2>&1"
        machine.attempt(f"cd {SOURCES} && rm -f {REPORT} && {printing}", MOST_SECONDS)
        return machine.run(f"cat {REPORT} || tail -n 50 {LOG} >&2")

    found = run_chosen(run, request)
    record("system", release.name, found)
    return found


@pytest.fixture(scope="module")
def userspace(folder: Path, request: pytest.FixtureRequest) -> Mapping[str, Outcome]:
    """What the chosen modules gave on this host."""

    def run(command: Sequence[str]) -> str:
        report = folder / "packets.xml"
        environment = {**os.environ, "SLUICE_DATAPATH": "netdev"}
        subprocess.run(
            [*command, "--junitxml", str(report)], cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, check=False
        )
        return report.read_text()

    found = run_chosen(run, request)
    record("netdev", "host", found)
    return found


@pytest.mark.timeout(MOST_SECONDS)
@pytest.mark.parametrize("module", PARAMETERS)
def test_packets_on_the_kernel_datapath(kernel: Mapping[str, Outcome], module: str) -> None:
    assert kernel[module].passed, kernel[module].failures


@pytest.mark.whole
@pytest.mark.timeout(MOST_SECONDS)
@pytest.mark.parametrize("module", MODULES)
def test_packets_on_the_userspace_datapath(userspace: Mapping[str, Outcome], module: str) -> None:
    assert userspace[module].passed, userspace[module].failures


def run_chosen(run: Report, request: pytest.FixtureRequest) -> dict[str, Outcome]:
    """Run the modules whose tests were chosen of those that use the fixture, a world a folder."""
    chosen = {
        item.callspec.params["module"]
        for item in request.session.items
        if isinstance(item, pytest.Function) and request.fixturename in item.fixturenames and not skipped(item)
    }
    found: dict[str, Outcome] = {}
    for folder in FOLDERS:
        modules = [module for module in MODULES if module in chosen and module.startswith(f"{folder}/")]
        if modules:
            found |= outcomes(run(command(modules)), folder)
    return found


def skipped(item: pytest.Item) -> bool:
    """Whether `--core` leaves it out."""
    return item.get_closest_marker("skip") is not None


def command(modules: Sequence[str]) -> list[str]:
    """Modules of one folder in a private world."""
    python = ".venv/bin/python"
    files = [f"tests/{module}.py" for module in modules]
    return [python, "mininet/world.py", "--", python, "-m", "pytest", "-v", "--timeout", "1200", *files]
