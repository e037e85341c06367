"""Converts connections to vici messages (strongSwan's swanctl.conf(5)): pure functions."""

from __future__ import annotations

import functools
import hashlib
import json
import re
from typing import Any

from cryptography import x509

from state.vpn import DEFAULT_ESP, DEFAULT_IKE, Authentication, Role, VpnConnection
from vpn.desired_state import VpnGatewayConfig
from vpn.namespace import INTERFACE_ID

Message = dict[str, Any]
Pair = tuple[str, str]

# What the API writes out for a connection that names none.
IKE_PROPOSALS, ESP_PROPOSALS = DEFAULT_IKE[2], DEFAULT_ESP[2]
_PEM = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----\n?", re.DOTALL)
# How much longer keys live than until they are to be replaced, as parts of that time.
_OVER = 10
# Seconds in which a peer that speaks IKEv1 must have answered; IKEv2 goes by retransmissions.
_ANSWER_SECONDS = 4


def pairs(site: VpnGatewayConfig, connection: VpnConnection) -> dict[Pair, str]:
    """Every local and remote prefix that a tunnel is for, with the name of a child for that pair alone."""
    both = [(one, other) for one in site.local_prefixes(connection) for other in connection.remote_prefixes]
    if connection.ike_version == 2 and len(both) == 1:
        return {both[0]: connection.name}
    return {pair: f"{connection.name}-{number}" for number, pair in enumerate(both, 1)}


def children(site: VpnGatewayConfig, connection: VpnConnection) -> dict[str, tuple[tuple[str, ...], tuple[str, ...]]]:
    """Name → local and remote prefixes of what may be installed.

    IKEv1 takes one pair of prefixes each. So do peers with IKEv2 that narrow
    what is asked for to one pair (RFC 7296 section 2.9): the child for all
    comes first, then those for the pairs that it left out.
    """
    found: dict[str, tuple[tuple[str, ...], tuple[str, ...]]]
    found = {name: ((one,), (other,)) for (one, other), name in pairs(site, connection).items()}
    if connection.ike_version == 2:
        found = {connection.name: (site.local_prefixes(connection), connection.remote_prefixes)} | found
    return found


def ike_proposals(connection: VpnConnection) -> tuple[str, ...]:
    """What is offered and accepted for IKE."""
    return connection.ike_proposals or IKE_PROPOSALS


def esp_proposals(connection: VpnConnection) -> tuple[str, ...]:
    """What is offered and accepted for ESP."""
    return connection.esp_proposals or ESP_PROPOSALS


def local_identity(site: VpnGatewayConfig, connection: VpnConnection) -> str:
    """What the gateway says it is; empty: the subject of its certificate."""
    if connection.local_identity or connection.authentication is Authentication.CERTIFICATE:
        return connection.local_identity
    return site.gateway.address


def remote_identity(connection: VpnConnection) -> str:
    """What the peer must prove to be."""
    return connection.remote_identity or connection.peer or "%any"


def certificates(pem: str) -> list[str]:
    """The certificates in a text, each by itself."""
    return _PEM.findall(pem)


@functools.lru_cache(maxsize=1024)
def _ends(pem: str) -> int:
    return int(x509.load_pem_x509_certificate(pem.encode()).not_valid_after_utc.timestamp() * 1000)


def expiry(connection: VpnConnection) -> int:
    """When the gateway's own certificate ends, in ms since the epoch; 0: it has none, or none that can be read."""
    try:
        return _ends(certificates(connection.certificate)[0])
    except (IndexError, ValueError):
        return 0


def shared_message(site: VpnGatewayConfig, connection: VpnConnection, secret: str) -> Message:
    """`load-shared`: the pre-shared key for the identities of both ends."""
    owners = [remote_identity(connection), local_identity(site, connection)]
    if connection.ike_version == 1:
        # The peer's identity comes after the key is needed (RFC 2409 section 5.4).
        owners += [address for address in connection.peer_addresses if address not in owners]
    return {"id": connection.name, "type": "IKE", "data": secret, "owners": owners}


def connection_message(site: VpnGatewayConfig, connection: VpnConnection, encapsulate: bool) -> Message:
    """`load-conn`: the connection and its children, without secrets.

    With `encapsulate` ESP is in UDP whether or not there is a NAT between (RFC 3948).
    """
    own: Message = {"auth": "psk", "id": local_identity(site, connection)}
    peer: Message = {"auth": "psk", "id": remote_identity(connection)}
    if connection.authentication is Authentication.CERTIFICATE:
        own |= {"auth": "pubkey", "certs": certificates(connection.certificate)[:1]}
        if not own["id"]:
            del own["id"]
        peer |= {"auth": "pubkey", "cacerts": certificates(connection.ca_certificates)}
    opens = connection.role is Role.INITIATOR
    child: Message = {
        "mode": "tunnel",
        "esp_proposals": list(esp_proposals(connection)),
        "rekey_time": f"{connection.child_seconds}s",
        "life_time": f"{connection.child_seconds + connection.child_seconds // _OVER}s",
        "start_action": "none",
        "dpd_action": "restart" if opens else "clear",
        "close_action": "start" if opens else "none",
    }
    # In the kernel's ESP it is the tunnel's device that a policy is for.
    device = {} if encapsulate else {"if_id_in": str(INTERFACE_ID), "if_id_out": str(INTERFACE_ID)}
    return {
        connection.name: {
            **device,
            "version": str(connection.ike_version),
            "local_addrs": [site.gateway.address],
            "remote_addrs": list(connection.peer_addresses) or ["%any"],
            "proposals": list(ike_proposals(connection)),
            "local": own,
            "remote": peer,
            "rekey_time": f"{connection.ike_seconds}s",
            "over_time": f"{connection.ike_seconds // _OVER}s",
            "dpd_delay": f"{connection.dpd_seconds}s",
            "dpd_timeout": f"{connection.dpd_seconds + _ANSWER_SECONDS}s",
            "keyingtries": "0",
            "mobike": "no",
            "unique": "replace",
            "encap": "yes" if encapsulate else "no",
            "children": {
                name: {**child, "local_ts": list(local), "remote_ts": list(remote)}
                for name, (local, remote) in children(site, connection).items()
            },
        }
    }


def fingerprint(site: VpnGatewayConfig, connection: VpnConnection, encapsulate: bool) -> str:
    """The same text while there is nothing to load anew; says nothing of the secret, which is sealed."""
    parts = [connection_message(site, connection, encapsulate), connection.secret, connection.certificate]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
