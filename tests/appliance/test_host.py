"""The package on a host that has the test tools too: units, what listens, kills, a reboot."""

from __future__ import annotations

import ipaddress
import json
import time
from collections.abc import Iterator

import pytest
from host import TARGET, Host
from lab import BOOT_UNIT, LAB, SERVER, Lab, read_pings

MOST_EXPOSURE = 3.0
SSH = {("sshd", "0.0.0.0:22"), ("sshd", "[::]:22")}
# What the Internet may see as a source: the gateway's address, and the shared addresses.
OUTSIDE = [ipaddress.ip_network(prefix) for prefix in ("203.0.113.2/32", "203.0.113.16/28")]


@pytest.fixture(scope="module")
def lab(host: Host) -> Iterator[Lab]:
    """Machines with addresses, in a network alone and in two offices with the same prefix."""
    one = Lab(host)
    one.allocate()
    yield one
    one.release()


def test_every_unit_runs_and_none_had_to_be_restarted(host: Host) -> None:
    assert set(host.restarts().values()) == {0}
    assert host.run("systemctl list-units --failed --plain --no-legend").strip() == ""


def test_only_ssh_listens_for_others(host: Host) -> None:
    assert host.listening() <= SSH


def test_exposure_of_units(host: Host) -> None:
    exposures = {unit: host.exposure(unit) for unit in host.units()}
    assert {unit: level for unit, level in exposures.items() if level > MOST_EXPOSURE} == {}


def test_the_bridge_is_in_the_kernel(host: Host) -> None:
    assert host.run("ovs-vsctl get bridge br-sluice datapath_type").strip() == "system"


def test_doctor_finds_no_error(host: Host) -> None:
    findings = json.loads(host.machine.attempt("sluicectl doctor -o json").stdout)
    assert [finding for finding in findings if finding["level"] == "error"] == []


def test_machines_reach_what_they_should_and_nothing_else(lab: Lab) -> None:
    assert lab.addresses["a1"] == lab.addresses["b1"] == "10.0.0.2"
    for name in lab.addresses:
        assert lab.reaches(name, SERVER), name
    assert lab.reaches("a1", lab.addresses["a2"])
    assert not lab.reaches("b1", lab.addresses["a2"])
    assert not lab.reaches("web", lab.addresses["a1"])
    assert not lab.reaches("a1", lab.addresses["web"])


def test_a_killed_daemon_is_back_and_no_packet_is_lost(host: Host, lab: Lab) -> None:
    for unit in host.units():
        before = host.main_pid(unit)
        if not before:
            continue
        with lab.pinging("a1", SERVER, 0.05) as pings:
            host.run(f"kill -9 {before}")
            host.await_true(f"test $(systemctl show -P MainPID {unit}) -gt 0 -a "
                            f"$(systemctl show -P MainPID {unit}) != {before}", f"{unit} again", 60)  # fmt: skip
            host.await_active()
        assert (unit, pings[0].lost) == (unit, 0)


def test_a_killed_switch_is_back_with_its_flows(host: Host, lab: Lab) -> None:
    before = host.main_pid("ovs-vswitchd")
    with lab.pinging("a1", SERVER, 0.05) as pings:
        host.run(f"kill -9 {before}")
        host.await_true(f"test $(systemctl show -P MainPID ovs-vswitchd) -gt 0 -a "
                        f"$(systemctl show -P MainPID ovs-vswitchd) != {before}", "switch again", 60)  # fmt: skip
        host.await_active()
    assert pings[0].longest_gap < 20
    assert lab.reaches("web", SERVER)


@pytest.mark.whole
def test_a_killed_database_of_the_switch_leaves_the_switch_alone(host: Host, lab: Lab) -> None:
    switch, database = host.main_pid("ovs-vswitchd"), host.main_pid("ovsdb-server")
    with lab.pinging("a1", SERVER, 0.05) as pings:
        host.run(f"kill -9 {database}")
        host.await_true(f"test $(systemctl show -P MainPID ovsdb-server) -gt 0 -a "
                        f"$(systemctl show -P MainPID ovsdb-server) != {database}", "database again", 60)  # fmt: skip
        host.await_active()
    assert pings[0].lost == 0
    assert host.main_pid("ovs-vswitchd") == switch


@pytest.mark.whole
def test_a_switch_that_was_stopped_stays_so_and_starts_again(host: Host, lab: Lab) -> None:
    host.run("systemctl stop openvswitch-switch ovs-vswitchd ovsdb-server")
    # Longer than any unit of the package waits before it starts again what it needs.
    time.sleep(15)
    for unit in ("ovs-vswitchd", "ovsdb-server"):
        assert host.properties(unit, "ActiveState") == {"ActiveState": "inactive"}
    host.run("systemctl start openvswitch-switch")
    host.await_active()
    lab.await_reach("a1", SERVER)


def test_after_a_reboot_all_is_as_before(host: Host, lab: Lab) -> None:
    host.machine.write("/etc/systemd/system/lab.service", BOOT_UNIT)
    host.run("systemctl enable lab.service")
    host.machine.reboot()
    host.await_active()
    host.await_true(f"grep -q 'bytes from' {LAB}/web.ping", "web reaches the Internet", 60)
    test_every_unit_runs_and_none_had_to_be_restarted(host)
    test_only_ssh_listens_for_others(host)
    for name in (*lab.addresses, "inside"):
        host.await_true(f"test $(grep -c 'bytes from' {LAB}/{name}.ping) -gt 20", f"{name} pings", 60)
        pings = read_pings(host.run(f"cat {LAB}/{name}.ping"))
        # Before the first reply the switch was not there yet; after it nothing is lost.
        assert (name, pings.longest_gap < 1.0) == (name, True)
    sources = {ipaddress.ip_address(source) for source, _ in lab.pairs("internet")}
    assert {source for source in sources if not any(source in prefix for prefix in OUTSIDE)} == set()
    assert {source for source, _ in lab.pairs("b1")} <= {SERVER, "10.0.0.1"}
    host.run("systemctl disable lab.service")


def test_disabling_the_target_stops_every_daemon_and_forwarding_goes_on(host: Host, lab: Lab) -> None:
    units = host.units()
    host.run(f"systemctl disable --now {TARGET}")
    # The target is inactive at once, its services when they have ended.
    for unit in units:
        host.await_true(f"test $(systemctl show -P ActiveState {unit}) = inactive", f"{unit} inactive", 30)
    assert lab.reaches("a1", SERVER)
    host.run(f"systemctl enable --now {TARGET}")
    host.await_active()
