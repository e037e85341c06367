"""Changes of networks, and limits of networks and machines, over gRPC."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from agent.store import Store
from sluice.v1 import limits_pb2 as limits
from sluice.v1 import machine_pb2 as machines
from sluice.v1 import network_pb2 as networks
from sluice.v1 import status_pb2
from state.model import Forwarding, State
from tests.agents import Api, Controller, Database, machine, network, refusal, served


@pytest.fixture
def api(store: Store) -> Iterator[Api]:
    with served(store) as made:
        made.networks.CreateNetwork(network("office"))
        yield made


def rules(**servers: Sequence[str]) -> list[networks.DnsForwarding]:
    return [networks.DnsForwarding(domain=d.replace("_", "."), servers=s) for d, s in servers.items()]


def request(*paths: str, name: str = "office", **fields: Any) -> networks.UpdateNetworkRequest:
    changed = networks.Network(name=f"networks/{name}", **fields)
    return networks.UpdateNetworkRequest(network=changed, update_mask=FieldMask(paths=paths))


def test_a_mask_names_what_is_set(api: Api, store: Store) -> None:
    update = api.networks.UpdateNetwork
    made = update(request("search_domain", search_domain="Corp.Example", dns_servers=["9.9.9.9"]))
    assert (made.search_domain, list(made.dns_servers)) == ("corp.example", [])
    made = update(request(dns_servers=["9.9.9.9"], dns_forwarding=rules(Corp_example=["10.0.0.5", "9.9.9.9"])))
    assert (made.search_domain, list(made.dns_servers)) == ("corp.example", ["9.9.9.9"])
    assert made.dns_forwarding[0] == networks.DnsForwarding(domain="corp.example", servers=["10.0.0.5", "9.9.9.9"])
    assert store.cache.networks["office"].network.dns_forwarding == (
        Forwarding("corp.example", ("10.0.0.5", "9.9.9.9")),
    )
    made = update(request("limits", limits=limits.Limits(public_kbps=64, storage_kbps=100_000_000)))
    assert (made.limits.public_kbps, made.limits.storage_kbps) == (64, 100_000_000)
    made = update(request("limits.public_kbps", limits=limits.Limits(storage_kbps=70)))
    assert (made.limits.public_kbps, made.limits.storage_kbps) == (0, 100_000_000)
    revision = store.cache.networks["office"].network.revision
    # Writing back what was read changes nothing.
    assert update(networks.UpdateNetworkRequest(network=made)) == made
    assert store.cache.networks["office"].network.revision == revision
    made = update(request("*"))
    assert (made.search_domain, list(made.dns_servers), list(made.dns_forwarding)) == ("", [], [])
    assert made.limits == limits.Limits()
    assert store.cache.networks["office"].network.revision == revision + 1


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        (request("prefix"), "update_mask"),
        (request("*", "limits"), "update_mask"),
        (request(tenant="other"), "network.tenant"),
        (request(kind=networks.Network.ISOLATED), "network.kind"),
        (request(mtu=9000), "network.mtu"),
        (request(dns_servers=["x"]), "network.dns_servers[0]"),
        (request(search_domain="-x.y"), "network.search_domain"),
        (request(search_domain="a." * 130 + "b"), "network.search_domain"),
        (request(limits=limits.Limits(public_kbps=63)), "network.limits.public_kbps"),
        (request(limits=limits.Limits(storage_kbps=-1)), "network.limits.storage_kbps"),
        (request(limits=limits.Limits(public_kbps=100_000_001)), "network.limits.public_kbps"),
        (request(dns_forwarding=rules(a=["9.9.9.9"]) * 17), "network.dns_forwarding"),
        (request(dns_forwarding=rules(a=["9.9.9.9"], A=["9.9.9.9"])), "network.dns_forwarding[1].domain"),
        (request(dns_forwarding=[networks.DnsForwarding(servers=["9.9.9.9"])]), "network.dns_forwarding[0].domain"),
        (request(dns_forwarding=rules(a=[])), "network.dns_forwarding[0].servers"),
        (request(dns_forwarding=rules(a=["9.9.9.9"] * 2)), "network.dns_forwarding[0].servers"),
        (request(dns_forwarding=rules(a=["9.9.9." + str(at) for at in range(5)])), "network.dns_forwarding[0].servers"),
        (request(dns_forwarding=rules(a=["9.9.9"])), "network.dns_forwarding[0].servers[0]"),
        (request(dns_forwarding=rules(internal=["9.9.9.9"])), "network.dns_forwarding[0].domain"),
        (request(dns_forwarding=rules(office_internal=["9.9.9.9"])), "network.dns_forwarding[0].domain"),
        (request(dns_forwarding=rules(other_internal=["9.9.9.9"])), "network.dns_forwarding[0].domain"),
    ],
)
def test_what_is_wrong_is_named(api: Api, server: Database, changed: networks.UpdateNetworkRequest, field: str) -> None:
    before = server.dump()
    code, _, details = refusal(api.networks.UpdateNetwork, changed)
    assert code == "INVALID_ARGUMENT"
    assert field in [v.field for v in details["BadRequest"].field_violations]
    assert server.dump() == before


@pytest.mark.parametrize(
    ("address", "right"),
    [
        ("10.0.0.2", True),
        ("10.0.255.254", True),
        ("9.9.9.9", True),
        ("192.88.99.1", True),
        ("10.0.0.1", False),
        ("10.0.0.0", False),
        ("10.0.255.255", False),
        ("10.1.0.2", False),
        ("192.168.1.1", False),
        ("172.16.0.2", False),
        ("127.0.0.1", False),
        ("224.0.0.1", False),
        ("100.64.0.1", False),
        ("203.0.113.2", False),
        ("198.51.100.3", False),
        ("10.250.0.9", False),
    ],
)
def test_a_server_is_in_the_network_or_of_the_internet(api: Api, address: str, right: bool) -> None:
    """The resolver asks others from the host: a rule must not reach what the host reaches."""
    changed = request(dns_forwarding=rules(corp_example=[address]))
    if right:
        assert api.networks.UpdateNetwork(changed).dns_forwarding[0].servers == [address]
    else:
        code, message, _ = refusal(api.networks.UpdateNetwork, changed)
        assert (code, f"is '{address}'; allowed: an address of 10.0.0.0/16" in message) == ("INVALID_ARGUMENT", True)


def test_a_reverse_domain_can_be_forwarded(api: Api) -> None:
    changed = networks.DnsForwarding(domain="1.168.192.in-addr.arpa", servers=["10.0.0.9"])
    assert api.networks.UpdateNetwork(request(dns_forwarding=[changed])).dns_forwarding[0] == changed


def test_a_network_that_is_not_there(api: Api) -> None:
    for paths in ((), ("search_domain",)):
        assert refusal(api.networks.UpdateNetwork, request(*paths, name="none"))[0] == "NOT_FOUND"
    bad = networks.UpdateNetworkRequest(network=networks.Network(name="office"))
    assert refusal(api.networks.UpdateNetwork, bad)[0] == "INVALID_ARGUMENT"


def test_a_network_is_made_with_all_of_it(api: Api) -> None:
    made = api.networks.CreateNetwork(
        network(
            "lab", search_domain="x.y", dns_forwarding=rules(corp=["10.1.0.3"]), limits=limits.Limits(public_kbps=64)
        )
    )
    assert (made.prefix, made.search_domain, made.limits.public_kbps) == ("10.1.0.0/16", "x.y", 64)
    assert made.dns_forwarding[0].domain == "corp"
    bad = network("z", dns_forwarding=rules(corp=["10.1.0.3"]))
    assert refusal(api.networks.CreateNetwork, bad)[0] == "INVALID_ARGUMENT"


def test_a_change_is_awaited(api: Api, server: Database) -> None:
    controller = Controller(server)
    try:
        controller.report("office", State.LIVE)
        changed = request(search_domain="x.y")
        changed.wait_live = True
        answer = api.networks.UpdateNetwork.future(changed)
        listed = networks.GetNetworkRequest(name="networks/office")
        while api.networks.GetNetwork(listed).search_domain != "x.y":
            pass
        assert not answer.done()
        controller.report("office", State.LIVE)
        assert answer.result().status.state == status_pb2.Status.LIVE
    finally:
        controller.close()


def test_limits_of_a_machine(api: Api, store: Store) -> None:
    made = api.machines.CreateMachine(machine("pc", "office", limits=limits.Limits(public_kbps=1000)))
    assert (made.limits.public_kbps, made.limits.storage_kbps) == (1000, 0)
    assert made.dns_name == "pc.office.internal"

    def update(*paths: str, **rates: int) -> limits.Limits:
        changed = machines.Machine(name="machines/pc", limits=limits.Limits(**rates))
        return api.machines.UpdateMachine(
            machines.UpdateMachineRequest(machine=changed, update_mask=FieldMask(paths=paths))
        ).limits

    assert update("limits.storage_kbps", public_kbps=7, storage_kbps=64) == limits.Limits(
        public_kbps=1000, storage_kbps=64
    )
    assert update("limits", storage_kbps=65) == limits.Limits(storage_kbps=65)
    assert store.cache.machines["pc"].machine.storage_rate == 65
    bad = machines.UpdateMachineRequest(
        machine=machines.Machine(name="machines/pc", limits=limits.Limits(public_kbps=1))
    )
    code, message, _ = refusal(api.machines.UpdateMachine, bad)
    assert code == "INVALID_ARGUMENT"
    assert message == "machine.limits.public_kbps is 1; allowed: 64 to 100000000, or 0 for the appliance's default"
    assert refusal(api.machines.CreateMachine, machine("x", limits=limits.Limits(storage_kbps=1)))[0] == (
        "INVALID_ARGUMENT"
    )
