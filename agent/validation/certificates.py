"""Checks certificates of VPN connections and writes them without what does not belong there.

No answer shows a text that was sent: it may hold a private key.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from agent.errors import Violation
from agent.requests import Certificate

MAX_PEM = 65536
LEAST_RSA, LEAST_EC = 2048, 256

_KEY_RULE = f"RSA of at least {LEAST_RSA} bits, EC of at least {LEAST_EC} bits, or Ed25519"
_PRIVATE = "PRIVATE KEY"

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


class _Unreadable(Exception):
    """Why a text cannot be read, and what is allowed; not the text."""


def certificate(field: str, value: Certificate, now: int) -> Iterator[Violation]:
    """Check certificates and private key, at `now` (ms since the epoch)."""
    chain, key = None, None
    try:
        chain = _certificates(value.chain, "the gateway's certificate (PEM), then those of intermediate authorities")
    except _Unreadable as error:
        yield Violation(f"{field}.certificate_pem", f"{field}.certificate_pem {error}")
    else:
        yield from _usable(f"{field}.certificate_pem", chain[0], now)
    try:
        key = _private_key(value.private_key)
    except _Unreadable as error:
        yield Violation(f"{field}.private_key_pem", f"{field}.private_key_pem {error}")
    if chain is not None and key is not None and _public(chain[0].public_key()) != _public(key.public_key()):
        said = "is not of the certificate; allowed: the private key of the first certificate of certificate_pem"
        yield Violation(f"{field}.private_key_pem", f"{field}.private_key_pem {said}")
    try:
        _certificates(value.authorities, "certificates (PEM) of the authorities the peer's certificate may be from")
    except _Unreadable as error:
        yield Violation(f"{field}.ca_certificates_pem", f"{field}.ca_certificates_pem {error}")


def canonical(value: Certificate) -> Certificate:
    """The same certificates and key, once checked, and nothing else: PEM, the key as PKCS #8."""
    key = _private_key(value.private_key)
    return Certificate(
        _pem(_certificates(value.chain, "")),
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode(),
        _pem(_certificates(value.authorities, "")),
    )


def _pem(certificates: list[x509.Certificate]) -> str:
    return "".join(one.public_bytes(Encoding.PEM).decode() for one in certificates)


def _certificates(text: str, allowed: str) -> list[x509.Certificate]:
    if not text.strip():
        raise _Unreadable(f"is empty; allowed: {allowed}")
    if len(text) > MAX_PEM:
        raise _Unreadable(f"has {len(text)} characters; allowed: at most {MAX_PEM}")
    if _PRIVATE in text:
        raise _Unreadable(f"holds a private key; allowed: {allowed}")
    try:
        found = x509.load_pem_x509_certificates(text.encode())
        for one in found:
            one.public_key()
    except (ValueError, UnsupportedAlgorithm) as error:
        raise _Unreadable(f"cannot be read; allowed: {allowed}") from error
    return found


def _usable(field: str, leaf: x509.Certificate, now: int) -> Iterator[Violation]:
    if not _sound(leaf.public_key()):
        yield Violation(field, f"{field} has an unsuitable key; allowed: {_KEY_RULE}")
    moment = datetime.datetime.fromtimestamp(now / 1000, datetime.UTC)
    first, last = leaf.not_valid_before_utc, leaf.not_valid_after_utc
    if not first <= moment <= last:
        span = f"is valid from {first:%Y-%m-%dT%H:%M:%SZ} to {last:%Y-%m-%dT%H:%M:%SZ}"
        yield Violation(field, f"{field} {span}; allowed: a certificate that is valid now")


def _sound(key: object) -> bool:
    match key:
        case rsa.RSAPublicKey() | rsa.RSAPrivateKey():
            return key.key_size >= LEAST_RSA
        case ec.EllipticCurvePublicKey() | ec.EllipticCurvePrivateKey():
            return key.curve.key_size >= LEAST_EC
        case ed25519.Ed25519PublicKey() | ed25519.Ed25519PrivateKey():
            return True
        case _:
            return False


def _private_key(text: str) -> PrivateKey:
    allowed = "the certificate's private key (PEM, PKCS #8 or traditional, not encrypted)"
    if not text.strip():
        raise _Unreadable(f"is empty; allowed: {allowed}")
    if len(text) > MAX_PEM:
        raise _Unreadable(f"has {len(text)} characters; allowed: at most {MAX_PEM}")
    try:
        key = load_pem_private_key(text.encode(), None)
    except TypeError:
        raise _Unreadable(f"is encrypted; allowed: {allowed}") from None
    except (ValueError, UnsupportedAlgorithm):
        # What the library says may show parts of the text.
        raise _Unreadable(f"cannot be read; allowed: {allowed}") from None
    if not isinstance(key, PrivateKey) or not _sound(key):
        raise _Unreadable(f"is unsuitable; allowed: {_KEY_RULE}")
    return key


def _public(key: object) -> bytes | None:
    if isinstance(key, rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey):
        return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return None
