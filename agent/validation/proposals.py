"""Proposals of VPN connections: algorithms joined by `-` as strongSwan names them, checked against what is allowed.

A key exchange group in a proposal for ESP means perfect forward secrecy. Which
algorithms are no longer secure is said in RFC 8247 (IKEv2) and RFC 8221 (ESP).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from agent.errors import Violation
from agent.validation.objects import wrong

MAX_PROPOSALS = 8

AEAD = ("aes256gcm16", "aes192gcm16", "aes128gcm16", "chacha20poly1305")
CIPHERS = ("aes256", "aes192", "aes128", "3des")
INTEGRITIES = ("sha256", "sha384", "sha512", "sha1")
PRFS = ("prfsha256", "prfsha384", "prfsha512")
GROUPS = (
    "modp2048", "modp3072", "modp4096", "modp6144", "modp8192", "ecp256", "ecp384", "ecp521", "curve25519",
    "modp1024", "modp1536",
)  # fmt: skip
WEAK = ("3des", "sha1", "modp1024", "modp1536")

_CLASSES = (*(AEAD + CIPHERS), *INTEGRITIES, *PRFS, *GROUPS)


def ike_proposals(field: str, values: Sequence[str], version: int, *, allow_weak: bool) -> Iterator[Violation]:
    """Check proposals for a version of IKE; none means the defaults."""
    return _proposals(field, values, version, allow_weak=allow_weak, ike=True)


def esp_proposals(field: str, values: Sequence[str], *, allow_weak: bool) -> Iterator[Violation]:
    """Check proposals for ESP; none means the defaults."""
    return _proposals(field, values, 2, allow_weak=allow_weak, ike=False)


def _proposals(field: str, values: Sequence[str], version: int, *, allow_weak: bool, ike: bool) -> Iterator[Violation]:
    if len(values) > MAX_PROPOSALS:
        yield wrong(field, len(values), f"at most {MAX_PROPOSALS} proposals")
    for at, value in enumerate(values[:MAX_PROPOSALS]):
        allowed = _amiss(value, version, ike=ike)
        if allowed is None and value in values[:at]:
            allowed = "each proposal only once"
        weak = [token for token in value.split("-") if token in WEAK]
        if allowed is None and weak and not allow_weak:
            allowed = f"{', '.join(weak)} only with allow_weak_algorithms, since no longer secure"
        if allowed is not None:
            yield wrong(f"{field}[{at}]", value, allowed)


def _amiss(value: str, version: int, *, ike: bool) -> str | None:
    """What would be allowed in place of a proposal; None when it is right."""
    tokens = value.split("-")
    unknown = [token for token in tokens if token not in _CLASSES]
    if unknown:
        return f"algorithms among {', '.join(_CLASSES)}, joined by '-'"
    aead, ciphers, integrities, prfs, groups = (
        [token for token in tokens if token in known] for known in (AEAD, CIPHERS, INTEGRITIES, PRFS, GROUPS)
    )
    if len(aead) + len(ciphers) != 1:
        return f"exactly one encryption algorithm, {', '.join(AEAD + CIPHERS)}"
    if aead and integrities:
        return f"no {integrities[0]} beside {aead[0]}, which needs none" + (" (but a prf)" if ike else "")
    if ciphers and len(integrities) != 1:
        return f"exactly one of {', '.join(INTEGRITIES)} beside {ciphers[0]}"
    if not ike:
        if prfs:
            return f"no {prfs[0]}, which is for IKE alone"
        return None if len(groups) <= 1 else "at most one key exchange group"
    if version == 1 and aead:
        return f"no {aead[0]}, which phase 1 of IKEv1 does not have"
    if len(prfs) > 1 or (aead and not prfs):
        return f"{'exactly' if aead else 'at most'} one of {', '.join(PRFS)}"
    return None if len(groups) == 1 else f"exactly one key exchange group, {', '.join(GROUPS)}"
