"""A sandbox killed in the middle leaves nothing in the way of the next."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
RUN_SECONDS = 120
# Lines of datacenter.py that tell how far it is.
MOMENTS = ("Starting Open vSwitch", "Addresses by DHCP")


def command(share: Path) -> list[str]:
    """As `make run` does it."""
    world, sandbox = ROOT / "mininet" / "world.py", ROOT / "mininet" / "datacenter.py"
    return [sys.executable, str(world), "--share", str(share), "--", sys.executable, str(sandbox)]


@pytest.mark.timeout(300)
def test_the_run_after_a_killed_run_is_as_good_as_the_first(tmp_path: Path) -> None:
    share = tmp_path / "shared"
    for moment in MOMENTS:
        killed = subprocess.Popen(command(share), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        assert killed.stdout is not None
        output = b""
        while moment.encode() not in output:
            part = killed.stdout.read1()  # type: ignore[attr-defined]
            assert part, output.decode()
            output += part
        killed.send_signal(signal.SIGKILL)
        killed.wait()
    again = subprocess.run(
        command(share), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=RUN_SECONDS, check=False
    )
    assert again.returncode == 0, again.stdout[-3000:] + again.stderr[-2000:]
    assert not share.exists()
