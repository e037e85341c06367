"""Sockets in the network namespaces of VPN gateways, for servers behind tunnels.

The namespace is opened anew for each socket: it may have been made anew under
its name since the last one. Nothing is kept of it, so that a gateway that is
deleted leaves nothing here.
"""

from __future__ import annotations

import asyncio
import os
import socket
from concurrent.futures import Future, ThreadPoolExecutor

from resolver.namespace import DIRECTORY, enter

_OWN = "/proc/thread-self/ns/net"


class Tunnels:
    """One thread that enters namespaces, for as long as a socket takes, and comes back."""

    def __init__(self) -> None:
        self._own = os.open(_OWN, os.O_RDONLY | os.O_CLOEXEC)
        self._thread = ThreadPoolExecutor(1, "tunnels")

    def close(self) -> None:
        """End the thread."""
        self._thread.shutdown()
        os.close(self._own)

    async def client(self, kind: socket.SocketKind, namespace: str) -> socket.socket:
        """A socket in `namespace`; its routes choose the source. Raises OSError, also where there is none."""
        opened = self._thread.submit(self._open, kind, namespace)
        try:
            return await asyncio.wrap_future(opened)
        except asyncio.CancelledError:
            # The thread may be at it already; what it opens then is nobody's.
            opened.add_done_callback(_discard)
            raise

    def _open(self, kind: socket.SocketKind, namespace: str) -> socket.socket:
        target = os.open(DIRECTORY / namespace, os.O_RDONLY | os.O_CLOEXEC)
        try:
            enter(target)
        finally:
            os.close(target)
        try:
            return socket.socket(socket.AF_INET, kind | socket.SOCK_NONBLOCK)
        finally:
            # Who stays in a namespace keeps it, and its devices, from ending.
            enter(self._own)


def _discard(opened: Future[socket.socket]) -> None:
    if not opened.cancelled() and opened.exception() is None:
        opened.result().close()
