"""The network namespace in which questions arrive.

Every address is local to what comes by its one link, so that a socket there
gets what was sent to any network's router and answers from that address.
Replies leave by the link with a fixed MAC: nothing is looked up by ARP.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import json
import os
import socket
import subprocess
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures.thread import BrokenThreadPool
from pathlib import Path
from typing import TypeVar

from state import resolver

DIRECTORY = Path("/run/netns")
LINK = "dns0"
DOMAIN = 53
_TABLE = _RULE = "53"
_NEXT_HOP = "169.254.0.1"
_CLONE_NEWNET = 0x40000000
_SECONDS = 10
# A namespace is named by a mount, which has to be the host's: a unit has mounts of its own, into which those of
# process 1 come, but not the other way round (mount_namespaces(7)).
_HOST_MOUNTS = ("nsenter", "--mount=/proc/1/ns/mnt")
# <linux/in.h>
IP_PKTINFO, IP_TRANSPARENT = 8, 19
_BACKLOG = 256
_RECEIVE_BYTES = 1 << 20

_libc = ctypes.CDLL(None, use_errno=True)
Result = TypeVar("Result")


class ResolverNamespaceError(Exception):
    """The namespace or its link could not be made; the text says why."""


def enter(descriptor: int) -> None:
    """Move the calling thread to the network namespace of an open file (setns(2)). Raises OSError."""
    if _libc.setns(descriptor, _CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns(2)")


def _run(*command: str, lines: Sequence[str] = ()) -> str:
    try:
        done = subprocess.run(
            command, input="".join(f"{line}\n" for line in lines), capture_output=True, text=True, timeout=_SECONDS,
            check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ResolverNamespaceError(str(error)) from error
    if done.returncode:
        raise ResolverNamespaceError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout


def _exists(device: str) -> bool:
    try:
        socket.if_nametoindex(device)
    except OSError:
        return False
    return True


# What a namespace takes over from the host and must not; `forwarding` first, with which the kernel changes others.
_OFF = ("forwarding", "rp_filter", "accept_redirects", "send_redirects", "accept_source_route")


def _settings() -> Iterator[str]:
    """Lines for a shell."""
    for device in ("all", "default", LINK):
        yield from (f"echo 0 >/proc/sys/net/ipv4/conf/{device}/{key}" for key in _OFF)
        ipv6 = f"/proc/sys/net/ipv6/conf/{device}/disable_ipv6"
        yield f"[ ! -e {ipv6} ] || echo 1 >{ipv6}"


class ResolverNamespace:
    """The namespace called `name`; `make` it before anything else. Sockets opened in it stay in it."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._file = DIRECTORY / name
        self._thread = ThreadPoolExecutor(1, "namespace", self._enter)

    def make(self) -> None:
        """Make the namespace unless there is one. Raises ResolverNamespaceError."""
        if not os.path.ismount(self._file):
            # The name may be there without the namespace: the mount ended with whoever made it.
            _run(*_HOST_MOUNTS, "rm", "-f", str(self._file))
            _run(*_HOST_MOUNTS, "ip", "netns", "add", self._name)

    def present(self) -> bool:
        """Whether the link is there."""
        return self.within(lambda: _exists(LINK))

    def link(self, port: str, router_mac: str) -> bool:
        """Make the link to the bridge's `port` as it must be; False when it was.

        Raises ResolverNamespaceError, OSError.

        An alias, given last, says what the link was made for: a link without it
        was made for something else, or not to the end.
        """
        alias = f"{port} {router_mac}"
        if self.present():
            shown = json.loads(self._ip("-json", "link", "show", LINK))
            if shown[0].get("ifalias") == alias:
                self._set()
                return False
            # Its other end goes with it.
            self._ip("link", "delete", LINK)
        if _exists(port):
            raise ResolverNamespaceError(f"a device {port} exists that is not the resolver's")
        _run("ip", "link", "add", port, "type", "veth", "peer", "name", LINK, "address", resolver.MAC,
             "netns", self._name)  # fmt: skip
        # The userspace datapath passes packets on as they are: checksums must be whole.
        _run("ethtool", "-K", port, "tx", "off")
        self.within(lambda: _run("ethtool", "-K", LINK, "tx", "off"))
        self._set()
        with contextlib.suppress(ResolverNamespaceError):
            self._ip("rule", "delete", "priority", _RULE)
        self._ip("-batch", "-", lines=(
            "link set lo up",
            f"link set {LINK} arp off up",
            f"route replace local default dev lo table {_TABLE}",
            f"route replace default via {_NEXT_HOP} dev {LINK} onlink",
            f"neighbor replace {_NEXT_HOP} lladdr {router_mac} dev {LINK} nud permanent",
            f"rule add iif {LINK} lookup {_TABLE} priority {_RULE}",
        ))  # fmt: skip
        _run("ip", "link", "set", port, "up")
        self._ip("link", "set", LINK, "alias", alias)
        return True

    def _set(self) -> None:
        # `/proc/sys` of a unit may be read-only, that of process 1 is not.
        _run(*_HOST_MOUNTS, f"--net={self._file}", "sh", "-e", lines=tuple(_settings()))

    def _ip(self, *command: str, lines: Sequence[str] = ()) -> str:
        # Not by `ip -n`, which needs mounts of its own as well.
        return self.within(lambda: _run("ip", *command, lines=lines))

    def within(self, call: Callable[[], Result]) -> Result:
        """The result of `call`, run in the namespace. Raises what it raises."""
        return self.submit(call).result()

    def submit(self, call: Callable[[], Result]) -> Future[Result]:
        """As `within`, without waiting. Raises ResolverNamespaceError."""
        try:
            return self._thread.submit(call)
        except BrokenThreadPool as error:
            raise ResolverNamespaceError(f"namespace {self._name} cannot be entered") from error

    def listener(self, kind: socket.SocketKind) -> socket.socket:
        """A socket at port 53 of every address. Raises OSError, ResolverNamespaceError."""
        made = self.within(lambda: _socket(kind))
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if kind is socket.SOCK_DGRAM:
            # Which of the addresses a question was sent to: the answer leaves from it.
            made.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)
            made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BYTES)
        made.bind(("0.0.0.0", DOMAIN))
        if kind is socket.SOCK_STREAM:
            made.listen(_BACKLOG)
        return made

    async def client(self, kind: socket.SocketKind, source: str) -> socket.socket:
        """A socket of a random port of `source`, any address. Raises OSError, ResolverNamespaceError."""
        made = await asyncio.wrap_future(self.submit(lambda: _socket(kind)))
        try:
            made.bind((source, 0))
        except OSError:
            made.close()
            raise
        return made

    def _enter(self) -> None:
        descriptor = os.open(self._file, os.O_RDONLY | os.O_CLOEXEC)
        try:
            enter(descriptor)
        finally:
            os.close(descriptor)


def _socket(kind: socket.SocketKind) -> socket.socket:
    made = socket.socket(socket.AF_INET, kind | socket.SOCK_NONBLOCK)
    # Addresses that are local by the policy route alone may be bound and answered from.
    made.setsockopt(socket.IPPROTO_IP, IP_TRANSPARENT, 1)
    return made
