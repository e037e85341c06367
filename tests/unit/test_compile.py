"""Properties every change of the pipeline must keep."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import examples
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.pipeline.flow import (
    CONTROLLER,
    Ct,
    Flow,
    Goto,
    Learn,
    Meter,
    Nat,
    Output,
    Resubmit,
    SetField,
    WriteMetadata,
)  # fmt: skip
from controller.pipeline.match import Field, Match, ip_to_int, match
from controller.pipeline.meters import Unit
from controller.pipeline.registry import ZONE, Feature, MeterClass, Priority, Table, split_cookie, split_meter
from controller.reconcile import compile as compiler
from controller.reconcile.compile import FEATURES, PipelineContext, RegistryError, compile_network, compile_shared
from state.additional import AllowedAddress
from state.model import Attachment, Drive, Network
from state.storage import client_address
from state.vpn import VpnConnection, VpnGateway, inside_port, outside_port

# The machine is shared: how long an example takes says nothing.
settings.register_profile("compile", max_examples=30, deadline=None)
settings.load_profile("compile")

PORTS = {"uplink": 1, **{f"port{n}": 10 + n for n in range(8)}}
# Of every other gateway there are both legs, one or none.
PORTS |= {inside_port(key): 100 + key for key in range(1, 21) if key % 4 in (0, 1)}
PORTS |= {outside_port(key): 200 + key for key in range(1, 21) if key % 4 in (0, 2)}
PORTS["storage"] = 3
STORAGE = examples.APPLIANCE.storage
assert STORAGE is not None
SITE = PipelineContext(examples.APPLIANCE, PORTS, {
    "203.0.113.1": "02:00:00:00:00:fe", **{f"10.250.0.{key}": f"02:00:00:00:d0:{key:02x}" for key in range(1, 21)},
})  # fmt: skip


@st.composite
def attachments(draw: st.DrawFn, key: int) -> Attachment:
    """Attachments of different networks never collide: tags carry the key."""
    port = f"port{draw(st.integers(0, 5))}"
    vlan = key * 8 + draw(st.integers(0, 3))
    return draw(st.sampled_from([Attachment(port, vlan=vlan), Attachment(port, vni=vlan)]))


@st.composite
def gateways(draw: st.DrawFn, key: int) -> VpnGateway:
    """Peers and prefixes are those of others, too."""
    peers = draw(st.lists(st.sampled_from(["", "198.51.100.7", "198.51.100.8"]), max_size=3))
    return VpnGateway(f"vpn{key}", key * 10 + 9, f"203.0.113.{200 + key}", 100 + key, tuple(
        VpnConnection(f"c{n}", peer, (f"192.168.{n}.0/24",), peer_addresses=(peer,) if peer else ())
        for n, peer in enumerate(peers)
    ))  # fmt: skip


@st.composite
def listings(draw: st.DrawFn, machines: int) -> dict[int, tuple[AllowedAddress, ...]]:
    """Machines list some of three addresses, with the MAC of each, which two may share, or without."""
    macs = st.sampled_from(["00:00:5e:00:01:01", "00:00:5e:00:01:02"])
    addresses = {address: draw(macs) for address in ("10.0.9.7", "10.0.9.8", "10.0.9.9")}
    listed = st.sets(st.sampled_from(sorted(addresses)))
    return {
        place: tuple(
            AllowedAddress(address, addresses[address] if draw(st.booleans()) else "") for address in draw(listed)
        )
        for place in range(machines)
        if draw(st.booleans())
    }


@st.composite
def networks(draw: st.DrawFn, key: int) -> Network:
    if draw(st.booleans()):
        network = examples.isolated(key, "port0", vlan=key * 8)
    else:
        places = draw(st.lists(attachments(key), min_size=0, max_size=5))
        network = examples.private(
            key, f"net{key}", places, first=key * 10, mtu=draw(st.sampled_from([1400, 1500, 9000])),
            drives=(Drive("drive", f"10.250.0.{key}"),) if draw(st.booleans()) else (),
        )  # fmt: skip
        network = dataclasses.replace(network, vpn=draw(st.none() | gateways(key)))
        network = examples.with_additional(network, 1000 + key * 10, draw(listings(len(places))))
    if network.machines and draw(st.booleans()):
        network = examples.with_public(network, f"203.0.113.{128 + key}", key + 1)
    return network


clouds = st.sets(st.integers(1, 20), min_size=1, max_size=5).flatmap(
    lambda keys: st.tuples(*(networks(key) for key in sorted(keys)))
)


def everything(cloud: tuple[Network, ...], site: PipelineContext = SITE) -> set[tuple[int, str]]:
    compiled = [compile_shared(site), *(compile_network(network, site) for network in cloud)]
    return {(cookie, flow.text()) for one in compiled for cookie, flow in one.flows.items()}


@given(clouds, st.randoms())
def test_order_of_networks_does_not_matter(cloud: tuple[Network, ...], random: SimpleNamespace) -> None:
    shuffled = list(cloud)
    random.shuffle(shuffled)
    assert everything(tuple(shuffled)) == everything(cloud)


@given(clouds)
def test_a_removed_network_leaves_no_flow_with_its_key(cloud: tuple[Network, ...]) -> None:
    gone = cloud[0]
    left = everything(cloud[1:])
    assert not [text for cookie, text in left if split_cookie(cookie)[0] == gone.key]
    assert everything(cloud) - left == {
        (cookie, flow.text()) for cookie, flow in compile_network(gone, SITE).flows.items()
    }


@given(clouds)
def test_a_change_of_one_network_leaves_the_others_flows_alone(cloud: tuple[Network, ...]) -> None:
    before = everything(cloud)
    changed = dataclasses.replace(cloud[0], mtu=1280, machines=cloud[0].machines[1:])
    after = everything((changed, *cloud[1:]))
    assert {split_cookie(cookie)[0] for cookie, _ in before ^ after} <= {cloud[0].key}


@given(clouds)
def test_no_two_flows_claim_the_same_packets(cloud: tuple[Network, ...]) -> None:
    compiled = [compile_shared(SITE), *(compile_network(network, SITE) for network in cloud)]
    places = [(f.table, f.priority, str(f.match)) for one in compiled for f in one.flows.values()]
    assert len(places) == len(set(places))


@given(clouds)
def test_flows_of_a_network_stay_in_it(cloud: tuple[Network, ...]) -> None:
    for network in cloud:
        own_ports = {PORTS[machine.attachment.port] for machine in network.machines}
        legs = {PORTS[port] for port in (inside_port(network.key), outside_port(network.key)) if port in PORTS}
        if network.vpn is not None:
            own_ports |= legs
        transits = {one.transit for one in network.addressed}
        publics = {machine.public for machine in network.machines}
        translations = {
            translation
            for machine in network.machines
            for zone in [machine.public_zone]
            for translation in (
                (zone, Nat(*[ip_to_int(machine.public or "0.0.0.0")] * 2)),
                (zone, Nat(*[ip_to_int(machine.address)] * 2, destination=True)),
            )
        }
        if network.vpn is not None:
            publics.add(network.vpn.address)
            client = ip_to_int(client_address(STORAGE, network.vpn.number))
            translations |= {(network.vpn.zone, Nat(client, client)), (network.vpn.zone, None)}
        for flow in compile_network(network, SITE).flows.values():
            if flow.table is Table.CLASSIFY:
                assert flow.match.value(Field.IN_PORT) in own_ports
            elif flow.table is Table.INBOUND:
                assert str(flow.match).split("nw_dst=")[1] in transits
            elif flow.table is Table.PUBLIC_IN:
                assert str(flow.match).split("nw_dst=")[1] in publics
            elif flow.table is Table.STORAGE_IN:
                assert f"nw_src=10.250.0.{network.key}," in str(flow.match)
            else:
                assert flow.match.value(Field.METADATA) == network.key
            for action in flow.actions:
                match action:
                    case WriteMetadata(value):
                        assert flow.table in (Table.CLASSIFY, Table.INBOUND, Table.PUBLIC_IN, Table.STORAGE_IN)
                        assert value == network.key
                    case SetField(Field.METADATA, value):
                        assert value == network.key
                        assert flow.table in (Table.PUBLIC_IN, Table.INBOUND)
                    case Learn(table, cookie, key):
                        assert (table, key) == (Table.HOLDERS, network.key)
                        assert split_cookie(cookie)[:2] == (network.key, Feature.ADDITIONAL)
                    case Output(port):
                        assert port in own_ports or port >= 0xFFFFFF00 or flow.table is Table.STORAGE_OUT
                    case Ct(_, zone, _, nat) if zone != ZONE:
                        assert (zone, nat) in translations
                    case Ct(_, zone, _, Nat(first, last, ports)):
                        assert (zone, first, last) == (1, first, first)
                        assert ports == (network.block.first, network.block.last)
                    case _:
                        pass


@given(clouds)
def test_packets_only_ever_go_forward(cloud: tuple[Network, ...]) -> None:
    for one in [compile_shared(SITE), *(compile_network(network, SITE) for network in cloud)]:
        for flow in one.flows.values():
            for action in flow.actions:
                if isinstance(action, Goto | Ct | Resubmit | Learn):
                    assert action.table.number > flow.table.number


@pytest.mark.parametrize("network", examples.ALL_NETWORKS, ids=lambda n: n.name)
def test_compiling_twice_gives_the_same(network: Network) -> None:
    assert compile_network(network, examples.SITE) == compile_network(network, examples.SITE)


@pytest.mark.parametrize("network", [examples.ISOLATED, examples.ISOLATED_VLAN], ids=lambda n: n.name)
@pytest.mark.parametrize(("mtu", "flows"), [(1500, 24), (1400, 26), (9000, 26)])
def test_an_isolated_network_takes_24_flows(network: Network, mtu: int, flows: int) -> None:
    """Two more where its MTU is not the gateway's."""
    assert len(compile_network(dataclasses.replace(network, mtu=mtu), examples.SITE).flows) == flows


@pytest.mark.parametrize("network", examples.PUBLIC_NETWORKS, ids=lambda n: n.name)
def test_a_public_address_takes_at_most_8_flows(network: Network) -> None:
    without = dataclasses.replace(
        network, machines=tuple(dataclasses.replace(m, public="", public_zone=0) for m in network.machines)
    )
    more = compile_network(network, examples.SITE).flows.keys() - compile_network(without, examples.SITE).flows.keys()
    assert 0 < len(more) <= 8


def test_shared_flows_do_not_grow_with_networks() -> None:
    assert len(compile_shared(SITE).flows) < 300


@pytest.mark.parametrize("network", [None, *examples.ALL_NETWORKS], ids=lambda n: n.name if n else "the appliance")
def test_nothing_reaches_the_controller_without_a_rate(network: Network | None) -> None:
    """The rate is the network's or one of its machines', so that no network takes that of another."""
    compiled = compile_shared(examples.SITE) if network is None else compile_network(network, examples.SITE)
    machines = {machine.number for machine in network.machines} if network else set()
    sent_up = [flow for flow in compiled.flows.values() if Output(CONTROLLER) in flow.actions]
    assert sent_up
    for flow in sent_up:
        assert flow.table.value.controller
        *before, last = flow.actions
        (limit,) = before
        assert isinstance(limit, Meter)
        assert last == Output(CONTROLLER)
        kind, number = split_meter(limit.meter)
        assert kind is not None
        if network is None:
            assert kind is MeterClass.APPLIANCE
        else:
            assert number in (machines if kind.of_machine else {network.key})
        rate = compiled.meters[limit.meter]
        assert (rate.unit, rate.value <= 100) == (Unit.PPS, True)
    assert not [b for group in compiled.groups.values() for b in group.buckets if Output(CONTROLLER) in b.actions]


def test_a_machine_without_its_port_is_left_out_and_named() -> None:
    site = dataclasses.replace(examples.SITE, ports={"uplink": 1, "storage": 3, "db1": 31})
    compiled = compile_network(examples.OFFICE, site)
    assert compiled.unplugged == {
        "office1": "port vxlan is not on the bridge",
        "office2": "port vxlan is not on the bridge",
        "office3": "port trunk is not on the bridge",
    }
    assert not [flow for flow in compiled.flows.values() if "10.0.0.2" in flow.text()]
    assert [flow for flow in compiled.flows.values() if "10.0.0.5" in flow.text()]


def test_nothing_leaves_while_the_next_hop_is_unknown() -> None:
    site = dataclasses.replace(examples.SITE, neighbors={})
    out = [flow for flow in compile_shared(site).flows.values() if flow.table is Table.GATEWAY_OUT]
    assert [flow.why for flow in out if flow.match == Match()] == ["next-hop-unknown"]
    assert not [action for flow in out for action in flow.actions if isinstance(action, Output)]


def bad(table: Table, matched: Match, *actions: object) -> SimpleNamespace:
    flow = Flow(table, Priority.NORMAL, matched, actions, Feature.ARP, 3, "bad")  # type: ignore[arg-type]
    return SimpleNamespace(
        feature=Feature.ARP, tables=frozenset({Table.ARP}), shared=lambda _: (), flows=lambda *_: (flow,)
    )


@pytest.mark.parametrize(
    ("feature", "complaint"),
    [
        (bad(Table.SWITCH, match(metadata=3)), "may not write"),
        (bad(Table.ARP, match("ip", metadata=3, ip_src="10.0.0.1")), "does not match"),
        (bad(Table.ARP, match(metadata=3), SetField(Field.IP_SRC, 1)), "does not write"),
        (bad(Table.ARP, match(metadata=3), Goto(Table.SNAT)), "does not go to"),
    ],
)
def test_the_registry_is_enforced(monkeypatch: pytest.MonkeyPatch, feature: SimpleNamespace, complaint: str) -> None:
    monkeypatch.setattr(compiler, "FEATURES", (feature,))
    with pytest.raises(RegistryError, match=complaint):
        compile_network(examples.OFFICE, examples.SITE)


def test_every_feature_declares_its_tables() -> None:
    written = {
        (flow.feature, flow.table)
        for one in [compile_shared(examples.SITE), *(compile_network(n, examples.SITE) for n in examples.ALL_NETWORKS)]
        for flow in one.flows.values()
    }
    assert written == {(module.feature, table) for module in FEATURES for table in module.tables}


def test_without_the_resolvers_port_the_router_answers_as_before() -> None:
    ports = {name: number for name, number in examples.SITE.ports.items() if name != "names"}
    for site in (
        dataclasses.replace(examples.SITE, ports=ports),
        dataclasses.replace(examples.SITE, appliance=dataclasses.replace(examples.APPLIANCE, resolver_port="")),
    ):
        names = [flow for flow in compile_shared(site).flows.values() if flow.feature is Feature.DNS]
        assert {(flow.table, flow.actions) for flow in names} == {
            (Table.SERVICES, (Goto(Table.ROUTER_LOCAL),)),
            (Table.RESOLVER_OUT, ()),
            (Table.RESOLVER_IN, ()),
        }
