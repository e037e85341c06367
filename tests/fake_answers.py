"""What the servicers of the API in memory have in common."""

from __future__ import annotations

from typing import Any

import grpc
from google.protobuf import any_pb2
from google.protobuf.message import Message
from google.rpc import status_pb2
from grpc_status import rpc_status

from sluice.v1.status_pb2 import Status

LIVE = Status(state=Status.LIVE)


def refuse(context: Any, code: grpc.StatusCode, message: str, *details: Message) -> None:
    """Abort a call with `google.rpc` details."""
    packed = []
    for detail in details:
        packed.append(any_pb2.Any())
        packed[-1].Pack(detail)
    status = status_pb2.Status(code=code.value[0], message=message, details=packed)
    context.abort_with_status(rpc_status.to_status(status))


def page(request: Any, found: list[Any]) -> tuple[list[Any], str]:
    """Two of a list and the token of the next page, so that every list of three needs a second call."""
    start = int(request.page_token or 0)
    return found[start : start + 2], str(start + 2) if start + 2 < len(found) else ""
