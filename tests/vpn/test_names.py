"""Peers by domain name: asked for, told in the database, and followed when they move."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest
from name_server import NameServer
from supervisor import await_condition
from vpn_lab import RESOLVER, Lab, lab

from state.model import State
from state.vpn import TunnelState

GATEWAY, FIRST, SECOND = "203.0.113.10", "198.51.100.2", "198.51.100.6"
NAME = "vpn.example.com"


@pytest.fixture
def made() -> Iterator[Lab]:
    with lab() as one:
        one.start()
        yield one


def test_a_peer_is_followed_to_another_address(made: Lab) -> None:
    with closing(NameServer(RESOLVER, {})) as server:
        peers = [made.peer("first", FIRST), made.peer("second", SECOND)]
        for peer in peers:
            peer.connect(GATEWAY, local={"auth": "psk", "id": NAME})
        gateway = made.gateway(1, GATEWAY)
        made.join(1, peers)
        made.connection(gateway, "hq", NAME)
        await_condition(lambda: made.peers() == {NAME: ()}, "asked for", 10)
        await_condition(lambda: made.status("vpnConnections/hq") is not None, "told", 10)
        tunnel = made.tunnel("hq")
        assert (tunnel.state, tunnel.detail) == (TunnelState.DOWN, f"the domain name {NAME} has no address")
        # A name that has none is asked for again soon.
        server.names = {NAME: (f"A {FIRST}",)}
        made.await_tunnel("hq", "established", 15)
        assert made.peers() == {NAME: (FIRST,)}
        assert made.tunnel("hq").peer_address == FIRST
        server.names = {NAME: (f"A {SECOND}",)}
        made.stop()
        made.start()
        await_condition(lambda: made.tunnel("hq").peer_address == SECOND, "moved", 15)
        assert made.peers() == {NAME: (SECOND,)}
        # Nobody answers any more: what was known stays.
    made.stop()
    made.start()
    await_condition(lambda: f'"peer": "{NAME}"' in made.since_start(), "asked in vain", 15)
    made.await_tunnel("hq", "established")
    assert made.peers() == {NAME: (SECOND,)}
    made.delete("Vpn_Connection", "hq")
    await_condition(lambda: made.peers() == {}, "told no more", 10)
    status = made.status("vpnGateways/g1")
    assert status is not None
    assert status.state is State.LIVE
