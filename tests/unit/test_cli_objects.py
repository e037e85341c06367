"""Drives, public addresses and lists of one tenant, by sluicectl on an agent."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from fake_api import Sluicectl

from agent.store import Store
from tests.agents import Api, machine, network, served
from tests.interconnect_calls import direct, peering
from tests.vpn_calls import connection, gateway


@pytest.fixture
def sluicectl(store: Store, agent_cli: Sluicectl) -> Iterator[Sluicectl]:
    """Of the tenants ada and bob a network each with a machine, a VPN, an interconnect; peerings are nobody's."""
    with served(store) as api:
        for at, tenant in enumerate(("ada", "bob"), 1):
            _office(api, tenant, at)
        api.interconnects.CreateInterconnect(peering("ix"))
        yield agent_cli


def _office(api: Api, tenant: str, at: int) -> None:
    name = f"{tenant}-office"
    api.networks.CreateNetwork(network(name, tenant=tenant))
    api.machines.CreateMachine(machine(f"{tenant}-pc", name))
    api.vpn_gateways.CreateVpnGateway(gateway(f"{tenant}-vpn", name))
    api.vpn_connections.CreateVpnConnection(connection(f"{tenant}-hq", f"{tenant}-vpn"))
    link = {"vlan": at, "local_address": f"169.254.{at}.1/30", "peer_address": f"169.254.{at}.2"}
    api.interconnects.CreateInterconnect(direct(f"{tenant}-dc", name, **link))


def test_drives_are_shown_and_deleted_several_at_once(sluicectl: Sluicectl) -> None:
    for name, address in (("files", "10.250.0.10"), ("archive", "10.250.0.11")):
        assert sluicectl("drives", "create", name, "--network", "ada-office", "--address", address).code == 0
    shown = sluicectl("drives", "show", "drives/files", "--wait", "--timeout", "1.5", "-o", "json").json()
    assert (shown["network"], shown["status"]["state"]) == ("networks/ada-office", "PENDING")
    assert sluicectl("drives", "list", "--network", "bob-office", "-o", "json").json() == []
    done = sluicectl("drives", "delete", "files", "archive", "-o", "json")
    assert done.json() == {"deleted": ["drives/files", "drives/archive"]}
    refused = sluicectl("drives", "delete", "files", "-o", "json")
    assert (refused.code, json.loads(refused.err)["error"]["code"]) == (1, "NOT_FOUND")


def test_an_address_is_given_a_machine_and_a_tenant(sluicectl: Sluicectl) -> None:
    assert sluicectl("addresses", "create", "www").code == 0
    changed = sluicectl("addresses", "set", "www", "--machine", "ada-pc", "--tenant", "ada", "-o", "json").json()
    assert (changed["machine"], changed["tenant"]) == ("machines/ada-pc", "ada")
    assert "OTHER_TENANT" not in sluicectl("addresses", "set", "www", "--tenant", "ada").err
    refused = sluicectl("addresses", "set", "www", "--machine", "bob-pc")
    assert (refused.code, "tenant" in refused.err) == (1, True)
    # '' is none; what is not given stays.
    freed = sluicectl("addresses", "set", "www", "--machine", "", "-o", "json").json()
    assert (freed["machine"], freed["tenant"]) == ("", "ada")
    assert sluicectl("addresses", "set", "www").code == 2
    assert sluicectl("addresses", "create", "shop").code == 0
    assert sluicectl("addresses", "delete", "www", "shop").out == (
        "publicAddresses/www deleted\npublicAddresses/shop deleted\n"
    )


@pytest.mark.parametrize(
    ("kind", "own"),
    [
        ("networks", "ada-office"),
        ("machines", "ada-pc"),
        ("addresses", "ada-www"),
        ("drives", "ada-files"),
        ("vpn gateways", "ada-vpn"),
        ("vpn connections", "ada-hq"),
        ("interconnects", "ada-dc"),
    ],
)
def test_every_list_is_of_one_tenant(sluicectl: Sluicectl, kind: str, own: str) -> None:
    assert sluicectl("addresses", "create", "ada-www", "--tenant", "ada").code == 0
    assert sluicectl("drives", "create", "ada-files", "--network", "ada-office", "--address", "10.250.0.10").code == 0
    found = sluicectl(*kind.split(), "list", "--tenant", "ada", "-o", "json").json()
    assert [one["name"].rpartition("/")[2] for one in found] == [own]
    nobody = sluicectl(*kind.split(), "list", "--tenant", "nobody")
    assert (nobody.code, nobody.out, nobody.err.startswith("no ")) == (0, "", True)
