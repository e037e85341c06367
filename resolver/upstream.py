"""Forwards questions to other servers, one after the other, and validates their answers.

Each question leaves with a random id from a random port of a socket of its own,
which hears only the server it is connected to (RFC 5452).
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import socket
import struct
import time
from collections.abc import Awaitable, Callable

from resolver import message, metrics
from resolver.cache import AnswerCache
from resolver.decide import ForwardingServer
from resolver.message import UDP_SIZE, Answered, Query
from resolver.namespace import DOMAIN, ResolverNamespaceError
from resolver.relay import Relayed

log = logging.getLogger("sluice.resolver")

TRY_SECONDS = 1.2
"""How long one server has. Clients ask again after 5 s (resolv.conf(5)) and must have an answer before."""
ALL_SECONDS = 4.0
TRIES = 3
_AVOID_SECONDS = 10.0
_DATAGRAM = 65535
_LENGTH = struct.Struct("!H")
# What another server may know better.
_UNHELPFUL = frozenset({1, 2, 4, 5})
_LAST_PLAIN_RCODE = 15

Open = Callable[[socket.SocketKind, str], Awaitable[socket.socket]]


class Upstream:
    """Asks servers by sockets of the host, or of where else they are.

    `inside` opens one for a server that is a machine, given its router's
    address, `remote` one for a server beyond a tunnel, given the namespace.
    """

    def __init__(self, inside: Open, remote: Open, port: int = DOMAIN) -> None:
        self._inside, self._beyond = inside, remote
        self._port = port
        self._silent: dict[ForwardingServer, float] = {}
        self._memory = AnswerCache()

    def recall(self, query: Query, servers: tuple[ForwardingServer, ...]) -> Relayed | None:
        """What these servers said a while ago and still holds."""
        return self._memory.recall(query, servers, time.monotonic())

    async def ask(self, query: Query, servers: tuple[ForwardingServer, ...]) -> Relayed | None:
        """What the first server that helps says; None when none does within ALL_SECONDS."""
        started = time.monotonic()
        last: Relayed | None = None
        kind = "network" if any(server.private for server in servers) else "others"
        try:
            async with asyncio.timeout(ALL_SECONDS):
                for server in self._in_order(servers):
                    answered = await self._try(query, server)
                    reply = answered.reply if answered else None
                    metrics.ASKED.labels(kind, "silent" if reply is None else "answered").inc()
                    if reply is not None and reply.rcode not in _UNHELPFUL and reply.rcode <= _LAST_PLAIN_RCODE:
                        if answered and answered.size <= UDP_SIZE:
                            self._memory.keep(query, servers, reply, time.monotonic())
                        return reply
                    last = reply or last
        except TimeoutError:
            metrics.ASKED.labels(kind, "timeout").inc()
        finally:
            metrics.SECONDS.observe(time.monotonic() - started)
        return last if last is not None and last.rcode <= _LAST_PLAIN_RCODE else None

    def _in_order(self, servers: tuple[ForwardingServer, ...]) -> list[ForwardingServer]:
        """Each at least once while tries last, those that were silent a moment ago at the end."""
        now = time.monotonic()
        order = sorted(servers, key=lambda server: self._silent.get(server, 0.0) > now)
        return (order * TRIES)[: max(TRIES, len(order))] if order else []

    async def _try(self, query: Query, server: ForwardingServer) -> Answered | None:
        try:
            async with asyncio.timeout(TRY_SECONDS):
                answered = await self._over_udp(query, server)
                if answered.truncated:
                    answered = await self._over_tcp(query, server)
        except (TimeoutError, OSError, ResolverNamespaceError, EOFError):
            self._mark(server)
            return None
        if self._silent.pop(server, None) is not None:
            log.info("server answers again", extra={"server": server.address})
        return answered

    def _mark(self, server: ForwardingServer) -> None:
        now = time.monotonic()
        if server not in self._silent:
            # Tenants choose servers: what is remembered of them must end.
            self._silent = {one: until for one, until in self._silent.items() if until > now}
            if not server.private:
                log.warning("server does not answer", extra={"server": server.address})
        self._silent[server] = now + _AVOID_SECONDS

    async def _open(self, kind: socket.SocketKind, server: ForwardingServer) -> socket.socket:
        if server.source:
            return await self._inside(kind, server.source)
        if server.tunnel:
            return await self._beyond(kind, server.tunnel)
        return socket.socket(socket.AF_INET, kind | socket.SOCK_NONBLOCK)

    async def _over_udp(self, query: Query, server: ForwardingServer) -> Answered:
        """Raises OSError; waits for ever for a server that does not answer."""
        loop = asyncio.get_running_loop()
        number = secrets.randbits(16)
        with await self._open(socket.SOCK_DGRAM, server) as link:
            # To a UDP socket this gives the one address it hears; it does not wait.
            link.connect((server.address, self._port))
            await loop.sock_sendall(link, message.ask(query, number))
            while True:
                answered = message.understand(await loop.sock_recv(link, _DATAGRAM), query, number)
                if answered is not None:
                    return answered
                metrics.IGNORED.inc()

    async def _over_tcp(self, query: Query, server: ForwardingServer) -> Answered:
        """Raises OSError, EOFError."""
        loop = asyncio.get_running_loop()
        number = secrets.randbits(16)
        link = await self._open(socket.SOCK_STREAM, server)
        try:
            await loop.sock_connect(link, (server.address, self._port))
            reader, writer = await asyncio.open_connection(sock=link)
        except BaseException:
            link.close()
            raise
        try:
            wire = message.ask(query, number)
            writer.write(_LENGTH.pack(len(wire)) + wire)
            (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
            answered = message.understand(await reader.readexactly(length), query, number)
        finally:
            writer.close()
        if answered is None:
            metrics.IGNORED.inc()
            raise EOFError("not an answer to what was asked")
        return answered
