"""Interconnects over gRPC: what one is made of, takes and gives back, how it changes, and what is refused."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from agent.store import Store
from sluice.v1 import drive_pb2 as drives
from sluice.v1 import interconnect_pb2 as interconnects
from sluice.v1 import machine_pb2 as machines
from sluice.v1 import network_pb2 as networks
from sluice.v1 import status_pb2
from tests.agents import Api, Database, machine, network, opened, refusal, served
from tests.dummy_switch import wait_until
from tests.interconnect_calls import BgpDaemon, changed, create, delete, direct, get, peering, update
from tests.vpn_calls import gateway

Interconnect = interconnects.Interconnect


def revision(store: Store, name: str = "office") -> int:
    return store.cache.networks[name].network.revision


def drive(name: str, address: str, of: str = "office") -> drives.CreateDriveRequest:
    return drives.CreateDriveRequest(drive_id=name, drive=drives.Drive(network=f"networks/{of}", address=address))


def on(port: str, vlan: int | None = None) -> machines.Attachment:
    return machines.Attachment(port=port) if vlan is None else machines.Attachment(port=port, vlan=vlan)


def test_a_direct_connect_from_create_to_delete(bgp_api: Api, store: Store) -> None:
    before = revision(store)
    made = create(bgp_api, direct("dc"))
    assert made == Interconnect(
        name="interconnects/dc", kind=Interconnect.DIRECT_CONNECT, network="networks/office", port="xc1", vlan=101,
        local_address="169.254.101.1/30", peer_address="169.254.101.2", local_as=64512, peer_as=65001,
        accept_prefixes=["192.168.0.0/16"], maximum_prefixes=100, preference=100, bfd_interval_milliseconds=100,
        hold_seconds=9, tenant="t", status=made.status, create_time=made.create_time,
    )  # fmt: skip
    assert made.status.state == status_pb2.Status.PENDING
    assert get(bgp_api, "dc") == made
    assert revision(store) == before + 1
    value = store.cache.interconnects.by_name["dc"].interconnect
    # Machine web has number 1; zones 0 and 1 are the appliance's own.
    assert (value.number, value.slot, value.client, value.zone) == (1, 1, 2, 2)
    delete(bgp_api, "dc")
    assert revision(store) == before + 2
    for call, request in (
        (bgp_api.interconnects.GetInterconnect, interconnects.GetInterconnectRequest(name=made.name)),
        (bgp_api.interconnects.DeleteInterconnect, interconnects.DeleteInterconnectRequest(name=made.name)),
        (bgp_api.interconnects.UpdateInterconnect, changed("dc", preference=9)),
        (
            bgp_api.interconnects.ListInterconnectRoutes,
            interconnects.ListInterconnectRoutesRequest(parent=made.name),
        ),
    ):
        assert refusal(call, request)[0] == "NOT_FOUND"
    # What it had is free again; its zone rests.
    create(bgp_api, direct("dc", "lab"))
    value = store.cache.interconnects.by_name["dc"].interconnect
    assert (value.number, value.slot, value.client, value.zone) == (1, 1, 2, 3)


def test_a_peering_from_create_to_delete(bgp_api: Api, store: Store) -> None:
    before = revision(store)
    made = create(bgp_api, peering("ix", accept_prefixes=["198.18.0.0/15"], announce_prefixes=["198.51.100.0/28"]))
    assert made == Interconnect(
        name="interconnects/ix", kind=Interconnect.PEERING, port="ix1", local_address="192.0.2.1/24",
        peer_address="192.0.2.9", local_as=64512, peer_as=64999, accept_prefixes=["198.18.0.0/15"],
        announce_prefixes=["198.51.100.0/28"], maximum_prefixes=100, preference=100, bfd_interval_milliseconds=100,
        hold_seconds=9, status=made.status, create_time=made.create_time,
    )  # fmt: skip
    value = store.cache.interconnects.by_name["ix"].interconnect
    assert (value.number, value.slot, value.client, value.zone, value.vlan) == (1, 1, 0, 0, None)
    assert revision(store) == before
    assert get(bgp_api, "ix") == made
    delete(bgp_api, "ix")
    assert not [key for key in store.cache.allocations.claims if key[1] == "ix1"]
    create(bgp_api, peering("ix"))


def test_everything_that_can_be_set(bgp_api: Api, store: Store) -> None:
    bgp_api.drives.CreateDrive(drive("d", "10.250.0.9"))
    chosen: dict[str, Any] = {
        "local_as": 4200000000, "peer_as": 4294967294, "local_address": "169.254.101.0/31",
        "peer_address": "169.254.101.1", "accept_prefixes": ["10.0.0.0/8", "192.168.7.9/32"],
        "announce_prefixes": ["10.0.0.0/16", "10.0.4.0/24", "10.250.0.9/32"], "maximum_prefixes": 20000,
        "preference": 65535, "rate_kbps": 50000, "bfd_interval_milliseconds": 300, "hold_seconds": 30, "vlan": 4094,
        "disabled": True,
    }  # fmt: skip
    made = create(bgp_api, direct("dc", **chosen))
    assert {field: getattr(made, field) for field in chosen} == chosen
    assert not store.cache.interconnects.by_name["dc"].interconnect.enabled
    made = create(bgp_api, direct("quiet", vlan=102, disable_bfd=True))
    assert (made.disable_bfd, made.bfd_interval_milliseconds) == (True, 0)


def test_several_of_one_network(bgp_api: Api, store: Store) -> None:
    for at in range(15):
        create(bgp_api, direct(f"dc{at}", vlan=at + 1))
    code, message, _ = refusal(bgp_api.interconnects.CreateInterconnect, direct("more", vlan=99))
    expected = "networks/office has 15 interconnects; a network has at most 15"
    assert (code, message) == ("RESOURCE_EXHAUSTED", expected)
    for at in range(15):
        create(bgp_api, peering(f"ix{at}", vlan=at + 1))
    code, message, _ = refusal(bgp_api.interconnects.CreateInterconnect, peering("more", vlan=99))
    assert (code, message) == ("RESOURCE_EXHAUSTED", "there are 15 peerings; an appliance has at most 15")
    values = [record.interconnect for record in store.cache.interconnects.by_name.values()]
    assert sorted(value.number for value in values) == list(range(1, 31))
    assert sorted(value.client for value in values if value.client) == list(range(2, 17))
    create(bgp_api, direct("elsewhere", "lab", vlan=99))
    delete(bgp_api, "dc3")
    create(bgp_api, direct("again", vlan=100))
    value = store.cache.interconnects.by_name["again"].interconnect
    assert (value.slot, value.number) == (4, 4)


def test_refusals_change_nothing(bgp_api: Api, server: Database) -> None:
    create(bgp_api, direct("dc"))
    create(bgp_api, peering("ix"))
    bgp_api.machines.CreateMachine(machine("pc", "office", 2, attachment=on("trunk", 7)))
    bgp_api.drives.CreateDrive(drive("d", "10.250.0.9", "lab"))
    before = server.dump()
    for request, expected, said in (
        (direct("dc", vlan=9), "ALREADY_EXISTS", "interconnects/dc exists already"),
        (direct("b", "none", vlan=9), "NOT_FOUND", "networks/none does not exist"),
        (direct("b", "web", vlan=9), "FAILED_PRECONDITION", "networks/web is ISOLATED"),
        (direct("b", "lab"), "ALREADY_EXISTS", "port and VLAN xc1/vlan=101 are those of interconnects/dc"),
        (peering("b", port="xc1", vlan=101), "ALREADY_EXISTS", "are those of interconnects/dc"),
        (peering("b"), "ALREADY_EXISTS", "port and VLAN ix1 are those of interconnects/ix"),
        (direct("b", port="trunk", vlan=7), "ALREADY_EXISTS", "trunk/vlan=7 are those of machines/pc"),
        (peering("b", port="web"), "ALREADY_EXISTS", "port and VLAN web are those of machines/web"),
        (direct("b", vlan=9, announce_prefixes=["10.250.0.9/32"]), "INVALID_ARGUMENT", "a prefix inside 10.0.0.0/16,"),
        (direct("b", vlan=9, announce_prefixes=["10.0.0.0/15"]), "INVALID_ARGUMENT", "a prefix inside 10.0.0.0/16,"),
        (peering("b", vlan=9, announce_prefixes=["10.0.0.0/16"]), "INVALID_ARGUMENT", "the pools of public addresses"),
        (peering("b", vlan=9, peer_as=64512), "INVALID_ARGUMENT", "a number other than local_as"),
        (direct("b", vlan=9, request_id="1"), "INVALID_ARGUMENT", "request_id is"),
        (Interconnect(), "INVALID_ARGUMENT", "interconnect.kind is 'KIND_UNSPECIFIED'"),
    ):
        if isinstance(request, Interconnect):
            request = interconnects.CreateInterconnectRequest(interconnect=request)
        code, message, _ = refusal(bgp_api.interconnects.CreateInterconnect, request)
        assert (code, said in message) == (expected, True), message
    assert server.dump() == before


@pytest.mark.parametrize(
    ("prefix", "what"),
    [
        ("10.0.0.0/16", "the prefix of networks/office"),
        ("10.0.5.0/24", "the prefix of networks/office"),
        ("203.0.113.0/24", "the gateway's subnet"),
        ("198.51.100.16/28", "the pool of shared addresses"),
        ("203.0.113.96/29", "the gateway's subnet"),
        ("10.250.0.64/26", "the storage network"),
        ("100.64.0.0/10", "the machines' addresses in the storage network"),
        ("127.0.0.0/8", "never routed"),
        ("169.254.101.0/24", "never routed"),
        ("224.0.0.0/8", "never routed"),
    ],
)
def test_what_a_direct_connect_never_accepts(bgp_api: Api, prefix: str, what: str) -> None:
    request = direct("dc", accept_prefixes=["192.168.0.0/16", prefix])
    code, message, details = refusal(bgp_api.interconnects.CreateInterconnect, request)
    assert (code, what in message) == ("INVALID_ARGUMENT", True), message
    (violation,) = details["BadRequest"].field_violations
    assert violation.field == "interconnect.accept_prefixes[1]"


def test_what_a_direct_connect_may_accept(bgp_api: Api) -> None:
    # What contains our own, another customer's network, the management's, and addresses of the Internet.
    prefixes = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "198.51.100.0/24", "8.8.8.8/32"]
    assert create(bgp_api, direct("dc", accept_prefixes=prefixes)).accept_prefixes == prefixes
    assert create(bgp_api, direct("lab", "lab", vlan=9, accept_prefixes=["10.0.0.0/16"])).name == "interconnects/lab"


@pytest.mark.parametrize(
    ("prefix", "what"),
    [
        ("10.0.0.0/8", "not of the Internet"),
        ("192.168.1.0/24", "a protected prefix of the appliance"),
        ("172.16.0.0/12", "not of the Internet"),
        ("100.64.0.0/12", "the machines' addresses in the storage network"),
        ("203.0.113.0/24", "the gateway's subnet"),
        ("224.0.0.0/8", "never routed"),
    ],
)
def test_what_a_peering_never_accepts(bgp_api: Api, prefix: str, what: str) -> None:
    code, message, _ = refusal(
        bgp_api.interconnects.CreateInterconnect, peering("ix", accept_prefixes=["8.8.8.0/24", prefix])
    )
    assert (code, "accept_prefixes[1]" in message, what in message) == ("INVALID_ARGUMENT", True, True), message


def test_a_peering_announces_what_both_pools_make_together(server: Database) -> None:
    pools = {"nat_pool": ("198.51.100.0/25", "198.51.101.7"), "public_pool": ("198.51.100.128/25",)}
    with opened(server, **pools) as store, served(store) as api:
        create(api, peering("ix", announce_prefixes=["198.51.100.0/24", "198.51.101.7/32", "198.51.100.128/26"]))
        for beside in ("198.51.100.0/23", "198.51.101.0/30"):
            request = peering("b", vlan=1, announce_prefixes=[beside])
            code, message, _ = refusal(api.interconnects.CreateInterconnect, request)
            assert (code, "198.51.100.0/24 or 198.51.101.7/32" in message) == ("INVALID_ARGUMENT", True)


@pytest.mark.parametrize(
    ("local", "peer", "what"),
    [
        ("10.0.200.1/30", "10.0.200.2", "the prefix of networks/office"),
        ("203.0.113.10/29", "203.0.113.11", "the gateway's subnet"),
        ("10.250.0.41/30", "10.250.0.42", "the storage network"),
        ("100.64.1.1/30", "100.64.1.2", "the machines' addresses in the storage network"),
    ],
)
def test_links_that_are_ours_already(bgp_api: Api, local: str, peer: str, what: str) -> None:
    request = direct("dc", local_address=local, peer_address=peer)
    code, message, details = refusal(bgp_api.interconnects.CreateInterconnect, request)
    assert (code, what in message) == ("INVALID_ARGUMENT", True), message
    assert [v.field for v in details["BadRequest"].field_violations] == ["interconnect.local_address"]


def test_links_may_be_equal(bgp_api: Api) -> None:
    create(bgp_api, direct("a"))
    create(bgp_api, direct("b", vlan=102))
    create(bgp_api, direct("c", "lab", vlan=103, local_address="10.0.200.1/30", peer_address="10.0.200.2"))


def test_reasons_for_programs(bgp_api: Api) -> None:
    create(bgp_api, direct("dc"))
    _, _, details = refusal(bgp_api.interconnects.CreateInterconnect, direct("b", "web", vlan=9))
    assert details["ErrorInfo"].reason == "NETWORK_ISOLATED"
    assert details["PreconditionFailure"].violations[0].subject == "networks/web"
    _, _, details = refusal(bgp_api.interconnects.CreateInterconnect, peering("b", port="xc1", vlan=101))
    assert details["ResourceInfo"].resource_type == "sluice.dev/Interconnect"
    assert details["ResourceInfo"].resource_name == "interconnects/dc"


def test_machines_are_not_where_interconnects_are(bgp_api: Api) -> None:
    create(bgp_api, direct("dc"))
    create(bgp_api, peering("ix"))
    for request, said in (
        (machine("pc", "office", 2, attachment=on("xc1", 101)), "attachment xc1/vlan=101 is that of interconnects/dc"),
        (machine("pc", attachment=on("xc1", 101)), "attachment xc1/vlan=101 is that of interconnects/dc"),
        (machine("pc", "lab", 2, attachment=on("ix1")), "attachment ix1 is that of interconnects/ix"),
    ):
        code, message, details = refusal(bgp_api.machines.CreateMachine, request)
        assert (code, message) == ("ALREADY_EXISTS", said)
        assert details["ResourceInfo"].resource_type == "sluice.dev/Interconnect"
    bgp_api.machines.CreateMachine(machine("pc", "office", 2, attachment=on("xc1", 102)))
    moved = machines.Machine(name="machines/pc", attachment=on("xc1", 101))
    assert refusal(bgp_api.machines.UpdateMachine, machines.UpdateMachineRequest(machine=moved))[0] == "ALREADY_EXISTS"
    delete(bgp_api, "dc")
    bgp_api.machines.UpdateMachine(machines.UpdateMachineRequest(machine=moved))
    assert refusal(bgp_api.interconnects.CreateInterconnect, direct("dc"))[0] == "ALREADY_EXISTS"
    create(bgp_api, direct("dc", vlan=102))


@pytest.mark.parametrize("port", ["bgp1", "bgp4095", "vpn1-in", "uplink", "disks", "br-sluice"])
def test_ports_of_the_appliance_s_own(bgp_api: Api, port: str) -> None:
    create(bgp_api, direct("dc"))
    for request in (direct("b", port=port), peering("b", port=port)):
        code, message, _ = refusal(bgp_api.interconnects.CreateInterconnect, request)
        assert (code, "interconnect.port is" in message) == ("INVALID_ARGUMENT", True)
    assert refusal(bgp_api.interconnects.UpdateInterconnect, changed("dc", port=port))[0] == "INVALID_ARGUMENT"
    request = machine("pc", "office", 2, attachment=on(port))
    assert refusal(bgp_api.machines.CreateMachine, request)[0] == "INVALID_ARGUMENT"


def test_ports_that_only_look_like_legs(bgp_api: Api) -> None:
    for at, port in enumerate(("bgp", "bgp1x", "xbgp1", "bgp-1")):
        create(bgp_api, direct(f"dc{at}", port=port))


def test_a_network_with_interconnects_stays(bgp_api: Api) -> None:
    bgp_api.vpn_gateways.CreateVpnGateway(gateway("gw"))
    bgp_api.drives.CreateDrive(drive("d", "10.250.0.9"))
    for at in range(6):
        create(bgp_api, direct(f"dc{at}", vlan=at + 1))
    request = networks.DeleteNetworkRequest(name="networks/office")
    code, message, details = refusal(bgp_api.networks.DeleteNetwork, request)
    assert (code, message) == (
        "FAILED_PRECONDITION",
        "networks/office is used by drives/d, interconnects/dc0, interconnects/dc1, interconnects/dc2, "
        "interconnects/dc3, vpnGateways/gw and 2 more",
    )
    assert len(details["PreconditionFailure"].violations) == 6
    for at in range(6):
        delete(bgp_api, f"dc{at}")
    bgp_api.drives.DeleteDrive(drives.DeleteDriveRequest(name="drives/d"))
    assert refusal(bgp_api.networks.DeleteNetwork, request)[1] == "networks/office is used by vpnGateways/gw"


def test_a_repeated_create_answers_the_same(bgp_api: Api, server: Database) -> None:
    request = direct("", request_id=str(uuid.uuid4()))
    made = create(bgp_api, request)
    assert made.name.startswith("interconnects/interconnect-")
    assert create(bgp_api, request) == made
    with opened(server, name="two") as store, served(store) as another:
        assert create(another, request) == made
    request.interconnect.preference = 7
    assert refusal(bgp_api.interconnects.CreateInterconnect, request)[0] == "INVALID_ARGUMENT"
    delete(bgp_api, made.name.partition("/")[2])
    request.interconnect.preference = 0
    assert refusal(bgp_api.interconnects.CreateInterconnect, request)[0] == "NOT_FOUND"


def test_the_as_of_the_configuration(server: Database) -> None:
    with opened(server, bgp_as=65099) as store, served(store) as api:
        assert create(api, peering("ix")).local_as == 65099
        assert update(api, "ix", local_as=64600).local_as == 64600
        assert update(api, "ix", "local_as").local_as == 65099
        assert refusal(api.interconnects.CreateInterconnect, peering("b", vlan=1, peer_as=65099))[0] == (
            "INVALID_ARGUMENT"
        )


def test_an_agent_that_starts_later_agrees(bgp_api: Api, store: Store, server: Database, bgp: BgpDaemon) -> None:
    create(bgp_api, direct("dc", password="secret"))
    create(bgp_api, peering("ix"))
    bgp.say("ix")
    wait_until(lambda: store.interconnect("ix").session is not None)
    with opened(server) as other:
        for name in ("dc", "ix"):
            assert other.interconnect(name) == store.interconnect(name)
        for pool in ("number", "interconnect", "zone"):
            mine, theirs = getattr(store.cache.pools, pool), getattr(other.cache.pools, pool)
            assert mine.free_count(0) == theirs.free_count(0)
        other.delete_interconnect("dc", 5)
        other.delete_interconnect("ix", 5)
        wait_until(lambda: not store.list_interconnects("", "", "", 9))


def test_a_network_that_ends_takes_no_interconnect_along(bgp_api: Api) -> None:
    create(bgp_api, direct("dc"))
    bgp_api.networks.CreateNetwork(network("empty"))
    bgp_api.networks.DeleteNetwork(networks.DeleteNetworkRequest(name="networks/empty"))
    assert refusal(bgp_api.networks.DeleteNetwork, networks.DeleteNetworkRequest(name="networks/office"))[0] == (
        "FAILED_PRECONDITION"
    )
    assert get(bgp_api, "dc").name == "interconnects/dc"
