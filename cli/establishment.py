"""Waiting until what was created or changed is established, a tunnel or a session."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import click
import grpc

from cli.creation import HasStatus
from cli.errors import Failure, ServerUnreachable
from cli.session import CliSession
from sluice.v1 import status_pb2

Made = TypeVar("Made", bound=HasStatus)
Command = TypeVar("Command", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Establishment(Generic[Made]):
    """What becomes established of an object.

    `watch` opens a watch that has the object and ends after so many seconds,
    `of` is the object of its events, `why` says what is in the way.
    """

    what: str
    watch: Callable[[CliSession, Made, float], Iterable[Any]]
    of: Callable[[Any], Made]
    established: Callable[[Made], bool]
    why: Callable[[Made], str]

    def option(self, command: Command) -> Command:
        """Give a command `--wait-established`."""
        return click.option(
            "--wait-established",
            type=click.FloatRange(0.1),
            metavar="SECONDS",
            help=f"As --wait, then wait at most so long for the {self.what}; exit code 3 when it is not established.",
        )(command)

    def waited(self, session: CliSession, made: Made, seconds: float | None) -> Made:
        """The object once it is live and established; as it is without `seconds`.

        Raises errors.ServerUnreachable with the reason when it is not in time,
        errors.Failure when it is deleted meanwhile, grpc.RpcError.
        """
        if seconds is None:
            return made
        seen = made
        try:
            for event in self.watch(session, made, seconds):
                if self.of(event).name != seen.name:
                    continue
                if event.type == status_pb2.DELETED:
                    raise Failure("NOT_FOUND", f"{seen.name} was deleted meanwhile")
                seen = self.of(event)
                if seen.status.state == status_pb2.Status.LIVE and self.established(seen):
                    return seen
        except grpc.RpcError as error:
            if not isinstance(error, grpc.Call) or error.code() is not grpc.StatusCode.DEADLINE_EXCEEDED:
                raise
        reason = self.why(seen) or "it says nothing of why"
        message = f"{seen.name} is there, but its {self.what} is not established after {seconds:g} s: {reason}"
        raise ServerUnreachable("NOT_ESTABLISHED", message)
