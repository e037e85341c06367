"""What every call has in common: errors, log line, metrics, deadline, idempotent retry, waiting."""

from __future__ import annotations

import hashlib
import logging
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from grpc_status import rpc_status

from agent import metrics
from agent.api import errors
from agent.api.arrivals import Arrivals, awaiting
from agent.errors import InvalidArgument, RequestError, ResourceExhausted, Violation
from agent.requests import Idempotency

log = logging.getLogger("sluice.api")

Context = grpc.ServicerContext

DEFAULT_SECONDS = 30.0
LONGEST_SECONDS = 86400.0


def time_left(context: Context) -> float:
    """Seconds until shortly before the call's deadline; 30 without one."""
    left = context.time_remaining()
    # gRPC answers some centuries for a call without a deadline.
    if left is None or left > LONGEST_SECONDS:
        return DEFAULT_SECONDS
    return max(0.0, left - min(0.2, left * 0.1))


def idempotency(request: Any, method: str) -> Idempotency:
    """The request id of a call with a digest of everything else the call asks for."""
    rest = type(request)()
    rest.CopyFrom(request)
    rest.ClearField("request_id")
    rest.ClearField("wait_live")
    text = method.encode() + b"\0" + rest.SerializeToString(deterministic=True)
    return Idempotency(request.request_id.lower(), hashlib.sha256(text).hexdigest())


class ConcurrencyLimit:
    """A limit on calls that hold a thread for long, so that they never starve the others."""

    def __init__(self, what: str, count: int) -> None:
        self._what, self._count = what, count
        self._free = threading.Semaphore(count)

    def take(self) -> None:
        """Take a seat. Raises ResourceExhausted."""
        if not self._free.acquire(blocking=False):
            raise ResourceExhausted(
                self._what, f"all {self._count} {self._what} of this agent are open", {"size": str(self._count)}
            )

    def leave(self) -> None:
        """Give the seat back."""
        self._free.release()

    @contextmanager
    def seated(self, wanted: bool = True) -> Iterator[None]:
        """Hold a seat within the block, if `wanted`. Raises ResourceExhausted."""
        if not wanted:
            yield
            return
        self.take()
        try:
            yield
        finally:
            self.leave()


class _RequestContext:
    """One call being served: answers its faults, logs and counts its end."""

    def __init__(self, method: str, request: object, context: Context) -> None:
        self._method, self._context = method, context
        self._request_id = getattr(request, "request_id", "")
        self._id = uuid.uuid4().hex[:12]
        self._began = time.monotonic()

    def refuse(self, error: Exception) -> None:
        """End the call with the status of `error`; does not return."""
        if isinstance(error, RequestError):
            status = errors.to_status(error)
        else:
            metrics.INTERNAL.inc()
            log.error("internal fault", exc_info=error, extra={"call": self._id, "method": self._method})
            status = errors.internal(self._id)
        converted = rpc_status.to_status(status)
        self.end(converted.code.name, status.message)
        self._context.abort_with_status(converted)

    def end(self, code: str, message: str = "") -> None:
        """Log and count the end of the call."""
        took = time.monotonic() - self._began
        metrics.CALLS.labels(self._method, code).inc()
        extra = {"call": self._id, "method": self._method, "code": code, "seconds": round(took, 6)}
        if self._request_id:
            extra["request_id"] = self._request_id
        if message:
            extra["error"] = message
        log.info("call", extra=extra)

    def observe(self) -> None:
        """Count the time of a unary call."""
        metrics.SECONDS.labels(self._method).observe(time.monotonic() - self._began)


class CallInterceptor(grpc.ServerInterceptor):  # type: ignore[type-arg]
    """Serves each call of this API as a `_RequestContext`, and has every call wait for its request in `arrivals`."""

    def __init__(self, arrivals: Arrivals) -> None:
        self._arrivals = arrivals

    def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], grpc.RpcMethodHandler[Any, Any] | None],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """Wrap the handler of a method; those that are not of `sluice.v1` answer their faults themselves."""
        handler: Any = continuation(handler_call_details)
        if handler is None:
            return handler
        if handler_call_details.method.startswith("/sluice.v1."):
            handler = self._served(handler, handler_call_details)
        return awaiting(self._arrivals, handler)

    @staticmethod
    def _served(handler: Any, handler_call_details: grpc.HandlerCallDetails) -> Any:
        method = handler_call_details.method.rpartition("/")[2]
        decode, encode = _decoder(handler.request_deserializer), handler.response_serializer
        if handler.unary_unary is not None:
            return grpc.unary_unary_rpc_method_handler(_unary(method, handler.unary_unary), decode, encode)
        return grpc.unary_stream_rpc_method_handler(_stream(method, handler.unary_stream), decode, encode)


_UNREADABLE = object()


def _decoder(decode: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    """As `decode`, but `_UNREADABLE` for what it refuses: gRPC itself would call that a fault of the server."""

    def decoded(data: bytes) -> Any:
        try:
            return decode(data)
        except DecodeError:
            return _UNREADABLE

    return decoded


def _known(request: Any) -> Any:
    if request is _UNREADABLE:
        raise InvalidArgument(
            [Violation("", "the request is not the message this method takes, or its text is not UTF-8")]
        )
    return request


def _unary(method: str, serve: Callable[[Any, Context], Any]) -> Callable[[Any, Context], Any]:
    def guarded(request: Any, context: Context) -> Any:
        call = _RequestContext(method, request, context)
        try:
            response = serve(_known(request), context)
        except Exception as error:
            call.observe()
            call.refuse(error)
        else:
            call.observe()
            call.end("OK")
            return response

    return guarded


def _stream(method: str, serve: Callable[[Any, Context], Iterator[Any]]) -> Callable[[Any, Context], Iterator[Any]]:
    def guarded(request: Any, context: Context) -> Iterator[Any]:
        call = _RequestContext(method, request, context)
        try:
            yield from serve(_known(request), context)
        except GeneratorExit:
            call.end("CANCELLED")
            raise
        except Exception as error:
            call.refuse(error)
        else:
            call.end("OK" if context.is_active() else "CANCELLED")

    return guarded
