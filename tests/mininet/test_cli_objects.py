"""`sluicectl addresses` and `sluicectl drives` against a whole appliance."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from sandbox import Sandbox
from sandboxes import Tenants


def sluicectl(sandbox: Sandbox, *arguments: str) -> tuple[int, str]:
    command = [str(Path(sys.executable).parent / "sluicectl"), "--api", sandbox.appliance.paths.api, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    return done.returncode, done.stdout + done.stderr


def test_a_public_address_is_made_moved_and_released(sandbox: Sandbox, tenants: Tenants) -> None:
    one, other = tenants.isolated().name, tenants.isolated().name
    made = sluicectl(sandbox, "addresses", "create", "cli-www", "--machine", one, "--wait", "-o", "json")
    assert made[0] == 0, made[1]
    try:
        assert json.loads(made[1])["machine"] == f"machines/{one}"
        assert sluicectl(sandbox, "addresses", "assign", "cli-www", other)[0] == 0
        assert other in sluicectl(sandbox, "addresses", "list")[1]
        assert sluicectl(sandbox, "addresses", "unassign", "cli-www")[0] == 0
        assert other not in sluicectl(sandbox, "addresses", "show", "cli-www")[1]
    finally:
        assert sluicectl(sandbox, "addresses", "delete", "cli-www")[0] == 0
    code, said = sluicectl(sandbox, "addresses", "show", "cli-www")
    assert (code, "NOT_FOUND" in said) == (1, True)


def test_a_drive_that_cannot_be_is_refused(sandbox: Sandbox, tenants: Tenants) -> None:
    alone = tenants.isolated()
    network = sandbox.machine(alone.name).network.partition("/")[2]
    code, said = sluicectl(sandbox, "drives", "create", "cli-drive", "--network", network, "--address", "10.250.0.10")
    assert (code, "FAILED_PRECONDITION" in said) == (1, True), said
    assert "cli-drive" not in sluicectl(sandbox, "drives", "list")[1]
