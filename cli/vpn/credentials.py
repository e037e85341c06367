"""Pre-shared keys and certificates of connections."""

from __future__ import annotations

import sys

import click

from cli import secrets
from sluice.v1 import vpn_connection_pb2 as pb

_PROMPT = "Pre-shared key"


def pre_shared_key(file: str) -> str:
    """The key in `file`, as `secrets.line_of` reads it. Raises click.UsageError."""
    return secrets.line_of("--psk-file", file, _PROMPT)


def prompted() -> str:
    """A key asked for on the terminal. Raises click.UsageError where there is none."""
    if not sys.stdin.isatty():
        raise click.UsageError(
            "a connection needs --psk-file, or --certificate with --private-key and --ca;"
            " without a terminal no key can be asked for"
        )
    return secrets.prompted(_PROMPT)


def certificate(certificate: str | None, private_key: str | None, ca: str | None) -> pb.VpnCertificate | None:
    """The certificate in three files, all of them or none. Raises click.UsageError."""
    files = {"--certificate": certificate, "--private-key": private_key, "--ca": ca}
    missing = [option for option, file in files.items() if file is None]
    if len(missing) == len(files):
        return None
    if certificate is None or private_key is None or ca is None:
        raise click.UsageError(f"{' and '.join(missing)} missing: --certificate, --private-key and --ca go together")
    return pb.VpnCertificate(
        certificate_pem=secrets.text_of("--certificate", certificate),
        private_key_pem=secrets.text_of("--private-key", private_key),
        ca_certificates_pem=secrets.text_of("--ca", ca),
    )
