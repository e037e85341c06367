"""Refusals in words: gRPC status and `google.rpc` details → text, JSON and exit code."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import IO, Any

import click
import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status


@dataclass(frozen=True, slots=True)
class FieldError:
    """One thing that is wrong: where (a field, a resource, a pool) and what."""

    subject: str
    description: str


class Failure(click.ClickException):
    """A command that could not do its work.

    `code` is the gRPC status name, or `SWITCH` and the like for what does not
    come from the API; `left_out` how many violations there are that the answer
    had no room for. Ends the process with exit code 1.
    """

    def __init__(self, code: str, message: str, violations: tuple[FieldError, ...] = (), left_out: int = 0) -> None:
        super().__init__(message)
        self.code, self.violations, self.left_out, self.as_json = code, violations, left_out, False

    def show(self, file: IO[Any] | None = None) -> None:
        """Write the refusal to stderr: text, or one JSON object where JSON was asked for."""
        if self.as_json:
            details = [{"subject": v.subject, "description": v.description} for v in self.violations]
            error = {"code": self.code, "message": self.message, "violations": details, "left_out": self.left_out}
            click.echo(json.dumps({"error": error}), file=file, err=True)
            return
        click.echo(f"error: {self.message} ({self.code})", file=file, err=True)
        for line in dict.fromkeys(filter(None, map(self._line, self.violations))):
            click.echo(f"  {line}", file=file, err=True)
        if self.left_out:
            click.echo(f"  and {self.left_out} more", file=file, err=True)

    def _line(self, violation: FieldError) -> str:
        """What the message, for people, does not say of a violation yet; empty: nothing."""
        if violation.description not in self.message:
            return f"{violation.subject}: {violation.description}"
        # A collection, such as `publicAddresses`, names no object.
        return "" if violation.subject in self.message or "/" not in violation.subject else violation.subject


class ServerUnreachable(Failure):
    """Nobody answered, or not in time. Ends the process with exit code 3."""

    exit_code = 3


class NotPermitted(Failure):
    """The user may not use a socket that the command needs. Ends the process with exit code 1."""


def refusal(field: str, message: str) -> Failure:
    """The refusal of what the device of another side cannot do, because of a field of the object."""
    return Failure("UNSUPPORTED", f"{field}: {message}", (FieldError(field, message),))


def from_call(error: grpc.RpcError, api: str) -> Failure:
    """The failure that a failed call to `api` stands for."""
    if not isinstance(error, grpc.Call):
        return Failure("UNKNOWN", str(error))
    code, text = error.code(), error.details() or "no details"
    if code is grpc.StatusCode.UNAVAILABLE:
        # gRPC nests its reasons; the innermost one is the one that says something.
        return ServerUnreachable(code.name, f"no API at {api}: {text.rpartition('error: ')[2]}")
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return ServerUnreachable(code.name, f"no answer from the API at {api} in time")
    return Failure(code.name, text, *_violations(error))


def _violations(error: grpc.Call) -> tuple[tuple[FieldError, ...], int]:
    status = rpc_status.from_call(error)
    found: list[FieldError] = []
    left_out = 0
    for detail in status.details if status is not None else ():
        bad, failed = error_details_pb2.BadRequest(), error_details_pb2.PreconditionFailure()
        quota, resource = error_details_pb2.QuotaFailure(), error_details_pb2.ResourceInfo()
        info = error_details_pb2.ErrorInfo()
        if detail.Unpack(bad):
            found += [FieldError(v.field, v.description) for v in bad.field_violations]
        elif detail.Unpack(failed):
            found += [FieldError(v.subject, v.description) for v in failed.violations]
        elif detail.Unpack(quota):
            found += [FieldError(v.subject, v.description) for v in quota.violations]
        elif detail.Unpack(resource):
            found.append(FieldError(resource.resource_name, resource.description or resource.resource_type))
        elif detail.Unpack(info):
            left_out = int(info.metadata.get("left_out", 0))
    return tuple(found), left_out
