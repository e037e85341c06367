"""Flows of shared drives: how many, when, and why there are none."""

from __future__ import annotations

import dataclasses

import examples
import pytest

from controller.pipeline.registry import Feature, Table
from controller.reconcile.compile import PipelineContext, compile_network, compile_shared
from state.model import Drive, Network, Storage
from state.storage import client_address, storage_prefix

STORAGE = Storage("storage", "10.250.0.2/24")
SITE = examples.SITE


def with_drives(network: Network, count: int) -> tuple[Network, PipelineContext]:
    """The network with that many drives, all known, and the site that knows them."""
    drives = tuple(Drive(f"d{n}", f"10.250.0.{n + 10}") for n in range(count))
    neighbors = {**SITE.neighbors, **{d.address: f"02:00:00:00:d0:{n:02x}" for n, d in enumerate(drives)}}
    return dataclasses.replace(network, drives=drives), dataclasses.replace(SITE, neighbors=neighbors)


@pytest.mark.parametrize("mtu", [1400, 1500, 9000])
def test_a_drive_takes_at_most_3_flows_each_machine_two_and_the_network_three(mtu: int) -> None:
    network = dataclasses.replace(examples.OFFICE, mtu=mtu)
    bare = len(compile_network(*with_drives(network, 0)).flows)
    for drives in (1, 2, 3, 10):
        more = len(compile_network(*with_drives(network, drives)).flows) - bare
        assert more <= 3 * drives + 2 * len(network.machines) + 3
    empty = dataclasses.replace(network, machines=())
    assert len(compile_network(*with_drives(empty, 1)).flows) - len(compile_network(*with_drives(empty, 0)).flows) <= 6


@pytest.mark.parametrize("network", [examples.ISOLATED, examples.OFFICE, examples.SHOP], ids=lambda n: n.name)
def test_networks_without_drives_have_no_flow_for_them(network: Network) -> None:
    compiled = compile_network(dataclasses.replace(network, drives=()), SITE)
    assert not [flow for flow in compiled.flows.values() if flow.feature is Feature.STORAGE]


def without_storage() -> PipelineContext:
    return dataclasses.replace(SITE, appliance=dataclasses.replace(SITE.appliance, storage=None))


@pytest.mark.parametrize(
    ("site", "reason"),
    [
        (
            dataclasses.replace(SITE, neighbors={}, silent=frozenset({"10.250.0.10"})),
            "nobody on the storage network answers ARP for 10.250.0.10",
        ),
        (dataclasses.replace(SITE, neighbors={}), ""),
        (
            dataclasses.replace(SITE, ports={n: p for n, p in SITE.ports.items() if n != "storage"}),
            "port storage is not on the bridge",
        ),
        (without_storage(), "the appliance has no storage network"),
    ],
    ids=["host off", "just asked", "no port", "not configured"],
)
def test_a_drive_out_of_reach_has_no_flows_and_says_why(site: PipelineContext, reason: str) -> None:
    compiled = compile_network(examples.OFFICE, site)
    assert compiled.unplugged == {"drives/files": reason}
    assert not [flow for flow in compiled.flows.values() if flow.feature is Feature.STORAGE]


def test_one_drive_that_is_off_does_not_take_the_others_along() -> None:
    network, site = with_drives(examples.OFFICE, 2)
    site = dataclasses.replace(site, neighbors={"10.250.0.10": "02:00:00:00:d0:00"}, silent=frozenset({"10.250.0.11"}))
    compiled = compile_network(network, site)
    assert compiled.unplugged == {"drives/d1": "nobody on the storage network answers ARP for 10.250.0.11"}
    routes = [str(f.match) for f in compiled.flows.values() if f.table is Table.STORAGE_OUT]
    assert routes == ["ip,metadata=0x3,nw_dst=10.250.0.10"]


def test_storage_is_never_beyond_the_gateway_whether_its_port_is_there_or_not() -> None:
    for ports in (SITE.ports, {"uplink": 1}):
        shared = compile_shared(dataclasses.replace(SITE, ports=ports)).flows.values()
        texts = {flow.text(names=True) for flow in shared}
        for prefix in ("10.250.0.0/24", "100.64.0.0/10"):
            assert f"table=route,priority=100,ip,nw_dst={prefix} actions=goto_table:unroutable" in texts
            assert f"table=gateway,priority=200,ip,nw_src={prefix} actions=drop" in texts


def test_only_the_storage_feature_knows_the_storage_port() -> None:
    compiled = [compile_shared(SITE), *(compile_network(n, SITE) for n in examples.NETWORKS)]
    used = {flow.table for one in compiled for flow in one.flows.values() if flow.text().endswith("output:3")}
    assert used == {Table.STORAGE_OUT}


def test_each_machine_has_an_address_of_its_own() -> None:
    numbers = (1, 2, 255, 256, 16383)
    found = [client_address(STORAGE, number) for number in numbers]
    assert found == ["100.64.0.1", "100.64.0.2", "100.64.0.255", "100.64.1.0", "100.64.63.255"]
    assert storage_prefix(STORAGE) == "10.250.0.0/24"
