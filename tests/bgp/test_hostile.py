"""Peers that announce what they may not, too much of it, or that come and go: refused, and no harm to others."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

import pytest
from bgp_lab import LAN, PEER_AS, Lab, Peer, in_namespace
from supervisor import await_condition

SECOND = "172.21.0.0/16"
BGP = (f"router bgp {PEER_AS}", "address-family ipv4 unicast")


BY_DIRECT_CONNECT = {
    LAN: "",
    "172.20.3.4/32": "",
    "10.0.0.0/8": "",
    "0.0.0.0/0": "the default route is never accepted",
    "172.0.0.0/7": "shorter than /8",
    "192.168.0.0/16": "not within the accepted prefixes",
    "172.0.0.0/8": "not within the accepted prefixes",
    "10.9.0.0/16": "within 10.9.0.0/16, the network's own prefix",
    "10.9.3.0/24": "within 10.9.0.0/16, the network's own prefix",
    "169.254.101.0/30": "within 169.254.101.0/30, the link itself",
    "169.254.0.0/16": "within 169.254.0.0/16, which is never routed",
    "203.0.113.64/28": "within 203.0.113.0/24, the gateway's subnet",
}
BY_PEERING = {
    "192.0.2.0/24": "",
    "8.0.0.0/8": "",
    "192.0.2.0/25": "longer than /24",
    "0.0.0.0/0": "the default route is never accepted",
    "10.3.0.0/16": "within 10.0.0.0/8, not routed in the Internet",
    "100.64.0.0/24": "within 100.64.0.0/10, not routed in the Internet",
    "203.0.113.0/24": "within 203.0.113.0/24, the gateway's subnet",
}


@dataclass(frozen=True)
class Announcing:
    """Interconnects whose peers announce what they may not."""

    direct: int
    peering: int
    elsewhere: tuple[int, Peer]
    endless: tuple[int, Peer]


@pytest.fixture(scope="module")
def announcing(running: Lab) -> Iterator[Announcing]:
    direct, peering = running.interconnect(), running.interconnect(peering=True)
    elsewhere, endless = running.interconnect(local_address="169.254.101.1/24"), running.interconnect()
    announced = {direct: [*BY_DIRECT_CONNECT], peering: [*BY_PEERING], elsewhere: [LAN], endless: [LAN, SECOND]}
    peers = {number: running.peer(number) for number in announced}
    for number, peer in peers.items():
        peer.start(*announced[number])
    for number in peers:
        running.await_state(number, "established")
    yield Announcing(direct, peering, (elsewhere, peers[elsewhere]), (endless, peers[endless]))
    running.clear()


def refusals(lab: Lab, number: int, wanted: dict[str, str]) -> None:
    """Wait until routes are told with these refusals."""

    def told() -> dict[str, str]:
        return {prefix: route.refusal for prefix, route in lab.routes(number).items()}

    with suppress(TimeoutError):
        await_condition(lambda: told() == wanted, f"routes of i{number}", 5)
    assert told() == wanted


def test_what_a_direct_connect_may_not_announce(running: Lab, announcing: Announcing) -> None:
    refusals(running, announcing.direct, BY_DIRECT_CONNECT)
    session = running.session(announcing.direct)
    assert (session.received, session.accepted) == (12, 3)


def test_what_a_peering_may_not_announce(running: Lab, announcing: Announcing) -> None:
    number = announcing.peering
    refusals(running, number, BY_PEERING)
    running.change(number, accept="192.0.2.0/24")
    running.await_routes(number, {"192.0.2.0/24"})
    assert running.routes(number)["8.0.0.0/8"].refusal == "not within the accepted prefixes"


def test_another_next_hop_is_refused(running: Lab, announcing: Announcing) -> None:
    number, peer = announcing.elsewhere
    peer.frr.configure("route-map out permit 10", "set ip next-hop 169.254.101.3")
    peer.frr.configure(*BGP, "neighbor 169.254.101.1 route-map out out")
    peer.frr.vty("clear bgp * soft out")
    refusals(running, number, {LAN: "next hop 169.254.101.3 is not the peer"})


def test_endless_paths_are_not_taken(running: Lab, announcing: Announcing) -> None:
    number, peer = announcing.endless
    peer.frr.configure(f"ip prefix-list one permit {SECOND}")
    long = ("match ip address prefix-list one", f"set as-path prepend {' '.join([str(PEER_AS)] * 100)}")
    peer.frr.configure("route-map out permit 10", *long)
    peer.frr.configure("route-map out permit 20")
    peer.frr.configure(*BGP, "neighbor 169.254.101.1 route-map out out")
    peer.frr.vty("clear bgp * soft out")
    refusals(running, number, {LAN: "", SECOND: "the AS path has 101 ASes, more than 64"})


def test_too_many_prefixes_close_the_session_for_a_while(lab: Lab) -> None:
    number, peer = lab.pair(LAN, fields={"maximum_prefixes": 5})
    other, _ = lab.pair(LAN)
    lab.await_routes(number, {LAN})
    lab.await_routes(other, {LAN})
    flood = [f"172.21.{at}.0/24" for at in range(50)]
    peer.frr.announce(PEER_AS, *flood)
    seconds = lab.await_state(number, "held", 3)
    lab.await_routes(number, set(), 1)
    said = lab.session(number).detail
    found = re.fullmatch(r"the peer announced more than 5 prefixes; it is tried again at (\d\d:\d\d:\d\d) UTC", said)
    assert found
    assert 50 < wait_until(found[1]) < 61
    assert lab.session(number).error == "the peer announced more than 5 prefixes"
    assert len(lab.routes(number)) <= 5
    assert (lab.session(other).flaps, lab.accepted(other)) == (0, {LAN})
    print(f"held {seconds:.2f} s after the flood began")
    # The next daemon does not let it in either.
    lab.stop()
    lab.start()
    lab.await_state(number, "held")
    assert not peer.frr.established("169.254.101.1")
    # What was wrong is put right by whoever knows.
    lab.change(number, maximum_prefixes=100)
    lab.await_routes(number, {LAN, *flood}, 15)
    assert lab.session(other).flaps == 0


def test_one_prefix_too_many_closes_it_as_well(lab: Lab) -> None:
    """Of FRR's own limit the first prefix over it is lost without a word."""
    few = [f"172.21.{at}.0/24" for at in range(4)]
    number, peer = lab.pair(LAN, *few, fields={"maximum_prefixes": 5})
    lab.await_routes(number, {LAN, *few})
    peer.frr.announce(PEER_AS, "172.21.9.0/24")
    lab.await_state(number, "held", 3)
    lab.await_routes(number, set(), 1)
    assert lab.session(number).error == "the peer announced more than 5 prefixes"
    await_condition(lambda: not peer.frr.established("169.254.101.1"), "closed", 2)


def test_a_peer_that_closes_its_sessions_at_once_is_held(lab: Lab) -> None:
    """Before they are seen: within a second."""
    number, peer = lab.pair(LAN)

    def held() -> bool:
        if peer.frr.established("169.254.101.1"):
            peer.frr.vty("clear bgp *")
        return bool(lab.session(number).state.value == "held")

    await_condition(held, "held", 60)


def wait_until(moment: str) -> float:
    """Seconds from now until a time of day in UTC."""
    hours, minutes, seconds = map(int, moment.split(":"))
    return (hours * 3600 + minutes * 60 + seconds - time.time() % 86400) % 86400


def test_a_session_that_flaps_is_held(lab: Lab) -> None:
    number, other = lab.many(2)
    peer = lab.peers[number]
    for _ in range(5):
        flaps = lab.session(number).flaps
        # Its TCP connection is reset, as by a peer that restarts.
        in_namespace(peer.name, "ss", "-K", "dst", "169.254.101.1")
        peer.frr.vty("clear bgp *")
        lab.await_status(number, lambda one, had=flaps: one.session.flaps > had, "down once more", 10)
        if lab.session(number).state.value == "held":
            break
        lab.await_status(number, lambda one: one.session.state.value in ("established", "held"), "up or held", 20)
    lab.await_state(number, "held", 2)
    assert re.match(r"the session went down 5 times within 60 s; it is tried again at", lab.session(number).detail)
    lab.await_routes(number, set())
    assert not peer.frr.established("169.254.101.1")
    assert (lab.session(other).flaps, lab.accepted(other)) == (0, {LAN})


def test_a_prefix_that_flaps_is_damped(lab: Lab) -> None:
    number, peer = lab.pair(LAN, SECOND)
    lab.await_routes(number, {LAN, SECOND})
    for flap in range(9):
        # Three times is no harm: links fail now and then.
        assert flap > 3 or not lab.routes(number)[SECOND].refusal
        peer.frr.announce(PEER_AS, SECOND, withdraw=True)
        await_condition(lambda: SECOND not in lab.routes(number), "withdrawn", 5)
        peer.frr.announce(PEER_AS, SECOND)
        await_condition(lambda: SECOND in lab.routes(number), "announced", 5)
    assert lab.routes(number)[SECOND].refusal == "flapping: damped"
    assert lab.accepted(number) == {LAN}
    peer.frr.announce(PEER_AS, SECOND, withdraw=True)
    await_condition(lambda: set(lab.routes(number)) == {LAN}, "withdrawn while damped", 5)
