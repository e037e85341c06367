"""VPN gateways and connections of the cache, on updates as the server may deliver them."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from agent.cache.desired_state import MONITORED, DesiredStateCache
from agent.cache.records import View, VpnConnectionView, VpnGatewayView
from agent.clock import Clock
from agent.ipam.appliance_pools import Pools
from state import rows, vpn_rows
from state.model import Appliance, Gateway, Kind, Network, NetworkStatus, PortBlock, State
from state.ovsdb import Row, RowChange
from state.vpn import Tunnel, TunnelState, VpnConnection, VpnGateway
from state.vpn_rows import VpnStatus

APPLIANCE = Appliance(
    Gateway("up", "203.0.113.2/24", "203.0.113.1"), ("198.51.100.1",), block_size=1024, public_pool=("203.0.113.96/29",)
)
GATEWAY = VpnGateway("gw", 1, "203.0.113.96", 2, created_at=5)
CONNECTION = VpnConnection("hq", "198.51.100.200", ("192.168.50.0/24",), secret="sealed", revision=5, created_at=5)
LIVE = NetworkStatus(99, State.LIVE)


class Heard:
    """A cache, and the changes it told of gateways and connections, as text."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.cache = DesiredStateCache(
            Pools(APPLIANCE, 1000), self._hear, Clock(), keep_blocks=1000, keep_released=1000
        )

    def _hear(self, before: View | None, after: View | None) -> None:
        view = after or before
        if isinstance(view, VpnGatewayView | VpnConnectionView):
            name = view.gateway.name if isinstance(view, VpnGatewayView) else view.connection.name
            sign = "+" if before is None else "-" if after is None else "~"
            self.events.append(f"{sign}{name} {view.status.state.value}")

    def apply(self, *changes: RowChange) -> list[str]:
        """Apply one update and answer what was heard of it."""
        self.events.clear()
        self.cache.apply(changes)
        return self.events[:]


def network(uuid: str = "n", name: str = "office", key: int = 1, *, gone: bool = False) -> RowChange:
    block = PortBlock("198.51.100.1", 1024 * key, 1024 * key + 1023)
    value = Network(name, Kind.PRIVATE, "t", key, f"10.{key}.0.0/16", f"10.{key}.0.1", block, revision=10)
    return change("Network", uuid, rows.network_row(value), gone=gone)


def gateway(uuid: str = "g", of: str = "n", value: VpnGateway = GATEWAY, *, gone: bool = False) -> RowChange:
    return change("Vpn_Gateway", uuid, vpn_rows.gateway_row(value, ["uuid", of]), gone=gone)


def connection(uuid: str = "c", of: str = "g", value: VpnConnection = CONNECTION, *, gone: bool = False) -> RowChange:
    return change("Vpn_Connection", uuid, vpn_rows.connection_row(value, ["uuid", of]), gone=gone)


def said(
    uuid: str, name: str, revision: int = GATEWAY.created_at, tunnel: Tunnel | None = None, *, gone: bool = False
) -> RowChange:
    status = VpnStatus(name, revision, State.LIVE, tunnel=tunnel)
    return change("Vpn_Status", uuid, vpn_rows.status_row(status), gone=gone)


def live(name: str = "office") -> RowChange:
    return change("Network_Status", f"s-{name}", rows.status_row(name, LIVE))


def change(table: str, uuid: str, row: Row, *, gone: bool = False) -> RowChange:
    return RowChange(table, uuid, row if gone else None, None if gone else row)


def test_what_is_not_monitored() -> None:
    assert {"Vpn_Gateway", "Vpn_Connection", "Vpn_Status"} <= MONITORED.keys()
    assert "Vpn_Peer" not in MONITORED


@given(st.permutations(range(6)))
@settings(max_examples=100)
def test_one_update_in_any_order(order: list[int]) -> None:
    heard = Heard()
    update = [
        network(),
        gateway(),
        connection(),
        said("1", "vpnGateways/gw"),
        said("2", "vpnConnections/hq", 5),
        live(),
    ]
    heard.apply(*(update[at] for at in order))
    vpn = heard.cache.vpn
    assert vpn.gateways["gw"].view.status.state is State.LIVE
    assert vpn.connections["hq"].view.status.state is State.LIVE
    assert vpn.by_address["203.0.113.96"] is heard.cache.networks["office"].vpn
    assert next(heard.cache.pools.number.free(0)) == "2"


@given(st.permutations(range(6)))
@settings(max_examples=100)
def test_all_that_changes_hands_within_one_update(order: list[int]) -> None:
    heard = Heard()
    heard.apply(network(), gateway(), connection())
    newer = replace(CONNECTION, remote_prefixes=("192.168.60.0/24",))
    update = [
        network(gone=True), gateway(gone=True), connection(gone=True),
        network("n2", key=2), gateway("g2", "n2"), connection("c2", "g2", newer),
    ]  # fmt: skip
    events = heard.apply(*(update[at] for at in order))
    assert events == ["-hq pending", "-gw pending", "+gw pending", "+hq pending"]
    vpn = heard.cache.vpn
    assert vpn.gateways["gw"].network is heard.cache.networks["office"]
    assert vpn.gateways["gw"].connections.keys() == vpn.connections.keys() == {"hq"}
    assert vpn.connections["hq"].connection == replace(newer, peer_addresses=("198.51.100.200",))
    heard.apply(
        connection("c2", "g2", newer, gone=True), gateway("g2", "n2", gone=True), network("n2", key=2, gone=True)
    )
    assert not [*vpn.gateways, *vpn.connections, *vpn.by_address]
    assert next(heard.cache.pools.number.free(0)) == "1"


def test_a_gateway_moves_to_another_network_within_one_update() -> None:
    heard = Heard()
    heard.apply(network(), network("m", "lab", 2), gateway())
    heard.apply(gateway("g2", "m"), gateway(gone=True))
    assert heard.cache.networks["office"].vpn is None
    assert heard.cache.networks["lab"].vpn is heard.cache.vpn.gateways["gw"]


def test_a_status_that_is_replaced_within_one_update() -> None:
    heard = Heard()
    heard.apply(
        network(), gateway(), connection(), live(), said("1", "vpnGateways/gw"), said("2", "vpnConnections/hq", 4)
    )
    assert heard.cache.vpn.connections["hq"].view.status.state is State.PENDING
    update = [said("3", "vpnConnections/hq", 5), said("2", "vpnConnections/hq", 4, gone=True)]
    assert heard.apply(*update) == ["~hq live"]
    assert heard.apply(said("3", "vpnConnections/hq", 5, gone=True)) == ["~hq pending"]
    assert heard.apply(said("1", "vpnGateways/gw", gone=True)) == ["~gw pending", "~hq pending"]


def test_statuses_of_what_is_not_there() -> None:
    heard = Heard()
    assert heard.apply(said("1", "vpnGateways/gw"), said("2", "vpnConnections/hq", 4)) == []
    # That of a connection which had this name earlier.
    tunnel = Tunnel(TunnelState.ESTABLISHED, bytes_in=7)
    heard.apply(said("2", "vpnConnections/hq", 4, gone=True), said("3", "vpnConnections/hq", 4, tunnel))
    heard.apply(network(), gateway(), connection(), live())
    view = heard.cache.vpn.connections["hq"].view
    assert (view.status.state, view.tunnel) == (State.PENDING, None)


def test_counters_alone_are_shown_and_not_told() -> None:
    heard = Heard()
    heard.apply(network(), gateway(), connection(), live(), said("1", "vpnGateways/gw"))
    tunnel = Tunnel(TunnelState.ESTABLISHED, bytes_in=1)
    assert heard.apply(said("2", "vpnConnections/hq", 5, tunnel)) == ["~hq live"]
    more = replace(tunnel, bytes_in=9, bytes_out=9, packets_in=9, packets_out=9)
    before, after = said("2", "vpnConnections/hq", 5, tunnel), said("2", "vpnConnections/hq", 5, more)
    assert heard.apply(RowChange("Vpn_Status", "2", before.new, after.new)) == []
    assert heard.cache.vpn.connections["hq"].view.tunnel == more
    assert heard.apply(said("2", "vpnConnections/hq", 5, replace(more, peer_address="198.51.100.9"))) == ["~hq live"]


def test_no_view_has_a_secret() -> None:
    heard = Heard()
    heard.apply(network(), gateway(), connection())
    assert heard.cache.vpn.connections["hq"].connection.secret == "sealed"
    assert heard.cache.vpn.connections["hq"].view.connection.secret == ""
