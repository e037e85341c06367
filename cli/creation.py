"""Creating without doing it twice: one request id a command, retried where the API asks for it."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

import click
import grpc

from cli.errors import Failure
from cli.options import options
from sluice.v1 import status_pb2

Answer = TypeVar("Answer")


class HasStatus(Protocol):
    """An object of the API."""

    @property
    def name(self) -> str:
        """Its name."""
        ...

    @property
    def status(self) -> status_pb2.Status:
        """How far it has come."""
        ...


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


def require_live(objects: Sequence[HasStatus]) -> None:
    """Fail when one of the objects is not live. Raises Failure."""
    late = [one for one in objects if one.status.state != status_pb2.Status.LIVE]
    for one in late:
        detail = f": {one.status.detail}" if one.status.detail else ""
        click.echo(f"{one.name}: {state_word(one.status)}{detail}", err=True)
    if late:
        raise Failure("NOT_LIVE", f"created, but {len(late)} of {len(objects)} not live")


def state_word(status: status_pb2.Status) -> str:
    """`live`, `degraded`, `pending` or `error`."""
    return status_pb2.Status.State.Name(status.state).lower()


wait_options = options(
    click.option(
        "--wait", is_flag=True, help="Return when it is live, at most after --timeout; exit code 1 when it is not."
    ),
    click.option(
        "--request-id", metavar="UUID", help="Repeat an earlier request safely: the same UUID gives the same object."
    ),
)
