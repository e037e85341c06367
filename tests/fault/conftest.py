"""Fault tests see the fixtures `sandbox` and `tenants`; desired state is on a disk of its own, which can be filled."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from sandbox import Sandbox
from sandboxes import SETTINGS, keep_logs, tenants

__all__ = ["sandbox", "state_directory", "tenants"]

# Inside the world, hence gone with it.
STATE = Path("/run/sluice-state")
STATE_BYTES = 8 << 20


@pytest.fixture(scope="session")
def state_directory() -> Path:
    """A file system of a few megabytes."""
    STATE.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={STATE_BYTES}", "tmpfs", str(STATE)], check=True)
    return STATE


@pytest.fixture(scope="session")
def sandbox(request: pytest.FixtureRequest, state_directory: Path) -> Iterator[Sandbox]:
    """As `sandboxes.sandbox`, with desired state in `state_directory`."""
    one = Sandbox(SETTINGS, state_directory)
    try:
        one.start()
        yield one
    finally:
        if request.session.testsfailed:
            keep_logs(one)
        one.stop()
