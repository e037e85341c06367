"""`sluicectl status` says of every daemon whether it works."""

from __future__ import annotations

import time

import pytest
from fake_api import FakeApi, Sluicectl, api, sluicectl
from fake_vpn import berlin

from sluice.v1 import vpn_connection_pb2 as pb
from sluice.v1.appliance_pb2 import Daemon, Port, Realization

__all__ = ["api", "sluicectl"]
State = Daemon.State


def daemon(name: str, state: State.ValueType, *, silence: int = 0, problem: str = "") -> Daemon:
    made = Daemon(name=name, state=state, problem=problem)
    if state not in (Daemon.STOPPED, Daemon.UNUSED):
        made.pid = 7
        made.start_time.FromSeconds(int(time.time()) - 60)
        made.silence.FromSeconds(silence)
    return made


@pytest.mark.parametrize(
    ("of", "state", "says"),
    [
        (daemon("vpn", Daemon.RUNNING), "ok", "process 7, for "),
        (daemon("vpn", Daemon.UNUSED), "unused", "nothing for it to do"),
        (daemon("vpn", Daemon.STOPPED), "stopped", "not running"),
        (daemon("vpn", Daemon.SILENT, silence=9), "silent", "nothing heard from it for 9 s"),
        (daemon("vpn", Daemon.HINDERED, problem="no switch is connected"), "hindered", "no switch is connected"),
    ],
)
def test_each_daemon_has_a_line(api: FakeApi, sluicectl: Sluicectl, of: Daemon, state: str, says: str) -> None:
    api.daemons = [daemon("controller", Daemon.RUNNING), of]
    told = sluicectl("-o", "json", "status")
    checks = {check["name"]: check for check in told.json()["checks"]}
    assert checks["controller"]["state"] == "ok"
    assert (checks["vpn"]["state"], says in checks["vpn"]["detail"]) == (state, True)
    assert ("vpn" in told.err) == (state not in ("ok", "unused"))


def test_a_remark_is_shown_and_is_no_fault(api: FakeApi, sluicectl: Sluicectl) -> None:
    of = daemon("controller", Daemon.RUNNING)
    of.remark = "somebody else changed flows"
    api.daemons = [of]
    check = next(one for one in sluicectl("-o", "json", "status").json()["checks"] if one["name"] == "controller")
    assert (check["state"], check["detail"].endswith("; somebody else changed flows")) == ("ok", True)


@pytest.mark.parametrize(
    ("told", "state", "says"),
    [
        (Realization(settled=True, desired_revision=9, realized_revision=9), "ok", "settled, revision 9"),
        (Realization(desired_revision=9, realized_revision=7, pending_networks=2), "pending",
         "2 networks pending, revision 7 of 9"),
        (Realization(desired_revision=9, realized_revision=8), "pending", "revision 8 of 9"),
    ],
)  # fmt: skip
def test_status_says_whether_all_is_settled(
    api: FakeApi, sluicectl: Sluicectl, told: Realization, state: str, says: str
) -> None:
    api.daemons, api.realization = [daemon("controller", Daemon.RUNNING)], told
    answer = sluicectl("-o", "json", "status")
    (check,) = [one for one in answer.json()["checks"] if one["name"] == "desired state"]
    assert (check["state"], check["detail"]) == (state, says)
    assert "desired state" not in answer.err, "work under way is no fault"


def test_an_own_port_that_is_down_is_a_fault(api: FakeApi, sluicectl: Sluicectl) -> None:
    api.daemons, api.ports = [], [Port(name="uplink"), Port(name="disks")]

    def check() -> tuple[str, str, bool]:
        told = sluicectl("-o", "json", "status")
        (found,) = [one for one in told.json()["checks"] if one["name"] == "ports"]
        return found["state"], found["detail"], "ports" in told.err

    assert check() == ("ok", "uplink, disks", False)
    api.ports[1].problem = "port disks has no link"
    assert check() == ("down", "port disks has no link", True)


def test_an_older_agent_says_nothing_of_daemons(api: FakeApi, sluicectl: Sluicectl) -> None:
    """Then the controller's lock does."""
    checks = [check["name"] for check in sluicectl("-o", "json", "status").json()["checks"]]
    assert (checks.count("controller"), "vpn" in checks, "desired state" in checks) == (1, False, False)


def test_status_counts_tunnels(api: FakeApi, sluicectl: Sluicectl) -> None:
    states = {"a": pb.VpnTunnel.ESTABLISHED, "b": pb.VpnTunnel.ESTABLISHED, "c": pb.VpnTunnel.DOWN}
    for name, state in states.items():
        made = berlin(name=f"vpnConnections/{name}", tunnel=pb.VpnTunnel(state=state))
        api.vpn_connections[made.name] = made
    unseen = berlin(name="vpnConnections/d")
    unseen.ClearField("tunnel")
    api.vpn_connections[unseen.name] = unseen
    told = [line.split() for line in sluicectl("status").out.splitlines()]
    assert ["tunnels:", "1", "down,", "2", "established,", "1", "pending"] in told
    assert ["tunnels", "down", "1:", "c"] in told
