"""Bounds the calls whose request has not arrived: they hold threads, so the oldest ends for the next.

gRPC gives a call a thread when its headers are there. Who opens hundreds and sends
nothing would take all threads, of which other clients' calls need one each.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import grpc

from agent import metrics

Context = grpc.ServicerContext


class Arrivals:
    """Waits for requests, for at most `count` calls at once."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._lock = threading.Lock()
        # In the order in which they began to wait.
        self._waiting: dict[int, Context] = {}

    def first(self, requests: Iterator[Any], context: Context) -> Any:
        """The request of a call with one; ends the call without it. Raises grpc.RpcError when the client is gone."""
        request = next(self.each(requests, context), None)
        if request is None:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the call has no request; allowed: one message")
        return request

    def each(self, requests: Iterator[Any], context: Context) -> Iterator[Any]:
        """The requests of a call with many. Raises grpc.RpcError when the client is gone."""
        while True:
            with self._awaited(context):
                request = next(requests, None)
            if request is None:
                return
            yield request

    @contextmanager
    def _awaited(self, context: Context) -> Iterator[None]:
        place = id(context)
        with self._lock:
            self._waiting[place] = context
            oldest = self._waiting.pop(next(iter(self._waiting))) if len(self._waiting) > self._count else None
        if oldest is not None:
            metrics.REQUESTS_MISSING.inc()
            oldest.cancel()  # type: ignore[no-untyped-call]
        try:
            yield
        finally:
            with self._lock:
                self._waiting.pop(place, None)


def awaiting(arrivals: Arrivals, handler: Any) -> Any:
    """The handler of any method as one that waits for its requests there."""
    decode, encode = handler.request_deserializer, handler.response_serializer
    # One of the four is set.
    answers_once = handler.unary_unary or handler.stream_unary
    serve = answers_once or handler.unary_stream or handler.stream_stream
    wait = arrivals.each if handler.request_streaming else arrivals.first

    def served(requests: Iterator[Any], context: Context, *callbacks: Any) -> Any:
        return serve(wait(requests, context), context, *callbacks)

    # How the library's own health service says that its streams need no thread.
    for name in ("experimental_non_blocking", "experimental_thread_pool"):
        if hasattr(serve, name):
            setattr(served, name, getattr(serve, name))
    make = grpc.stream_unary_rpc_method_handler if answers_once else grpc.stream_stream_rpc_method_handler
    return make(served, decode, encode)
