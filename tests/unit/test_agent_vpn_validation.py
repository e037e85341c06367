"""What a VPN connection may be made of, field by field, and every mistake at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from agent.requests import VpnConnectionSpec
from agent.validation.prefixes import prefixes
from agent.validation.proposals import esp_proposals, ike_proposals
from agent.validation.vpn import identity, new_vpn_connection, peer, proof
from state.vpn import DEFAULT_ESP, DEFAULT_IKE

FINE = VpnConnectionSpec(
    "hq", "vpnGateways/gw", "198.51.100.200", remote_prefixes=("192.168.50.0/24",), pre_shared_key="long enough"
)


def fields(request: VpnConnectionSpec) -> list[str]:
    return [violation.field for violation in new_vpn_connection(request, 0)]


def test_a_plain_connection() -> None:
    assert fields(FINE) == []


def test_every_mistake_at_once() -> None:
    wrong = VpnConnectionSpec(
        "HQ", "gw", "10.0.0.1", "%any", "*", "short", None, ("10.0.0.1/24",), (), "IKE_V3", "BOTH",
        ("aes128",), ("aes128",), False, -1, 299, 86401,
    )  # fmt: skip
    assert fields(wrong) == [
        "vpn_connection_id",
        "vpn_connection.gateway",
        "vpn_connection.peer",
        "vpn_connection.role",
        "vpn_connection.local_identity",
        "vpn_connection.remote_identity",
        "vpn_connection.local_prefixes[0]",
        "vpn_connection.remote_prefixes",
        "vpn_connection.ike_version",
        "vpn_connection.ike_proposals[0]",
        "vpn_connection.esp_proposals[0]",
        "vpn_connection.dpd_seconds",
        "vpn_connection.ike_lifetime_seconds",
        "vpn_connection.child_lifetime_seconds",
        "vpn_connection.pre_shared_key",
    ]


def test_limits_of_times() -> None:
    for times in ((1, 300, 120), (3600, 86400, 86400), (0, 0, 0)):
        dpd, ike, child = times
        assert fields(replace(FINE, dpd_seconds=dpd, ike_seconds=ike, child_seconds=child)) == []
    assert fields(replace(FINE, dpd_seconds=3601, ike_seconds=86401, child_seconds=119)) == [
        "vpn_connection.dpd_seconds", "vpn_connection.ike_lifetime_seconds", "vpn_connection.child_lifetime_seconds",
    ]  # fmt: skip


def test_who_may_have_no_peer() -> None:
    anybody = replace(FINE, peer="", remote_identity="branch.example.com", role="RESPONDER")
    assert fields(anybody) == []
    assert fields(replace(anybody, role="INITIATOR")) == ["vpn_connection.peer"]
    assert fields(replace(anybody, remote_identity="")) == ["vpn_connection.remote_identity"]


@pytest.mark.parametrize("value", ["", "198.51.100.1", "8.8.8.8", "vpn.example.com", "a.b", "xn--mller-kva.ch"])
def test_peers(value: str) -> None:
    assert not list(peer("peer", value))


@pytest.mark.parametrize(
    "value",
    [
        "10.1.2.3", "192.168.1.1", "172.16.0.1", "100.64.0.1", "127.0.0.1", "0.0.0.0", "224.0.0.1", "255.255.255.255",
        "169.254.0.1", "2001:db8::1", "198.51.100.0/24", "198.51.100.256", "1.2.3", "VPN.example.com", "vpn", "vpn.",
        ".vpn", "vpn example.com", "%any", "a_b.example.com", "-a.b", "user@example.com", "198.51.100.1:500",
        "vpn.example.com\n", "a." * 127 + "b",
    ],
)  # fmt: skip
def test_peers_that_are_none(value: str) -> None:
    (violation,) = peer("peer", value)
    assert violation.description.startswith("peer is ")
    assert "; allowed: " in violation.description


@pytest.mark.parametrize(
    "value",
    [
        "", "198.51.100.1", "10.0.0.1", "vpn.example.com", "gateway-1", "VPN_1.Example.com", "user@example.com",
        "a.b+c@example.com", "CN=vpn", "C=CH, O=Example AG, CN=vpn.example.com", "/C=CH/O=Example/CN=vpn",
        "C=CH, O=Müller (Zürich), CN=a@b.ch", "O = Example, CN = vpn", "C=CH,O=a/b,cn=vpn",
        "E=a@b.ch, DC=example, serialNumber=7",
    ],
)  # fmt: skip
def test_identities(value: str) -> None:
    assert not list(identity("local_identity", value))


@pytest.mark.parametrize(
    "value",
    [
        # Anybody, to strongSwan.
        "%any", "*", "0.0.0.0", "*.example.com", "*@example.com", "C=CH, CN=*", "%any6", "::", "10.0.0.0/8",
        "10.0.0.1-10.0.0.9", "10.0.0.1-9",
        # Other kinds of identity, by how they begin.
        "@vpn.example.com", "@#c0ffee", "@@user@example.com", "fqdn:vpn.example.com", "keyid:1", "{1}:x", "dns:a",
        # What cannot be meant.
        "vpn example", " vpn", "vpn ", "a@b@c", "CN=", "=vpn", "CN=a,", "CN=a\nCN=b", "CN=a=b", "CN=a, , CN=b",
        "foo=bar", "2.5.4.3=vpn", "C=CH/O=Example", "/C=CH, O=Example", "CN=vpn ", 'CN="a"', "vpn\n",
        "a" * 256, "vpn,example", "vpn..example", "é.example",
    ],
)  # fmt: skip
def test_identities_that_are_none(value: str) -> None:
    (violation,) = identity("local_identity", value)
    assert "without wildcards" in violation.description


@pytest.mark.parametrize(
    ("values", "wrong"),
    [
        (["10.0.0.0/8"], []),
        (["192.168.1.1/32", "192.168.1.0/32"], []),
        ([f"192.168.{at}.0/24" for at in range(16)], []),
        ([], ["p"]),
        ([f"192.168.{at}.0/24" for at in range(17)], ["p"]),
        (["10.0.0.0/7", "0.0.0.0/0"], ["p[0]", "p[1]"]),
        (["10.0.0.1/8", "10.0.0.0", "x", "2001:db8::/32", "10.0.0.0/255.0.0.0", ""], [f"p[{at}]" for at in range(6)]),
        (["192.168.0.0/16", "10.0.0.0/8", "192.168.5.0/24"], ["p[2]"]),
        (["192.168.5.0/24", "192.168.5.0/24"], ["p[1]"]),
    ],
)
def test_prefixes(values: Sequence[str], wrong: Sequence[str]) -> None:
    assert [violation.field for violation in prefixes("p", values, least=1, most=16)] == wrong


def test_prefixes_that_need_not_be() -> None:
    assert not list(prefixes("p", [], least=0, most=16))


@pytest.mark.parametrize("key", ["8 digits", "x" * 128, " !\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"])
def test_pre_shared_keys(key: str) -> None:
    assert not list(proof(key, None, 0))


@pytest.mark.parametrize(
    "key", ["", "7 chars", "y" * 129, "no\nline breaks", "tab\there, too", "not äscii", "nul\0 byte"]
)
def test_pre_shared_keys_that_are_none(key: str) -> None:
    (violation,) = proof(key, None, 0)
    assert violation.field == "vpn_connection.pre_shared_key"
    assert not key or key not in violation.description


@pytest.mark.parametrize(
    "value",
    [
        "aes256gcm16-prfsha384-ecp384", "aes128gcm16-prfsha256-curve25519", "aes192gcm16-prfsha512-modp8192",
        "chacha20poly1305-prfsha256-ecp256", "aes256-sha256-modp2048", "aes192-sha512-prfsha512-ecp521",
        "aes128-sha384-modp3072",
    ],
)  # fmt: skip
def test_proposals_for_ike(value: str) -> None:
    assert not list(ike_proposals("p", [value], 2, allow_weak=False))


@pytest.mark.parametrize("version", [1, 2])
def test_defaults_are_allowed(version: int) -> None:
    assert not list(ike_proposals("p", DEFAULT_IKE[version], version, allow_weak=False))
    assert not list(esp_proposals("p", DEFAULT_ESP[version], allow_weak=False))


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("", "algorithms among"),
        ("aes256", "exactly one of sha256"),
        ("sha256-modp2048", "exactly one encryption"),
        ("aes256-aes128-sha256-modp2048", "exactly one encryption"),
        ("aes256-sha256", "exactly one key exchange group"),
        ("aes256-sha256-modp2048-ecp256", "exactly one key exchange group"),
        ("aes256-sha256-sha512-modp2048", "exactly one of sha256"),
        ("aes256gcm16-ecp384", "exactly one of prfsha256"),
        ("aes256gcm16-sha256-prfsha384-ecp384", "no sha256 beside aes256gcm16"),
        ("aes256-sha256-prfsha256-prfsha384-ecp384", "at most one of prfsha256"),
        ("aes256ctr-sha256-modp2048", "algorithms among"),
        ("aes256-md5-modp2048", "algorithms among"),
        ("null-sha256-modp2048", "algorithms among"),
        ("AES256-SHA256-MODP2048", "algorithms among"),
        ("aes256-sha256-modp2048!", "algorithms among"),
        ("aes256-sha256-modp2048,aes128-sha256-modp2048", "algorithms among"),
        ("default", "algorithms among"),
    ],
)
def test_proposals_for_ike_that_are_none(value: str, said: str) -> None:
    (violation,) = ike_proposals("p", [value], 2, allow_weak=True)
    assert violation.field == "p[0]"
    assert said in violation.description


@pytest.mark.parametrize("value", ["aes256gcm16", "aes256gcm16-ecp384", "aes128-sha256", "aes128-sha256-modp2048"])
def test_proposals_for_esp(value: str) -> None:
    assert not list(esp_proposals("p", [value], allow_weak=False))


@pytest.mark.parametrize(
    "value", ["aes256", "ecp384", "aes256gcm16-prfsha384-ecp384", "aes256gcm16-sha256", "aes128-sha256-ecp256-ecp384"]
)
def test_proposals_for_esp_that_are_none(value: str) -> None:
    assert [violation.field for violation in esp_proposals("p", [value], allow_weak=True)] == ["p[0]"]


@pytest.mark.parametrize(
    ("value", "weak"),
    [
        ("aes128-sha1-modp2048", "sha1"),
        ("3des-sha256-modp2048", "3des"),
        ("aes128-sha256-modp1024", "modp1024"),
        ("aes128-sha256-modp1536", "modp1536"),
        ("3des-sha1-modp1024", "3des, sha1, modp1024"),
    ],
)
def test_weak_algorithms_are_for_those_who_ask(value: str, weak: str) -> None:
    (violation,) = ike_proposals("p", [value], 1, allow_weak=False)
    assert f"{weak} only with allow_weak_algorithms" in violation.description
    assert [violation.field for violation in esp_proposals("p", [value], allow_weak=False)] == ["p[0]"]
    assert not list(ike_proposals("p", [value], 1, allow_weak=True))
    assert not list(esp_proposals("p", [value], allow_weak=True))


def test_ikev1_has_no_aead_in_phase_1() -> None:
    (violation,) = ike_proposals("p", ["aes256gcm16-prfsha384-ecp384"], 1, allow_weak=True)
    assert "phase 1 of IKEv1" in violation.description
    assert fields(replace(FINE, ike_version="IKE_V1", esp_proposals=("aes256gcm16-ecp384",))) == []


def test_how_many_proposals() -> None:
    many = [f"{cipher}-{integrity}-ecp256" for cipher in ("aes256", "aes128", "aes192") for integrity in
            ("sha256", "sha384", "sha512")]  # fmt: skip
    assert not list(ike_proposals("p", many[:8], 2, allow_weak=False))
    assert [violation.field for violation in ike_proposals("p", many, 2, allow_weak=False)] == ["p"]
    assert [violation.field for violation in ike_proposals("p", many[:1] * 2, 2, allow_weak=False)] == ["p[1]"]
