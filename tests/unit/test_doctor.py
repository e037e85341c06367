"""sluicectl doctor: each finding from the facts that stand for it, and the command as a whole."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agent.config import ConntrackSettings, parse
from cli.doctor import clock, configuration, files, kernel_settings, modules, open_vswitch, programs, units
from cli.doctor.files import LOW_INODES, LOW_SPACE, NO_INODES, NO_SPACE, STATE, Entry, Rule, Space
from cli.doctor.finding import Finding, Level
from cli.doctor.units import SystemdUnit
from cli.main import run
from state.datapath import NEEDED, NETDEV, SYSTEM

LEAST = """
[gateway]
port = "no-such-port"
address = "203.0.113.2/24"
next_hop = "203.0.113.1"
[pools]
nat = ["203.0.113.7"]
"""
SWITCH = open_vswitch.SwitchFacts("3.5.0", "3.5.0", SYSTEM, {one.capability: "true" for one in NEEDED}, 200_000)
MODULES = frozenset((*modules.DATAPATH, *modules.TUNNELS, *modules.ESP))
KERNEL = kernel_settings.KernelFacts(1_048_576, 1_048_576, 10, None)
SPACE = Space("/var/lib/sluice", LOW_SPACE, LOW_INODES)
DATABASE = Entry(Rule(STATE / "sluice.db", 0o600, "sluice"), "root", "root", 0o600)
AGENT = SystemdUnit("sluice-agent.service", "loaded", "enabled", "active")


def worst(findings: list[Finding]) -> Level:
    """The worst level; whatever is not ok says what to do, and what is ok says nothing."""
    for finding in findings:
        assert bool(finding.advice) is (finding.level is not Level.OK), finding
    return max((finding.level for finding in findings), key=list(Level).index)


def test_a_right_host_has_nothing_to_do() -> None:
    assert worst(open_vswitch.judge(SWITCH, SYSTEM)) is Level.OK
    assert worst(modules.judge(modules.ModuleFacts(MODULES, MODULES), SYSTEM)) is Level.OK
    assert worst(kernel_settings.judge(KERNEL, ConntrackSettings(), SYSTEM)) is Level.OK
    assert worst(files.judge(SPACE, (DATABASE,))) is Level.OK
    assert worst(files.judge_group(True)) is Level.OK
    assert worst(clock.judge("yes")) is Level.OK
    assert worst(units.judge((AGENT,))) is Level.OK
    assert worst(programs.judge(frozenset(name for use in programs.USES for name in use.programs))) is Level.OK


def test_recommended_programs_that_are_not_installed() -> None:
    vpn, interconnects = programs.judge(frozenset({"/usr/lib/ipsec/charon", "/usr/lib/frr/bgpd"}))
    assert (vpn.level, vpn.found) == (Level.WARNING, "no nft: no VPN gateways")
    assert "nftables" in vpn.advice
    assert interconnects.found == "no /usr/lib/frr/zebra, /usr/lib/frr/bfdd: no interconnects"
    assert interconnects.advice == "apt install frr"


@pytest.mark.parametrize(
    ("facts", "wanted", "level", "says"),
    [
        (open_vswitch.SwitchFacts(""), SYSTEM, Level.ERROR, "not installed"),
        (open_vswitch.SwitchFacts("3.5.0"), SYSTEM, Level.WARNING, "does not run"),
        (open_vswitch.SwitchFacts("3.5.0", permitted=False), SYSTEM, Level.WARNING, "needs root"),
        (open_vswitch.SwitchFacts("3.5.0", "3.5.0"), SYSTEM, Level.WARNING, "no bridge yet"),
        (replace(SWITCH, running="3.4.0"), SYSTEM, Level.WARNING, "3.4.0 runs, 3.5.0 is installed"),
        (replace(SWITCH, running="3.1.0", installed="3.1.0"), SYSTEM, Level.OK, "3.1.0"),
        (replace(SWITCH, running="3.1.0", installed="3.1.0", datapath_type=NETDEV), NETDEV, Level.WARNING, "can abort"),
        (replace(SWITCH, running="2.17.9", installed="2.17.9"), SYSTEM, Level.ERROR, "too old"),
        (replace(SWITCH, datapath_type=NETDEV), NETDEV, Level.WARNING, "userspace"),
        (replace(SWITCH, datapath_type=NETDEV), SYSTEM, Level.ERROR, "the bridge has netdev, configured is system"),
        (replace(SWITCH, capabilities={"recirc": "false"}), SYSTEM, Level.ERROR, "no recirc: "),
        (replace(SWITCH, capabilities={"check_pkt_len": "false"}), SYSTEM, Level.WARNING, "no check_pkt_len: "),
        (replace(SWITCH, max_meters=100), SYSTEM, Level.WARNING, "at most 100"),
        (replace(SWITCH, max_meters=0), SYSTEM, Level.ERROR, "none: no limit"),
    ],
)
def test_open_vswitch(facts: open_vswitch.SwitchFacts, wanted: str, level: Level, says: str) -> None:
    found = open_vswitch.judge(facts, wanted)
    assert worst(found) is level
    assert [one for one in found if says in one.found and one.level is level]


@pytest.mark.parametrize(
    ("loaded", "loadable", "datapath_type", "level", "says"),
    [
        (MODULES, MODULES - {"openvswitch"}, SYSTEM, Level.ERROR, "no openvswitch"),
        (MODULES, MODULES - {"nf_conntrack"}, SYSTEM, Level.ERROR, "no nf_conntrack"),
        (MODULES - {"openvswitch"}, MODULES, SYSTEM, Level.WARNING, "openvswitch is not loaded"),
        (MODULES, MODULES - {"vport_vxlan"}, SYSTEM, Level.WARNING, "no vport_vxlan"),
        (MODULES, MODULES - {"esp4"}, SYSTEM, Level.WARNING, "no esp4"),
        (frozenset(), frozenset(modules.ESP), NETDEV, Level.OK, "kernel ESP"),
    ],
)
def test_modules(loaded: frozenset[str], loadable: frozenset[str], datapath_type: str, level: Level, says: str) -> None:
    found = modules.judge(modules.ModuleFacts(loaded, loadable), datapath_type)
    assert worst(found) is level
    assert [one for one in found if says in one.found and one.level is level]


@pytest.mark.parametrize(
    ("facts", "datapath_type", "level", "says"),
    [
        (replace(KERNEL, max_entries=65_536), SYSTEM, Level.ERROR, "65,536 connections, configured is 1,048,576"),
        (replace(KERNEL, max_entries=65_536), NETDEV, Level.OK, "off"),
        (replace(KERNEL, max_entries=None), SYSTEM, Level.WARNING, "not loaded"),
        (replace(KERNEL, buckets=65_536), SYSTEM, Level.WARNING, "hash table of 65,536 buckets"),
        (replace(KERNEL, entries=1_000_000), SYSTEM, Level.WARNING, "1,000,000 of 1,048,576"),
        (replace(KERNEL, bridge_netfilter=1), SYSTEM, Level.WARNING, "br_netfilter"),
        (replace(KERNEL, bridge_netfilter=0), SYSTEM, Level.OK, "off"),
    ],
)
def test_kernel_settings(facts: kernel_settings.KernelFacts, datapath_type: str, level: Level, says: str) -> None:
    found = kernel_settings.judge(facts, ConntrackSettings(), datapath_type)
    assert worst(found) is level
    assert [one for one in found if says in one.found and one.level is level]


@pytest.mark.parametrize(
    ("space", "level"),
    [
        (SPACE, Level.OK),
        (replace(SPACE, bytes=LOW_SPACE - 1), Level.WARNING),
        (replace(SPACE, bytes=NO_SPACE - 1), Level.ERROR),
        (replace(SPACE, inodes=LOW_INODES - 1), Level.WARNING),
        (replace(SPACE, inodes=NO_INODES - 1), Level.ERROR),
        (replace(SPACE, inodes=None), Level.OK),
    ],
)
def test_space(space: Space, level: Level) -> None:
    assert worst(files.judge(space, ())) is level


@pytest.mark.parametrize(
    ("entry", "advice"),
    [
        (replace(DATABASE, mode=0o644), f"chmod 0600 {STATE}/sluice.db"),
        (replace(DATABASE, mode=0o660), f"chmod 0600 {STATE}/sluice.db"),
        (replace(DATABASE, owner="ada"), f"chown root:sluice {STATE}/sluice.db"),
        (replace(DATABASE, group="users"), f"chown root:sluice {STATE}/sluice.db"),
        (replace(DATABASE, group="sluice", mode=0o400), ""),
    ],
)
def test_file_modes(entry: Entry, advice: str) -> None:
    found = files.judge(SPACE, (entry,))
    assert found[-1].advice == advice
    assert worst(found) is (Level.ERROR if advice else Level.OK)


def test_files_of_the_configuration_are_looked_at(tmp_path: Path) -> None:
    key = tmp_path / "vpn.key"
    key.touch(mode=0o604)
    _, entries = files.gather(parse(f'{LEAST}[vpn]\nkey = "{key}"\n'))
    assert [entry.mode for entry in entries if entry.rule.path == key] == [0o604]


@pytest.mark.parametrize(("answer", "level"), [("yes", Level.OK), ("no", Level.WARNING), ("", Level.WARNING)])
def test_clock(answer: str, level: Level) -> None:
    assert worst(clock.judge(answer)) is level


@pytest.mark.parametrize(
    ("unit", "level"),
    [
        (replace(AGENT, load="not-found"), Level.ERROR),
        (replace(AGENT, active="failed"), Level.ERROR),
        (replace(AGENT, active="activating", restarts=205), Level.ERROR),
        (replace(AGENT, active="inactive"), Level.WARNING),
        (replace(AGENT, file="static"), Level.OK),
        (SystemdUnit(units.TARGET, "loaded", "enabled", "active"), Level.OK),
        (SystemdUnit(units.TARGET, "loaded", "disabled", "active"), Level.WARNING),
        (replace(AGENT, restarts=1), Level.WARNING),
        (SystemdUnit(units.SWITCH, "loaded", "static", "active"), Level.OK),
        (SystemdUnit("sluice-vpn.service", "not-found", "", "inactive"), Level.OK),
        (SystemdUnit("sluice-vpn.service", "loaded", "disabled", "inactive"), Level.OK),
        (SystemdUnit("sluice-vpn.service", "loaded", "enabled", "failed"), Level.ERROR),
    ],
)
def test_units(unit: SystemdUnit, level: Level) -> None:
    assert worst(units.judge((unit,))) is level


def test_without_systemd_or_the_group_it_is_said() -> None:
    assert worst(units.judge(())) is Level.WARNING
    assert worst(files.judge_group(False)) is Level.ERROR


def test_units_are_read_as_systemctl_prints_them(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "NRestarts=205\nId=a.service\nLoadState=loaded\nActiveState=activating\nUnitFileState=enabled\n\n" \
           "Id=b.service\nLoadState=not-found\nActiveState=inactive\nUnitFileState=\n"  # fmt: skip
    monkeypatch.setattr(units, "output_of", lambda *_: text)
    assert units.gather(parse(LEAST)) == (
        SystemdUnit("a.service", "loaded", "enabled", "activating", 205),
        SystemdUnit("b.service", "not-found", "", "inactive"),
    )  # fmt: skip


def test_the_resolver_is_asked_for_where_it_is_configured() -> None:
    assert units.RESOLVER not in units.names(parse(LEAST))
    assert units.RESOLVER in units.names(parse(LEAST + '[dns]\nport = "dns0"\n'))


def test_every_mistake_of_the_configuration_is_a_finding(tmp_path: Path) -> None:
    path = str(tmp_path / "sluice.toml")
    Path(path).write_text(LEAST + "[pools]\n")
    config, mistakes = configuration.gather(path)
    assert config is None
    assert worst(configuration.judge(path, mistakes)) is Level.ERROR
    Path(path).write_text(LEAST + '[dhcp]\nlease_seconds = 1\ndomain = "!"\n')
    _, mistakes = configuration.gather(path)
    assert len(configuration.judge(path, mistakes)) == 2
    assert configuration.gather(str(tmp_path / "none"))[1] == (f"{tmp_path}/none: No such file or directory",)


def _doctor(capsys: pytest.CaptureFixture[str], path: Path) -> tuple[int, list[dict[str, Any]]]:
    code = run(["--ovs-rundir", "/nowhere", "doctor", "--config", str(path), "-o", "json"])
    return code, json.loads(capsys.readouterr().out)


def test_the_command_has_every_subject_and_fails_for_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "sluice.toml"
    path.write_text(LEAST)
    code, found = _doctor(capsys, path)
    assert code == 1
    assert all(set(one) == {"check", "level", "found", "advice"} for one in found)
    checks = {one["check"] for one in found}
    assert checks >= {"configuration", "Open vSwitch", "kernel modules", "bridge netfilter", "port no-such-port",
                      "next hop 203.0.113.1", "disk of /var/lib/sluice", "listening services", "clock",
                      "group"}  # fmt: skip
    assert {"check": "port no-such-port", "level": "error", "found": "does not exist",
            "advice": "compare the configuration with: ip link show"} in found  # fmt: skip


def test_warnings_alone_are_no_failure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "sluice.toml"
    path.write_text(LEAST)
    only = [Finding("clock", Level.WARNING, "not synchronised", "apt install chrony")]
    monkeypatch.setattr("cli.doctor.command._of_configuration", lambda *_: only)
    monkeypatch.setattr(files, "group_exists", lambda: True)
    monkeypatch.setattr("cli.doctor.listeners.gather", tuple)
    code, found = _doctor(capsys, path)
    assert code == 0
    assert "warning" in {one["level"] for one in found}
