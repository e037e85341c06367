"""This work tree, in a virtual machine."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from images import SOURCES, copy_sources
from virtual_machine import VirtualMachine


def push(machine: VirtualMachine, root: Path) -> None:
    """Copy a work tree over the one that the image has, with the stubs that were generated here."""
    with tempfile.TemporaryDirectory() as folder:
        copy_sources(root, Path(folder))
        for stub in (root / "proto").glob("sluice/v1/*_pb2*"):
            shutil.copy(stub, Path(folder) / stub.relative_to(root))
        machine.copy_tree(Path(folder), SOURCES)
    # Emulated, each of the six daemons would compile them for itself.
    machine.run(f"cd {SOURCES} && .venv/bin/python -m compileall -q agent controller cli state proto mininet", 300)
