"""Converts refusals to google.rpc statuses with details (https://google.aip.dev/193)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2, status_pb2

from agent.errors import (
    Aborted,
    AlreadyExists,
    FailedPrecondition,
    InUse,
    InvalidArgument,
    NotFound,
    RequestError,
    ResourceError,
    ResourceExhausted,
    TranslationNotFound,
    Unavailable,
)

DOMAIN = "sluice"
M = TypeVar("M", bound=Message)

CODES: dict[type[RequestError], int] = {
    InvalidArgument: code_pb2.INVALID_ARGUMENT,
    NotFound: code_pb2.NOT_FOUND,
    TranslationNotFound: code_pb2.NOT_FOUND,
    AlreadyExists: code_pb2.ALREADY_EXISTS,
    InUse: code_pb2.FAILED_PRECONDITION,
    FailedPrecondition: code_pb2.FAILED_PRECONDITION,
    ResourceExhausted: code_pb2.RESOURCE_EXHAUSTED,
    Aborted: code_pb2.ABORTED,
    Unavailable: code_pb2.UNAVAILABLE,
}

RESOURCE_TYPES = {
    "networks": "sluice.dev/Network",
    "machines": "sluice.dev/Machine",
    "publicAddresses": "sluice.dev/PublicAddress",
    "drives": "sluice.dev/Drive",
    "vpnGateways": "sluice.dev/VpnGateway",
    "vpnConnections": "sluice.dev/VpnConnection",
    "interconnects": "sluice.dev/Interconnect",
}


# Clients take 8 KiB of metadata by default. The message is in it twice, and details as base64.
_LONGEST_MESSAGE = 1000
_MOST_DETAILS = 3000


def to_status(fault: RequestError) -> status_pb2.Status:
    """The status of a refused call: code, message, ErrorInfo and what belongs to the code.

    Of more violations than every client takes it has the first; the ErrorInfo
    says under `left_out` how many are missing.
    """
    details, left_out = _details(fault)
    metadata = fault.metadata | ({"left_out": str(left_out)} if left_out else {})
    details = [error_details_pb2.ErrorInfo(reason=fault.reason, domain=DOMAIN, metadata=metadata), *details]
    status = status_pb2.Status(code=CODES[type(fault)], message=shortened(fault.message))
    for detail in details:
        packed = AnyMessage()
        packed.Pack(detail)
        status.details.append(packed)
    return status


def internal(call: str) -> status_pb2.Status:
    """The status of a call that met a fault of the agent; `call` finds it in the log."""
    return status_pb2.Status(
        code=code_pb2.INTERNAL, message=f"internal fault; the agent's log has it under call {call}"
    )


def shortened(message: str) -> str:
    """A message that goes with every answer: its beginning, at a word, where it is longer."""
    if sum(map(_width, message)) <= _LONGEST_MESSAGE:
        return message
    end, room = 0, _LONGEST_MESSAGE - 4
    while (room := room - _width(message[end])) > 0:
        end += 1
    return message[: message.rfind(" ", 0, end) if " " in message[:end] else end] + " ..."


def _width(character: str) -> int:
    """What a character takes in metadata: three for each byte of one that is not ASCII."""
    return 1 if character.isascii() else 3 * len(character.encode())


def _fitting(violations: Iterable[M]) -> tuple[list[M], int]:
    """The first violations that a client takes, and how many there are more."""
    kept: list[M] = []
    room, left_out = _MOST_DETAILS, 0
    for violation in violations:
        room -= violation.ByteSize() + 4
        if room < 0:
            left_out += 1
        else:
            kept.append(violation)
    return kept, left_out


def _details(fault: RequestError) -> tuple[list[Message], int]:
    match fault:
        case InvalidArgument():
            violations, left_out = _fitting(
                error_details_pb2.BadRequest.FieldViolation(field=v.field, description=shortened(v.description))
                for v in fault.violations
            )
            return [error_details_pb2.BadRequest(field_violations=violations)], left_out
        case InUse():
            failures, left_out = _fitting(
                error_details_pb2.PreconditionFailure.Violation(
                    type="IN_USE", subject=subject, description=shortened(fault.message)
                )
                for subject in fault.users or (fault.resource,)
            )
            return [_resource(fault), error_details_pb2.PreconditionFailure(violations=failures)], left_out
        case _:
            return _other_details(fault), 0


def _other_details(fault: RequestError) -> list[Message]:
    match fault:
        case FailedPrecondition():
            failure = error_details_pb2.PreconditionFailure.Violation(
                type=fault.reason, subject=fault.subject, description=fault.message
            )
            return [error_details_pb2.PreconditionFailure(violations=[failure])]
        case ResourceError():
            return [_resource(fault)]
        case ResourceExhausted():
            violation = error_details_pb2.QuotaFailure.Violation(subject=fault.subject, description=fault.message)
            return [error_details_pb2.QuotaFailure(violations=[violation])]
        case Aborted() | Unavailable():
            retry = error_details_pb2.RetryInfo()
            retry.retry_delay.FromMilliseconds(500)
            return [retry]
        case _:
            return []


def _resource(fault: ResourceError) -> Message:
    collection = fault.resource.partition("/")[0]
    info: Message = error_details_pb2.ResourceInfo(
        resource_type=RESOURCE_TYPES[collection], resource_name=fault.resource, description=shortened(fault.message)
    )
    return info
