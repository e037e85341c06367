"""VPN connections over gRPC: what one is made of, how it changes, and what is refused."""

from __future__ import annotations

import threading
import uuid

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from agent.errors import AlreadyExists
from agent.requests import Idempotency, NetworkSpec, VpnConnectionSpec, VpnGatewaySpec
from agent.store import Store
from agent.transaction import TransactionBuilder
from sluice.v1 import network_pb2 as networks
from sluice.v1 import status_pb2
from sluice.v1 import vpn_connection_pb2 as connections
from state.ovsdb import TransactionRefused
from tests.agents import Api, Database, network, opened, refusal, served
from tests.dummy_switch import wait_until
from tests.vpn_calls import PEER, SECRET, Create, Daemon, changed, connection, gateway, get_connection, update

FIRST = "203.0.113.96"
VpnConnection = connections.VpnConnection


def test_a_connection_from_create_to_delete(vpn_api: Api, store: Store) -> None:
    revision = store.cache.networks["office"].network.revision
    made = vpn_api.vpn_connections.CreateVpnConnection(connection("hq"))
    assert made == VpnConnection(
        name="vpnConnections/hq", gateway="vpnGateways/gw", peer=PEER, local_identity=FIRST, remote_identity=PEER,
        local_prefixes=["10.0.0.0/16", "10.250.0.0/24"], remote_prefixes=["192.168.50.0/24"],
        ike_version=VpnConnection.IKE_V2, role=VpnConnection.INITIATOR,
        ike_proposals=["aes256gcm16-prfsha384-ecp384", "aes256gcm16-prfsha512-ecp384",
                       "aes128gcm16-prfsha256-ecp256", "aes256-sha256-modp2048"],
        esp_proposals=["aes256gcm16-ecp384", "aes128gcm16-ecp256", "aes256-sha256-modp2048"],
        dpd_seconds=2, ike_lifetime_seconds=14400, child_lifetime_seconds=3600, tenant="t",
        status=made.status, create_time=made.create_time,
    )  # fmt: skip
    assert made.status.state == status_pb2.Status.PENDING
    assert get_connection(vpn_api, "hq") == made
    assert store.cache.networks["office"].network.revision == revision + 1
    vpn_api.vpn_connections.DeleteVpnConnection(connections.DeleteVpnConnectionRequest(name=made.name))
    assert store.cache.networks["office"].network.revision == revision + 2
    for call, request in (
        (vpn_api.vpn_connections.GetVpnConnection, connections.GetVpnConnectionRequest(name=made.name)),
        (vpn_api.vpn_connections.DeleteVpnConnection, connections.DeleteVpnConnectionRequest(name=made.name)),
        (vpn_api.vpn_connections.UpdateVpnConnection, changed("hq", dpd_seconds=9)),
    ):
        assert refusal(call, request)[0] == "NOT_FOUND"


def test_defaults_of_ikev1_and_without_storage(server: Database) -> None:
    with opened(server, storage=None) as store, served(store) as vpn_api:
        vpn_api.networks.CreateNetwork(network("office"))
        vpn_api.vpn_gateways.CreateVpnGateway(gateway("gw"))
        made = vpn_api.vpn_connections.CreateVpnConnection(connection("hq", ike_version=VpnConnection.IKE_V1))
        assert made.local_prefixes == ["10.0.0.0/16"]
        assert made.ike_proposals == made.esp_proposals == ["aes256-sha256-modp2048", "aes128-sha256-modp2048"]


def test_refusals_change_nothing(vpn_api: Api, server: Database, create: Create) -> None:
    create("hq")
    create("other", "gw2")
    before = server.dump()
    elsewhere = {"peer": "198.51.100.201", "remote_prefixes": ["192.168.60.0/24"]}
    for request, expected, said in (
        (connection("hq", **elsewhere), "ALREADY_EXISTS", "vpnConnections/hq exists already"),
        (connection("b", "none"), "NOT_FOUND", "vpnGateways/none does not exist"),
        (connection("b", peer="vpn.example.com"), "ALREADY_EXISTS", "a remote prefix of vpnConnections/hq"),
        (connection("b", peer="vpn.example.com", remote_prefixes=["192.168.0.0/16"]), "ALREADY_EXISTS", "overlaps"),
        (connection("b", remote_prefixes=["192.168.60.0/24"]), "ALREADY_EXISTS", "vpnConnections/hq is to peer"),
        (connection("b", **elsewhere | {"peer": FIRST}), "INVALID_ARGUMENT", "other than the gateway's own"),
        (connection("b", **elsewhere, local_prefixes=["10.1.0.0/24"]), "INVALID_ARGUMENT", "inside 10.0.0.0/16 or"),
        (connection("b", **elsewhere, local_prefixes=["10.0.0.0/15"]), "INVALID_ARGUMENT", "inside 10.0.0.0/16 or"),
    ):  # fmt: skip
        code, message, _ = refusal(vpn_api.vpn_connections.CreateVpnConnection, request)
        assert (code, said in message) == (expected, True), message
    for prefix, what in (
        ("10.0.5.0/24", "the prefix of networks/office"),
        ("10.0.0.0/8", "the prefix of networks/office"),
        ("203.0.113.0/25", "the gateway's subnet"),
        ("198.51.100.16/28", "the pool of shared addresses"),
        ("10.250.0.64/26", "the storage network"),
        ("100.64.1.0/24", "the machines' addresses in the storage network"),
        ("224.0.0.0/8", "never routed"),
        ("127.0.0.0/8", "never routed"),
    ):
        request = connection("b", peer="198.51.100.201", remote_prefixes=["192.168.60.0/24", prefix])
        code, message, details = refusal(vpn_api.vpn_connections.CreateVpnConnection, request)
        assert (code, what in message) == ("INVALID_ARGUMENT", True), message
        fields = [violation.field for violation in details["BadRequest"].field_violations]
        assert fields == ["vpn_connection.remote_prefixes[1]"]
    assert server.dump() == before


def test_what_may_be_remote(create: Create) -> None:
    # Another customer's network, the management's, and one address of the Internet.
    prefixes = ["10.1.0.0/16", "192.168.0.0/16", "198.51.100.200/32"]
    assert create("hq", remote_prefixes=prefixes).remote_prefixes == prefixes
    # The same peer and prefixes again, of another network.
    assert create("hq2", "gw2", remote_prefixes=["10.0.0.0/16"]).peer == PEER


def test_one_peer_twice_by_identity(create: Create) -> None:
    for at in range(2):
        made = create(
            f"c{at}", peer="", role=VpnConnection.RESPONDER, remote_identity=f"branch{at}.example.com",
            remote_prefixes=[f"192.168.{at}.0/24"],
        )  # fmt: skip
        assert (made.peer, made.remote_identity) == ("", f"branch{at}.example.com")


def test_a_gateway_has_at_most_32(vpn_api: Api, create: Create) -> None:
    for at in range(32):
        create(f"c{at}", peer=f"198.51.100.{200 + at}", remote_prefixes=[f"192.168.{at}.0/24"])
    request = connection("more", peer="198.51.100.240", remote_prefixes=["192.168.99.0/24"])
    code, message, _ = refusal(vpn_api.vpn_connections.CreateVpnConnection, request)
    assert (code, message) == ("RESOURCE_EXHAUSTED", "vpnGateways/gw has 32 connections; a gateway has at most 32")
    create("elsewhere", "gw2")


def test_a_repeated_create_answers_the_same(vpn_api: Api, server: Database) -> None:
    request = connection("", request_id=str(uuid.uuid4()))
    made = vpn_api.vpn_connections.CreateVpnConnection(request)
    assert made.name.startswith("vpnConnections/connection-")
    assert vpn_api.vpn_connections.CreateVpnConnection(request) == made
    with opened(server, name="two") as store, served(store) as another:
        assert another.vpn_connections.CreateVpnConnection(request) == made
    request.vpn_connection.pre_shared_key = SECRET[:-1]
    assert refusal(vpn_api.vpn_connections.CreateVpnConnection, request)[0] == "INVALID_ARGUMENT"


def test_changes(vpn_api: Api, store: Store, create: Create, daemon: Daemon) -> None:
    create("hq")
    network_revision = store.cache.networks["office"].network.revision
    revision = daemon.revision("vpnConnections/hq")
    made = update(vpn_api, "hq", peer="vpn.example.com", dpd_seconds=30)
    # The identity was the address of the old peer, since none was asked for.
    assert (made.peer, made.remote_identity, made.dpd_seconds) == ("vpn.example.com", "vpn.example.com", 30)
    assert daemon.revision("vpnConnections/hq") == revision + 1
    assert store.cache.networks["office"].network.revision == network_revision + 1
    assert update(vpn_api, "hq", remote_identity="hq.example.com").remote_identity == "hq.example.com"
    assert update(vpn_api, "hq", peer=PEER).remote_identity == "hq.example.com"
    assert update(vpn_api, "hq", "remote_identity", "dpd_seconds").remote_identity == PEER
    assert get_connection(vpn_api, "hq").dpd_seconds == 2
    made = update(vpn_api, "hq", ike_version=VpnConnection.IKE_V1)
    assert made.ike_proposals == ["aes256-sha256-modp2048", "aes128-sha256-modp2048"]
    made = update(vpn_api, "hq", ike_version=VpnConnection.IKE_V2, esp_proposals=["aes128gcm16"])
    assert (made.ike_proposals[0], made.esp_proposals) == ("aes256gcm16-prfsha384-ecp384", ["aes128gcm16"])
    made = update(vpn_api, "hq", local_prefixes=["10.0.1.0/24"], remote_prefixes=["192.168.51.0/24", "192.168.50.0/25"])
    assert (made.local_prefixes, made.remote_prefixes) == (["10.0.1.0/24"], ["192.168.51.0/24", "192.168.50.0/25"])
    made = update(vpn_api, "hq", "peer", "role", "remote_identity", role=VpnConnection.RESPONDER, remote_identity="a.b")
    assert (made.peer, made.role) == ("", VpnConnection.RESPONDER)


def test_changes_that_are_refused(vpn_api: Api, server: Database, create: Create) -> None:
    create("hq")
    create("b", peer="198.51.100.201", remote_prefixes=["192.168.60.0/24"])
    before = server.dump()
    for request, expected, said in (
        (changed("hq", gateway="vpnGateways/gw2"), "INVALID_ARGUMENT", "vpnGateways/gw; it cannot be changed"),
        (changed("hq", "gateway"), "INVALID_ARGUMENT", "update_mask is 'gateway'"),
        (changed("hq", "status"), "INVALID_ARGUMENT", "update_mask is 'status'"),
        (changed("hq", "peer"), "INVALID_ARGUMENT", "empty only for a RESPONDER"),
        (changed("hq", "peer", "role", role=VpnConnection.RESPONDER), "INVALID_ARGUMENT", "remote_identity is ''"),
        (changed("hq", "remote_prefixes"), "INVALID_ARGUMENT", "remote_prefixes is []; allowed: 1 to 16"),
        (changed("hq", remote_prefixes=["192.168.60.0/25"]), "ALREADY_EXISTS", "vpnConnections/b"),
        (changed("hq", peer="198.51.100.201"), "ALREADY_EXISTS", "vpnConnections/b is to peer"),
        (changed("hq", peer=FIRST), "INVALID_ARGUMENT", "the gateway's own"),
        (changed("hq", "pre_shared_key"), "INVALID_ARGUMENT", "certificate are not set"),
        (changed("hq", "certificate"), "INVALID_ARGUMENT", "certificate_pem is empty"),
        (changed("hq", pre_shared_key="short"), "INVALID_ARGUMENT", "has 5 characters; allowed: 8 to 128"),
        (changed("hq", esp_proposals=["3des-sha1"]), "INVALID_ARGUMENT", "allow_weak_algorithms"),
    ):
        code, message, _ = refusal(vpn_api.vpn_connections.UpdateVpnConnection, request)
        assert (code, said in message) == (expected, True), message
    assert server.dump() == before


def test_a_mask_of_everything(vpn_api: Api, create: Create) -> None:
    create("hq", dpd_seconds=9, remote_identity="hq.example.com")
    made = update(vpn_api, "hq", "*", peer=PEER, remote_prefixes=["192.168.7.0/24"], pre_shared_key=SECRET)
    assert (made.dpd_seconds, made.remote_identity, made.remote_prefixes) == (2, PEER, ["192.168.7.0/24"])


def test_what_was_read_is_written_back_whole_and_keeps_its_secret(
    vpn_api: Api, create: Create, server: Database
) -> None:
    create("hq", pre_shared_key=SECRET)
    before = server.dump()
    read = get_connection(vpn_api, "hq")
    request = connections.UpdateVpnConnectionRequest(vpn_connection=read, update_mask=FieldMask(paths=["*"]))
    assert vpn_api.vpn_connections.UpdateVpnConnection(request) == read
    assert server.dump() == before


def test_names_are_asked_of_servers_beyond_a_tunnel(vpn_api: Api, create: Create) -> None:
    def forward(name: str, server: str) -> networks.UpdateNetworkRequest:
        rule = networks.DnsForwarding(domain="corp.example", servers=[server])
        return networks.UpdateNetworkRequest(network=networks.Network(name=f"networks/{name}", dns_forwarding=[rule]))

    code, message, _ = refusal(vpn_api.networks.UpdateNetwork, forward("office", "192.168.50.10"))
    assert (code, "of a VPN's remote prefix" in message) == ("INVALID_ARGUMENT", True)
    create("hq")
    made = vpn_api.networks.UpdateNetwork(forward("office", "192.168.50.10"))
    assert made.dns_forwarding[0].servers == ["192.168.50.10"]
    # Not beyond that of another network, nor beside the prefix.
    assert refusal(vpn_api.networks.UpdateNetwork, forward("lab", "192.168.50.10"))[0] == "INVALID_ARGUMENT"
    assert refusal(vpn_api.networks.UpdateNetwork, forward("office", "192.168.51.10"))[0] == "INVALID_ARGUMENT"


def test_of_two_agents_one_wins_overlapping_prefixes(server: Database) -> None:
    def new(name: str, prefix: str, peer: str) -> VpnConnectionSpec:
        return VpnConnectionSpec(name, "vpnGateways/gw", peer, remote_prefixes=(prefix,), pre_shared_key=SECRET)

    nothing = Idempotency()
    with opened(server) as one, opened(server) as other:
        one.create_network(NetworkSpec("office"), nothing, 5)
        one.create_vpn_gateway(VpnGatewaySpec("gw", "networks/office"), nothing, 5)
        wait_until(lambda: "gw" in other.cache.vpn.gateways)
        late = new("b", "192.168.0.0/24", "198.51.100.201")
        with other.cache.lock:
            transaction = TransactionBuilder(other.cache, other.config.appliance, other.clock)
            transaction.create_vpn_connection(late, other.seal)
        one.create_vpn_connection(new("a", "192.168.0.0/16", PEER), nothing, 5)
        # Planned before it knew.
        with pytest.raises(TransactionRefused):
            other.client.transact(transaction.operations)
        with pytest.raises(AlreadyExists, match=r"192\.168\.0\.0/16, a remote prefix of vpnConnections/a"):
            other.create_vpn_connection(late, nothing, 5)
        assert list(one.cache.vpn.connections) == ["a"]


def test_two_agents_race(server: Database) -> None:
    with opened(server) as one, opened(server) as other:
        nothing = Idempotency()
        one.create_network(NetworkSpec("office"), nothing, 5)
        one.create_vpn_gateway(VpnGatewaySpec("gw", "networks/office"), nothing, 5)
        wait_until(lambda: "gw" in other.cache.vpn.gateways)
        outcomes: list[str] = []

        def create(store: Store, which: int) -> None:
            for at in range(10):
                new = VpnConnectionSpec(
                    f"c{at}-{which}", "vpnGateways/gw", f"198.51.100.{100 + 2 * at + which}",
                    remote_prefixes=(f"192.168.{at}.0/{24 + which}",), pre_shared_key=SECRET,
                )  # fmt: skip
                try:
                    store.create_vpn_connection(new, nothing, 10)
                    outcomes.append("made")
                except AlreadyExists:
                    outcomes.append("taken")

        threads = [threading.Thread(target=create, args=(store, at)) for at, store in enumerate((one, other))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(outcomes) == ["made"] * 10 + ["taken"] * 10


def test_a_gateway_that_ends_takes_no_connection_along(vpn_api: Api, create: Create) -> None:
    create("hq")
    with pytest.raises(grpc.RpcError):
        vpn_api.networks.DeleteNetwork(networks.DeleteNetworkRequest(name="networks/office"))
    assert get_connection(vpn_api, "hq").name == "vpnConnections/hq"
