"""Faults → google.rpc statuses with details (https://google.aip.dev/193)."""

from __future__ import annotations

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2, status_pb2

from agent.faults import (
    Contended,
    Exhausted,
    Fault,
    InUse,
    Invalid,
    Missing,
    NamesResource,
    NotHeld,
    Taken,
    Unreachable,
    Unsuitable,
)

DOMAIN = "sluice"

CODES: dict[type[Fault], int] = {
    Invalid: code_pb2.INVALID_ARGUMENT,
    Missing: code_pb2.NOT_FOUND,
    NotHeld: code_pb2.NOT_FOUND,
    Taken: code_pb2.ALREADY_EXISTS,
    InUse: code_pb2.FAILED_PRECONDITION,
    Unsuitable: code_pb2.FAILED_PRECONDITION,
    Exhausted: code_pb2.RESOURCE_EXHAUSTED,
    Contended: code_pb2.ABORTED,
    Unreachable: code_pb2.UNAVAILABLE,
}

RESOURCE_TYPES = {
    "networks": "sluice/Network",
    "machines": "sluice/Machine",
    "publicAddresses": "sluice/PublicAddress",
    "drives": "sluice/Drive",
    "vpnGateways": "sluice/VpnGateway",
    "vpnConnections": "sluice/VpnConnection",
    "interconnects": "sluice/Interconnect",
}


def to_status(fault: Fault) -> status_pb2.Status:
    """The status of a refused call: code, message, ErrorInfo and what belongs to the code."""
    info = error_details_pb2.ErrorInfo(reason=fault.reason, domain=DOMAIN, metadata=fault.metadata)
    details: list[Message] = [info, *_details(fault)]
    status = status_pb2.Status(code=CODES[type(fault)], message=fault.message)
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


def _details(fault: Fault) -> list[Message]:
    match fault:
        case Invalid():
            violations = [
                error_details_pb2.BadRequest.FieldViolation(field=v.field, description=v.description)
                for v in fault.violations
            ]
            return [error_details_pb2.BadRequest(field_violations=violations)]
        case InUse():
            failures = [
                error_details_pb2.PreconditionFailure.Violation(
                    type="IN_USE", subject=subject, description=fault.message
                )
                for subject in fault.users or (fault.resource,)
            ]
            return [_resource(fault), error_details_pb2.PreconditionFailure(violations=failures)]
        case Unsuitable():
            failure = error_details_pb2.PreconditionFailure.Violation(
                type=fault.reason, subject=fault.subject, description=fault.message
            )
            return [error_details_pb2.PreconditionFailure(violations=[failure])]
        case NamesResource():
            return [_resource(fault)]
        case Exhausted():
            violation = error_details_pb2.QuotaFailure.Violation(subject=fault.subject, description=fault.message)
            return [error_details_pb2.QuotaFailure(violations=[violation])]
        case Contended() | Unreachable():
            retry = error_details_pb2.RetryInfo()
            retry.retry_delay.FromMilliseconds(500)
            return [retry]
        case _:
            return []


def _resource(fault: NamesResource) -> Message:
    collection = fault.resource.partition("/")[0]
    info: Message = error_details_pb2.ResourceInfo(
        resource_type=RESOURCE_TYPES[collection], resource_name=fault.resource, description=fault.message
    )
    return info
