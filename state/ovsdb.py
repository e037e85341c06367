"""A small OVSDB client (RFC 7047) over a unix socket: transact and monitor.

Why not the IDL of the `ovs` package: its wheel parses JSON in pure Python and
keeps a mutable object per row; loading 60,000 rows took 8 to 10 s against
0.7 s with the standard parser and plain rows, and it must be driven from one
thread. What is needed here is small: durable transactions from any thread,
and one ordered stream of row changes that survives a restart of the server.
"""

from __future__ import annotations

import codecs
import contextlib
import itertools
import json
import logging
import select
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass
from typing import Any

log = logging.getLogger("sluice.ovsdb")

SOCKET = "/run/sluice/database.sock"
"""Where the database of desired state listens on an appliance."""

_SILENT_SECONDS = 2.0
"""How long nothing comes before the server is asked whether it is there."""

_ANSWER_SECONDS = 5.0
"""How long the server may take to answer that, or to take what is sent."""

_SHORTEST_DELAY, _LONGEST_DELAY = 0.02, 0.5
"""Seconds until the connection is made again."""

Row = dict[str, Any]
Operation = dict[str, Any]


class DatabaseError(Exception):
    """The database refused a transaction or cannot be asked now."""


class TransactionRefused(DatabaseError):
    """A transaction was refused and changed nothing.

    `error` is the RFC 7047 error string ("constraint violation", "timed out"
    of a `wait`, ...), `index` the operation at fault (-1: the commit).
    """

    def __init__(self, error: str, details: str, index: int) -> None:
        super().__init__(f"{error}: {details}")
        self.error, self.details, self.index = error, details, index


class DatabaseUnavailable(DatabaseError):
    """The server could not be asked; nothing was sent."""


class OutcomeUnknown(DatabaseError):
    """The connection was lost, or time ran out, before the answer came."""


@dataclass(frozen=True, slots=True)
class RowChange:
    """One row's change: `old` is None for a new row, `new` for a deleted one."""

    table: str
    uuid: str
    old: Row | None
    new: Row | None


ChangeHandler = Callable[[Sequence[RowChange], bool], None]


class OvsdbClient:
    """One connection to one database, re-made when it is lost, or when the server does not answer for seven seconds.

    Changes are delivered from the reader thread, those of a transaction
    before its answer, so a caller reads its own writes.
    """

    def __init__(self, path: str, database: str = "Sluice") -> None:
        self._path = path
        self._database = database
        self._ids = itertools.count(1)
        self._lock = threading.Lock()
        self._pending: dict[int, Future[Any]] = {}
        self._socket: socket.socket | None = None
        self._tables: dict[str, dict[str, Any]] = {}
        self._handler: ChangeHandler | None = None
        self._rows: dict[tuple[str, str], Row] = {}
        self._closed = False
        self.connected = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ovsdb", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the connection; waiting callers get `OutcomeUnknown`."""
        self._closed = True
        with self._lock:
            self._shut_down()

    def monitor(self, tables: Mapping[str, Iterable[str]], handler: ChangeHandler) -> None:
        """Deliver the contents of `tables` (name → columns) and then every change.

        `handler(changes, reset)` is called with reset=True once for the whole
        contents at the start and again after each reconnection, when rows not
        among the changes are gone. Call before `wait_connected`.
        """
        with self._lock:
            self._tables = {name: {"columns": sorted(columns)} for name, columns in tables.items()}
            self._handler = handler
            connected = self.connected.is_set()
            self.connected.clear()
        if connected:
            # Otherwise, and after each reconnection, the reader starts it.
            with contextlib.suppress(DatabaseError):
                self._start_monitor()

    def wait_connected(self, timeout: float) -> None:
        """Wait until connected and the monitored contents were delivered.

        Raises DatabaseUnavailable.
        """
        if not self.connected.wait(timeout):
            raise DatabaseUnavailable(f"no answer from the database at {self._path} within {timeout:g} s")

    def transact(self, operations: Sequence[Operation], *, durable: bool = True, timeout: float = 10.0) -> list[Any]:
        """Run `operations` in one transaction and return their results.

        With `durable` the answer comes after fsync (RFC 7047 section 5.2.9).
        Raises TransactionRefused, DatabaseUnavailable, OutcomeUnknown.
        """
        params: list[Any] = [self._database, *operations]
        if durable:
            params.append({"op": "commit", "durable": True})
        if not self.connected.is_set():
            raise DatabaseUnavailable(f"not connected to the database at {self._path}")
        future = self._call("transact", params)
        try:
            results = future.result(timeout)
        except FutureTimeout:
            raise OutcomeUnknown(f"no answer from the database within {timeout:g} s") from None
        for index, result in enumerate(results):
            if result and "error" in result:
                at = index if index < len(operations) else -1
                raise TransactionRefused(result["error"], result.get("details", ""), at)
        return list(results[: len(operations)])

    def _call(self, method: str, params: list[Any]) -> Future[Any]:
        future: Future[Any] = Future()
        number = next(self._ids)
        data = json.dumps({"id": number, "method": method, "params": params}).encode()
        with self._lock:
            if self._socket is None:
                raise DatabaseUnavailable(f"not connected to the database at {self._path}")
            self._pending[number] = future
            try:
                self._socket.sendall(data)
            except OSError as error:
                del self._pending[number]
                # A part may have been sent, which nothing can follow.
                self._shut_down()
                raise OutcomeUnknown(f"connection to the database lost: {error}") from error
        return future

    def _shut_down(self) -> None:
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)

    def _run(self) -> None:
        delay = _SHORTEST_DELAY
        while not self._closed:
            connection = socket.socket(socket.AF_UNIX)
            connection.settimeout(_ANSWER_SECONDS)
            try:
                connection.connect(self._path)
                with self._lock:
                    self._socket = connection
                self._converse(connection)
            except (OSError, EOFError, ValueError, DatabaseError) as error:
                if self._socket is not None and not self._closed:
                    log.warning("database connection lost", extra={"path": self._path, "error": str(error)})
            finally:
                delay = _SHORTEST_DELAY if self.connected.is_set() else min(delay * 2, _LONGEST_DELAY)
                self._disconnect(connection)
            time.sleep(delay)

    def _disconnect(self, connection: socket.socket) -> None:
        with self._lock:
            self._socket = None
            self.connected.clear()
            pending, self._pending = self._pending, {}
        connection.close()
        for future in pending.values():
            future.set_exception(OutcomeUnknown("connection to the database lost before its answer"))

    def _converse(self, connection: socket.socket) -> None:
        decoder = json.JSONDecoder()
        # A character of several bytes may be cut by the end of a chunk.
        characters = codecs.getincrementaldecoder("utf-8")()
        with self._lock:
            monitored = bool(self._tables)
            if not monitored:
                self.connected.set()
        if monitored:
            self._start_monitor()
        buffer = ""
        while True:
            # A message ends with "}"; try to parse only then, so that a large
            # reply is not parsed again for every chunk it arrives in.
            if buffer.endswith("}"):
                try:
                    while buffer:
                        message, end = decoder.raw_decode(buffer)
                        buffer = buffer[end:].lstrip()
                        self._dispatch(connection, message)
                except json.JSONDecodeError:
                    pass
            self._await_data(connection)
            data = connection.recv(1 << 20)
            if not data:
                raise EOFError("closed by the server")
            buffer += characters.decode(data)

    def _await_data(self, connection: socket.socket) -> None:
        """Wait until something comes; a server from which nothing comes is asked. Raises TimeoutError."""
        poll = select.poll()
        poll.register(connection, select.POLLIN)
        if poll.poll(_SILENT_SECONDS * 1000):
            return
        # RFC 7047 section 4.1.11.
        self._call("echo", [])
        if not poll.poll(_ANSWER_SECONDS * 1000):
            raise TimeoutError(f"the server does not answer for {_SILENT_SECONDS + _ANSWER_SECONDS:g} s")

    def _start_monitor(self) -> None:
        self._call("monitor", [self._database, None, self._tables]).add_done_callback(self._loaded)

    def _dispatch(self, connection: socket.socket, message: dict[str, Any]) -> None:
        match message.get("method"):
            case "update":
                self._deliver(message["params"][1], reset=False)
            case "echo":
                reply = {"id": message["id"], "result": message["params"], "error": None}
                with self._lock:
                    connection.sendall(json.dumps(reply).encode())
            case None:
                with self._lock:
                    future = self._pending.pop(message["id"], None)
                if future is None:
                    return
                if message.get("error"):
                    future.set_exception(DatabaseError(json.dumps(message["error"])))
                else:
                    future.set_result(message["result"])

    def _loaded(self, future: Future[Any]) -> None:
        error = future.exception()
        if isinstance(error, OutcomeUnknown):
            return
        if error is not None:
            log.error("database refused the monitor; it will be asked again", extra={"error": str(error)})
            with self._lock:
                self._shut_down()
            return
        self._deliver(future.result(), reset=True)
        self.connected.set()

    def _deliver(self, tables: Mapping[str, Mapping[str, Any]], *, reset: bool) -> None:
        before = self._rows
        if reset:
            self._rows = {}
        changes = []
        for table, rows in tables.items():
            for uuid, update in rows.items():
                old, new = before.get((table, uuid)), _shared(update.get("new"))
                if new is None:
                    self._rows.pop((table, uuid), None)
                else:
                    self._rows[table, uuid] = new
                changes.append(RowChange(table, uuid, old, new))
        if reset:
            gone = before.keys() - self._rows.keys()
            changes += [RowChange(table, uuid, before[table, uuid], None) for table, uuid in gone]
        if self._handler is not None:
            try:
                self._handler(changes, reset)
            except Exception:
                log.exception("handler of database changes failed")


def _shared(row: Row | None) -> Row | None:
    """The row with one object for each column's name: the parser makes one a row, which are most of its bytes."""
    return None if row is None else {sys.intern(column): value for column, value in row.items()}


def by_uuid(uuid: str) -> list[list[object]]:
    """The condition that selects the row `uuid`."""
    return [["_uuid", "==", ["uuid", uuid]]]


def atoms(value: Any) -> list[Any]:
    """The atoms of an OVSDB set (one atom stands for itself)."""
    if isinstance(value, list) and len(value) == 2 and value[0] == "set":
        return list(value[1])
    return [value]


def mapping(value: Any) -> dict[str, Any]:
    """An OVSDB map as a dict."""
    return {key: item for key, item in value[1]}


def to_set(values: Iterable[Any]) -> list[Any]:
    """An OVSDB set of `values`."""
    return ["set", list(values)]


def to_map(values: Mapping[str, Any]) -> list[Any]:
    """An OVSDB map of `values`."""
    return ["map", [[key, value] for key, value in values.items()]]
