"""Flows of VPN gateways: how many, when, and what a missing port or an odd peer makes of them."""

from __future__ import annotations

import dataclasses

import examples
import pytest

from controller.pipeline.flow import Flow, Output
from controller.pipeline.meters import limit
from controller.pipeline.registry import Feature, MeterClass, Table, meter, split_meter
from controller.reconcile.compile import PipelineContext, compile_network, compile_shared
from state.model import Network
from state.prefixes import not_outside
from state.vpn import VpnConnection, VpnGateway, inside_port, outside_port

SITE, BRANCH, BUREAU = examples.SITE, examples.BRANCH, examples.BUREAU
OF_TUNNELS = (Feature.VPN, Feature.REMOTE)
IN, OUT = SITE.ports["vpn7-in"], SITE.ports["vpn7-out"]


def vpn_flows(network: Network, site: PipelineContext = SITE) -> list[Flow]:
    return [flow for flow in compile_network(network, site).flows.values() if flow.feature in OF_TUNNELS]


def with_connections(*connections: VpnConnection, network: Network = BRANCH) -> Network:
    assert network.vpn is not None
    return dataclasses.replace(network, vpn=dataclasses.replace(network.vpn, connections=connections))


def without(*ports: str) -> PipelineContext:
    return dataclasses.replace(SITE, ports={name: n for name, n in SITE.ports.items() if name not in ports})


def connection(number: int, peers: int = 1, prefixes: int = 1, *, of_any: bool = False) -> VpnConnection:
    addresses = tuple(f"198.51.100.{number * 8 + n}" for n in range(peers))
    remote = tuple(f"192.168.{number * 16 + n}.0/24" for n in range(prefixes))
    return VpnConnection(f"c{number}", "" if of_any else f"peer{number}.example", remote,
                         peer_addresses=() if of_any else addresses)  # fmt: skip


@pytest.mark.parametrize("machines", [0, 1, 2])
@pytest.mark.parametrize(("connections", "peers", "prefixes"), [(0, 0, 0), (1, 1, 1), (2, 3, 4), (16, 1, 16)])
def test_a_gateway_takes_13_flows_and_its_parts_a_fixed_number_each(
    machines: int, connections: int, peers: int, prefixes: int
) -> None:
    network = with_connections(*(connection(n, peers, prefixes) for n in range(connections)))
    network = dataclasses.replace(network, machines=network.machines[:machines], drives=())
    assert len(vpn_flows(network)) == 13 + 2 * connections * prefixes + 8 * connections * peers + machines


def test_peers_of_any_address_take_as_many_flows_as_one_and_one_for_each_prefix_that_is_no_internet() -> None:
    closed = {prefix for prefix in not_outside(SITE.appliance) if prefix not in SITE.shared_prefixes}
    network = dataclasses.replace(BRANCH, machines=(), drives=())
    for connections in ((connection(1, of_any=True),), (connection(1, of_any=True), connection(2), connection(3))):
        flows = vpn_flows(with_connections(*connections, network=network))
        assert len(flows) == 13 + 2 * len(connections) + 8 + len(closed)


def test_drives_take_one_flow_each_and_four_in_all() -> None:
    bare = len(vpn_flows(dataclasses.replace(BRANCH, drives=())))
    assert len(vpn_flows(BRANCH)) == bare + 1 + 4
    unknown = dataclasses.replace(SITE, neighbors={})
    assert len(vpn_flows(BRANCH, unknown)) == bare


def test_without_a_gateway_there_is_nothing() -> None:
    for network in (*examples.NETWORKS, *examples.PUBLIC_NETWORKS, dataclasses.replace(BRANCH, vpn=None)):
        assert not vpn_flows(network)
        classes = {split_meter(one)[0] for one in compile_network(network, SITE).meters}
        assert not classes & {MeterClass.NETWORK_VPN_IN, MeterClass.NETWORK_VPN_OUT}


def test_what_serves_all_gateways_does_not_grow() -> None:
    assert len([f for f in compile_shared(SITE).flows.values() if f.feature in OF_TUNNELS]) == 11


@pytest.mark.parametrize(("rate", "kbps"), [(0, examples.APPLIANCE.public_rate), (5000, 5000)])
def test_the_tunnels_have_the_rate_of_the_network_by_meters_of_their_own(rate: int, kbps: int) -> None:
    meters = compile_network(dataclasses.replace(BRANCH, public_rate=rate), SITE).meters
    for kind in (MeterClass.NETWORK_VPN_IN, MeterClass.NETWORK_VPN_OUT):
        assert meters[meter(kind, BRANCH.key)] == limit(kbps)


@pytest.mark.parametrize(
    ("missing", "named"),
    [(("vpn7-in",), "vpn7-in"), (("vpn7-out",), "vpn7-out"), (("vpn7-in", "vpn7-out"), "vpn7-in")],
)
def test_a_missing_leg_is_named(missing: tuple[str, ...], named: str) -> None:
    compiled = compile_network(BRANCH, without(*missing))
    assert compiled.unplugged == {"vpnGateways/branch-vpn": f"port {named} is not on the bridge"}


def test_with_both_legs_nothing_is_missing() -> None:
    assert compile_network(BRANCH, SITE).unplugged == {}
    assert compile_network(dataclasses.replace(BRANCH, vpn=None), without("vpn7-in")).unplugged == {}


@pytest.mark.parametrize("missing", [(), ("vpn7-in",), ("vpn7-out",), ("vpn7-in", "vpn7-out")])
def test_remote_prefixes_lead_to_the_leg_whatever_is_missing(missing: tuple[str, ...]) -> None:
    flows = vpn_flows(BRANCH, without(*missing))
    assert BRANCH.vpn is not None
    wanted = {prefix for one in BRANCH.vpn.connections for prefix in one.remote_prefixes}
    routes = [flow for flow in flows if flow.table is Table.ROUTE]
    assert {str(flow.match).rpartition("nw_dst=")[2] for flow in routes} == wanted
    assert {action.text(names=True) for flow in routes for action in flow.actions} == {"goto_table:remote-route"}
    shared = compile_shared(SITE).flows.values()
    assert [f.text(names=True) for f in shared if f.table is Table.REMOTE_ROUTE] == [
        "table=remote-route,priority=0 actions=goto_table:vpn-leg"
    ]
    (leg,) = (flow for flow in flows if flow.table is Table.VPN_LEG)
    assert (Output(IN) in leg.actions) == ("vpn7-in" not in missing)
    assert bool(leg.actions) or leg.why == "vpn-down"


def test_only_this_feature_knows_the_legs() -> None:
    compiled = [compile_shared(SITE), *(compile_network(n, SITE) for n in examples.ALL_NETWORKS)]
    legs = {SITE.ports[leg(key)] for key in (7, 8) for leg in (inside_port, outside_port)}
    used = {
        (flow.feature, flow.table, flow.key)
        for one in compiled
        for flow in one.flows.values()
        for action in flow.actions
        if isinstance(action, Output) and action.port in legs
    }
    assert used == {(Feature.VPN, table, key) for table in (Table.VPN_LEG, Table.VPN_GATEWAY) for key in (7, 8)}


@pytest.mark.parametrize("address", ["10.1.2.3", "198.18.0.9", "203.0.113.2", "10.250.0.10", "100.64.0.1", "127.0.0.1",
                                     "169.254.1.1", "230.1.2.3"])  # fmt: skip
def test_a_name_that_leads_to_where_no_machine_may_send_is_no_peer(address: str) -> None:
    inner = VpnConnection("c", "inner.example", ("192.168.0.0/16",), peer_addresses=(address, "198.51.100.9"))
    texts = [flow.text() for flow in vpn_flows(with_connections(inner))]
    assert not [text for text in texts if f"nw_dst={address} " in text or f"nw_src={address}," in text]
    assert [text for text in texts if "nw_dst=198.51.100.9," in text]


def test_a_peer_may_be_behind_an_address_of_ours() -> None:
    for address in (examples.PUBLIC_WEB.machines[0].public, "203.0.113.64"):
        near = VpnConnection("c", address, ("192.168.0.0/16",), peer_addresses=(address,))
        assert [flow for flow in vpn_flows(with_connections(near)) if f"nw_dst={address}," in flow.text()]


def test_a_peer_by_a_name_without_addresses_is_nobody_yet() -> None:
    unknown = VpnConnection("c", "nowhere.example", ("192.168.0.0/16",))
    tables = {flow.table for flow in vpn_flows(with_connections(unknown)) if "nw_proto=50" in flow.text()}
    assert tables == set()


def test_a_name_with_very_many_addresses_takes_no_more_flows_than_16() -> None:
    bare = dataclasses.replace(BRANCH, machines=(), drives=())
    for peers, counted in ((16, 16), (17, 16), (200, 16)):
        flows = vpn_flows(with_connections(connection(1, peers), network=bare))
        assert len(flows) == 13 + 2 + 8 * counted


def test_prefixes_and_peers_that_connections_share_take_their_flows_once() -> None:
    one = connection(1)
    assert len(vpn_flows(with_connections(one, dataclasses.replace(one, name="other")))) == len(
        vpn_flows(with_connections(one))
    )


def test_networks_whose_gateways_are_alike_share_no_flow() -> None:
    alike = VpnGateway("x", 49, "203.0.113.132", 4, (connection(1),))
    one, other = (vpn_flows(dataclasses.replace(BRANCH, key=key, vpn=alike)) for key in (7, 8))
    assert len(one) == len(other)
    assert not {flow.text() for flow in one} & {flow.text() for flow in other}
