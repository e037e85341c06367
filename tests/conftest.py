"""What every layer of tests shares: packet tests run in a private world."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
import world

ROOT = Path(__file__).resolve().parent.parent
IN_A_WORLD = ("tests/mininet", "tests/fault", "tests/vpn", "tests/bgp")


def pytest_configure(config: pytest.Config) -> None:
    """Start over in a private world when packet tests were asked for outside of one.

    The world dies with this process whatever kills it, so nothing is ever left
    on the machine. With pytest-xdist's `--tx` this process only distributes the
    tests, and the Makefile starts each worker in a world.
    """
    config.addinivalue_line("markers", "alone: bounds a time or rate, so no other test runs at the same time")
    if config.getoption("tx", None):
        return
    asked = [str(Path(argument.split("::")[0]).resolve()) for argument in config.args]
    wanted = [str(ROOT / directory) for directory in IN_A_WORLD]
    if world.inside() or os.geteuid() != 0 or not any(path.startswith(tuple(wanted)) for path in asked):
        return
    # Output is being captured by now; the new process needs the real one.
    capture = config.pluginmanager.getplugin("capturemanager")
    if capture is not None:
        capture.stop_global_capturing()
    arguments = [str(argument) for argument in config.invocation_params.args]
    os.execv(
        sys.executable,
        [sys.executable, str(ROOT / "mininet" / "world.py"), "--", sys.executable, "-m", "pytest", *arguments],
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip packet tests, saying how to run them, where they cannot be run."""
    if world.inside():
        return
    skip = pytest.mark.skip(reason="needs a private world: `make test-mininet`, `test-fault` or `test-vpn`")
    for item in items:
        if item.path.is_relative_to(ROOT / "tests") and item.path.relative_to(ROOT).as_posix().startswith(IN_A_WORLD):
            item.add_marker(skip)
