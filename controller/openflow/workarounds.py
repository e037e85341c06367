"""Workarounds for os-ken's native-thread hub.

Made for os-ken 4.2.2 (`os_ken/lib/hub.py`, `os_ken/controller/controller.py`);
each has a test in tests/fault/test_osken.py. Import this before anything of
os_ken: os-ken chooses its hub on import, and takes eventlet's where the
environment says so.
"""

from __future__ import annotations

import contextlib
import os
import queue
import socket
import threading
from collections.abc import Callable
from typing import Any

os.environ["OSKEN_HUB_TYPE"] = "native"

from os_ken.lib import hub

VERSION = "4.2.2"


class TaskExit(BaseException):
    """Ends a task; os-ken has `Exception` here, so any fault of a handler ended the app's event loop."""


class HubThread(hub.HubThread):  # type: ignore[misc]
    """A thread that does not keep the process alive, and that has the `kill` its callers use."""

    def __init__(self, target: Callable[..., Any], args: tuple[Any, ...] = (), kwargs: Any = None) -> None:
        super().__init__(target, args, kwargs if kwargs is not None else {})
        self.daemon = True

    def kill(self) -> None:
        """Nothing: a thread ends by its own loop's condition."""


def spawn(func: Callable[..., Any], *args: Any, **kwargs: Any) -> HubThread:
    """Run `func` in a thread."""
    thread = HubThread(func, args, kwargs)
    thread.start()
    return thread


hub.TaskExit = TaskExit
hub.HubThread = HubThread
hub.spawn = spawn
# os-ken's own never times out in `wait`.
hub.Event = threading.Event
# os-ken has the thread that imported it here, not a way to ask.
hub.getcurrent = threading.current_thread

import os_ken.base.app_manager  # noqa: E402, F401  (before controller: they import each other)
from os_ken.controller import controller  # noqa: E402
from os_ken.controller.handler import DEAD_DISPATCHER  # noqa: E402


class _WithoutTcpOptions:
    """A unix socket that lets TCP options pass: os-ken sets TCP_NODELAY on every socket."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def setsockopt(self, level: int, *arguments: Any) -> None:
        if level != socket.IPPROTO_TCP:
            self._connection.setsockopt(level, *arguments)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)


_init, _receive = controller.Datapath.__init__, controller.Datapath._recv_loop


def _init_mended(self: Any, connection: socket.socket, address: Any) -> None:
    unix = connection.family == socket.AF_UNIX
    _init(self, _WithoutTcpOptions(connection) if unix else connection, address)


def _receive_mended(self: Any) -> None:
    # os-ken leaves its send thread waiting for ever, and tells nobody that the switch is gone.
    try:
        _receive(self)
    finally:
        self.set_state(DEAD_DISPATCHER)
        waiting = self.send_q
        if waiting is not None:
            self._send_q_sem.acquire(blocking=False)
            # When the queue is full the send thread has something to send, fails at that, and ends.
            with contextlib.suppress(queue.Full):
                waiting.put_nowait((b"", True))


controller.Datapath.__init__ = _init_mended
controller.Datapath._recv_loop = _receive_mended
