"""Desired state as the VPN daemon reads it, and what it writes back, on a real database."""

from __future__ import annotations

import dataclasses
import queue
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from state import rows, vpn_rows
from state.model import Appliance, Gateway, Kind, Network, PortBlock, State, Storage
from state.ovsdb import OvsdbClient, to_map
from state.vpn import Tunnel, TunnelState, VpnConnection, VpnGateway
from state.vpn_rows import VpnStatus
from tests.agents import Database
from tests.dummy_switch import wait_until
from vpn.desired_state import DesiredGateways, GatewaySource
from vpn.status import GatewayStatus

APPLIANCE = Appliance(
    Gateway("wan", "203.0.113.2/24", "203.0.113.1", mac="02:00:00:00:aa:01"), ("203.0.113.64/28",),
    router_mac="02:00:00:00:aa:02", dns_upstream=("192.0.2.53",), storage=Storage("storage", "10.250.0.2/24"),
)  # fmt: skip
NETWORK = Network("n", Kind.PRIVATE, "t", 7, "10.9.0.0/16", "10.9.0.1", PortBlock("203.0.113.64", 1024, 2047), mtu=1450)
STATUS = VpnStatus("vpnConnections/hq", 3, State.LIVE, "", Tunnel(TunnelState.ESTABLISHED, bytes_in=5))


@dataclass
class Reading:
    client: OvsdbClient
    source: GatewaySource
    seen: queue.SimpleQueue[DesiredGateways]

    def insert(self, table: str, row: dict[str, Any]) -> list[str]:
        result = self.client.transact([{"op": "insert", "table": table, "row": row}], durable=False)
        uuid: list[str] = result[0]["uuid"]
        return uuid

    def gateway(self) -> list[str]:
        self.insert("Appliance", {"name": "a", "settings": to_map(APPLIANCE.to_settings())})
        network = self.insert("Network", rows.network_row(NETWORK))
        return self.insert("Vpn_Gateway", vpn_rows.gateway_row(VpnGateway("g", 1, "203.0.113.10", 2), network))

    def next(self) -> DesiredGateways:
        return self.seen.get(timeout=5)


@pytest.fixture
def reading(server: Database) -> Iterator[Reading]:
    client = OvsdbClient(server.socket)
    seen: queue.SimpleQueue[DesiredGateways] = queue.SimpleQueue()
    source = GatewaySource(client)
    source.watch(seen.put)
    client.wait_connected(10)
    yield Reading(client, source, seen)
    client.close()


def test_nothing_is_said_before_the_appliance_is_known(reading: Reading) -> None:
    network = reading.insert("Network", rows.network_row(NETWORK))
    reading.insert("Vpn_Gateway", vpn_rows.gateway_row(VpnGateway("g", 1, "203.0.113.10", 2), network))
    assert reading.seen.empty()
    reading.insert("Appliance", {"name": "a", "settings": to_map(APPLIANCE.to_settings())})
    (site,) = reading.next().sites
    assert (site.key, site.network, site.prefix, site.router, site.mtu) == (7, "n", "10.9.0.0/16", "10.9.0.1", 1450)
    assert (site.router_mac, site.outside_mac) == ("02:00:00:00:aa:02", "02:00:00:00:aa:01")
    assert site.storage == "10.250.0.0/24"


def test_a_connection_comes_with_its_peers_addresses(reading: Reading) -> None:
    gateway = reading.gateway()
    assert reading.next().sites == ()
    assert reading.next().sites[0].gateway.connections == ()
    connection = VpnConnection("hq", "vpn.example.com", ("192.168.50.0/24",))
    reading.insert("Vpn_Connection", vpn_rows.connection_row(connection, gateway))
    desired = reading.next()
    assert (desired.names, desired.upstream) == (frozenset({"vpn.example.com"}), ("192.0.2.53",))
    assert desired.sites[0].gateway.connections[0].peer_addresses == ()
    reading.insert("Vpn_Peer", vpn_rows.peer_row("vpn.example.com", ("198.51.100.2",)))
    assert reading.next().sites[0].gateway.connections[0].peer_addresses == ("198.51.100.2",)


def test_what_is_reported_is_no_change(reading: Reading) -> None:
    reading.gateway()
    reading.next(), reading.next()
    reading.insert("Vpn_Status", vpn_rows.status_row(STATUS))
    # One that does not matter to gateways, either.
    where = [["name", "==", "n"]]
    reading.client.transact([{"op": "update", "table": "Network", "where": where, "row": {"public_rate": 9}}])
    assert reading.seen.empty()
    assert reading.source.statuses() == {STATUS.object: STATUS}


def test_networks_without_a_gateway_cost_nothing(reading: Reading, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many there are, and however often they change."""
    reading.gateway()
    reading.next(), reading.next()
    made: list[str] = []
    monkeypatch.setattr(GatewaySource, "_desired", lambda self, appliance: made.append("desired"))
    block = PortBlock("203.0.113.64", 2048, 3071)
    other = dataclasses.replace(NETWORK, name="other", key=8, prefix="10.8.0.0/16", block=block)
    reading.insert("Network", rows.network_row(other))
    where = [["name", "==", "n"]]
    reading.client.transact([{"op": "update", "table": "Network", "where": where, "row": {"revision": 99}}])
    assert not made
    reading.client.transact([{"op": "update", "table": "Network", "where": where, "row": {"mtu": 1300}}])
    assert made == ["desired"]


def test_rows_are_written_changed_and_taken_away(reading: Reading) -> None:
    source = reading.source
    source_of_old = VpnStatus("vpnConnections/gone", 1, State.LIVE)
    reading.insert("Vpn_Status", vpn_rows.status_row(source_of_old))
    report = GatewayStatus(reading.client, source.statuses, source.peers)
    report.start()
    try:
        report.tell(STATUS)
        report.tell_peer("vpn.example.com", ("198.51.100.2",))
        wait_until(lambda: source.statuses().get(STATUS.object) == STATUS, what="written")
        wait_until(lambda: source.peers() == {"vpn.example.com": ("198.51.100.2",)}, what="written")
        assert report.last(STATUS.object) == STATUS
        # Rows of others stay until it is known what there is.
        assert report.last(source_of_old.object) == source_of_old
        report.only([STATUS.object], ["vpn.example.com"])
        wait_until(lambda: source.statuses().keys() == {STATUS.object}, what="the old one gone")
        # Told late, by who does not know yet that it is gone.
        report.only([], [])
        report.tell(STATUS)
        wait_until(lambda: source.statuses() == {} and source.peers() == {}, what="all gone")
    finally:
        report.stop()
    assert source.statuses() == {}


def test_what_is_told_last_is_written(reading: Reading) -> None:
    report = GatewayStatus(reading.client, reading.source.statuses, reading.source.peers)
    report.start()
    report.tell(STATUS)
    report.stop()
    wait_until(lambda: reading.source.statuses() == {STATUS.object: STATUS}, what="written")
