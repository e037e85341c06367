"""The architecture, held by reading the sources: who imports whom, how long files are, what they are called."""

from __future__ import annotations

import ast
import itertools
from collections.abc import Iterable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("agent", "bgp", "cli", "controller", "daemons", "resolver", "state", "vpn")
LONGEST_FILE = 400
FORBIDDEN_NAMES = ("utils", "util", "common", "helpers", "helper", "manager", "managers", "base", "misc")
OURS = {*PACKAGES, "sluice"}

# Importer (a module or a package) → what of ours it may import; the longest matching importer counts.
MAY_IMPORT: dict[str, tuple[str, ...]] = {
    "state": ("state",),
    "agent": ("agent", "state"),
    "agent.api": ("agent", "state", "sluice.v1"),
    "agent.host": ("agent", "daemons", "state"),
    "agent.main": ("agent", "state", "sluice.v1"),
    "daemons": ("daemons", "state"),
    "vpn": ("vpn", "daemons", "state"),
    "bgp": ("bgp", "daemons", "state"),
    "resolver": ("resolver", "controller.desired_state", "state"),
    "controller": ("controller", "state"),
    "controller.pipeline": ("controller.pipeline", "state"),
    "controller.features": ("controller.features", "controller.pipeline", "state"),
    "cli": ("cli", "controller.explain", "controller.pipeline", "state.datapath", "sluice.v1"),
    # It judges the host by the very configuration that agent and sluice-host-setup read; all are without
    # database, gRPC and threads.
    "cli.doctor": ("cli", "agent.config", "agent.host.kernel", "agent.host.setup", "daemons.programs",
                   "state.datapath"),
}  # fmt: skip
# What is behind each of these libraries is known to these modules alone.
ONLY: dict[str, tuple[str, ...]] = {
    "os_ken": ("controller.openflow",),
    "eventlet": ("controller.openflow",),
    "ovs": ("agent.host",),
    "vici": ("vpn",),
    "grpc": ("agent.api", "agent.main", "cli"),
    "grpc_status": ("agent.api", "cli"),
    "google": ("agent.api", "cli"),
}


def module_of(path: Path) -> str:
    """`agent/api/__init__.py` is `agent.api`."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def sources() -> dict[str, Path]:
    """Every module of the four packages."""
    return {module_of(path): path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))}


def python_files() -> list[Path]:
    """Every source file of the repository that is not generated."""
    folders = [ROOT / name for name in (*PACKAGES, "mininet", "tests", "bench")]
    return [path for folder in folders for path in sorted(folder.rglob("*.py"))]


def imports_of(source: str, module: str, known: Iterable[str] = ()) -> set[str]:
    """What `source` imports, at run time or for types only, as dotted names.

    `from a import b` is `a.b` when that is one of the `known` modules, else `a`.
    """
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative import"
            assert node.module is not None
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= (inner & set(known)) or {node.module}
    return found


def belongs(module: str, owners: Iterable[str]) -> bool:
    """Whether a module is one of `owners` or inside one."""
    return any(module == owner or module.startswith(f"{owner}.") for owner in owners)


def violations(graph: dict[str, set[str]]) -> list[str]:
    """Imports against the directions above, in words."""
    found = []
    for module, imported in sorted(graph.items()):
        rule = max((name for name in MAY_IMPORT if belongs(module, [name])), key=len)
        for target in sorted(imported):
            library = target.split(".")[0]
            if library in OURS:
                if not belongs(target, MAY_IMPORT[rule]):
                    found.append(f"{module} imports {target}; {rule} may import {', '.join(MAY_IMPORT[rule])}")
            elif library in ONLY and not belongs(module, ONLY[library]):
                found.append(f"{module} imports {target}; only {', '.join(ONLY[library])} may")
    return found


def cycle_in(graph: dict[str, set[str]]) -> list[str]:
    """One cycle of imports, or nothing."""
    done: set[str] = set()

    def visit(module: str, way: tuple[str, ...]) -> list[str]:
        if module in way:
            return [*way[way.index(module) :], module]
        if module in done:
            return []
        for target in sorted(graph.get(module, ())):
            if cycle := visit(target, (*way, module)):
                return cycle
        done.add(module)
        return []

    return next(filter(None, (visit(module, ()) for module in sorted(graph))), [])


def graph() -> dict[str, set[str]]:
    """Module → what it imports."""
    files = sources()
    return {module: imports_of(path.read_text(), module, files) for module, path in files.items()}


def test_directions() -> None:
    assert not violations(graph())


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("agent.store", "import controller.pipeline.flow"),
        ("controller.desired_state.source", "from agent import store"),
        ("state.model", "from agent.config import load"),
        ("cli.main", "from controller import reconcile"),
        ("cli.status", "from agent.config import load"),
        ("cli.doctor.ports", "from agent.host import bridge"),
        ("controller.features.arp", "from controller.reconcile import apply"),
        ("controller.reconcile.diff", "import os_ken.ofproto"),
        ("controller.reconcile.diff", "def late():\n    from os_ken.lib import hub"),
        ("agent.store", "from sluice.v1 import network_pb2"),
        ("controller.packet_in.dhcp", "import grpc"),
    ],
)
def test_a_wrong_direction_is_seen(module: str, source: str) -> None:
    known = ["controller.pipeline.flow", "controller.reconcile.reconciler", "agent.store", "agent.host.bridge"]
    assert len(violations({module: imports_of(source, module, known)})) == 1


def test_no_cycles() -> None:
    assert not cycle_in({module: targets - {module} for module, targets in graph().items()})


def test_a_cycle_is_seen() -> None:
    assert cycle_in({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]


def test_files_are_short() -> None:
    long = {str(path.relative_to(ROOT)): lines for path in python_files() if (lines := count(path)) > LONGEST_FILE}
    assert not long


def count(path: Path) -> int:
    """Lines of a file."""
    return len(path.read_text().splitlines())


def test_names_say_something() -> None:
    parts = {(part, path) for path in python_files() for part in path.relative_to(ROOT).with_suffix("").parts}
    assert not [str(path) for part, path in parts if FORBIDDEN_NAMES.count(part)]


def test_a_class_name_occurs_once() -> None:
    made: dict[str, list[str]] = {}
    for module, path in sources().items():
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                made.setdefault(node.name, []).append(module)
    assert not {name: modules for name, modules in made.items() if len(modules) > 1}


def test_mininet_scripts_hide_no_package() -> None:
    # A package of that name here would be found instead of Debian's.
    assert not (ROOT / "mininet" / "__init__.py").exists()
    # Its folder is searched as tests' are, and a package is found instead of a script of the same name.
    assert not {path.stem for path in (ROOT / "mininet").glob("*.py")} & set(PACKAGES)


def test_every_package_is_installed() -> None:
    listed = (ROOT / "setup.cfg").read_text().split("packages =")[1].split("package_dir")[0].split()
    made = {module_of(path) for path in itertools.chain(*(sources_of(package) for package in PACKAGES))}
    assert made == set(listed) - {"sluice", "sluice.v1"}


def sources_of(package: str) -> Iterable[Path]:
    """The `__init__.py` files of a package and of those inside it."""
    return (ROOT / package).rglob("__init__.py")
