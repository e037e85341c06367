"""Certificates of VPN connections: which are taken, what is kept of them, and that answers show nothing of a key."""

from __future__ import annotations

import time

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from agent.requests import Certificate
from agent.validation.certificates import canonical, certificate
from tests.certificates import Authority

AUTHORITY = Authority("test authority")
ISSUED = AUTHORITY.issue("gw.example.com")
NOW = time.time_ns() // 1_000_000


def wrong(chain: str = "", private_key: str = "", authorities: str = "", now: int = NOW) -> dict[str, str]:
    """What is wrong by field; what is not given is right."""
    sent = Certificate(
        chain or ISSUED.certificate, private_key or ISSUED.private_key, authorities or AUTHORITY.certificate
    )
    found = {violation.field.removeprefix("c."): violation.description for violation in certificate("c", sent, now)}
    secret = [line for text in (chain, private_key) for line in text.splitlines()[1:-1] if line]
    assert not [line for line in secret for description in found.values() if line in description]
    return found


def pem(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | dsa.DSAPrivateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()).decode()


def test_certificates_as_they_should_be() -> None:
    assert not wrong()
    assert not wrong(ISSUED.certificate + AUTHORITY.certificate, authorities=AUTHORITY.certificate * 2)


def test_certificates_out_of_their_time() -> None:
    ended = AUTHORITY.issue("gw.example.com", -1)
    assert "allowed: a certificate that is valid now" in wrong(ended.certificate, ended.private_key)["certificate_pem"]
    assert list(wrong(now=0)) == ["certificate_pem"]


@pytest.mark.parametrize("text", ["x", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "\n", "é"])
def test_texts_that_are_no_certificates(text: str) -> None:
    assert list(wrong(text)) == ["certificate_pem"]
    assert list(wrong(authorities=text)) == ["ca_certificates_pem"]
    assert list(wrong(private_key=text)) == ["private_key_pem"]


def test_texts_that_are_too_long() -> None:
    assert "allowed: at most 65536" in wrong(ISSUED.certificate + "\n" * 65536)["certificate_pem"]
    assert list(wrong(private_key=ISSUED.private_key + "\n" * 65536)) == ["private_key_pem"]


def test_a_private_key_among_certificates() -> None:
    for text in (ISSUED.private_key, ISSUED.certificate + ISSUED.private_key):
        assert "holds a private key" in wrong(text)["certificate_pem"]
        assert "holds a private key" in wrong(authorities=text)["ca_certificates_pem"]


def test_keys_that_are_none_of_the_certificate() -> None:
    other = AUTHORITY.issue("gw.example.com")
    assert "is not of the certificate" in wrong(private_key=other.private_key)["private_key_pem"]
    # The certificate comes first in its chain.
    assert list(wrong(AUTHORITY.certificate + ISSUED.certificate)) == ["private_key_pem"]


def test_an_encrypted_key() -> None:
    key = load_pem_private_key(ISSUED.private_key.encode(), None)
    text = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"word")).decode()
    assert "is encrypted" in wrong(private_key=text)["private_key_pem"]


def test_kinds_and_sizes_of_keys() -> None:
    fine = [rsa.generate_private_key(65537, 2048), ec.generate_private_key(ec.SECP384R1()),
            ed25519.Ed25519PrivateKey.generate()]  # fmt: skip
    for key in fine:
        issued = AUTHORITY.sign("gw.example.com", key)
        assert not wrong(issued.certificate, issued.private_key)
    for weak in (rsa.generate_private_key(65537, 1024), ec.generate_private_key(ec.SECP192R1())):
        issued = AUTHORITY.sign("gw.example.com", weak)
        found = wrong(issued.certificate, issued.private_key)
        assert list(found) == ["certificate_pem", "private_key_pem"]
        assert "RSA of at least 2048 bits, EC of at least 256 bits, or Ed25519" in found["certificate_pem"]
    assert "is unsuitable" in wrong(private_key=pem(dsa.generate_private_key(2048)))["private_key_pem"]


def test_only_certificates_and_key_are_kept() -> None:
    key = load_pem_private_key(ISSUED.private_key.encode(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    sent = Certificate(
        f"subject=gw\n{ISSUED.certificate}\n# and its issuer\n{AUTHORITY.certificate}trailing", pem(key),
        f"\n\n{AUTHORITY.certificate}",
    )  # fmt: skip
    assert not list(certificate("c", sent, NOW))
    kept = Certificate(ISSUED.certificate + AUTHORITY.certificate, ISSUED.private_key, AUTHORITY.certificate)
    assert canonical(sent) == kept
    assert canonical(kept) == kept
    assert ISSUED.private_key not in repr(kept)
