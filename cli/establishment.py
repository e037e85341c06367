"""Waiting until what was created or changed is established, a tunnel or a session."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol, TypeVar

import click
import grpc

from cli.errors import Failure, Unreachable
from sluice.v1 import status_pb2


class Named(Protocol):
    """An object of the API."""

    @property
    def name(self) -> str:
        """Its name."""
        ...


Made = TypeVar("Made", bound=Named)
Command = TypeVar("Command", bound=Callable[..., Any])


def established_option(what: str) -> Callable[[Command], Command]:
    """Give a command `--wait-established`; `what` is to be established."""
    return click.option(
        "--wait-established",
        type=click.FloatRange(0.1),
        metavar="SECONDS",
        help=f"As --wait, then wait at most so long for the {what}; exit code 3 when it is not established.",
    )


def await_established(
    made: Made,
    events: Iterable[Any],
    of: Callable[[Any], Made],
    established: Callable[[Made], bool],
    why: Callable[[Made], str],
    what: str,
    seconds: float,
) -> Made:
    """The object once it is established, as the `events` of a watch that ends after `seconds` tell.

    `of` is the object of an event, `why` says what is in the way, `what` is to
    be established. Raises errors.Unreachable with the reason when it is not
    in time, errors.Failure when it is deleted meanwhile, grpc.RpcError.
    """
    seen = made
    try:
        for event in events:
            if of(event).name != seen.name:
                continue
            if event.type == status_pb2.DELETED:
                raise Failure("NOT_FOUND", f"{seen.name} was deleted meanwhile")
            seen = of(event)
            if established(seen):
                return seen
    except grpc.RpcError as error:
        if not isinstance(error, grpc.Call) or error.code() is not grpc.StatusCode.DEADLINE_EXCEEDED:
            raise
    reason = why(seen) or "it says nothing of why"
    message = f"{seen.name} is there, but its {what} is not established after {seconds:g} s: {reason}"
    raise Unreachable("NOT_ESTABLISHED", message)
