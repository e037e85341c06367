"""What `wire` sends is what ovs-ofctl sends for the same text, and comes back as it was sent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import examples
import pytest
from dummy_switch import DummySwitch, dummy_switch

from controller.openflow import conntrack_messages, group_messages, wire
from controller.openflow.client import OpenFlowClient, SwitchError
from controller.pipeline.flow import Flow, ToGroup
from controller.pipeline.meters import Rate, Unit, packets
from controller.pipeline.registry import LAST_METER, Table
from controller.reconcile.compile import Compiled, compile_network, compile_shared
from controller.reconcile.verify import canonical


@pytest.fixture(scope="module")
def switch() -> Iterator[DummySwitch]:
    with dummy_switch(ports=("p1", "p2")) as started:
        yield started


@pytest.fixture(scope="module")
def compiled() -> list[Compiled]:
    return [compile_shared(examples.SITE), *(compile_network(n, examples.SITE) for n in examples.ALL_NETWORKS)]


@pytest.fixture
def bridge(switch: DummySwitch) -> Iterator[OpenFlowClient]:
    with OpenFlowClient(switch.mgmt) as connected:
        yield connected
        assert connected.send(wire.flow_delete(f.table, f.cookie) for f in list(connected.flows())) == {}
        assert connected.send(map(group_messages.delete, connected.groups())) == {}
        assert connected.send(wire.meter_delete(meter_id) for meter_id in connected.meters()) == {}


def buckets_of(compiled: list[Compiled]) -> dict[int, bytes]:
    return {number: group_messages.buckets(group) for one in compiled for number, group in one.groups.items()}


def install(bridge: OpenFlowClient, compiled: list[Compiled]) -> dict[int, Flow]:
    assert bridge.send(wire.meter_add(m, rate) for one in compiled for m, rate in one.meters.items()) == {}
    assert bridge.send(group_messages.add(number, body) for number, body in buckets_of(compiled).items()) == {}
    flows = {cookie: flow for one in compiled for cookie, flow in one.flows.items()}
    assert bridge.send(wire.flow_add(flow, cookie) for cookie, flow in flows.items()) == {}
    return flows


def test_flows_are_those_of_their_text(switch: DummySwitch, bridge: OpenFlowClient, compiled: list[Compiled]) -> None:
    flows = install(bridge, compiled)
    file = switch.directory / "desired"
    file.write_text("".join(f"cookie={cookie:#x},{flow.text()}\n" for cookie, flow in flows.items()))
    assert switch.ofctl("diff-flows", switch.bridge, str(file)) == ""
    assert len(switch.ofctl("--no-stats", "dump-flows", switch.bridge).splitlines()) == len(flows)


def test_flows_are_counted_by_table(bridge: OpenFlowClient, compiled: list[Compiled]) -> None:
    assert bridge.flow_counts() == {}
    flows = install(bridge, compiled)
    assert bridge.flow_counts() == Counter(flow.table.number for flow in flows.values())


def test_flows_come_back_as_they_were_sent(bridge: OpenFlowClient, compiled: list[Compiled]) -> None:
    flows = install(bridge, compiled)
    found = {flow.cookie: flow for flow in bridge.flows()}
    assert found.keys() == flows.keys()
    for cookie, flow in flows.items():
        sent = canonical(wire.match(flow.match) + wire.instructions(flow.actions))
        assert canonical(found[cookie].detail) == sent, flow.text()
        assert (found[cookie].table, found[cookie].priority) == (flow.table.number, flow.priority)


def test_meters_come_back(bridge: OpenFlowClient) -> None:
    last, limit = LAST_METER, Rate(10_000_000, Unit.KBPS, 1_000_000)
    assert (
        bridge.send([wire.meter_add(1, packets(10)), wire.meter_add(last, limit), wire.meter_modify(1, packets(20))])
        == {}
    )
    assert bridge.meters() == {1: packets(20), last: limit}
    assert bridge.send([wire.meter_modify(last, packets(7))]) == {}
    assert bridge.meters()[last] == packets(7)


def test_groups_are_those_of_their_text(switch: DummySwitch, bridge: OpenFlowClient, compiled: list[Compiled]) -> None:
    groups = {number: group for one in compiled for number, group in one.groups.items()}
    for number, group in groups.items():
        switch.ofctl("add-group", switch.bridge, group.text(number))
    assert bridge.groups() == buckets_of(compiled)


def test_groups_come_back_as_they_were_sent(bridge: OpenFlowClient, compiled: list[Compiled]) -> None:
    install(bridge, compiled)
    wanted = buckets_of(compiled)
    assert bridge.groups() == wanted
    (first, body), *_, (last, _) = wanted.items()
    assert bridge.send([group_messages.modify(last, body), group_messages.modify(first, b"")]) == {}
    assert bridge.groups() == {**wanted, last: body, first: b""}


def test_a_deleted_group_takes_the_flows_that_use_it(bridge: OpenFlowClient, compiled: list[Compiled]) -> None:
    flows = install(bridge, compiled)
    for number in buckets_of(compiled):
        assert bridge.send([group_messages.delete(number)]) == {}
    using = {cookie for cookie, flow in flows.items() if any(isinstance(action, ToGroup) for action in flow.actions)}
    assert {cookie for _, cookie in bridge.flow_ids()} == flows.keys() - using
    assert using


def test_delete_takes_one_cookie_of_one_table(bridge: OpenFlowClient, compiled: list[Compiled]) -> None:
    flows = install(bridge, compiled)
    cookie, flow = next(iter(flows.items()))
    other_table = Table.SWITCH if flow.table is not Table.SWITCH else Table.CLASSIFY
    assert bridge.send([wire.flow_delete(other_table.number, cookie)]) == {}
    assert len(bridge.flow_ids()) == len(flows)
    assert bridge.send([wire.flow_delete(flow.table.number, cookie)]) == {}
    assert bridge.flow_ids() == {(f.table.number, c) for c, f in flows.items()} - {(flow.table.number, cookie)}


def test_the_switch_forgets_an_address_and_a_zone(bridge: OpenFlowClient) -> None:
    assert bridge.send([conntrack_messages.flush(1, "172.16.0.2"), conntrack_messages.flush_zone(515)]) == {}


def test_refused_messages_are_named(bridge: OpenFlowClient, compiled: list[Compiled]) -> None:
    rate = packets(10)
    errors = bridge.send([wire.meter_add(1, rate), wire.meter_modify(99, rate), wire.meter_add(2, rate)])
    assert list(errors) == [1]
    assert "12" in errors[1]
    assert bridge.meters() == {1: rate, 2: rate}


def test_frag_mode(switch: DummySwitch, bridge: OpenFlowClient) -> None:
    switch.ofctl("set-frags", switch.bridge, "normal")
    assert bridge.send([wire.set_config()]) == {}
    assert switch.ofctl("get-frags", switch.bridge).strip() == "nx-match"


def test_ports(bridge: OpenFlowClient) -> None:
    assert bridge.ports() == {"p1": 1, "p2": 2}


def test_a_bridge_that_is_not_there(switch: DummySwitch) -> None:
    with pytest.raises(SwitchError, match="no answer"):
        OpenFlowClient(str(switch.directory / "other.mgmt"))


def test_a_bridge_without_our_version(switch: DummySwitch) -> None:
    switch.vsctl("add-br", "br-old", "--", "set", "Bridge", "br-old", "datapath_type=dummy", "protocols=OpenFlow13")
    try:
        with pytest.raises(SwitchError, match=r"OpenFlow 1\.4"):
            OpenFlowClient(str(switch.directory / "br-old.mgmt"))
    finally:
        switch.vsctl("del-br", "br-old")
