"""Exceptions for refused commands, by gRPC's words; the API turns them into statuses with details."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Violation:
    """One field that is wrong: its path in the request and what to send instead."""

    field: str
    description: str


def within(violations: Iterable[Violation], prefix: str) -> list[Violation]:
    """`violations` of one element of a batch, their fields under `prefix`."""
    return [Violation(f"{prefix}.{v.field}", f"{prefix}.{v.description}") for v in violations]


class RequestError(Exception):
    """A command was refused; nothing was changed.

    `reason` is a constant in UPPER_SNAKE_CASE for programs, `metadata` its
    particulars (https://google.aip.dev/193).
    """

    reason = "FAULT"

    def __init__(self, message: str, metadata: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.metadata = dict(metadata or {})

    def in_request(self, at: int) -> RequestError:
        """The same fault, of request number `at` of a batch."""
        self.message = f"requests[{at}]: {self.message}"
        self.metadata["request"] = str(at)
        return self


class InvalidArgument(RequestError):
    """The request can never succeed as it is; `violations` names every field at fault."""

    reason = "INVALID_FIELD"

    def __init__(self, violations: Sequence[Violation]) -> None:
        super().__init__("; ".join(v.description for v in violations))
        self.violations = tuple(violations)

    def in_request(self, at: int) -> RequestError:
        """The same violations, their fields under `requests[at]`."""
        return InvalidArgument(within(self.violations, f"requests[{at}]"))


class ResourceError(RequestError):
    """A fault of one object, `resource` (`networks/a`)."""

    def __init__(self, resource: str, message: str) -> None:
        super().__init__(message, {"resource": resource})
        self.resource = resource


class NotFound(ResourceError):
    """The object does not exist."""

    reason = "NOT_FOUND"


class TranslationNotFound(RequestError):
    """Nobody had the public address, or that port of a shared one, at that time."""

    reason = "NOT_HELD"


class AlreadyExists(ResourceError):
    """Another object has the name, address, MAC, hostname or attachment asked for."""

    reason = "TAKEN"


class InUse(ResourceError):
    """The object cannot be changed so in its present state."""

    reason = "IN_USE"

    def __init__(self, resource: str, message: str, users: Sequence[str] = ()) -> None:
        super().__init__(resource, message)
        self.users = tuple(users)


class FailedPrecondition(RequestError):
    """What the command needs is not so; `reason` is a constant, `subject` names what would have to differ."""

    def __init__(self, reason: str, subject: str, message: str) -> None:
        super().__init__(message, {"resource": subject})
        self.reason = reason
        self.subject = subject


class ResourceExhausted(RequestError):
    """A pool, or a limit of the appliance, has nothing left; `subject` names it."""

    reason = "EXHAUSTED"

    def __init__(self, subject: str, message: str, metadata: Mapping[str, str] | None = None) -> None:
        super().__init__(message, {"pool": subject, **(metadata or {})})
        self.subject = subject


class Aborted(RequestError):
    """Other writers were faster every time; the same request may be sent again."""

    reason = "CONTENDED"


class Unavailable(RequestError):
    """The database cannot be asked now, or its answer was lost."""

    reason = "DATABASE_UNREACHABLE"
