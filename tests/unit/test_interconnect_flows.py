"""Flows and groups of interconnects: how many, when, and which of several is taken."""

from __future__ import annotations

import dataclasses

import examples
import pytest

from controller.pipeline.flow import Resubmit, SetField, ToGroup
from controller.pipeline.groups import group_id, key_of_group, split_group
from controller.pipeline.meters import Unit, limit
from controller.pipeline.registry import Feature, MeterClass, Priority, Table, longest, meter
from controller.reconcile.compile import Compiled, compile_network, compile_shared
from state.interconnect import Interconnect, Route, Session
from state.model import Network

SITE, CLINIC, STUDIO = examples.SITE, *examples.INTERCONNECT_NETWORKS
FIRST, SECOND = CLINIC.interconnects
PREFIX = "192.168.50.0/24"


def network_of(*interconnects: Interconnect, vpn: bool = False) -> Network:
    return dataclasses.replace(CLINIC, interconnects=interconnects, vpn=CLINIC.vpn if vpn else None)


def learned(one: Interconnect, *routes: Route, up: bool = True, mac: str = "02:00:00:00:cc:01") -> Interconnect:
    return dataclasses.replace(one, session=Session(up, mac, routes))


def ways(compiled: Compiled, prefix: str = PREFIX) -> list[str]:
    """Who has a prefix, the best first: numbers of interconnects, and `tunnel` or `gateway`."""
    for flow in compiled.flows.values():
        if flow.table in (Table.REMOTE_ROUTE, Table.GATEWAY_OUT) and str(flow.match).endswith(f"nw_dst={prefix}"):
            (action,) = flow.actions
            if not isinstance(action, ToGroup):
                return ["tunnel"]
            found = []
            for bucket in compiled.groups[action.group].buckets:
                first = bucket.actions[0]
                if isinstance(first, Resubmit):
                    found.append("tunnel")
                elif bucket.actions[-1] == Resubmit(Table.INTERCONNECT_OUT):
                    assert isinstance(first, SetField)
                    found.append(str(first.value))
                else:
                    found.append("gateway")
            return found
    return []


@pytest.mark.parametrize(
    ("first", "second", "better"),
    [
        ((100, Route(PREFIX, "1 2 3", 9)), (50, Route(PREFIX, "1", 0)), "41"),
        ((50, Route(PREFIX, "1", 0)), (100, Route(PREFIX, "1 2 3", 9)), "42"),
        ((100, Route(PREFIX, "1 1 1")), (100, Route(PREFIX, "1", 7)), "42"),
        ((100, Route(PREFIX, "1", 8)), (100, Route(PREFIX, "2", 7)), "42"),
        ((100, Route(PREFIX, "1", 7)), (100, Route(PREFIX, "2", 7)), "41"),
        ((100, Route(PREFIX, "1", graceful_shutdown=True)), (50, Route(PREFIX, "1 1", 9)), "42"),
        ((100, Route(PREFIX, "1", graceful_shutdown=True)), (50, Route(PREFIX, "1", graceful_shutdown=True)), "41"),
    ],
)
def test_graceful_shutdown_then_preference_then_path_then_med_then_slot(
    first: tuple[int, Route], second: tuple[int, Route], better: str
) -> None:
    found = [
        learned(dataclasses.replace(one, preference=preference), route)
        for one, (preference, route) in zip((FIRST, SECOND), (first, second), strict=True)
    ]
    expected = [better, "42" if better == "41" else "41"]
    assert ways(compile_network(network_of(*found), SITE)) == expected
    assert ways(compile_network(network_of(*reversed(found)), SITE)) == expected
    assert ways(compile_network(network_of(*found, vpn=True), SITE)) == [*expected, "tunnel"]


def test_a_session_that_is_down_changes_groups_and_no_flow() -> None:
    route = Route(PREFIX, "1")
    both = compile_network(network_of(learned(FIRST, route), learned(SECOND, route)), SITE)
    after = compile_network(network_of(learned(FIRST, route, up=False), learned(SECOND, route)), SITE)
    assert both.flows == after.flows
    assert (ways(both), ways(after)) == (["41", "42"], ["42"])
    none = compile_network(network_of(learned(FIRST, route, up=False), learned(SECOND, route, up=False)), SITE)
    assert (ways(none), none.flows == both.flows) == ([], True)
    covered = network_of(learned(FIRST, route, up=False), vpn=True)
    assert ways(compile_network(covered, SITE)) == ["tunnel"]


def test_a_next_hop_whose_mac_or_port_is_not_known_is_none() -> None:
    route = Route(PREFIX, "1")
    assert ways(compile_network(network_of(learned(FIRST, route, mac=""), learned(SECOND, route)), SITE)) == ["42"]
    site = dataclasses.replace(SITE, ports={name: n for name, n in SITE.ports.items() if name != "cross1"})
    assert ways(compile_network(network_of(learned(FIRST, route), learned(SECOND, route)), site)) == ["42"]


def test_only_a_tunnel_that_covers_a_prefix_is_its_last_resort() -> None:
    found = compile_network(network_of(learned(FIRST, Route(PREFIX), Route("10.20.0.0/16")), vpn=True), SITE)
    assert ways(found) == ["41", "tunnel"]
    assert ways(found, "10.20.0.0/16") == ["41"]
    assert ways(found, "172.21.0.0/16") == ways(found, "192.168.0.0/16") == ["tunnel"]
    without_leg = dataclasses.replace(SITE, ports={n: p for n, p in SITE.ports.items() if n != "vpn40-in"})
    assert ways(compile_network(network_of(learned(FIRST, Route(PREFIX)), vpn=True), without_leg)) == ["41"]


def test_at_most_four_next_hops() -> None:
    many = [
        learned(examples.direct_connect(f"i{n}", 50 + n, n, ("192.168.0.0/16",)), Route(PREFIX)) for n in range(1, 8)
    ]
    assert ways(compile_network(network_of(*many), SITE)) == ["51", "52", "53", "54"]


@pytest.mark.parametrize("prefixes", [0, 1, 100])
@pytest.mark.parametrize("accepted", [1, 3])
def test_a_learned_prefix_takes_one_flow_and_an_interconnect_a_fixed_number(prefixes: int, accepted: int) -> None:
    routes = [Route(f"192.168.{n}.0/24") for n in range(prefixes)]
    accept = tuple(f"192.{168 + n}.0.0/16" for n in range(accepted))
    one = learned(dataclasses.replace(FIRST, accept=accept), *routes)
    bare = dataclasses.replace(CLINIC, interconnects=(), vpn=None, drives=(), machines=())
    before = compile_network(bare, SITE)
    found = compile_network(dataclasses.replace(bare, interconnects=(one,)), SITE)
    # In all: what is not learned, no machine, no source, not for us, three of the TTL.
    # Of the interconnect: 15, two a prefix accepted.
    assert len(found.flows) - len(before.flows) == 7 + 15 + 2 * accepted + prefixes
    assert len(found.groups) == min(prefixes, 1)
    assert len(found.meters) - len(before.meters) == 3
    narrow = compile_network(dataclasses.replace(bare, interconnects=(one,), mtu=1400), SITE)
    # Two to find out about packets too large for the gateway or from it, and one for those of interconnects.
    assert len(narrow.flows) - len(found.flows) == 3
    two = compile_network(dataclasses.replace(bare, interconnects=(one, SECOND)), SITE)
    machines = compile_network(dataclasses.replace(bare, interconnects=(one,), machines=CLINIC.machines), SITE)
    without = compile_network(dataclasses.replace(bare, machines=CLINIC.machines), SITE)
    assert len(machines.flows) - len(without.flows) == len(found.flows) - len(before.flows) + len(CLINIC.machines)
    assert len(two.flows) > len(found.flows)


def test_without_interconnects_there_is_nothing() -> None:
    for network in (*examples.NETWORKS, *examples.PUBLIC_NETWORKS, *examples.VPN_NETWORKS):
        compiled = compile_network(network, SITE)
        assert compiled.groups == {}
        assert not [flow for flow in compiled.flows.values() if flow.feature is Feature.INTERCONNECT]
        assert not [one for one in compiled.meters if one > meter(MeterClass.INTERCONNECT_OUT, 1)]
    plain = compile_shared(dataclasses.replace(SITE, peerings=()))
    assert (plain.groups, [flow for flow in plain.flows.values() if flow.feature is Feature.PEERING]) == ({}, [])


def test_the_gateway_is_the_last_resort_of_a_peering() -> None:
    found = compile_shared(SITE)
    assert ways(found, "151.101.0.0/16") == ["45", "44", "gateway"]
    assert ways(found, "151.102.0.0/16") == ["44", "gateway"]
    down = tuple(dataclasses.replace(one, session=Session(False)) for one in SITE.peerings)
    gone = compile_shared(dataclasses.replace(SITE, peerings=down))
    assert (ways(gone, "151.101.0.0/16"), gone.groups) == ([], {})
    assert found.unplugged == {}
    unknown = dataclasses.replace(SITE, neighbors={})
    assert ways(compile_shared(unknown), "151.101.0.0/16") == ["45", "44"]


def test_rates_are_those_of_the_interconnect() -> None:
    one = dataclasses.replace(FIRST, rate=50_000)
    meters = compile_network(network_of(one), SITE).meters
    for kind in (MeterClass.INTERCONNECT_IN, MeterClass.INTERCONNECT_OUT):
        assert meters[meter(kind, one.number)] == limit(50_000)
    assert meters[meter(MeterClass.INTERCONNECT_LINK, one.number)].unit is Unit.PPS


@pytest.mark.parametrize(("missing", "reason"), [("cross3", "port cross3 is not on the bridge"), ("bgp43", "")])
def test_what_is_cut_off_is_named(missing: str, reason: str) -> None:
    site = dataclasses.replace(SITE, ports={name: n for name, n in SITE.ports.items() if name != missing})
    compiled = compile_network(STUDIO, site)
    assert compiled.unplugged == {"interconnects/studio-a": reason}
    assert not [flow for flow in compiled.flows.values() if flow.feature is Feature.INTERCONNECT]
    # It stays closed: what may be beyond leads nowhere, and never to the Internet.
    assert [flow for flow in compiled.flows.values() if flow.table is Table.ROUTE and "192.168" in str(flow.match)]


def test_a_peering_that_is_cut_off_is_named_by_the_appliance() -> None:
    site = dataclasses.replace(SITE, ports={name: n for name, n in SITE.ports.items() if name != "cross2"})
    assert compile_shared(site).unplugged == {"interconnects/exchange": "port cross2 is not on the bridge"}


@pytest.mark.parametrize("slots", [(), (1,), (15, 1), (3, 2, 1, 15)])
@pytest.mark.parametrize("key", [0, 1, 16383])
@pytest.mark.parametrize("last_resort", [False, True])
def test_the_id_of_a_group_says_what_it_is(slots: tuple[int, ...], key: int, last_resort: bool) -> None:
    number = group_id(key, slots, last_resort=last_resort)
    assert (key_of_group(number), split_group(number)) == (key, (slots, last_resort))
    assert number < 0xFFFFFF00


def test_the_longest_prefix_has_the_highest_priority_and_what_is_here_a_higher_one() -> None:
    levels = [longest(f"10.0.0.0/{length}") for length in range(33)]
    assert levels == sorted(set(levels))
    assert levels[0] > Priority.NORMAL
    assert levels[-1] < Priority.REMOTE < Priority.SPECIFIC
