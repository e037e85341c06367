"""A connection seen from its other side: everything that the configuration of a peer's device needs."""

from __future__ import annotations

import enum
import ipaddress
import itertools
from collections.abc import Iterable
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from cli import names
from cli.errors import refusal
from sluice.v1 import vpn_connection_pb2 as pb
from sluice.v1 import vpn_gateway_pb2

TUNNEL_MTU = 1400
"""Largest IP packet the gateway sends through a tunnel, in bytes."""

TCP_MSS = 1360
"""TCP segments that fit into it, in bytes."""

KEY_PLACEHOLDER = "REPLACE_WITH_THE_PRE_SHARED_KEY"
"""Stands for the pre-shared key, which cannot be read back."""


class IdentityKind(enum.Enum):
    """What an identity is (RFC 7296 section 3.5)."""

    ADDRESS = "address"
    DOMAIN = "domain"
    MAIL = "mail"
    SUBJECT = "subject"


@dataclass(frozen=True, slots=True)
class Credentials:
    """Certificates as the other side sees them: whom it must trust, and from whom its own must be.

    `key` is the kind of the gateway's key, `rsa`, `ecdsa` or another word;
    `common_name` is that of the gateway's certificate, maybe empty.
    """

    subject: str
    common_name: str
    issuer: str
    key: str
    authorities: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class VpnPeer:
    """One connection from the peer's point of view: `own` is the peer's, `gateway` is ours.

    `own_address` is empty when the appliance does not know it, `own_name` when
    it has no domain name; `proof` is None with a pre-shared key. Lifetimes and
    `dpd` are in seconds. `opens`: the other side must open the connection.
    """

    name: str
    own_address: str
    own_name: str
    own_identity: str
    own_prefixes: tuple[ipaddress.IPv4Network, ...]
    gateway_address: str
    gateway_identity: str
    gateway_prefixes: tuple[ipaddress.IPv4Network, ...]
    proof: Credentials | None
    ike_version: int
    opens: bool
    ike_proposals: tuple[str, ...]
    esp_proposals: tuple[str, ...]
    dpd: int
    ike_lifetime: int
    child_lifetime: int

    @property
    def pairs(self) -> list[tuple[ipaddress.IPv4Network, ipaddress.IPv4Network]]:
        """Each of the peer's prefixes with each of the gateway's."""
        return list(itertools.product(self.own_prefixes, self.gateway_prefixes))


def other_side(connection: pb.VpnConnection, gateway: vpn_gateway_pb2.VpnGateway) -> VpnPeer:
    """A connection of `gateway`, as the API returns both, seen from its other side.

    Raises errors.Failure naming a field that says nothing, where it must.
    """
    proof = _proof(connection.certificate) if connection.HasField("certificate") else None
    peer = connection.peer
    return VpnPeer(
        name=names.short(connection.name),
        own_address=peer if identity_kind(peer) is IdentityKind.ADDRESS else "",
        own_name=peer if peer and identity_kind(peer) is not IdentityKind.ADDRESS else "",
        own_identity=connection.remote_identity or peer,
        own_prefixes=_prefixes("remote_prefixes", connection.remote_prefixes),
        gateway_address=gateway.address,
        gateway_identity=connection.local_identity or (proof.subject if proof else gateway.address),
        gateway_prefixes=_prefixes("local_prefixes", connection.local_prefixes),
        proof=proof,
        ike_version=1 if connection.ike_version == pb.VpnConnection.IKE_V1 else 2,
        opens=connection.role == pb.VpnConnection.RESPONDER,
        ike_proposals=tuple(connection.ike_proposals),
        esp_proposals=tuple(connection.esp_proposals),
        dpd=connection.dpd_seconds,
        ike_lifetime=connection.ike_lifetime_seconds,
        child_lifetime=connection.child_lifetime_seconds,
    )


def identity_kind(identity: str) -> IdentityKind:
    """What an identity is, as strongSwan tells them apart."""
    try:
        ipaddress.IPv4Address(identity)
    except ValueError:
        pass
    else:
        return IdentityKind.ADDRESS
    if "=" in identity:
        return IdentityKind.SUBJECT
    return IdentityKind.MAIL if "@" in identity else IdentityKind.DOMAIN


def _prefixes(field: str, texts: Iterable[str]) -> tuple[ipaddress.IPv4Network, ...]:
    found = tuple(ipaddress.IPv4Network(text) for text in texts)
    if not found:
        raise refusal(field, "is empty; the other side must know the prefixes of both sides")
    return found


def _proof(certificate: pb.VpnCertificate) -> Credentials:
    try:
        own = x509.load_pem_x509_certificates(certificate.certificate_pem.encode())[0]
        authorities = x509.load_pem_x509_certificates(certificate.ca_certificates_pem.encode())
    except ValueError as error:
        raise refusal("certificate", f"cannot be read: {error}") from error
    key = own.public_key()
    kind = "rsa" if isinstance(key, rsa.RSAPublicKey) else "ecdsa" if isinstance(key, ec.EllipticCurvePublicKey) else ""
    common_names = own.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    return Credentials(
        subject=_text(own.subject),
        common_name=str(common_names[0].value) if common_names else "",
        issuer=_text(own.issuer),
        key=kind or type(key).__name__.removesuffix("PublicKey").lower(),
        authorities=tuple(_text(one.subject) for one in authorities),
    )


def _text(name: x509.Name) -> str:
    # In the certificate's own order, as strongSwan and OpenSSL write it: RFC 4514 would turn it round.
    return ", ".join(
        f"{part.rfc4514_attribute_name}={part.value if isinstance(part.value, str) else part.value.decode()}"
        for relative in name.rdns
        for part in relative
    )
