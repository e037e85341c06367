"""Open vSwitch: version, datapath and what the datapath can do, once the bridge exists."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from cli import switch
from cli.doctor.finding import Finding, error, ok, warning
from cli.doctor.tools import output_of
from cli.errors import Failure, NotPermitted
from cli.session import CliSession
from state.datapath import NETDEV, SYSTEM, missing, version_of

_OLDEST, _GOOD = (3, 1), (3, 3)
# A private network needs up to 7 meters, a machine up to 8.
_FEW_METERS = 10_000


@dataclass(frozen=True, slots=True)
class SwitchFacts:
    """`installed` and `running` are versions, empty for none; `datapath_type` is the bridge's, empty for no bridge."""

    installed: str
    running: str = ""
    datapath_type: str = ""
    capabilities: Mapping[str, str] = field(default_factory=dict)
    max_meters: int = 0
    permitted: bool = True


def gather(session: CliSession) -> SwitchFacts:
    """Ask the installed and the running switch."""
    text = output_of("ovs-vswitchd", "--version") or output_of("/usr/sbin/ovs-vswitchd", "--version") or ""
    installed = text.splitlines()[0].rpartition(" ")[2] if text else ""
    try:
        running = switch.version(session)
    except NotPermitted:
        return SwitchFacts(installed, permitted=False)
    except Failure:
        return SwitchFacts(installed)
    try:
        (bridge,) = switch.rows(session, "Bridge", "datapath_type", name=session.bridge)
        datapath_type = str(bridge["datapath_type"] or SYSTEM)
        capabilities = switch.capabilities(session, datapath_type)
        return SwitchFacts(installed, running, datapath_type, capabilities, switch.max_meters(session))
    except Failure:
        return SwitchFacts(installed, running)


def judge(facts: SwitchFacts, wanted: str) -> list[Finding]:
    """`wanted` is the configured type of datapath."""
    version = facts.running or facts.installed
    if not version:
        return [error("Open vSwitch", "not installed", "apt install openvswitch-switch")]
    found = [_version(version, wanted)]
    if facts.running and facts.installed and facts.running != facts.installed:
        found.append(
            warning(
                "Open vSwitch",
                f"{facts.running} runs, {facts.installed} is installed",
                "systemctl restart openvswitch-switch, when a second without traffic is acceptable",
            )
        )
    if not facts.permitted:
        return [*found, warning("datapath", "needs root to look at", "run as root")]
    if not facts.running:
        return [*found, warning("ovs-vswitchd", "does not run", "systemctl start openvswitch-switch")]
    found.append(ok("ovs-vswitchd", f"{facts.running} runs"))
    if not facts.datapath_type:
        advice = "start sluice-agent, which makes it, then run this again: what the datapath can do is known then"
        return [*found, warning("datapath", "no bridge yet", advice)]
    return [*found, *_datapath(facts, wanted)]


def _version(version: str, wanted: str) -> Finding:
    number = version_of(version) or (0, 0)
    if number >= _GOOD or (number >= _OLDEST and wanted == SYSTEM):
        return ok("Open vSwitch", version)
    if number >= _OLDEST:
        advice = f'use 3.3 or later, or [bridge] datapath_type = "{SYSTEM}": see installation.md, "Which Open vSwitch"'
        return warning("Open vSwitch", f"{version}: its userspace conntrack can abort ovs-vswitchd", advice)
    return error("Open vSwitch", f"{version} is too old", "use 3.3 or later; 3.1 is the oldest that was tried")


def _datapath(facts: SwitchFacts, wanted: str) -> list[Finding]:
    found = []
    if facts.datapath_type != wanted:
        advice = "restart sluice-agent, which sets it; connections are reset"
        found.append(error("datapath", f"the bridge has {facts.datapath_type}, configured is {wanted}", advice))
    elif facts.datapath_type == NETDEV:
        advice = f'use [bridge] datapath_type = "{SYSTEM}" where the kernel has the module openvswitch'
        found.append(warning("datapath", "userspace: a restart of ovs-vswitchd resets translated connections", advice))
    else:
        found.append(ok("datapath", "kernel"))
    lacking = missing(facts.capabilities)
    for one in lacking:
        make = error if one.essential else warning
        found.append(make("capabilities", f"no {one.capability}: {one.meaning}", "use a newer kernel or Open vSwitch"))
    if not lacking and facts.capabilities:
        found.append(ok("capabilities", "all that are needed"))
    if 0 < facts.max_meters < _FEW_METERS:
        advice = "give the host more memory: the kernel allows meters by its size"
        found.append(warning("meters", f"at most {facts.max_meters:,}", advice))
    elif facts.max_meters:
        found.append(ok("meters", f"at most {facts.max_meters:,}"))
    else:
        found.append(error("meters", "none: no limit can be kept", "use a newer kernel (at least 4.18)"))
    return found
