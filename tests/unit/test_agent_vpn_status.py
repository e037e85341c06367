"""How far VPN connections are, what is shown of their tunnels, lists and streams."""

from __future__ import annotations

import threading

from sluice.v1 import status_pb2
from sluice.v1 import vpn_connection_pb2 as connections
from state.model import State
from state.vpn import Tunnel, TunnelState
from tests.agents import Api, Controller, refusal
from tests.dummy_switch import wait_until
from tests.vpn_calls import PEER, Create, Daemon, get_connection, update


def test_how_far_a_connection_is(vpn_api: Api, create: Create, controller: Controller, daemon: Daemon) -> None:
    def status() -> tuple[int, str]:
        found = get_connection(vpn_api, "hq").status
        return found.state, found.detail

    create("hq")
    daemon.say("vpnConnections/hq")
    assert status()[0] == status_pb2.Status.PENDING
    controller.report("office", State.LIVE)
    wait_until(lambda: status()[1] == "waiting for the VPN daemon to start its IKE daemon")
    daemon.say("vpnGateways/gw", State.ERROR, "charon cannot be started")
    wait_until(lambda: status() == (status_pb2.Status.ERROR, "charon cannot be started"))
    daemon.say("vpnGateways/gw")
    wait_until(lambda: status() == (status_pb2.Status.LIVE, ""))
    # A change waits for switch and daemon anew; what they said is of the revision before.
    update(vpn_api, "hq", dpd_seconds=9)
    assert status()[0] == status_pb2.Status.PENDING
    controller.report("office", State.LIVE)
    wait_until(lambda: status()[1] == "waiting for the VPN daemon to act by this configuration")
    daemon.say("vpnConnections/hq", State.ERROR, "the secret was sealed with another key")
    wait_until(lambda: status() == (status_pb2.Status.ERROR, "the secret was sealed with another key"))
    found: list[connections.VpnConnection] = []
    update(vpn_api, "hq", dpd_seconds=10)
    controller.report("office", State.LIVE)
    waiting = threading.Thread(target=lambda: found.append(get_connection(vpn_api, "hq", wait_live=True)))
    waiting.start()
    daemon.say("vpnConnections/hq")
    waiting.join(5)
    assert [one.status.state for one in found] == [status_pb2.Status.LIVE]


def test_what_is_shown_of_a_tunnel(vpn_api: Api, create: Create, daemon: Daemon) -> None:
    create("hq")
    assert not get_connection(vpn_api, "hq").HasField("tunnel")
    tunnel = Tunnel(TunnelState.DOWN, "no answer", 5000, "no proposal chosen", 6000, PEER, "aes", "esp", 1, 2, 3, 4)
    daemon.say("vpnConnections/hq", tunnel=tunnel)
    wait_until(lambda: get_connection(vpn_api, "hq").HasField("tunnel"))
    shown = get_connection(vpn_api, "hq").tunnel
    assert (shown.state, shown.detail, shown.last_error) == (
        connections.VpnTunnel.DOWN, "no answer", "no proposal chosen",
    )  # fmt: skip
    assert (shown.since_time.seconds, shown.last_error_time.seconds, shown.peer_address) == (5, 6, PEER)
    assert (shown.bytes_in, shown.bytes_out, shown.packets_in, shown.packets_out) == (1, 2, 3, 4)
    # It goes on being shown while a change is made, but not of another connection of that name.
    update(vpn_api, "hq", dpd_seconds=9)
    assert get_connection(vpn_api, "hq").tunnel == shown
    vpn_api.vpn_connections.DeleteVpnConnection(connections.DeleteVpnConnectionRequest(name="vpnConnections/hq"))
    create("hq")
    assert not get_connection(vpn_api, "hq").HasField("tunnel")


def test_changes_are_streamed_without_counters(vpn_api: Api, create: Create, daemon: Daemon) -> None:
    create("hq")
    request = connections.WatchVpnConnectionsRequest(gateway="vpnGateways/gw")
    stream = vpn_api.vpn_connections.WatchVpnConnections(request)
    event = next(stream)
    assert (event.type, event.vpn_connection.name) == (status_pb2.EXISTING, "vpnConnections/hq")
    assert next(stream).type == status_pb2.SYNCED
    create("other", "gw2")
    daemon.say("vpnConnections/hq", tunnel=Tunnel(TunnelState.ESTABLISHED, bytes_in=1))
    event = next(stream)
    assert (event.type, event.vpn_connection.tunnel.bytes_in) == (status_pb2.UPDATED, 1)
    daemon.say("vpnConnections/hq", tunnel=Tunnel(TunnelState.ESTABLISHED, bytes_in=2, packets_out=3))
    wait_until(lambda: get_connection(vpn_api, "hq").tunnel.bytes_in == 2)
    daemon.say("vpnConnections/hq", tunnel=Tunnel(TunnelState.DOWN, "no answer", bytes_in=2))
    event = next(stream)
    assert (event.type, event.vpn_connection.tunnel.detail) == (status_pb2.UPDATED, "no answer")
    vpn_api.vpn_connections.DeleteVpnConnection(connections.DeleteVpnConnectionRequest(name="vpnConnections/hq"))
    assert next(stream).type == status_pb2.DELETED
    stream.cancel()


def test_pages_by_gateway(vpn_api: Api, create: Create) -> None:
    for name, of, at in (("a", "gw", 1), ("b", "gw2", 2), ("c", "gw", 3)):
        create(name, of, peer=f"198.51.100.{200 + at}", remote_prefixes=[f"192.168.{at}.0/24"])
    request = connections.ListVpnConnectionsRequest(gateway="vpnGateways/gw", page_size=1)
    first = vpn_api.vpn_connections.ListVpnConnections(request)
    request.page_token = first.next_page_token
    second = vpn_api.vpn_connections.ListVpnConnections(request)
    found = [c.name for c in (*first.vpn_connections, *second.vpn_connections)]
    assert found == ["vpnConnections/a", "vpnConnections/c"]
    assert second.next_page_token == ""
    assert len(vpn_api.vpn_connections.ListVpnConnections(connections.ListVpnConnectionsRequest()).vpn_connections) == 3
    none = connections.ListVpnConnectionsRequest(gateway="vpnGateways/none")
    assert refusal(vpn_api.vpn_connections.ListVpnConnections, none)[0] == "NOT_FOUND"
