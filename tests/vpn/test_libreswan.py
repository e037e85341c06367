"""A peer that runs libreswan with the algorithms it comes with; it opens one CHILD SA for each of its `leftsubnets`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest
from appliance import run
from libreswan import Libreswan
from supervisor import await_condition
from vpn_lab import PREFIX, SECRET, SITE, SITE_ROUTER, Lab, in_namespace, lab
from vpn_pair import ONE, answers

from state.vpn import Role
from vpn.namespace import kernel_has_esp

SECOND, SECOND_ADDRESS = "192.168.51.0/24", "192.168.51.1"
BOTH = {SITE: SITE_ROUTER, SECOND: SECOND_ADDRESS}


@dataclass(frozen=True)
class Place:
    """A gateway and its peer."""

    lab: Lab
    gateway: list[str]
    peer: Libreswan


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    with lab() as made, ExitStack() as stack:
        made.start()
        peer = Libreswan("corp", "198.51.100.2")
        stack.callback(peer.close)
        in_namespace("corp", "ip", "address", "add", f"{SECOND_ADDRESS}/24", "dev", "lo")
        gateway = made.gateway(1, ONE)
        made.join(1, [peer], made.machine("m1"))
        yield Place(made, gateway, peer)


def agreed(peer: Libreswan) -> set[str]:
    """The subnets for which pluto says that a CHILD SA with the network is established."""
    found = re.findall(r"established Child SA .* \[([\d.]+)-[\d.:-]+ 0\] -> \[([\d.]+)-", peer.log())
    return {f"{own}/24" for own, other in found if other == PREFIX.split("/")[0]}


def expected(one: Lab) -> bool:
    """Whether the gateway's charon knows the connection."""
    control = f"unix://{one.directory}/1/charon.vici"
    return "hq: IKEv2" in run(["swanctl", "--list-conns", "--uri", control])


@pytest.mark.parametrize("role", list(Role))
@pytest.mark.parametrize("subnets", [(SITE,), (SITE, SECOND)], ids=["leftsubnet", "leftsubnets"])
def test_established(place: Place, subnets: tuple[str, ...], role: Role) -> None:
    one, peer = place.lab, place.peer
    peer.start()
    try:
        peer.configure(ONE, subnets)
        one.connection(place.gateway, "hq", peer.address, remote_prefixes=subnets, role=role,
                       local_prefixes=(PREFIX,))  # fmt: skip
        if role is Role.RESPONDER:
            # It does not try again by itself when nobody expects it.
            await_condition(lambda: expected(one), "known to charon", 5)
            peer.initiate()
        one.await_tunnel("hq", "established")
        await_condition(lambda: agreed(peer) == set(subnets), f"pluto agreed to {subnets}", 10)
        await_condition(lambda: not one.tunnel("hq").missing, "nothing missing", 10)
        assert one.tunnel("hq").detail == ""
        # Of two, the second was missing for a moment.
        assert one.tunnel("hq").error == "" or len(subnets) > 1
        # Where the kernel has no ESP, pluto only believes so.
        for subnet in subnets if kernel_has_esp() else ():
            await_condition(lambda to=BOTH[subnet]: answers(to), f"{subnet} answers", 5)  # type: ignore[misc]
    except (AssertionError, TimeoutError):
        print(peer.log()[-6000:])
        raise
    finally:
        one.delete("Vpn_Connection", "hq")
        await_condition(lambda: one.status("vpnConnections/hq") is None, "gone", 5)
        peer.kill()


def test_another_key(place: Place) -> None:
    one, peer = place.lab, place.peer
    peer.start()
    try:
        peer.configure(ONE, [SITE])
        one.connection(place.gateway, "hq", peer.address, SECRET[::-1])
        one.await_error("hq", "authentication failed")
        assert not agreed(peer)
    finally:
        one.delete("Vpn_Connection", "hq")
        peer.kill()
