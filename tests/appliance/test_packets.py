"""The packet tests on the kernel's datapath, in the private worlds they have everywhere."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import images
import pytest
from images import ROOT, SOURCES, Release
from results import record
from sources import push
from virtual_machine import VirtualMachine

# One test of each feature; all the rest are for the whole run.
CORE = ("test_nat_errors", "test_public", "test_path_mtu", "test_port_security")
MODULES = sorted(path.stem for path in (ROOT / "tests" / "mininet").glob("test_*.py"))
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
    run = f"cd {SOURCES} && .venv/bin/python mininet/world.py -- .venv/bin/python -m pytest -q --timeout 1200"
    done = machine.attempt(
        f"SLUICE_DATAPATH=system; export SLUICE_DATAPATH; {run} tests/mininet/{module}.py", MODULE_SECONDS
    )
    closing = re.findall(r"^.*(?:passed|failed|error|skipped).* in [\d.]+s.*$", done.stdout, re.M)
    record("system", release.name, module, closing[-1] if closing else "no result")
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
