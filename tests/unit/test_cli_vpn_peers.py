"""sluicectl vpn config: the other side's configuration, word by word, and what is refused.

`SLUICE_UPDATE_GOLDEN=1` writes the texts in tests/unit/peers anew.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from certificates import Authority
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding
from fake_api import Done, FakeApi, command, fake_api
from fake_vpn import berlin, head

from cli.vpn.peer_config import KEY_PLACEHOLDER
from sluice.v1 import vpn_connection_pb2 as pb

Sluicectl = Callable[..., Done]
GOLDEN = Path(__file__).parent / "peers"
UPDATE = bool(os.environ.get("SLUICE_UPDATE_GOLDEN"))
KINDS = ("strongswan", "cisco-ios", "fortigate", "aws")
V1: dict[str, Any] = {
    "ike_version": pb.VpnConnection.IKE_V1,
    "ike_proposals": ["aes256-sha256-modp2048", "aes128-sha256-modp2048"],
    "esp_proposals": ["aes256-sha256-modp2048", "aes128-sha256-modp2048"],
}


@pytest.fixture
def api() -> Iterator[FakeApi]:
    with fake_api() as served:
        served.vpn_gateways["vpnGateways/head"] = head()
        yield served


@pytest.fixture
def sluicectl(api: FakeApi, capsys: pytest.CaptureFixture[str]) -> Sluicectl:
    return partial(command, api, capsys)


@pytest.fixture
def configured(api: FakeApi, sluicectl: Sluicectl) -> Callable[..., Done]:
    """What `vpn config` does for a kind of device and a connection with these values."""

    def call(kind: str, **values: Any) -> Done:
        api.vpn_connections["vpnConnections/berlin"] = berlin(**values)
        return sluicectl("vpn", "config", "berlin", "--for", kind)

    return call


def by_certificate(issuer: str = "Gateways CA", trusted: str = "Offices CA") -> dict[str, Any]:
    issued = Authority(issuer).issue("head.example.net")
    certificate = pb.VpnCertificate(
        certificate_pem=issued.certificate, ca_certificates_pem=Authority(trusted).certificate
    )
    return {"certificate": certificate, "local_identity": ""}


CASES: dict[str, Callable[[], dict[str, Any]]] = {
    "psk": dict,
    "v1": lambda: dict(V1, ike_lifetime_seconds=86400, dpd_seconds=30),
    "certificate": lambda: {
        **by_certificate(),
        "peer": "vpn.example.com",
        "remote_identity": "vpn.example.com",
        "role": pb.VpnConnection.RESPONDER,
    },
    "several": lambda: {
        "local_prefixes": ["10.0.0.0/16", "10.250.0.0/28"],
        "remote_prefixes": ["192.168.10.0/24", "192.168.12.7/32"],
        "ike_proposals": ["chacha20poly1305-prfsha256-curve25519", "aes256-sha512-modp4096"],
        "esp_proposals": ["aes256-sha256-modp2048", "aes256gcm16", "chacha20poly1305-curve25519"],
        "child_lifetime_seconds": 7200,
    },
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("kind", KINDS)
def test_the_configuration_is_the_golden_one(configured: Callable[..., Done], kind: str, case: str) -> None:
    done = configured(kind, **CASES[case]())
    assert (done.code, done.err) == (0, "")
    file = GOLDEN / f"{kind}-{case}.txt"
    if UPDATE:
        file.parent.mkdir(exist_ok=True)
        file.write_text(done.out)
    assert done.out == file.read_text()


@pytest.mark.parametrize("kind", KINDS)
def test_the_key_has_a_placeholder_and_certificates_have_none(configured: Callable[..., Done], kind: str) -> None:
    # Were the API to answer with the key, it would still not be written.
    assert "horse" not in configured(kind, pre_shared_key="horse battery").out
    assert configured(kind).out.count(KEY_PLACEHOLDER) >= 2
    assert KEY_PLACEHOLDER not in configured(kind, **by_certificate(), remote_identity="vpn.example.com").out


@pytest.mark.parametrize("kind", KINDS)
def test_json_carries_the_same_text(configured: Callable[..., Done], sluicectl: Sluicectl, kind: str) -> None:
    text = configured(kind).out
    answer = sluicectl("vpn", "config", "berlin", "--for", kind, "-o", "json").json()
    assert answer == {"connection": "vpnConnections/berlin", "for": kind, "configuration": text}


@pytest.mark.parametrize("kind", ["strongswan", "cisco-ios", "fortigate"])
def test_a_peer_without_an_address_is_told_what_to_fill_in(configured: Callable[..., Done], kind: str) -> None:
    by_name = configured(kind, peer="vpn.example.com", remote_identity="vpn.example.com").out
    assert "looks up vpn.example.com: that name must have this device's public address" in by_name
    anywhere = configured(kind, peer="", remote_identity="vpn@example.com", role=pb.VpnConnection.RESPONDER).out
    assert "by its identity vpn@example.com alone" in anywhere
    assert "this device must open the tunnel" in anywhere


def test_each_side_has_the_other_ones_prefixes_and_identities(configured: Callable[..., Done]) -> None:
    text = configured("strongswan", local_identity="head.example.net", remote_identity="vpn@example.com").out
    local, remote = re.findall(r"(?:local|remote) \{.*?id = \"(.*?)\"", text, re.DOTALL)
    assert (local, remote) == ("vpn@example.com", "head.example.net")
    assert "local_ts = 192.168.10.0/24\n" in text
    assert "remote_ts = 10.0.0.0/16\n" in text


@pytest.mark.parametrize(
    ("kind", "tunnels"),
    [("strongswan", r"^            berlin-\d \{"), ("fortigate", r"src-subnet"), ("cisco-ios", r"^ permit ip")],
)
def test_ikev1_has_a_tunnel_for_each_pair_of_prefixes(configured: Callable[..., Done], kind: str, tunnels: str) -> None:
    prefixes = {"local_prefixes": ["10.0.0.0/16", "10.250.0.0/28"], "remote_prefixes": ["192.168.10.0/24"]}
    assert len(re.findall(tunnels, configured(kind, **V1, **prefixes).out, re.MULTILINE)) == 2


def test_a_fortigate_opens_the_pairs_of_prefixes_that_the_gateway_does_not(configured: Callable[..., Done]) -> None:
    several = configured("fortigate", **CASES["several"]()).out
    assert (several.count("src-subnet"), several.count("auto-negotiate enable")) == (4, 4)
    assert configured("fortigate").out.count("auto-negotiate disable") == 1


def test_quotes_in_an_identity_stay_inside_theirs(configured: Callable[..., Done]) -> None:
    identity = 'O=A "b" \\ c, CN=x'
    for kind in ("strongswan", "fortigate"):
        assert r'"O=A \"b\" \\ c, CN=x"' in configured(kind, remote_identity=identity).out


def test_long_names_become_names_that_fortios_takes(api: FakeApi, sluicectl: Sluicectl) -> None:
    texts = []
    for end in ("one", "two"):
        name = f"vpnConnections/a-very-long-name-of-office-{end}"
        api.vpn_connections[name] = berlin(name=name)
        texts.append(sluicectl("vpn", "config", name, "--for", "fortigate").out)
    names = [re.findall(r'set phase1name "(.*)"', text)[0] for text in texts]
    assert [len(name) <= 15 for name in names] == [True, True]
    assert names[0] != names[1]


def test_the_script_for_aws_runs_and_gives_options_by_stdin(configured: Callable[..., Done], tmp_path: Path) -> None:
    aws = tmp_path / "aws"
    aws.write_text(
        f'#!/bin/bash\necho "$@" >>{tmp_path}/arguments\n'
        f'[[ "$*" != *create-vpn-connection\\ * ]] || cat >{tmp_path}/options\necho answer\n'
    )
    aws.chmod(0o755)
    script = tmp_path / "script"
    script.write_text(configured("aws", **CASES["several"]()).out)
    env = {"PATH": f"{tmp_path}:/usr/bin:/bin", "VPN_GATEWAY_ID": "vgw-1"}
    ran = subprocess.run(["bash", str(script)], env=env, capture_output=True, text=True, timeout=20, check=True)
    last = "Now: sluicectl vpn connections set berlin --peer answer --remote-identity answer"
    assert ran.stdout.splitlines()[-1] == last
    options = json.loads((tmp_path / "options").read_text())
    assert [tunnel["PreSharedKey"] for tunnel in options["TunnelOptions"]] == [KEY_PLACEHOLDER] * 2
    assert (options["LocalIpv4NetworkCidr"], options["RemoteIpv4NetworkCidr"]) == ("0.0.0.0/0", "0.0.0.0/0")
    arguments = (tmp_path / "arguments").read_text()
    assert KEY_PLACEHOLDER not in arguments
    assert arguments.count("create-vpn-connection-route") == 2
    without = subprocess.run(
        ["bash", str(script)], env={"PATH": env["PATH"]}, capture_output=True, text=True, timeout=20
    )
    assert without.returncode != 0
    assert "VPN_GATEWAY_ID" in without.stderr


@pytest.mark.parametrize("wanted", [(300, 120), (900, 900), (86400, 86400), (14400, 3600)])
def test_lifetimes_for_aws_are_within_its_limits(configured: Callable[..., Done], wanted: tuple[int, int]) -> None:
    text = configured("aws", ike_lifetime_seconds=wanted[0], child_lifetime_seconds=wanted[1]).out
    ike, child = (int(re.findall(rf'"Phase{phase}LifetimeSeconds": (\d+)', text)[0]) for phase in (1, 2))
    assert 900 <= ike <= 28800
    assert 900 <= child <= 3600
    assert child < ike
    assert (f"ike_lifetime_seconds is {wanted[0]}" in text) == (ike != wanted[0])


@pytest.mark.parametrize(
    ("kind", "values", "field", "said"),
    [
        ("aws", {"ike_proposals": ["chacha20poly1305-prfsha256-ecp256"]}, "ike_proposals", "no chacha20poly1305"),
        ("aws", {"esp_proposals": ["aes192-sha256-modp2048"]}, "esp_proposals", "no aes192"),
        ("aws", {"esp_proposals": ["aes256gcm16"]}, "esp_proposals", "perfect forward secrecy"),
        ("aws", {"esp_proposals": ["aes256-sha256-curve25519"]}, "esp_proposals", "no curve25519"),
        ("aws", {"local_identity": "head.example.net"}, "local_identity", "head.example.net"),
        ("aws", {"remote_identity": "vpn@example.com"}, "remote_identity", "vpn@example.com"),
        ("aws", {**V1, "role": pb.VpnConnection.RESPONDER}, "role", "IKE_V2 only"),
        ("aws", {**V1, "local_prefixes": ["10.0.0.0/16", "10.250.0.0/28"]}, "ike_version", "2 pairs"),
        ("cisco-ios", {"esp_proposals": ["chacha20poly1305"]}, "esp_proposals", "no chacha20poly1305"),
        ("cisco-ios", {"ike_proposals": ["aes256-sha256-modp8192"]}, "ike_proposals", "no modp8192"),
        ("cisco-ios", {"remote_identity": "O=A, CN=x"}, "remote_identity", "only by certificates"),
        ("cisco-ios", {"local_identity": "O=A, CN=x"}, "local_identity", "only of certificates"),
        ("cisco-ios", {**V1, "remote_identity": "vpn.example.com"}, "remote_identity", "its address"),
        ("fortigate", {"ike_proposals": ["aes256ctr-sha256-modp2048"]}, "ike_proposals", "no aes256ctr"),
        ("fortigate", {"esp_proposals": ["aes192gcm16"]}, "esp_proposals", "no aes192gcm16"),
        ("fortigate", {"remote_identity": "x" * 64 + ".example"}, "remote_identity", "at most 63"),
        ("fortigate", {"esp_proposals": ["rot13-ecp256"]}, "esp_proposals", "rot13 is not known"),
        ("strongswan", {"local_prefixes": []}, "local_prefixes", "is empty"),
    ],
)
def test_what_a_device_cannot_do_is_refused_with_the_field(
    configured: Callable[..., Done], kind: str, values: dict[str, Any], field: str, said: str
) -> None:
    done = configured(kind, **values)
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith(f"error: {field}: ")
    assert said in done.err
    assert "(UNSUPPORTED)" in done.err


def test_one_proposal_that_both_know_is_enough_and_the_others_are_named(configured: Callable[..., Done]) -> None:
    text = configured("aws", esp_proposals=["chacha20poly1305-ecp256", "aes256-sha256-modp2048"]).out
    assert "chacha20poly1305-ecp256 is left out: AWS has no chacha20poly1305" in text


def test_a_key_that_a_device_does_not_know_is_refused(configured: Callable[..., Done]) -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "head.example.net")])
    example = x509.load_pem_x509_certificate(Authority("CA").certificate.encode())
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
        .not_valid_before(example.not_valid_before_utc).not_valid_after(example.not_valid_after_utc).sign(key, None)
    )  # fmt: skip
    values = by_certificate()
    values["certificate"].certificate_pem = made.public_bytes(Encoding.PEM).decode()
    done = configured("cisco-ios", **values)
    assert (done.code, "certificate: has a key of ed25519" in done.err) == (1, True)


def test_one_authority_for_both_sides_is_one_trustpoint(configured: Callable[..., Done]) -> None:
    text = configured("cisco-ios", **by_certificate("CA", "CA")).out
    assert re.findall(r"^crypto pki trustpoint (\S+)", text, re.MULTILINE) == ["SLUICE-berlin"]
    assert " pki trustpoint SLUICE-berlin\n" in text


def test_a_connection_that_is_not_there(sluicectl: Sluicectl) -> None:
    done = sluicectl("vpn", "config", "paris", "--for", "aws")
    assert (done.code, "no VPN connection vpnConnections/paris (NOT_FOUND)" in done.err) == (1, True)
