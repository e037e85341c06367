"""Deleting several objects, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import click

from cli import output
from cli.session import CliSession


def delete(session: CliSession, call: Callable[..., object], requests: Iterable[Any]) -> None:
    """Send deletes, say of each object that it is gone, and stop at the first refusal. Raises grpc.RpcError."""
    deleted = []
    for request in requests:
        call(request, timeout=session.timeout)
        deleted.append(request.name)
        if not session.json:
            click.echo(f"{request.name} deleted")
    if session.json:
        output.print_json({"deleted": deleted})
