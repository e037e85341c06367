"""Serves DNS to machines over UDP and TCP, within their limits."""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
import time
from collections.abc import Coroutine

from dns.rcode import Rcode

from resolver import message, metrics
from resolver.decide import REMEMBERED, Ask
from resolver.directory import Directory, QueryingMachine
from resolver.limits import Places, Rates
from resolver.message import TCP_SIZE, UDP_SIZE, Query, Refusal
from resolver.namespace import IP_PKTINFO
from resolver.relay import Relayed
from resolver.upstream import Upstream
from resolver.zone import Reply

log = logging.getLogger("sluice.resolver")

WAITING_OF_MACHINE, WAITING_OF_NETWORK, WAITING = 64, 512, 4096
"""Questions that wait for other servers at once, of a machine, a network and all; the rest are refused."""
CONNECTIONS_OF_MACHINE, CONNECTIONS_OF_NETWORK, CONNECTIONS = 8, 128, 2048
IDLE_SECONDS = 10.0
"""How long a connection without a whole question is kept (RFC 7766 section 6.2.3)."""

_BURST = 64
# A name and little else; longer questions are rare, and only take room.
_PLAIN = 300
_PKTINFO = struct.Struct("=I4s4s")
_LENGTH = struct.Struct("!H")
_ANCILLARY = socket.CMSG_SPACE(_PKTINFO.size)
_SERVFAIL = Reply(Rcode.SERVFAIL)
_OUTCOMES: dict[int, str] = {Rcode.NOERROR: "answered", Rcode.NXDOMAIN: "nxdomain", Rcode.SERVFAIL: "servfail",
             Rcode.REFUSED: "refused"}  # fmt: skip

Address = tuple[str, int]


class Service:
    """Answers the questions of the machines `directory` knows; one event loop's."""

    def __init__(self, directory: Directory, upstream: Upstream) -> None:
        self._directory = directory
        self._upstream = upstream
        self._waiting = Places(WAITING_OF_MACHINE, WAITING_OF_NETWORK, WAITING, metrics.WAITING)
        self._connections = Places(CONNECTIONS_OF_MACHINE, CONNECTIONS_OF_NETWORK, CONNECTIONS, metrics.CONNECTIONS)
        self._rates = Rates()
        self._tasks: set[asyncio.Task[None]] = set()

    async def serve(self, udp: socket.socket, tcp: socket.socket) -> None:
        """Answer what comes by these sockets until cancelled."""
        loop = asyncio.get_running_loop()
        loop.add_reader(udp, self._datagrams, udp)
        try:
            server = await asyncio.start_server(self._connection, sock=tcp)
            async with server:
                await server.serve_forever()
        finally:
            loop.remove_reader(udp)

    def _datagrams(self, link: socket.socket) -> None:
        for _ in range(_BURST):
            try:
                wire, ancillary, _, asker = link.recvmsg(UDP_SIZE, _ANCILLARY)
            except BlockingIOError:
                return
            except OSError as error:
                log.warning("question not read", extra={"error": str(error)})
                return
            router = next((_PKTINFO.unpack(data[: _PKTINFO.size])[2] for _, kind, data in ancillary
                           if kind == IP_PKTINFO), b"")  # fmt: skip
            try:
                self._datagram(link, wire, asker, router)
            except Exception:
                metrics.FAULTS.inc()
                log.exception("question over UDP failed", extra={"asker": asker[0], "wire": wire.hex()})

    def _datagram(self, link: socket.socket, wire: bytes, asker: Address, router: bytes) -> None:
        client = self._directory.find(asker[0])
        if client is None or len(router) != 4 or socket.inet_ntoa(router) != client.view.network.router:
            metrics.QUERIES.labels("udp", "unknown-machine").inc()
            return
        if over := self._rates.take(client.machine, client.network, client.view.question_rate, time.monotonic()):
            metrics.QUERIES.labels("udp", over).inc()
            return
        done = self._answer(wire, client, "udp", client.view.udp_size)
        if isinstance(done, bytes):
            _send(link, done, asker, router)
        else:
            self._later(self._datagram_later(link, done, asker, router))

    async def _datagram_later(
        self, link: socket.socket, answer: Coroutine[None, None, bytes], asker: Address, router: bytes
    ) -> None:
        _send(link, await answer, asker, router)

    def _later(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        # The loop itself only remembers tasks weakly.
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            metrics.FAULTS.inc()
            log.error("question failed", exc_info=error)

    def _answer(
        self, wire: bytes, client: QueryingMachine, transport: str, limit: int
    ) -> bytes | Coroutine[None, None, bytes]:
        """The answer, empty for none; or who will have it, where others are to be asked."""
        view, key = client.view, (limit, wire[2:])
        if (known := view.written.get(key)) is not None:
            metrics.QUERIES.labels(transport, known[0]).inc()
            return wire[:2] + known[1]
        query = message.read(wire)
        if isinstance(query, Refusal):
            metrics.QUERIES.labels(transport, query.what).inc()
            return query.wire
        decided = view.decide(query.question)
        if isinstance(decided, Reply):
            answer = self._say(query, decided, transport, limit)
            if len(wire) <= _PLAIN:
                if len(view.written) >= REMEMBERED:
                    view.written.clear()
                view.written[key] = (_outcome(decided), answer[2:])
            return answer
        remembered = self._upstream.recall(query, decided.servers)
        if remembered is not None:
            return self._say(query, remembered, transport, limit)
        # Here and not where it waits: of a burst all are seen before the first of them waits.
        if over := self._waiting.take(client.machine, client.network):
            metrics.QUERIES.labels(transport, over).inc()
            return message.write(query, _SERVFAIL, limit)
        return self._forward(query, decided, client, transport, limit)

    async def _forward(self, query: Query, ask: Ask, client: QueryingMachine, transport: str, limit: int) -> bytes:
        try:
            reply = await self._upstream.ask(query, ask.servers)
        finally:
            self._waiting.give(client.machine, client.network)
        return self._say(query, reply or _SERVFAIL, transport, limit)

    def _say(self, query: Query, reply: Reply | Relayed, transport: str, limit: int) -> bytes:
        metrics.QUERIES.labels(transport, _outcome(reply)).inc()
        return message.write(query, reply, limit)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        client = self._directory.find(writer.get_extra_info("peername")[0])
        router = writer.get_extra_info("sockname")[0]
        if client is None or client.view.network.router != router:
            metrics.QUERIES.labels("tcp", "unknown-machine").inc()
            writer.transport.abort()
            return
        machine, network = client.machine, client.network
        if over := self._connections.take(machine, network):
            metrics.QUERIES.labels("tcp", over).inc()
            writer.transport.abort()
            return
        try:
            await self._converse(reader, writer, client)
        except (OSError, EOFError, TimeoutError):
            pass
        except Exception:
            metrics.FAULTS.inc()
            log.exception("connection failed", extra={"machine": machine})
        finally:
            self._connections.give(machine, network)
            writer.transport.abort() if writer.transport.get_write_buffer_size() else writer.close()

    async def _converse(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, opened: QueryingMachine
    ) -> None:
        """One question after the other, until the machine has no more. Raises OSError, EOFError, TimeoutError."""
        machine, network, question_rate = opened.machine, opened.network, opened.view.question_rate
        while True:
            async with asyncio.timeout(IDLE_SECONDS):
                (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
                wire = await reader.readexactly(length)
            if seconds := self._rates.queue(machine, network, question_rate, time.monotonic()):
                metrics.DELAYED.inc()
                await asyncio.sleep(seconds)
            # The network may have changed, or the machine gone, since the last question.
            client = self._directory.find(writer.get_extra_info("peername")[0])
            if client is None or client.machine != machine:
                return
            done = self._answer(wire, client, "tcp", TCP_SIZE)
            answer = done if isinstance(done, bytes) else await done
            if not answer:
                return
            writer.write(_LENGTH.pack(len(answer)) + answer)
            async with asyncio.timeout(IDLE_SECONDS):
                await writer.drain()


def _outcome(reply: Reply | Relayed) -> str:
    return _OUTCOMES.get(reply.rcode, "error")


def _send(link: socket.socket, wire: bytes, asker: Address, router: bytes) -> None:
    if not wire:
        return
    try:
        link.sendmsg([wire], [(socket.IPPROTO_IP, IP_PKTINFO, _PKTINFO.pack(0, router, bytes(4)))], 0, asker)
    except OSError as error:
        # As a lost packet: the machine asks again.
        log.debug("answer not sent", extra={"asker": asker[0], "error": str(error)})
