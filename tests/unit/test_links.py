"""Ports without a link: what is cut off by them is said, and nothing of the flows changes."""

from __future__ import annotations

import dataclasses

import pytest
from examples import APPLIANCE, BRANCH, CLINIC, ISOLATED, ISOLATED_VLAN, NETWORKS, OFFICE, PEERINGS, SITE
from fake_switch import World, watch_compiling

from controller.reconcile.compile import Compiled
from controller.reconcile.events import CountFlows, PortsChanged
from controller.reconcile.links import degraded, own_ports
from state.model import Drive, Network, NetworkStatus, State
from state.vpn import inside_port


def no_link(port: str) -> str:
    return f"port {port} has no link: its device is down, its other end is, or it was deleted"


@pytest.mark.parametrize(
    ("network", "down", "named"),
    [
        (ISOLATED, "web1", {ISOLATED.machines[0].name}),
        (ISOLATED, "trunk", set()),
        (ISOLATED_VLAN, "trunk", {ISOLATED_VLAN.machines[0].name}),
        (dataclasses.replace(ISOLATED, drives=(Drive("files", "10.250.0.10"),)), "storage", {"drives/files"}),
        (BRANCH, inside_port(BRANCH.key), {f"vpnGateways/{BRANCH.vpn.name}" if BRANCH.vpn else ""}),
        (CLINIC, CLINIC.interconnects[0].port,
         {f"interconnects/{one.name}" for one in CLINIC.interconnects if one.port == CLINIC.interconnects[0].port}),
        (None, PEERINGS[0].port, {f"interconnects/{PEERINGS[0].name}"}),
        (ISOLATED, "uplink", set()),
    ],
)  # fmt: skip
def test_what_depends_on_a_port_is_cut_off_with_it(network: Network | None, down: str, named: set[str]) -> None:
    found = degraded(network, SITE, {down, "not-ours"})
    assert found == dict.fromkeys(named, no_link(down))


def test_the_appliance_s_own_ports_must_be_there_and_have_a_link() -> None:
    assert own_ports(SITE, {"web1"}) == {}
    site = dataclasses.replace(SITE, ports={name: n for name, n in SITE.ports.items() if name != "names"})
    assert own_ports(site, {"uplink", "names"}) == {
        "ports/uplink": no_link("uplink"), "ports/names": "port names is not on the bridge",
    }  # fmt: skip
    without = dataclasses.replace(SITE, appliance=dataclasses.replace(APPLIANCE, storage=None, resolver_port=""))
    assert own_ports(without, {"storage", "names"}) == {}


def links(world: World, *down: str) -> None:
    """Ports go down or come up, and a second passes."""
    world.switch.down = set(down)
    world.reconciler.post(PortsChanged())
    world.reconciler.post(CountFlows())
    world.settle()


def test_a_link_changes_the_status_and_not_the_flows() -> None:
    world = World(NETWORKS)
    world.sent()
    keys = watch_compiling(world)
    before = world.statuses[ISOLATED.name]
    assert before is not None
    links(world, "web1")
    machine = ISOLATED.machines[0].name
    assert world.statuses[ISOLATED.name] == dataclasses.replace(before, degraded={machine: no_link("web1")})
    assert world.reconciler.committer.cut_off() == (0, 1)
    links(world)
    assert world.statuses[ISOLATED.name] == before
    assert world.reconciler.committer.cut_off() == (0, 0)
    assert (world.sent(), keys) == ({}, [])


def test_links_are_looked_at_once_a_second() -> None:
    world = World(NETWORKS)
    world.statuses.clear()
    for down in ({"web1"}, set(), {"web1"}):
        world.switch.down = down
        world.reconciler.post(PortsChanged())
        world.settle()
    assert world.statuses == {}
    world.reconciler.post(CountFlows())
    world.settle()
    assert set(world.statuses) == {ISOLATED.name}


def test_a_port_that_is_down_at_the_start_is_known() -> None:
    world = World(NETWORKS)
    world.switch.down = {"web1", "uplink"}
    world.start()
    status = world.statuses[ISOLATED.name]
    assert status is not None
    assert status.degraded == {ISOLATED.machines[0].name: no_link("web1")}
    own = world.statuses[""]
    assert own is not None
    assert own.degraded == {"ports/uplink": no_link("uplink")}


def test_a_machine_plugged_just_now_is_not_called_degraded() -> None:
    """Its device came up since the last look, and nobody who waits for it should be told otherwise."""
    world = World(NETWORKS)
    links(world, "web1")
    world.switch.down = set()
    world.change(dataclasses.replace(ISOLATED, revision=7))
    assert world.statuses[ISOLATED.name] == NetworkStatus(7, State.LIVE)


def test_a_link_does_not_hide_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> Compiled:
        raise RuntimeError("no flows")

    world = World(NETWORKS)
    monkeypatch.setattr("controller.reconcile.commit.compile_network", broken)
    world.change(dataclasses.replace(OFFICE, revision=8))
    links(world, OFFICE.machines[0].attachment.port)
    status = world.statuses[OFFICE.name]
    assert status is not None
    assert status.state is State.ERROR
