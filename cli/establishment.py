"""Waiting until what was created is established, a tunnel or a session."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol, TypeVar

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
    message = f"{seen.name} was created, but its {what} is not established after {seconds:g} s: {reason}"
    raise Unreachable("NOT_ESTABLISHED", message)
