"""Daemons of the appliance and of interconnects killed under traffic: it goes on, and all is back by itself."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator

import pytest
from appliance import AGENT, BGP, CONTROLLER, DATABASE, SWITCH
from interconnect_world import (
    SITE_PREFIX,
    Tenancy,
    World,
    interconnect_world,
    leg_of,
    link_of,
    reaches,
    remote_flows,
    seconds_until,
)
from pinging import pinging
from sandbox import Sandbox
from supervisor import await_condition

__all__ = ["interconnect_world"]

RecordProperty = Callable[[str, object], None]

FAILOVER_SECONDS, BACK_SECONDS = 3.0, 20.0


@pytest.fixture(autouse=True)
def whole(interconnect_world: World) -> Iterator[None]:
    """Every test finds, and leaves, all sessions established and the first tenant's better link in use."""
    interconnect_world.await_whole()
    await_first(interconnect_world)
    yield
    interconnect_world.await_whole()


def await_first(world: World) -> None:
    await_condition(lambda: link_of(world.one) == "files-1", "by the better interconnect", BACK_SECONDS)


# Another prefix each: one that came and went some times would be damped.
@pytest.mark.parametrize(
    ("daemon", "branch"),
    [(name, f"192.168.{60 + number}.0/24") for number, name in enumerate((AGENT, CONTROLLER, BGP, DATABASE))],
)
def test_interconnects_go_on_without_a_daemon(
    sandbox: Sandbox, interconnect_world: World, daemon: str, branch: str
) -> None:
    one, two = interconnect_world.both
    calls = interconnect_world.interconnects
    before = {name: calls.session(name).flaps for name in interconnect_world.names}
    deaths = len(sandbox.appliance.daemon(daemon).deaths)
    with pinging(one.machine, one.pc_address) as going, pinging(two.machine, two.pc_address) as other:
        sandbox.appliance.kill(daemon)
        sandbox.appliance.await_restart(daemon, deaths)
        sandbox.appliance.wait_ready()
        interconnect_world.interconnects.seconds_until_established(*interconnect_world.names)
        time.sleep(1)
    assert going()[0] == 0
    assert other()[0] == 0
    assert {name: calls.session(name).flaps for name in interconnect_world.names} == before
    # And what changes is seen again.
    one.customer.announce(branch)
    try:
        await_condition(lambda: branch in remote_flows(sandbox, one.key), "learned", 5)
    finally:
        one.customer.withdraw(branch)
    await_condition(lambda: branch not in remote_flows(sandbox, one.key), "withdrawn", 5)


@pytest.mark.parametrize("program", ["bgpd", "bfdd", "zebra"])
def test_the_other_interconnect_carries_on_when_a_daemon_of_one_is_killed(
    sandbox: Sandbox, interconnect_world: World, record_property: RecordProperty, program: str
) -> None:
    one = interconnect_world.one
    with pinging(one.machine, one.pc_address) as going:
        pid = leg_of(one, "files-1").daemons[program]
        os.kill(pid, signal.SIGKILL)
        await_condition(lambda: _other(one, program, pid), f"another {program}", BACK_SECONDS)
        interconnect_world.interconnects.seconds_until_established("files-1", limit=BACK_SECONDS)
        await_first(interconnect_world)
    missing, gap = going()
    record_property("gap_seconds", gap)
    print(f"{program}: {missing} pings of 10 ms lost, {gap:.2f} s")
    assert gap < FAILOVER_SECONDS


def _other(tenancy: Tenancy, program: str, before: int) -> bool:
    try:
        return leg_of(tenancy, "files-1").daemons[program] != before
    except (LookupError, OSError):
        return False


def test_a_daemon_that_hangs_is_replaced(sandbox: Sandbox, interconnect_world: World) -> None:
    one = interconnect_world.one
    pid = leg_of(one, "files-1").daemons["bgpd"]
    with pinging(one.machine, one.pc_address) as going:
        os.kill(pid, signal.SIGSTOP)
        await_condition(lambda: _other(one, "bgpd", pid), "another bgpd", BACK_SECONDS)
        interconnect_world.interconnects.seconds_until_established("files-1", limit=BACK_SECONDS)
    assert going()[1] < FAILOVER_SECONDS


def test_without_the_bgp_daemon_a_lost_session_loses_no_more_than_its_own(
    sandbox: Sandbox, interconnect_world: World, record_property: RecordProperty
) -> None:
    """Nobody tells of the session; the switch itself sees the carrier."""
    one = interconnect_world.one
    sandbox.appliance.stop(BGP)
    try:
        with pinging(one.machine, one.pc_address) as going, interconnect_world.ports["xc1"].unplugged():
            await_condition(lambda: link_of(one) == "files-2", "by the other", FAILOVER_SECONDS)
        record_property("gap_seconds", going()[1])
        assert going()[1] < FAILOVER_SECONDS
    finally:
        sandbox.appliance.start_one(BGP)


def test_a_lost_namespace_is_made_anew(
    sandbox: Sandbox, interconnect_world: World, record_property: RecordProperty
) -> None:
    one = interconnect_world.one
    leg = leg_of(one, "files-1")
    with pinging(one.machine, one.pc_address) as going:
        subprocess.run(["ip", "netns", "delete", leg.namespace], check=True)
        for pid in leg.daemons.values():
            os.kill(pid, signal.SIGKILL)
        await_condition(lambda: link_of(one) == "files-2", "by the other", FAILOVER_SECONDS)
        interconnect_world.interconnects.seconds_until_established("files-1", limit=BACK_SECONDS)
        await_first(interconnect_world)
    record_property("gap_seconds", going()[1])
    assert going()[1] < FAILOVER_SECONDS


def test_interconnects_are_back_with_the_switch(
    sandbox: Sandbox, interconnect_world: World, record_property: RecordProperty
) -> None:
    deaths = len(sandbox.appliance.daemon(SWITCH).deaths)
    sandbox.appliance.kill(SWITCH)
    sandbox.appliance.await_restart(SWITCH, deaths)
    sandbox.appliance.wait_ready()
    for tenancy in interconnect_world.both:
        seconds = seconds_until(lambda to=tenancy: reaches(to), "reached", BACK_SECONDS)  # type: ignore[misc]
        record_property(f"{tenancy.network}_seconds", seconds)


def test_interconnects_are_back_after_a_reboot(sandbox: Sandbox, interconnect_world: World) -> None:
    """The host loses all but its disks: daemons, FRR, namespaces and their devices."""
    sandbox.appliance.stop()
    for line in subprocess.run(["ip", "netns"], capture_output=True, text=True, check=True).stdout.splitlines():
        name = line.split()[0]
        pids = subprocess.run(["ip", "netns", "pids", name], capture_output=True, text=True, check=True).stdout
        for pid in map(int, pids.split()):
            os.kill(pid, signal.SIGKILL)
        subprocess.run(["ip", "netns", "delete", name], check=True)
    sandbox.appliance.start()
    interconnect_world.await_whole()
    for tenancy in interconnect_world.both:
        assert SITE_PREFIX in remote_flows(sandbox, tenancy.key)
