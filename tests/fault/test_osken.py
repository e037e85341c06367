"""The mends of os-ken's hub: one test for each fault of the version they are for."""

from __future__ import annotations

import importlib.metadata
import os
import queue
import socket
import subprocess
import sys
import threading
import time
from typing import Any

import pytest
from dummy_switch import wait_until

from controller.openflow import workarounds

# isort: split
from os_ken.base import app_manager
from os_ken.controller import controller, event
from os_ken.controller.handler import DEAD_DISPATCHER
from os_ken.lib import hub


class _Event(event.EventBase):  # type: ignore[misc]
    pass


def test_the_mends_are_for_the_installed_version() -> None:
    assert importlib.metadata.version("os-ken") == workarounds.VERSION


def test_the_native_hub_is_taken_whatever_the_environment_says() -> None:
    code = (
        "import controller.openflow.workarounds, os_ken.lib.hub as h, sys; print(h.HUB_TYPE, 'eventlet' in sys.modules)"
    )
    environment = {**os.environ, "OSKEN_HUB_TYPE": "eventlet"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["native", "False"]


def test_a_fault_in_a_handler_does_not_end_the_event_loop() -> None:
    app = app_manager.OSKenApp()
    seen: queue.Queue[int] = queue.Queue()

    def handler(_: Any) -> None:
        seen.put(1)
        raise ValueError("bug")

    app.register_handler(_Event, handler)
    app.start()
    try:
        for _ in range(3):
            app._send_event(_Event(), None)
        for _ in range(3):
            assert seen.get(timeout=5) == 1
    finally:
        app.stop()


def test_wait_times_out() -> None:
    started = time.monotonic()
    assert hub.Event().wait(0.05) is False
    assert time.monotonic() - started < 2


def test_wait_ends_when_set() -> None:
    waited = hub.Event()
    hub.spawn(waited.set)
    assert waited.wait(5) is True


def test_threads_do_not_keep_the_process_and_can_be_killed_by_name() -> None:
    gate = threading.Event()
    thread = hub.spawn(gate.wait, 5)
    assert thread.daemon
    thread.kill()
    gate.set()
    thread.wait(5)
    assert not thread.is_alive()


def test_getcurrent_asks() -> None:
    found: queue.Queue[Any] = queue.Queue()
    thread = hub.spawn(lambda: found.put(hub.getcurrent()))
    assert found.get(timeout=5) is thread
    assert hub.getcurrent() is threading.current_thread()


def serving(ours: socket.socket) -> tuple[Any, threading.Thread]:
    datapath = controller.Datapath(ours, "test")
    thread = threading.Thread(target=datapath.serve, daemon=True)
    thread.start()
    return datapath, thread


def test_a_unix_socket_is_served() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX)
    with theirs:
        theirs.settimeout(5)
        _, thread = serving(ours)
        # Its hello: version, type 0.
        assert theirs.recv(8)[1] == 0
        theirs.close()
        thread.join(5)
    assert not thread.is_alive()


@pytest.mark.parametrize("waiting", [0, 40], ids=["idle", "with messages to send"])
def test_a_lost_connection_is_dead_and_leaves_no_thread(waiting: int) -> None:
    before = set(threading.enumerate())
    ours, theirs = socket.socketpair(socket.AF_UNIX)
    datapath, thread = serving(ours)
    theirs.recv(8)
    senders = [threading.Thread(target=datapath.send, args=(bytes(1 << 16),), daemon=True) for _ in range(waiting)]
    for sender in senders:
        sender.start()
    theirs.close()
    thread.join(5)
    assert datapath.state == DEAD_DISPATCHER
    assert not datapath.is_active
    wait_until(lambda: set(threading.enumerate()) <= before, what="all threads ended")


def test_after_that_nothing_can_be_sent() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX)
    datapath, thread = serving(ours)
    theirs.close()
    thread.join(5)
    assert datapath.send(b"x") is False
