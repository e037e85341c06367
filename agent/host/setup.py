"""`sluice-host-setup`: modules, connection tracking, fragments and offloads of this host, as the configuration asks.

Facts are read, changes follow from them by a pure function and are applied, until
none is left; so a second run changes nothing. Each change is a line of the journal.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import click

from agent.config import Config, ConfigError, load
from agent.host import kernel
from agent.host.kernel import (
    CONNTRACK_BUCKETS,
    CONNTRACK_MAX,
    FRAGMENT_MEMORY,
    FRAGMENT_SECONDS,
    Device,
    KernelError,
)
from state import logs

log = logging.getLogger("sluice.host")

MODULES = ("openvswitch", "nf_conntrack")
# All networks share the kernel's memory for fragments. A fragment that fills a frame takes 2.3 KB: this is room for
# what 27 networks send at their rate, should none of it ever become whole. The rest of a packet is milliseconds away.
FRAGMENTS = {FRAGMENT_MEMORY: 128 << 20, FRAGMENT_SECONDS: 5}
# Modules first: the settings of connection tracking appear with its module.
_PASSES = 2


@dataclass(frozen=True, slots=True)
class HostFacts:
    """What the host is like: modules, sizes of connection tracking, configured ports, the settings of `FRAGMENTS`."""

    modules: frozenset[str]
    max_entries: int | None
    buckets: int | None
    devices: tuple[Device, ...]
    fragments: Mapping[Path, int | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Load:
    """A module to load."""

    module: str

    def __str__(self) -> str:
        return f"load module {self.module}"

    def apply(self) -> None:
        """Raises KernelError."""
        kernel.load(self.module)


@dataclass(frozen=True, slots=True)
class Write:
    """A number to write to a file of /proc or /sys."""

    path: Path
    value: int
    before: int

    def __str__(self) -> str:
        return f"{self.path}: {self.before} to {self.value}"

    def apply(self) -> None:
        """Raises KernelError."""
        kernel.write(self.path, self.value)


@dataclass(frozen=True, slots=True)
class TurnOff:
    """A feature of a device to turn off."""

    device: str
    feature: str

    def __str__(self) -> str:
        return f"{self.device}: {self.feature} off"

    def apply(self) -> None:
        """Raises KernelError."""
        kernel.turn_off(self.device, self.feature)


Change = Load | Write | TurnOff


def changes(facts: HostFacts, config: Config) -> list[Change]:
    """What has to change so that the host is as configured; empty when it is."""
    found: list[Change] = []
    if config.bridge.datapath_type == "system":
        found += [Load(module) for module in MODULES if module not in facts.modules]
        for path, present, wanted in (
            (CONNTRACK_BUCKETS, facts.buckets, config.conntrack.buckets),
            (CONNTRACK_MAX, facts.max_entries, config.conntrack.max_entries),
            *((path, facts.fragments.get(path), wanted) for path, wanted in FRAGMENTS.items()),
        ):
            if present is not None and present != wanted:
                found.append(Write(path, wanted, present))
    for device in facts.devices:
        found += [TurnOff(device.name, feature) for feature in device.aggregations if feature not in device.fixed]
    return found


def problems(facts: HostFacts, config: Config) -> Iterator[str]:
    """What this program leaves to the operator, one sentence each."""
    present = {device.name: device for device in facts.devices}
    for port, mtu in port_mtus(config).items():
        if port not in present:
            yield f"port {port} does not exist yet"
        elif present[port].mtu < mtu:
            yield f"port {port} has MTU {present[port].mtu}, configured is {mtu}: ip link set {port} mtu {mtu}"
    for device in facts.devices:
        for feature in device.fixed:
            yield f"port {device.name} cannot turn {feature} off"


def port_mtus(config: Config) -> dict[str, int]:
    """Physical ports of the configuration with the largest IP packet each has to carry."""
    appliance = config.appliance
    found = {appliance.gateway.port: appliance.gateway.mtu}
    if appliance.storage is not None:
        found[appliance.storage.port] = appliance.storage.mtu
    return found


def gather(config: Config) -> HostFacts:
    """Read the facts of this host."""
    devices = (kernel.device(port) for port in port_mtus(config))
    return HostFacts(
        frozenset(module for module in MODULES if kernel.is_loaded(module)),
        kernel.number(CONNTRACK_MAX),
        kernel.number(CONNTRACK_BUCKETS),
        tuple(device for device in devices if device is not None),
        {path: kernel.number(path) for path in FRAGMENTS},
    )


def set_up(config: Config) -> bool:
    """Change the host as configured; False when something could not be changed, which is logged."""
    failed: set[Change] = set()
    for _ in range(_PASSES):
        for change in changes(gather(config), config):
            if change in failed:
                continue
            try:
                change.apply()
            except KernelError as error:
                failed.add(change)
                log.error("host setting not changed", extra={"change": str(change), "error": str(error)})
            else:
                log.info("host setting changed", extra={"change": str(change)})
    facts = gather(config)
    for problem in problems(facts, config):
        log.warning("host needs attention", extra={"problem": problem})
    left = changes(facts, config)
    if not left:
        log.info("kernel settings are as configured", extra={"ports": ", ".join(config.appliance.own_ports)})
    return not left


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--config", "path", default="/etc/sluice/sluice.toml", show_default=True, help="Configuration file.")
def main(path: str) -> None:
    """Set this host up for Sluice: kernel modules, connection tracking, offloads of ports."""
    try:
        config = load(path)
    except ConfigError as error:
        for problem in error.problems:
            click.echo(f"{path}: {problem}", err=True)
        sys.exit(2)
    logs.configure(config.log_level)
    sys.exit(0 if set_up(config) else 1)
