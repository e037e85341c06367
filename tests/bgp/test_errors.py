"""What the BGP daemon says of sessions that are not established, each brought about by a real FRR or its absence."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from appliance import run
from bgp_lab import BRIDGE, HERE, LAN, PEER_AS, Lab, Peer, in_namespace
from supervisor import await_condition

from state.encryption import SecretBox
from state.model import State

DROP = "nft add table ip f; nft 'add chain ip f i { type filter hook input priority 0; }'; nft add rule ip f i"


@dataclass(frozen=True)
class Broken:
    """A session that cannot be established: our password, what the peer's FRR is started with (None: not at all)."""

    words: str
    password: str = ""
    peer: Mapping[str, Any] | None = None
    filtered: bool = False
    absent: bool = False


SILENT = "the peer 169.254.101.2 answers ARP, but not TCP port 179: a filter is in the way, or"
BROKEN = {
    "nobody": Broken("the peer 169.254.101.2 does not answer ARP on xc1/vlan=", absent=True),
    "no BGP there": Broken("the peer 169.254.101.2 refuses connections to TCP port 179: BGP does not run there", "one"),
    "filtered": Broken(f"{SILENT} it expects a password", filtered=True),
    "filtered with a password": Broken(f"{SILENT} the passwords differ", "one", filtered=True),
    "another password": Broken("the password of TCP MD5 differs from the peer's", "one", {"password": "two"}),
    "password here": Broken("the peer does not use the password of TCP MD5 that is configured here", "one", {}),
    "password there": Broken(
        "the peer uses a password of TCP MD5, and none is configured here", "", {"password": "two"}
    ),
    "AS there": Broken("wrong AS: the peer says it is AS 65009, configured is 65001", "", {"asn": 65009}),
    "long AS there": Broken(
        "wrong AS: the peer says it is AS 4200000009, configured is 65001", "", {"asn": 4200000009}
    ),
    "AS here": Broken("wrong AS: the peer does not expect AS 64512, which is configured here", "", {"expected": 64999}),
}


@pytest.fixture(scope="module")
def broken(running: Lab) -> Iterator[dict[str, int]]:
    """All of `BROKEN` at once, by name: the numbers of the interconnects."""
    made = {}
    for name, one in BROKEN.items():
        made[name] = running.interconnect(password=one.password)
        if one.absent:
            continue
        peer = running.peer(made[name])
        if one.filtered:
            in_namespace(peer.name, "sh", "-c", f"{DROP} tcp dport 179 drop")
        if one.peer is not None:
            peer.start(LAN, **one.peer)
    yield made
    running.clear()


@pytest.mark.parametrize("name", BROKEN)
def test_never_established(running: Lab, broken: dict[str, int], name: str) -> None:
    number, one = broken[name], BROKEN[name]
    wanted = one.words + (str(number) if one.absent else "")
    assert running.await_reason(number, re.escape(one.words), 15) == wanted
    assert not running.routes(number)
    status = running.status(number)
    assert status is not None
    # What is wrong with the peer is no fault of the configuration.
    assert (status.state, status.session.state.value, status.session.flaps) == (State.LIVE, "down", 0)
    assert status.session.error == status.session.detail
    assert abs(status.session.error_at - time.time() * 1000) < 20_000
    assert bool(status.session.peer_mac) is not one.absent
    assert status.session.bfd.value in ("down", "up")


@dataclass(frozen=True)
class Losses:
    """Established sessions to be lost, each in its way; the peer of `silent` does not speak any more."""

    cut: tuple[int, Peer]
    closed: tuple[int, Peer]
    silent: tuple[int, Peer]


@pytest.fixture(scope="module")
def losses(running: Lab) -> Iterator[Losses]:
    numbers = running.interconnect(), running.interconnect(), running.interconnect(hold_seconds=3)
    peers = [running.peer(number) for number in numbers]
    for peer in peers[:2]:
        peer.start(LAN)
    peers[2].start(LAN, bfd_milliseconds=0, hold_seconds=3)
    for number in numbers:
        running.await_routes(number, {LAN}, 10)
    assert running.session(numbers[2]).bfd.value == "silent"
    peers[2].frr.kill("bgpd", number=signal.SIGSTOP)
    yield Losses(*zip(numbers, peers, strict=True))
    running.clear()


def test_bfd_finds_a_cut_cable(running: Lab, losses: Losses) -> None:
    number, peer = losses.cut
    running.await_status(number, lambda one: one.session.bfd.value == "up", "BFD up", 5)
    running.order.clear()
    peer.cut()
    seconds = running.await_state(number, "down", 2)
    running.await_routes(number, set(), 0.5)
    print(f"cut cable found by BFD of 3 x 100 ms after {seconds:.3f} s")
    assert seconds < 0.3 + 0.3
    # The session first: what was learned goes on to be used until it is known that it is lost.
    assert running.order[0] == "Interconnect_Status"
    session = running.session(number)
    assert session.detail == session.error == "BFD down: the peer was silent for 3 times 100 ms"
    assert (session.flaps, session.received, session.accepted, session.announced) == (1, 0, 0, "")


def test_closed_by_the_peer(running: Lab, losses: Losses) -> None:
    number, peer = losses.closed
    peer.frr.vty("clear bgp *")
    reset = "the peer closed the session: administrative reset"
    running.await_status(number, lambda one: one.session.error == reset, "reset", 5)
    running.await_state(number, "established")
    # What went wrong last is still told: that, or two connections that were opened at once after it.
    session = running.session(number)
    assert session.detail == ""
    assert session.error in (reset, "the peer closed the connection without saying why")
    peer.frr.configure(f"router bgp {PEER_AS}", f"neighbor {HERE} shutdown message move to rack 7")
    reason = "the peer closed the session: administrative shutdown: 'move to rack 7'"
    assert running.await_reason(number, "shutdown") == reason
    # That BFD may go down with it, within a second or two, says less.
    time.sleep(2)
    assert running.session(number).error == reason
    assert running.session(number).flaps >= 2


def test_hold_timer_expired(running: Lab, losses: Losses) -> None:
    number, peer = losses.silent
    running.await_status(number, lambda one: "hold" in one.session.error, "hold timer expired", 10)
    assert running.session(number).error == "hold timer expired: the peer was silent for 3 s"
    running.await_routes(number, set(), 0.5)
    peer.frr.kill("bgpd", number=signal.SIGCONT)


def test_a_cut_cable_is_told_from_a_silent_peer(running: Lab, losses: Losses) -> None:
    running.await_reason(losses.cut[0], "does not answer ARP", 15)


def test_no_bfd_on_either_side(lab: Lab) -> None:
    number, _ = lab.pair(LAN, bfd_milliseconds=0, fields={"bfd_milliseconds": 0})
    lab.await_status(number, lambda one: one.session.bfd.value == "off", "BFD off", 2)


def test_a_password_of_another_key(lab: Lab) -> None:
    stranger = SecretBox(b"MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=")
    number = lab.interconnect()
    peer = lab.peer(number)
    peer.start(LAN)
    lab.await_state(number, "established")
    lab.change(number, password=stranger.seal("one"))
    lab.await_status(number, lambda one: one.state is State.ERROR, "error", 5)
    status = lab.status(number)
    assert status is not None
    assert status.detail == "the password cannot be used: the secret was sealed with another key"
    # Never without a password instead.
    lab.await_status(number, lambda one: one.session.state.value != "established", "closed", 5)
    assert not peer.frr.established(HERE)
    lab.change(number, revision=3, password="")
    lab.await_state(number, "established")
    assert lab.status(number).state is State.LIVE  # type: ignore[union-attr]


def test_a_bridge_without_the_leg_gets_it_again(lab: Lab) -> None:
    number, _ = lab.pair(LAN)
    run(["ovs-vsctl", "del-port", BRIDGE, f"bgp{number}"])
    await_condition(lambda: f"bgp{number}" in run(["ovs-vsctl", "list-ports", BRIDGE]).split(), "plugged", 5)
