"""The BGP daemon, FRR and namespaces end, hang or vanish: what goes on meanwhile, and what comes back by itself."""

from __future__ import annotations

import os
import signal
import time
import urllib.request
from pathlib import Path

from appliance import run
from bgp_lab import HERE, LAN, PEER_AS, Lab, kill, pids
from supervisor import await_condition

from state.interconnect import leg_port, namespace


def metric(name: str) -> float:
    """A value of the daemon's metrics."""
    text = urllib.request.urlopen("http://127.0.0.1:7405/metrics", timeout=5).read().decode()
    return next(float(line.split()[-1]) for line in text.splitlines() if line.split()[0] == name)


def restarted(number: int, before: dict[str, int]) -> bool:
    """Whether all of an interconnect's FRR runs, anew."""
    now = pids(number)
    return set(now) == set(before) and not set(now.values()) & set(before.values())


def test_a_daemon_of_frr_that_dies_or_hangs_is_started_again(lab: Lab) -> None:
    *numbers, hung, other = lab.many(5)
    restarts, hanging = metric("sluice_bgp_frr_restarts_total"), pids(hung)
    kill(hanging["bgpd"], signal.SIGSTOP)
    # One that dies young is started less often.
    time.sleep(2)
    for number, program in zip(numbers, ("bgpd", "bfdd", "zebra"), strict=True):
        before, began = pids(number), time.monotonic()
        kill(before[program])
        lab.await_status(number, lambda one: one.session.state.value != "established", "session lost", 2)
        lost = time.monotonic() - began
        await_condition(lambda one=number, had=before: restarted(one, had), "FRR restarted", 5, 0.01)
        again = time.monotonic() - began
        print(f"{program} killed: told after {lost:.3f} s, restarted after {again:.3f} s")
        assert lost < 0.3
        assert again < 1
        assert "FRR ended" in lab.session(number).error
    await_condition(lambda: restarted(hung, hanging), "FRR that hung restarted", 8)
    for number in (*numbers, hung):
        lab.await_routes(number, {LAN}, 15)
    assert metric("sluice_bgp_frr_restarts_total") == restarts + 4
    assert metric("sluice_bgp_interconnects_wanted") == 5
    assert lab.session(other).flaps == 0


def test_sessions_go_on_when_the_daemon_ends_and_the_next_adopts_them(lab: Lab) -> None:
    number, peer = lab.pair(LAN, password="one")
    gone, _ = lab.pair(LAN)
    lab.await_routes(number, {LAN})
    before, session = pids(number), lab.session(number)
    for end in (signal.SIGTERM, signal.SIGKILL):
        lab.stop(end)
        assert pids(number) == before
        assert peer.frr.established(HERE)
        peer.frr.announce(PEER_AS, f"172.21.{end}.0/24")
        lab.start()
        lab.await_routes(number, {LAN, *(f"172.21.{one}.0/24" for one in (15, 9) if one == end or one == 15)}, 10)
        assert "FRR adopted" in lab.since_start()
        assert "FRR started" not in lab.since_start()
    assert pids(number) == before
    assert peer.frr.show("bgp ipv4 unicast summary")["peers"][HERE]["connectionsDropped"] == 0
    now = lab.session(number)
    assert (now.flaps, now.since, now.peer_mac) == (0, session.since, peer.mac)
    # What goes away while nobody looks is taken away by the next.
    lab.stop()
    lab.delete(gone)
    lab.start()
    await_condition(lambda: not Path(f"/run/netns/{namespace(gone)}").exists(), "leftovers gone", 5)
    await_condition(lambda: lab.status(gone) is None and not lab.routes(gone), "rows gone", 5)
    assert lab.session(number).flaps == 0


def test_nothing_is_touched_before_the_database_was_read(lab: Lab) -> None:
    number, peer = lab.pair(LAN)
    lab.stop()
    socket = lab.paths.database_socket
    hidden = socket.with_suffix(".hidden")
    socket.rename(hidden)
    try:
        lab.start()
        await_condition(lambda: "starting" in lab.since_start(), "daemon started", 5)
        time.sleep(0.5)
        assert set(pids(number)) == {"zebra", "bfdd", "bgpd"}
        assert peer.frr.established(HERE)
    finally:
        hidden.rename(socket)
    await_condition(lambda: "FRR adopted" in lab.since_start(), "adopted", 5)
    assert lab.session(number).flaps == 0


def test_a_namespace_or_leg_that_vanishes_is_made_again(lab: Lab) -> None:
    number, _ = lab.pair(LAN)
    lab.await_routes(number, {LAN})
    run(["ip", "link", "delete", leg_port(number)])
    lab.await_status(number, lambda one: one.session.state.value != "established", "session lost", 5)
    joined_again(lab, number)
    for pid in pids(number).values():
        os.kill(pid, signal.SIGKILL)
    run(["ip", "netns", "delete", namespace(number)])
    joined_again(lab, number)


def joined_again(lab: Lab, number: int) -> None:
    """Wait until a leg was made and plugged anew, and is of use again."""

    def back() -> bool:
        lab.join(number)
        return lab.accepted(number) == {LAN}

    await_condition(back, "leg back", 20, 0.2)
