"""systemd units: installed, enabled, running, and how often they were restarted."""

from __future__ import annotations

from dataclasses import dataclass

from agent.config import Config
from cli.doctor.finding import Finding, error, ok, warning
from cli.doctor.tools import output_of

_PROPERTIES = "Id,LoadState,UnitFileState,ActiveState,NRestarts"
SWITCH = "ovs-vswitchd.service"
TARGET = "sluice.target"
REQUIRED = ("sluice-ovsdb.service", "sluice-agent.service", "sluice-controller.service")
RESOLVER = "sluice-resolver.service"
# Who has no VPN gateways or interconnects, or sets the host up himself, need not run these.
OPTIONAL = ("sluice-host-setup.service", "sluice-vpn.service", "sluice-bgp.service")


@dataclass(frozen=True, slots=True)
class SystemdUnit:
    """A unit in systemd's own words (systemctl(1)), and how often it was restarted since it was loaded."""

    name: str
    load: str
    file: str
    active: str
    restarts: int = 0


def names(config: Config) -> tuple[str, ...]:
    """Units that this configuration asks for."""
    return (SWITCH, TARGET, *REQUIRED, *([RESOLVER] if config.appliance.resolver_port else []), *OPTIONAL)


def gather(config: Config) -> tuple[SystemdUnit, ...]:
    """The units; none where systemd does not run."""
    text = output_of("systemctl", "show", f"--property={_PROPERTIES}", *names(config))
    return tuple(map(_unit, (text or "").strip().split("\n\n"))) if text else ()


def _unit(text: str) -> SystemdUnit:
    values = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    restarts = values.get("NRestarts", "0")
    return SystemdUnit(values.get("Id", ""), values.get("LoadState", ""), values.get("UnitFileState", ""),
                values.get("ActiveState", ""), int(restarts) if restarts.isdigit() else 0)  # fmt: skip


def judge(units: tuple[SystemdUnit, ...]) -> list[Finding]:
    """One finding a unit."""
    if not units:
        return [warning("units", "systemd cannot be asked", "run this on the host itself, not in a container")]
    return [_finding(unit) for unit in units]


def _finding(unit: SystemdUnit) -> Finding:
    check, name = f"unit {unit.name.removesuffix('.service')}", unit.name.removesuffix(".service")
    optional = unit.name in OPTIONAL
    if unit.load != "loaded":
        if optional:
            return ok(check, f"{unit.load}, optional")
        advice = "apt install openvswitch-switch" if unit.name == SWITCH else "install the package: see installation.md"
        return error(check, unit.load, advice)
    if unit.active == "failed":
        return error(check, "failed", f"journalctl -u {name}; then: systemctl restart {name}")
    if unit.active == "activating":
        return error(check, f"does not start, {unit.restarts} restarts", f"journalctl -u {name}")
    # The target starts the services, most of which cannot be enabled by themselves; openvswitch-switch the switch.
    if unit.name == TARGET and unit.file != "enabled":
        return warning(check, f"{unit.active}, not enabled", f"systemctl enable --now {name}")
    if unit.active != "active":
        if optional:
            return ok(check, f"{unit.active}, optional")
        return warning(check, unit.active, f"systemctl start {name}")
    if unit.restarts:
        return warning(check, f"active, restarted {unit.restarts} times", f"journalctl -u {name}")
    return ok(check, "active")
