"""Settings of this host's kernel: modules, sysctls and devices, read and changed."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

CONNTRACK_MAX = Path("/proc/sys/net/netfilter/nf_conntrack_max")
CONNTRACK_BUCKETS = Path("/sys/module/nf_conntrack/parameters/hashsize")
# Memory for fragments that wait for the rest, in bytes, and how long they wait, in seconds (ip-sysctl of Linux).
FRAGMENT_MEMORY = Path("/proc/sys/net/ipv4/ipfrag_high_thresh")
FRAGMENT_SECONDS = Path("/proc/sys/net/ipv4/ipfrag_time")
# A built-in module without parameters is not in /sys/module.
BUILT_IN = Path("/lib/modules", os.uname().release, "modules.builtin")
# Names of ethtool(8). Both join received packets to larger ones before they are forwarded.
AGGREGATIONS = ("large-receive-offload", "rx-gro-hw")
_SECONDS = 20


class KernelError(Exception):
    """A change was refused, or the tool for it is missing."""


@dataclass(frozen=True, slots=True)
class Device:
    """A network device: `aggregations` are those of `AGGREGATIONS` that are on, `fixed` those that stay on."""

    name: str
    mtu: int
    carrier: bool
    aggregations: tuple[str, ...] = ()
    fixed: tuple[str, ...] = ()


def is_loaded(module: str) -> bool:
    """Whether a module is loaded, or built into the running kernel."""
    name = module.replace("-", "_")
    return Path("/sys/module", name).exists() or name in built_in(BUILT_IN)


def built_in(listing: Path) -> frozenset[str]:
    """Names of the modules in a list of built-in ones (modules.builtin of kmod); empty when there is no list."""
    try:
        lines = listing.read_text().splitlines()
    except OSError:
        return frozenset()
    return frozenset(PurePosixPath(line).stem.replace("-", "_") for line in lines)


def is_loadable(module: str) -> bool:
    """Whether the running kernel has a module, loaded, built in or on disk."""
    return is_loaded(module) or _run("modprobe", "--dry-run", "--quiet", module) is not None


def load(module: str) -> None:
    """Load a module. Raises KernelError."""
    _change("modprobe", module)


def number(path: Path) -> int | None:
    """The number in a file of /proc or /sys; None when it is missing, not readable, or no number."""
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None


def write(path: Path, value: int) -> None:
    """Write a number to a file of /proc or /sys. Raises KernelError."""
    try:
        path.write_text(f"{value}\n")
    except OSError as error:
        raise KernelError(f"{path}: {error.strerror}") from error


def device(name: str) -> Device | None:
    """The device of that name; None when there is none."""
    folder = Path("/sys/class/net", name)
    mtu = number(folder / "mtu")
    if mtu is None:
        return None
    features = offloads(_run("ethtool", "--show-features", name) or "")
    on = [feature for feature in AGGREGATIONS if features.get(feature, "").startswith("on")]
    fixed = [feature for feature in on if features[feature].endswith("[fixed]")]
    # A device that is down has no carrier: reading it then fails.
    return Device(name, mtu, number(folder / "carrier") == 1, tuple(on), tuple(fixed))


def offloads(text: str) -> Mapping[str, str]:
    """Features as `ethtool --show-features` prints them: name → `on`, `off`, each perhaps with ` [fixed]`."""
    pairs = (line.strip().partition(": ") for line in text.splitlines())
    return {name: value for name, separator, value in pairs if separator}


def turn_off(name: str, feature: str) -> None:
    """Turn a feature of a device off. Raises KernelError."""
    _change("ethtool", "--features", name, feature, "off")


def _run(*command: str) -> str | None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def _change(*command: str) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise KernelError(f"{' '.join(command)}: {error}") from error
    if done.returncode:
        raise KernelError(f"{' '.join(command)}: {done.stderr.strip() or done.returncode}")
