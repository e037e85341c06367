"""Pre-shared keys and certificates of connections, from files, stdin or a hidden prompt: never from arguments."""

from __future__ import annotations

import sys

import click

from sluice.v1 import vpn_connection_pb2 as pb

STDIN = "-"


def pre_shared_key(file: str) -> str:
    """The key in `file` without the end of its line; `-` is stdin, asked for without echo on a terminal.

    Raises click.UsageError.
    """
    if file == STDIN and sys.stdin.isatty():
        return prompted()
    key = _read("--psk-file", file)
    return key.removesuffix("\n").removesuffix("\r")


def prompted() -> str:
    """A key asked for twice on the terminal, without echo. Raises click.UsageError where there is none."""
    if not sys.stdin.isatty():
        raise click.UsageError(
            "a connection needs --psk-file, or --certificate with --private-key and --ca;"
            " without a terminal no key can be asked for"
        )
    key: str = click.prompt("Pre-shared key", hide_input=True, confirmation_prompt="Once more", err=True)
    return key


def certificate(certificate: str | None, private_key: str | None, ca: str | None) -> pb.VpnCertificate | None:
    """The certificate in three files, all of them or none. Raises click.UsageError."""
    files = {"--certificate": certificate, "--private-key": private_key, "--ca": ca}
    missing = [option for option, file in files.items() if file is None]
    if len(missing) == len(files):
        return None
    if certificate is None or private_key is None or ca is None:
        raise click.UsageError(f"{' and '.join(missing)} missing: --certificate, --private-key and --ca go together")
    return pb.VpnCertificate(
        certificate_pem=_read("--certificate", certificate),
        private_key_pem=_read("--private-key", private_key),
        ca_certificates_pem=_read("--ca", ca),
    )


def _read(option: str, file: str) -> str:
    try:
        with click.open_file(file, encoding="utf-8") as source:
            text: str = source.read()
    except UnicodeDecodeError:
        # Said without its reason, which quotes what was read.
        raise click.UsageError(f"{option}: {file} is not text in UTF-8") from None
    except OSError as error:
        raise click.UsageError(f"{option}: {file}: {error.strerror}") from error
    return text
