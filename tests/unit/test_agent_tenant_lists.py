"""Every list of objects can be asked for one tenant's, page by page, alone or together with its other filter."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from agent.store import Store
from sluice.v1 import drive_pb2 as drives
from sluice.v1 import interconnect_pb2 as interconnects
from sluice.v1 import machine_pb2 as machines
from sluice.v1 import vpn_connection_pb2 as connections
from sluice.v1 import vpn_gateway_pb2 as gateways
from tests.agents import Api, machine, network, refusal, served
from tests.interconnect_calls import direct, peering
from tests.vpn_calls import connection, gateway

NETWORKS = {"a": "t", "b": "u", "c": "t", "d": ""}


@pytest.fixture
def api(store: Store) -> Iterator[Api]:
    """Of each network, which has a tenant or none, one object of every kind called as it, and `x` of no network."""
    with served(store) as made:
        for at, (name, tenant) in enumerate(NETWORKS.items(), 1):
            made.networks.CreateNetwork(network(name, tenant=tenant))
            made.machines.CreateMachine(machine(name, name))
            drive = drives.Drive(network=f"networks/{name}", address=f"10.250.0.{9 + at}")
            made.drives.CreateDrive(drives.CreateDriveRequest(drive_id=name, drive=drive))
            made.vpn_gateways.CreateVpnGateway(gateway(name, name))
            made.vpn_connections.CreateVpnConnection(connection(name, name))
            made.interconnects.CreateInterconnect(
                direct(name, name, vlan=100 + at, local_address=f"169.254.{at}.1/30", peer_address=f"169.254.{at}.2")
            )
        made.machines.CreateMachine(machine("x", number=9, tenant="t"))
        made.interconnects.CreateInterconnect(peering("x"))
        yield made


Listing = tuple[Callable[[Api], Callable[..., Any]], type, str, str]
KINDS: dict[str, Listing] = {
    "machines": (lambda api: api.machines.ListMachines, machines.ListMachinesRequest, "machines", "network"),
    "drives": (lambda api: api.drives.ListDrives, drives.ListDrivesRequest, "drives", "network"),
    "gateways": (
        lambda api: api.vpn_gateways.ListVpnGateways, gateways.ListVpnGatewaysRequest, "vpn_gateways", "network",
    ),
    "connections": (
        lambda api: api.vpn_connections.ListVpnConnections, connections.ListVpnConnectionsRequest, "vpn_connections",
        "gateway",
    ),
    "interconnects": (
        lambda api: api.interconnects.ListInterconnects, interconnects.ListInterconnectsRequest, "interconnects",
        "network",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_a_list_is_of_one_tenant_page_by_page(api: Api, kind: str) -> None:
    method, request, field, parent = KINDS[kind]
    call = method(api)

    def listed(**filters: str) -> list[str]:
        found, token = [], ""
        while True:
            page = call(request(page_size=1, page_token=token, **filters))
            found += [one.name.rpartition("/")[2] for one in getattr(page, field)]
            token = page.next_page_token
            if not token:
                return found

    loners = ["x"] if kind in ("machines", "interconnects") else []
    assert listed() == ["a", "b", "c", "d", *loners]
    # The machine with a network of its own is its tenant's; a peering is nobody's.
    assert listed(tenant="t") == ["a", "c", *(["x"] if kind == "machines" else [])]
    assert listed(tenant="u") == ["b"]
    assert listed(tenant="nobody") == []
    collection = "vpnGateways" if parent == "gateway" else "networks"
    assert listed(tenant="t", **{parent: f"{collection}/a"}) == ["a"]
    assert listed(tenant="u", **{parent: f"{collection}/a"}) == []
    assert refusal(call, request(tenant="t", **{parent: f"{collection}/z"}))[0] == "NOT_FOUND"
    # A token is for its own list only.
    token = call(request(tenant="t", page_size=1)).next_page_token
    for other in ({"tenant": "u"}, {}, {"tenant": "t", parent: f"{collection}/a"}):
        code, _, details = refusal(call, request(page_token=token, **other))
        assert (code, details["BadRequest"].field_violations[0].field) == ("INVALID_ARGUMENT", "page_token")
