"""Creating without doing it twice: one request id a command, retried where the API asks for it."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any, TypeVar

import click
import grpc

from cli.errors import Failure
from sluice.v1 import status_pb2

Answer = TypeVar("Answer")

_ATTEMPTS = 5


def new_request_id(given: str | None) -> str:
    """The request id given, or a new one."""
    return given or str(uuid.uuid4())


def create(call: Callable[..., Answer], request: Any, timeout: float) -> Answer:
    """Send a create; on ABORTED send the same again, which the request id makes safe.

    Raises grpc.RpcError.
    """
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            return call(request, timeout=timeout)
        except grpc.RpcError as error:
            aborted = isinstance(error, grpc.Call) and error.code() is grpc.StatusCode.ABORTED
            if not aborted or attempt == _ATTEMPTS:
                raise
    raise AssertionError("unreachable")


def require_live(objects: list[tuple[str, status_pb2.Status]]) -> None:
    """Fail when one of the named objects is not live. Raises Failure."""
    late = [(name, status) for name, status in objects if status.state != status_pb2.Status.LIVE]
    for name, status in late:
        click.echo(f"{name}: {state_word(status)}{': ' + status.detail if status.detail else ''}", err=True)
    if late:
        raise Failure("NOT_LIVE", f"created, but {len(late)} of {len(objects)} not live")


def state_word(status: status_pb2.Status) -> str:
    """`live`, `pending` or `error`."""
    return status_pb2.Status.State.Name(status.state).lower()


def wait_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a create command `--wait` and `--request-id`."""
    command = click.option(
        "--request-id", metavar="UUID", help="Repeat an earlier request safely: the same UUID gives the same object."
    )(command)
    return click.option(
        "--wait", is_flag=True, help="Return when it is live, at most after --timeout; exit code 1 when it is not."
    )(command)
