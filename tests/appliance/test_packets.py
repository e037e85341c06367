"""The packet tests on the kernel's datapath, in the private worlds they have everywhere."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import images
import pytest
from images import ROOT, SOURCES, Release
from results import record
from sources import push
from virtual_machine import VirtualMachine

# One test of each feature; all the rest are for the whole run.
CORE = ("mininet/test_nat_errors", "mininet/test_public", "mininet/test_path_mtu", "mininet/test_port_security")
FOLDERS = ("mininet", "vpn", "bgp")
MODULES = [
    f"{folder}/{path.stem}" for folder in FOLDERS for path in sorted((ROOT / "tests" / folder).glob("test_*.py"))
]
MODULE_SECONDS = 1500


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


@pytest.mark.parametrize(
    "module", [pytest.param(name, marks=[] if name in CORE else pytest.mark.whole) for name in MODULES]
)
def test_packets_on_the_kernel_datapath(machine: VirtualMachine, release: Release, module: str) -> None:
    done = machine.attempt(f"cd {SOURCES} && SLUICE_DATAPATH=system {shlex.join(command(module))}", MODULE_SECONDS)
    record("system", release.name, module, closing_line(done.stdout))
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]


@pytest.mark.whole
@pytest.mark.parametrize("module", MODULES)
def test_packets_on_the_userspace_datapath(module: str) -> None:
    done = subprocess.run(
        command(module), cwd=ROOT, env={**os.environ, "SLUICE_DATAPATH": "netdev"}, capture_output=True, text=True,
        timeout=MODULE_SECONDS, check=False,
    )  # fmt: skip
    record("netdev", "host", module, closing_line(done.stdout))
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]


def command(module: str) -> list[str]:
    """One module in a private world."""
    python = ".venv/bin/python"
    return [
        python,
        "mininet/world.py",
        "--",
        python,
        "-m",
        "pytest",
        "-q",
        "--timeout",
        "1200",
        f"tests/{module}.py",
    ]


def closing_line(output: str) -> str:
    """What pytest counted."""
    found = re.findall(r"^.*(?:passed|failed|error|skipped).* in [\d.]+s.*$", output, re.MULTILINE)
    return found[-1] if found else "no result"
