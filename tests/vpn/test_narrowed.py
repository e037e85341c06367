"""A peer that agrees to fewer prefixes than it is asked for: each pair it takes is open, and the rest is told."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from supervisor import await_condition
from vpn_lab import DRIVES, ESP, PREFIX, SITE, SITE_ROUTER, Place, in_namespace, lab
from vpn_pair import ONE, answers

from state.vpn import Role

SECOND, SECOND_ADDRESS = "192.168.51.0/24", "192.168.51.1"
THIRD, THIRD_ADDRESS = "192.168.52.0/24", "192.168.52.1"


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    """The peer has three networks."""
    with lab() as made:
        made.start()
        peer = made.peer("corp", "198.51.100.2")
        for address in (SECOND_ADDRESS, THIRD_ADDRESS):
            in_namespace("corp", "ip", "address", "add", f"{address}/24", "dev", "lo")
        gateway = made.gateway(1, ONE)
        made.join(1, [peer], made.machine("m1"))
        yield Place(made, gateway, peer)


def child(prefix: str) -> dict[str, Any]:
    """One CHILD SA for one prefix, as a phase 2 of FortiGate or an entry of a crypto map of Cisco ASA."""
    return {"local_ts": [prefix], "remote_ts": [PREFIX, DRIVES], "esp_proposals": ESP}


def opened(place: Place, name: str, role: Role, *prefixes: str) -> None:
    """A connection for all three of the peer's networks, of which it agrees to `prefixes`, one a child."""
    children = {f"c{number}": child(prefix) for number, prefix in enumerate(prefixes)}
    place.peer.connect(ONE, children=children)
    place.lab.connection(place.gateway, name, place.peer.address, remote_prefixes=(SITE, SECOND, THIRD), role=role)
    if role is Role.RESPONDER:
        await_condition(lambda: place.lab.status(f"vpnConnections/{name}") is not None, "told", 5)
        for wanted in children:
            place.peer.command("initiate", {"child": wanted, "timeout": "-1"})
    place.lab.await_tunnel(name, "established")


def refused(target: str) -> bool:
    """Whether the machine is told that there is no way to an address."""
    command = ["nsenter", "--net=/run/netns/m1", "ping", "-c1", "-W1", target]
    return "nreachable" in subprocess.run(command, capture_output=True, text=True, check=False).stdout


@pytest.mark.parametrize("role", list(Role))
def test_each_pair_has_a_child_of_its_own(place: Place, role: Role) -> None:
    opened(place, "hq", role, SITE, SECOND, THIRD)
    try:
        await_condition(lambda: not place.lab.tunnel("hq").missing, "all open", 10)
        for address in (SITE_ROUTER, SECOND_ADDRESS, THIRD_ADDRESS):
            await_condition(lambda to=address: answers(to), f"{address} answers", 5)  # type: ignore[misc]
        assert place.lab.tunnel("hq").detail == ""
    finally:
        place.lab.delete("Vpn_Connection", "hq")
        place.peer.kill()
        place.peer.start()


def test_what_the_peer_does_not_agree_to_is_told(place: Place) -> None:
    opened(place, "part", Role.INITIATOR, SITE, SECOND)
    try:
        await_condition(lambda: place.lab.tunnel("part").missing == f"{PREFIX}-{THIRD} {DRIVES}-{THIRD}", "told", 10)
        tunnel = place.lab.tunnel("part")
        assert tunnel.detail.startswith(f"no tunnel from {PREFIX} to {THIRD}, {DRIVES} to {THIRD}: the peer agrees")
        assert tunnel.error == tunnel.detail
        for address in (SITE_ROUTER, SECOND_ADDRESS):
            await_condition(lambda to=address: answers(to), f"{address} answers", 5)  # type: ignore[misc]
        await_condition(lambda: refused(THIRD_ADDRESS), "unreachable", 5)
        # Once its list is right, the rest is opened within half a minute.
        place.peer.connect(ONE, children={f"c{n}": child(prefix) for n, prefix in enumerate((SITE, SECOND, THIRD))})
        await_condition(lambda: not place.lab.tunnel("part").missing, "all open", 40)
        await_condition(lambda: answers(THIRD_ADDRESS), "the third answers", 5)
    finally:
        place.lab.delete("Vpn_Connection", "part")
        place.peer.kill()
        place.peer.start()
