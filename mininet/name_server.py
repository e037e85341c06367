"""A DNS server for sandboxes: knows a few names, and may be silent, slow or a liar when a test wants it so."""

from __future__ import annotations

import contextlib
import selectors
import socket
import struct
import threading
from collections.abc import Callable, Mapping, Sequence

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset

PORT = 53
TTL = 60

Address = tuple[str, int]
Answering = Callable[[dns.message.Message, socket.socket, Address], Sequence[bytes]]
"""What to send for a question over UDP, in this order; the socket and the asker are for those who lie."""

NAMES: Mapping[str, tuple[str, ...]] = {
    "www.example.com": ("A 198.51.100.1",),
    "*.any.example.com": ("A 198.51.100.1",),
    "mail.example.com": ("MX 10 www.example.com.",),
    "alias.example.com": ("CNAME www.example.com.",),
    "large.example.com": tuple(f'TXT "{number:03} {"x" * 200}"' for number in range(20)),
}
"""What the Internet knows, by name, `*` for any label: records as `TYPE DATA`."""


class NameServer:
    """Answers on UDP and TCP `port` of `address` until closed; `within` opens its sockets elsewhere.

    `heard` has every question over UDP as `NAME TYPE`, in lower case. `answering`
    may be replaced at any time.
    """

    def __init__(
        self,
        address: str,
        names: Mapping[str, tuple[str, ...]] = NAMES,
        port: int = PORT,
        within: Callable[[Callable[[], list[socket.socket]]], list[socket.socket]] = lambda call: call(),
    ) -> None:
        self.names = names
        self.heard: list[str] = []
        self.answering: Answering = self.honest

        def listen() -> list[socket.socket]:
            opened = [socket.socket(socket.AF_INET, kind) for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM)]
            for one in opened:
                one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                one.bind((address, port))
            opened[1].listen()
            return opened

        self._udp, self._tcp = within(listen)
        self._stop, self._stopped = socket.socketpair()
        self._thread = threading.Thread(target=self._serve, name=f"names-{address}", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End it."""
        self._stop.close()
        self._thread.join()
        for one in (self._udp, self._tcp, self._stopped):
            one.close()

    def honest(self, query: dns.message.Message, _link: socket.socket, _asker: Address) -> Sequence[bytes]:
        """The right answer, cut to what the asker takes."""
        return (self.answer(query).to_wire(max_size=max(512, query.payload), prefer_truncation=True),)

    def answer(self, query: dns.message.Message) -> dns.message.Message:
        """The right answer, whole."""
        made = dns.message.make_response(query, recursion_available=True)
        asked = query.question[0]
        name = asked.name.to_text(omit_final_dot=True).lower()
        records = self.names.get(name, self.names.get(f"*.{name.partition('.')[2]}"))
        if records is None:
            made.set_rcode(dns.rcode.NXDOMAIN)
        for record in records or ():
            kind, _, data = record.partition(" ")
            if kind in (dns.rdatatype.to_text(asked.rdtype), "CNAME"):
                rdtype = dns.rdatatype.from_text(kind)
                made.find_rrset(made.answer, asked.name, asked.rdclass, rdtype, create=True).update(
                    dns.rrset.from_text(asked.name, TTL, "IN", kind, data)
                )
        return made

    def _serve(self) -> None:
        with selectors.DefaultSelector() as selector:
            for one in (self._udp, self._tcp, self._stopped):
                selector.register(one, selectors.EVENT_READ)
            while True:
                for key, _ in selector.select():
                    if key.fileobj is self._stopped:
                        return
                    with contextlib.suppress(OSError, EOFError, dns.exception.DNSException):
                        self._datagram() if key.fileobj is self._udp else self._connection()

    def _datagram(self) -> None:
        wire, asker = self._udp.recvfrom(4096)
        query = dns.message.from_wire(wire)
        asked = query.question[0]
        self.heard.append(f"{asked.name.to_text(omit_final_dot=True)} {dns.rdatatype.to_text(asked.rdtype)}".lower())
        for answer in self.answering(query, self._udp, asker):
            self._udp.sendto(answer, asker)

    def _connection(self) -> None:
        """One question, whole: a test has nobody else who waits."""
        link, _ = self._tcp.accept()
        with link:
            link.settimeout(2)
            reader = link.makefile("rb")
            (length,) = struct.unpack("!H", reader.read(2))
            answer = self.answer(dns.message.from_wire(reader.read(length))).to_wire(max_size=65535)
            link.sendall(struct.pack("!H", len(answer)) + answer)
