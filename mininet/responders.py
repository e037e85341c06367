"""Echo servers (RFC 862) that say who answers and whom they saw.

One thread serves every machine of a sandbox: its sockets live in the machines'
network namespaces. Every answer starts with one line, `NAME ADDRESS PORT\n`:
the answering machine, and the address and port the request came from. After
that line TCP is echoed; a UDP answer holds the line and then the request.
"""

from __future__ import annotations

import contextlib
import logging
import selectors
import socket
import threading
from collections.abc import Callable, Sequence

from namespaces import within

log = logging.getLogger("sluice.responders")

ECHO_PORT = 7


class Responders:
    """The echo servers of a sandbox."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._lock = threading.Lock()
        self._sockets: dict[str, list[socket.socket]] = {}
        self._wake, self._woken = socket.socketpair()
        self._selector.register(self._woken, selectors.EVENT_READ, None)
        self._thread = threading.Thread(target=self._serve, name="responders", daemon=True)
        self._thread.start()

    def add(self, name: str, pid: int, addresses: Sequence[str] = ("0.0.0.0",)) -> None:
        """Serve TCP and UDP port 7 on `addresses` in the namespace of `pid`, as `name`."""

        def listen() -> list[socket.socket]:
            opened = []
            for address in addresses:
                for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                    server = socket.socket(socket.AF_INET, kind)
                    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    server.bind((address, ECHO_PORT))
                    server.setblocking(False)
                    opened.append(server)
                    if kind == socket.SOCK_STREAM:
                        server.listen(1024)
            return opened

        for server in within(pid, listen):
            stream = server.type == socket.SOCK_STREAM
            self._register(name, server, self._accept if stream else self._answer)

    def remove(self, name: str) -> None:
        """Close the servers of `name` and their connections."""
        with self._lock:
            gone = self._sockets.pop(name, [])
        for one in gone:
            self._forget(one)

    def stop(self) -> None:
        """Close everything."""
        self._wake.close()
        self._thread.join()
        for name in list(self._sockets):
            self.remove(name)

    def _register(self, name: str, one: socket.socket, handle: Callable[[str, socket.socket], None]) -> None:
        with self._lock:
            self._sockets.setdefault(name, []).append(one)
        self._selector.register(one, selectors.EVENT_READ, (name, handle))

    def _forget(self, one: socket.socket) -> None:
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(one)
        one.close()

    def _serve(self) -> None:
        while True:
            for key, _ in self._selector.select():
                if key.data is None:
                    return
                name, handle = key.data
                try:
                    handle(name, key.fileobj)
                except OSError as error:
                    # One peer's trouble (a reset, an unreachable) ends one connection at most.
                    log.debug("%s: %s", name, error)

    def _accept(self, name: str, server: socket.socket) -> None:
        connection, peer = server.accept()
        connection.setblocking(False)
        connection.sendall(greeting(name, peer))
        self._register(name, connection, self._echo)

    def _echo(self, name: str, connection: socket.socket) -> None:
        try:
            data = connection.recv(65536)
            if data:
                connection.sendall(data)
                return
        except BlockingIOError:
            # The peer does not read what it sent; nothing more is owed to it.
            log.debug("%s: peer does not read", name)
        except OSError as error:
            log.debug("%s: %s", name, error)
        with self._lock, contextlib.suppress(KeyError, ValueError):
            self._sockets[name].remove(connection)
        self._forget(connection)

    def _answer(self, name: str, server: socket.socket) -> None:
        data, peer = server.recvfrom(65536)
        server.sendto(greeting(name, peer) + data, peer)


def greeting(name: str, peer: tuple[str, int]) -> bytes:
    """The first line of every answer."""
    return f"{name} {peer[0]} {peer[1]}\n".encode()
