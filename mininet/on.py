#!/usr/bin/env python3
"""Runs a command on a machine of the sandbox that `make run` keeps up, from any shell.

sudo mininet/on.py                      the machines
sudo mininet/on.py MACHINE COMMAND...   for example: ada1 ping 198.51.100.1
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

SHARED = Path("/run/sluice-lab")


def main(arguments: list[str]) -> int:
    """The command line above; returns only when it fails or lists."""
    try:
        world = (SHARED / "world.pid").read_text().strip()
        machines = json.loads((SHARED / "machines.json").read_text())
    except FileNotFoundError:
        print("No sandbox is up; `make run` in a terminal keeps one.", file=sys.stderr)
        return 1
    if not arguments:
        print("\n".join(machines))
        return 0
    name, *command = arguments
    if name not in machines:
        print(f"There is no machine {name}; there are {', '.join(machines)}.", file=sys.stderr)
        return 1
    enter = ["nsenter", "--target", world, "--mount", "--net", "--pid", f"--wd={os.getcwd()}"]
    os.execvp("nsenter", [*enter, "mnexec", "-a", str(machines[name]), *(command or ["bash"])])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
