"""Options that say what a VPN connection is, for `create` and `set`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from cli.integers import INT32
from cli.options import fill, options
from cli.vpn import credentials
from sluice.v1 import vpn_connection_pb2 as pb

_PATH = click.Path(dir_okay=False, allow_dash=True)
_VERSIONS = {"1": pb.VpnConnection.IKE_V1, "2": pb.VpnConnection.IKE_V2}

# Every option is None or () unless it was given, so that `set` knows what to change.
connection_options = options(
    click.option("--peer", help="IPv4 address or domain name of the other side."),
    click.option("--remote-prefix", multiple=True, metavar="PREFIX", help="Prefix on the other side; may be repeated."),
    click.option("--local-prefix", multiple=True, metavar="PREFIX",
                 help="Prefix on this side; may be repeated.  [default: those of the network and of its drives]"),
    click.option("--psk-file", type=_PATH, metavar="FILE",
                 help="File of the pre-shared key; `-` reads it from stdin, without echo on a terminal."),
    click.option("--certificate", type=_PATH, metavar="FILE",
                 help="The gateway's certificate and its chain (PEM), instead of a pre-shared key."),
    click.option("--private-key", type=_PATH, metavar="FILE", help="Private key of the certificate (PEM)."),
    click.option("--ca", type=_PATH, metavar="FILE", help="Authorities that the other side's certificate may be from."),
    click.option("--local-identity", help="Identity of the gateway.  [default: its address, or its certificate's]"),
    click.option("--remote-identity", help="Identity the other side must prove.  [default: --peer]"),
    click.option("--ike-version", type=click.Choice(sorted(_VERSIONS)), help="[default: 2]"),
    click.option("--responder/--initiator", default=None,
                 help="Wait for the other side, or open the connection.  [default: --initiator]"),
    click.option("--ike-proposal", multiple=True, metavar="ALGORITHMS",
                 help="Proposal for IKE, such as aes256-sha256-modp2048; may be repeated; '' is the defaults."),
    click.option("--esp-proposal", multiple=True, metavar="ALGORITHMS",
                 help="Proposal for ESP, such as aes256gcm16-ecp384; may be repeated; '' is the defaults."),
    click.option("--allow-weak/--no-allow-weak", default=None,
                 help="Allow SHA-1, 3DES, modp1024 and modp1536 in proposals, which are no longer secure."),
    click.option("--dpd", type=INT32, metavar="SECONDS",
                 help="Silence after which the other side is asked whether it lives.  [default: 2]"),
    click.option("--ike-lifetime", type=INT32, metavar="SECONDS", help="Lifetime of IKE keys.  [default: 14400]"),
    click.option("--child-lifetime", type=INT32, metavar="SECONDS", help="Lifetime of ESP keys.  [default: 3600]"),
)  # fmt: skip
# Option, as click names it → field of the same meaning.
_FIELDS = {
    "peer": "peer",
    "local_identity": "local_identity",
    "remote_identity": "remote_identity",
    "allow_weak": "allow_weak_algorithms",
    "dpd": "dpd_seconds",
    "ike_lifetime": "ike_lifetime_seconds",
    "child_lifetime": "child_lifetime_seconds",
    "remote_prefix": "remote_prefixes",
    "local_prefix": "local_prefixes",
    "ike_proposal": "ike_proposals",
    "esp_proposal": "esp_proposals",
}


def connection_of(given: Mapping[str, Any]) -> tuple[pb.VpnConnection, list[str]]:
    """The connection that the options given describe, and the fields they set. Raises click.UsageError."""
    wanted = pb.VpnConnection()
    paths = fill(wanted, given, _FIELDS)
    if given["ike_version"] is not None:
        wanted.ike_version = _VERSIONS[given["ike_version"]]
        paths.append("ike_version")
    if given["responder"] is not None:
        wanted.role = pb.VpnConnection.RESPONDER if given["responder"] else pb.VpnConnection.INITIATOR
        paths.append("role")
    return wanted, [*paths, *_set_proof(wanted, given)]


def _set_proof(wanted: pb.VpnConnection, given: Mapping[str, Any]) -> list[str]:
    certificate = credentials.certificate(given["certificate"], given["private_key"], given["ca"])
    if certificate is not None:
        if given["psk_file"] is not None:
            raise click.UsageError("--psk-file and --certificate exclude each other")
        wanted.certificate.CopyFrom(certificate)
        return ["certificate"]
    if given["psk_file"] is not None:
        wanted.pre_shared_key = credentials.pre_shared_key(given["psk_file"])
        return ["pre_shared_key"]
    return []
