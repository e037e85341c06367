"""Waiting until a BGP session is established."""

from __future__ import annotations

import grpc

from cli.errors import Failure, Unreachable
from cli.interconnect.words import why
from cli.session import Session
from sluice.v1 import interconnect_pb2 as pb
from sluice.v1 import status_pb2


def await_established(session: Session, interconnect: pb.Interconnect, seconds: float) -> pb.Interconnect:
    """The interconnect once its session is established.

    Raises errors.Unreachable with its last error when it is not after
    `seconds`, errors.Failure when it is deleted meanwhile, grpc.RpcError.
    """
    seen = interconnect
    request = pb.WatchInterconnectsRequest(network=interconnect.network)
    try:
        for event in session.interconnects.WatchInterconnects(request, timeout=seconds):
            if event.interconnect.name != interconnect.name:
                continue
            if event.type == status_pb2.DELETED:
                raise Failure("NOT_FOUND", f"{interconnect.name} was deleted meanwhile")
            seen = event.interconnect
            if seen.session.state == pb.InterconnectSession.SESSION_ESTABLISHED:
                return seen
    except grpc.RpcError as error:
        if not isinstance(error, grpc.Call) or error.code() is not grpc.StatusCode.DEADLINE_EXCEEDED:
            raise
    reason = why(seen) or "it says nothing of why"
    message = f"{interconnect.name} was created, but its session is not established after {seconds:g} s: {reason}"
    raise Unreachable("NOT_ESTABLISHED", message)
