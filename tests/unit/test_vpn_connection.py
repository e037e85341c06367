"""Connections as charon is told them."""

from __future__ import annotations

import dataclasses
import json

from state.vpn import Authentication, Role, VpnConnection, VpnGateway
from tests.certificates import Authority
from vpn.connection import children, connection_message, expiry, fingerprint, shared_message
from vpn.desired_state import VpnGatewayConfig

SITE = VpnGatewayConfig(
    key=7, gateway=VpnGateway("g", 1, "203.0.113.10", 2), network="n", prefix="10.9.0.0/16", router="10.9.0.1",
    mtu=1500, router_mac="02:00:00:00:ff:01", outside_mac="02:00:00:00:ff:02", storage="10.250.0.0/24",
)  # fmt: skip
PSK = VpnConnection(
    "hq", "198.51.100.2", ("192.168.50.0/24", "192.168.51.0/24"), peer_addresses=("198.51.100.2",), secret="sealed",
)  # fmt: skip
AUTHORITY = Authority("authority")
ISSUED = AUTHORITY.issue("gw.example.net")
CERTIFIED = dataclasses.replace(
    PSK, authentication=Authentication.CERTIFICATE, remote_identity="hq.example.net",
    certificate=ISSUED.certificate + AUTHORITY.certificate, ca_certificates=AUTHORITY.certificate,
)  # fmt: skip


def test_prefixes_of_this_side_are_the_networks_and_its_drives_unless_named() -> None:
    assert SITE.local_prefixes(PSK) == ("10.9.0.0/16", "10.250.0.0/24")
    named = dataclasses.replace(PSK, local_prefixes=("10.9.1.0/24",))
    assert SITE.local_prefixes(named) == ("10.9.1.0/24",)
    assert dataclasses.replace(SITE, storage="").local_prefixes(PSK) == ("10.9.0.0/16",)


def test_ikev2_has_one_child_and_ikev1_one_a_pair() -> None:
    old = children(SITE, dataclasses.replace(PSK, ike_version=1))
    # For a peer that narrows, those of the pairs are there too.
    assert children(SITE, PSK) == {"hq": (SITE.local_prefixes(PSK), PSK.remote_prefixes)} | old
    assert len(old) == 4
    assert set(old.values()) == {
        ((one,), (other,)) for one in SITE.local_prefixes(PSK) for other in PSK.remote_prefixes
    }


def test_a_peer_that_opens_is_not_pursued() -> None:
    for role, expected in ((Role.INITIATOR, ("restart", "start")), (Role.RESPONDER, ("clear", "none"))):
        message = connection_message(SITE, dataclasses.replace(PSK, role=role), True)["hq"]
        child = message["children"]["hq"]
        assert (child["dpd_action"], child["close_action"], child["start_action"]) == (*expected, "none")


def test_a_peer_of_any_address_is_known_by_its_identity() -> None:
    anyone = dataclasses.replace(PSK, peer="", peer_addresses=(), remote_identity="branch.example.net")
    message = connection_message(SITE, anyone, True)["hq"]
    assert message["remote_addrs"] == ["%any"]
    assert message["remote"] == {"auth": "psk", "id": "branch.example.net"}
    assert shared_message(SITE, anyone, "secret")["owners"] == ["branch.example.net", "203.0.113.10"]


def test_certificates_are_trusted_by_the_authorities_given_alone() -> None:
    message = connection_message(SITE, CERTIFIED, True)["hq"]
    assert message["local"] == {"auth": "pubkey", "certs": [ISSUED.certificate]}
    assert message["remote"] == {"auth": "pubkey", "id": "hq.example.net", "cacerts": [AUTHORITY.certificate]}
    assert expiry(CERTIFIED) > 0
    assert expiry(PSK) == 0
    assert (
        expiry(dataclasses.replace(PSK, certificate="-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----")) == 0
    )


def test_esp_is_in_udp_or_belongs_to_the_tunnels_device() -> None:
    inside, kernel = (connection_message(SITE, PSK, encapsulate)["hq"] for encapsulate in (True, False))
    assert (inside["encap"], "if_id_in" in inside) == ("yes", False)
    assert (kernel["encap"], kernel["if_id_in"], kernel["if_id_out"]) == ("no", "42", "42")


def test_no_message_but_that_of_the_secret_has_it() -> None:
    assert "sealed" not in json.dumps(connection_message(SITE, PSK, True))
    assert "sealed" not in fingerprint(SITE, PSK, True)
    assert shared_message(SITE, PSK, "open")["data"] == "open"


def test_only_what_charon_is_told_has_it_loaded_anew() -> None:
    same = dataclasses.replace(PSK, revision=9, created_at=5)
    assert fingerprint(SITE, same, True) == fingerprint(SITE, PSK, True)
    others = [
        dataclasses.replace(PSK, secret="another"),
        dataclasses.replace(PSK, peer_addresses=("198.51.100.3",)),
        dataclasses.replace(PSK, dpd_seconds=9),
        dataclasses.replace(PSK, remote_prefixes=("192.168.50.0/24",)),
        CERTIFIED,
        dataclasses.replace(CERTIFIED, certificate=ISSUED.certificate),
    ]
    assert len({fingerprint(SITE, one, True) for one in (PSK, *others)}) == len(others) + 1
