"""Secrets of VPN connections: they take each other's place, are kept, and nobody reads them."""

from __future__ import annotations

import json
import logging
import uuid
from pathlib import Path

import pytest

from agent.api.calls import idempotency
from agent.requests import Certificate, VpnConnectionSpec, VpnConnectionUpdate
from agent.store import Store
from sluice.v1 import status_pb2
from sluice.v1 import vpn_connection_pb2 as connections
from state.model import State
from tests.agents import Api, Database, network, opened, refusal, served
from tests.certificates import Authority, Issued
from tests.vpn_calls import SECRET, Create, Daemon, changed, connection, gateway, get_connection, update

FIRST = "203.0.113.96"
AUTHORITY = Authority("test authority")


def certificate_of(issued: Issued) -> connections.VpnCertificate:
    return connections.VpnCertificate(
        certificate_pem=issued.certificate,
        private_key_pem=issued.private_key,
        ca_certificates_pem=AUTHORITY.certificate,
    )


def test_certificates_and_a_key_take_each_other_s_place(vpn_api: Api, store: Store, create: Create) -> None:
    create("hq")
    issued = AUTHORITY.issue("gw.example.com")
    made = update(vpn_api, "hq", certificate=certificate_of(issued))
    assert made.certificate == connections.VpnCertificate(
        certificate_pem=issued.certificate, ca_certificates_pem=AUTHORITY.certificate
    )
    # The subject of the certificate.
    assert made.local_identity == ""
    stored = store.cache.vpn.connections["hq"].connection
    assert store.seal.open(stored.secret) == issued.private_key
    # Another authority to trust, with the key there is.
    other = Authority("another").certificate
    sent = connections.VpnCertificate(certificate_pem=issued.certificate, ca_certificates_pem=other)
    assert update(vpn_api, "hq", certificate=sent).certificate.ca_certificates_pem == other
    assert store.seal.open(store.cache.vpn.connections["hq"].connection.secret) == issued.private_key
    sent.certificate_pem = AUTHORITY.issue("gw.example.com").certificate
    code, message, _ = refusal(vpn_api.vpn_connections.UpdateVpnConnection, changed("hq", certificate=sent))
    assert (code, "private_key_pem is not of the certificate" in message) == ("INVALID_ARGUMENT", True)
    made = update(vpn_api, "hq", pre_shared_key=SECRET)
    assert (made.HasField("certificate"), made.local_identity) == (False, FIRST)
    stored = store.cache.vpn.connections["hq"].connection
    assert (store.seal.open(stored.secret), stored.certificate, stored.ca_certificates) == (SECRET, "", "")


def test_nobody_reads_secrets(
    vpn_api: Api, store: Store, server: Database, daemon: Daemon, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    issued = AUTHORITY.issue("gw.example.com")
    stream = vpn_api.vpn_connections.WatchVpnConnections(connections.WatchVpnConnectionsRequest())
    assert next(stream).type == status_pb2.SYNCED
    shown: list[object] = []
    for request in (
        connection("hq", request_id=str(uuid.uuid4())),
        connection("crt", "gw2", certificate=certificate_of(issued), request_id=str(uuid.uuid4())),
    ):
        shown += [vpn_api.vpn_connections.CreateVpnConnection(request), next(stream)]
    daemon.say("vpnConnections/hq", State.ERROR, "authentication failed")
    stream.cancel()
    shown += [get_connection(vpn_api, name) for name in ("hq", "crt")]
    shown.append(vpn_api.vpn_connections.ListVpnConnections(connections.ListVpnConnectionsRequest()))
    # Too long, with a character that is not allowed, beside a wrong field, and a private key in the wrong place.
    twisted = connections.VpnCertificate(
        certificate_pem=issued.private_key, private_key_pem=issued.private_key + "x" * 70000, ca_certificates_pem="-"
    )
    for refused in (
        connection("b", pre_shared_key=SECRET * 9),
        connection("b", pre_shared_key=SECRET + "\n"),
        connection("b", peer="?", remote_prefixes=[]),
        connection("b", certificate=twisted),
        connection("b", certificate=certificate_of(Issued(AUTHORITY.certificate, issued.private_key))),
        connection("b", certificate=certificate_of(issued), pre_shared_key=SECRET),
    ):
        code, message, details = refusal(vpn_api.vpn_connections.CreateVpnConnection, refused)
        assert code == "INVALID_ARGUMENT"
        shown += [message, details]
    asked = VpnConnectionSpec(pre_shared_key=SECRET, certificate=Certificate("", issued.private_key, ""))
    shown += [repr(asked), repr(VpnConnectionUpdate(pre_shared_key=SECRET, certificate=asked.certificate))]
    shown += [repr(store.vpn_connection(name)) for name in ("hq", "crt")]
    shown += [caplog.text, *(record.__dict__ for record in caplog.records)]
    sealed = [record.connection.secret for record in store.cache.vpn.connections.values()]
    stored = [server.dump(), Path(server.directory, "conf.db").read_text()]
    assert all(secret in stored[0] for secret in sealed)
    hidden = [SECRET, *issued.private_key.splitlines()[1:-1]]
    assert not [secret for secret in hidden for place in stored if secret in place]
    assert not [secret for secret in (*hidden, *sealed) for place in shown if secret in str(place)]


def test_a_digest_does_not_tell_the_key(vpn_api: Api, server: Database) -> None:
    """Whoever reads the database cannot try keys until the digest of a request is right."""
    request = connection("hq", request_id=str(uuid.uuid4()))
    vpn_api.vpn_connections.CreateVpnConnection(request)
    (row,) = json.loads(server.dump("Request"))["data"]
    assert idempotency(request, "CreateVpnConnection").digest not in row


def test_without_a_key_that_can_be_used(server: Database) -> None:
    with opened(server, vpn_key=f"{server.directory}/none/vpn.key") as store, served(store) as vpn_api:
        vpn_api.networks.CreateNetwork(network("office"))
        vpn_api.vpn_gateways.CreateVpnGateway(gateway("gw"))
        code, message, details = refusal(vpn_api.vpn_connections.CreateVpnConnection, connection("hq"))
        assert (code, details["ErrorInfo"].reason) == ("FAILED_PRECONDITION", "NO_SEALING_KEY")
        assert "[vpn] key" in message
        Path(server.directory, "none").mkdir()
        vpn_api.vpn_connections.CreateVpnConnection(connection("hq"))


def test_no_difference_is_no_change(vpn_api: Api, store: Store, create: Create, daemon: Daemon) -> None:
    create("hq")
    create("crt", "gw2", certificate=certificate_of(AUTHORITY.issue("gw.example.com")))
    revisions = [daemon.revision(f"vpnConnections/{name}") for name in ("hq", "crt")]
    before = [record.network.revision for record in store.cache.networks.values()]
    assert update(vpn_api, "hq", pre_shared_key=SECRET) == get_connection(vpn_api, "hq")
    # A client that writes back what it read.
    for name in ("hq", "crt"):
        read = get_connection(vpn_api, name)
        written = vpn_api.vpn_connections.UpdateVpnConnection(
            connections.UpdateVpnConnectionRequest(vpn_connection=read)
        )
        assert written == read
    assert [daemon.revision(f"vpnConnections/{name}") for name in ("hq", "crt")] == revisions
    assert [record.network.revision for record in store.cache.networks.values()] == before
    update(vpn_api, "hq", pre_shared_key=SECRET + "!")
    assert daemon.revision("vpnConnections/hq") == revisions[0] + 1
