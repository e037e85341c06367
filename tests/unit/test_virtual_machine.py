"""A machine of the laboratory that is stuck is told from one that is slow, and from one that is gone."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from virtual_machine import MachineHung, MachineLost, VirtualMachine

STUCK = "[  816.2] watchdog: BUG: soft lockup - CPU#0 stuck for 22s! [ovs-vswitchd:700]"
AFTER = [f"[  816.3] line {number}" for number in range(200)]


def machine(folder: Path, *lines: str) -> VirtualMachine:
    made = VirtualMachine.__new__(VirtualMachine)
    made._folder, made._booted = folder, True
    (folder / "console.log").write_text("\n".join(lines))
    return made


@pytest.mark.parametrize("error", [subprocess.TimeoutExpired("ssh", 60), MachineLost("gone")])
def test_who_does_not_answer_and_says_why_hangs(tmp_path: Path, error: Exception) -> None:
    with pytest.raises(MachineHung) as caught, machine(tmp_path, "before", STUCK, *AFTER)._answering("true"):
        raise error
    said = str(caught.value).splitlines()
    # What it says when it gets stuck, and the end.
    assert STUCK in said
    assert said[-1] == AFTER[-1]
    assert "before" not in said


def test_who_is_slow_or_gone_does_not_hang(tmp_path: Path) -> None:
    for error in (subprocess.TimeoutExpired("ssh", 60), MachineLost("gone")):
        with pytest.raises(type(error)), machine(tmp_path, "login:")._answering("true"):
            raise error
    with pytest.raises(ValueError, match="ours"), machine(tmp_path, STUCK)._answering("true"):
        raise ValueError("ours")
