"""Runs code in another process's network namespace, without a process of its own.

A socket stays in the namespace it was opened in, so a thread that enters one
can hand its sockets back: no fork and no start of Python for each probe.
"""

from __future__ import annotations

import ctypes
import os
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Result = TypeVar("Result")

CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


def _enter(pid: int) -> None:
    descriptor = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        if _libc.setns(descriptor, CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), f"setns(2) to the network namespace of process {pid}")
    finally:
        os.close(descriptor)


def within(pid: int, call: Callable[[], Result]) -> Result:
    """The result of `call`, run by a thread in the network namespace of process `pid`.

    Raises what `call` raises, and OSError when the process is gone.
    """
    with ThreadPoolExecutor(max_workers=1, initializer=None, thread_name_prefix=f"netns-{pid}") as thread:
        thread.submit(_enter, pid).result()
        return thread.submit(call).result()


def open_socket(pid: int, family: int, kind: int, protocol: int = 0) -> socket.socket:
    """A socket of the network namespace of process `pid`, as `socket.socket` makes it."""
    return within(pid, lambda: socket.socket(family, kind, protocol))
