"""The client of the database beside a server that hangs, and one that does not have the database yet."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator

import pytest
from agents import SLUICE_SCHEMA, Database, database, switch_database
from dummy_switch import wait_until

from state import ovsdb

TABLES = {"Network": ["name"]}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    """A database, and a client that is quicker to ask than those that serve."""
    monkeypatch.setattr(ovsdb, "_SILENT_SECONDS", 0.2)
    monkeypatch.setattr(ovsdb, "_ANSWER_SECONDS", 0.3)
    with database() as made:
        yield made


def test_a_server_that_hangs_is_not_connected_and_one_that_goes_on_is(server: Database) -> None:
    client = ovsdb.OvsdbClient(server.socket)
    try:
        client.monitor(TABLES, lambda changes, reset: None)
        client.wait_connected(5)
        server.freeze(True)
        wait_until(lambda: not client.connected.is_set(), what="the server is missed", timeout=5)
        with pytest.raises(ovsdb.DatabaseUnavailable):
            client.transact([{"op": "comment", "comment": "x"}])
        server.freeze(False)
        client.wait_connected(5)
        assert client.transact([{"op": "comment", "comment": "x"}]) == [{}]
    finally:
        server.freeze(False)
        client.close()


def test_a_transaction_that_a_hanging_server_has_is_of_unknown_outcome_soon(server: Database) -> None:
    client = ovsdb.OvsdbClient(server.socket)
    try:
        client.wait_connected(5)
        server.freeze(True)
        began = time.monotonic()
        with pytest.raises(ovsdb.OutcomeUnknown):
            client.transact([{"op": "comment", "comment": "x"}], timeout=60)
        assert time.monotonic() - began < 30
    finally:
        server.freeze(False)
        client.close()


def test_a_message_that_a_hanging_server_does_not_take_holds_nobody_up(server: Database) -> None:
    """More than its socket takes: the sender holds the lock that every other caller waits for."""
    client = ovsdb.OvsdbClient(server.socket)
    try:
        client.wait_connected(5)
        server.freeze(True)
        began = time.monotonic()
        with pytest.raises(ovsdb.DatabaseError):
            client.transact([{"op": "comment", "comment": "x" * (1 << 24)}], timeout=60)
        with pytest.raises(ovsdb.DatabaseError):
            client.transact([{"op": "comment", "comment": "x"}], timeout=60)
        assert time.monotonic() - began < 30
    finally:
        server.freeze(False)
        client.close()


def test_a_silent_server_that_answers_stays_connected(server: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    client = ovsdb.OvsdbClient(server.socket)
    try:
        resets: list[bool] = []
        asked: list[str] = []
        client.monitor(TABLES, lambda changes, reset: resets.append(reset))
        client.wait_connected(5)
        call = client._call
        monkeypatch.setattr(client, "_call", lambda method, params: (asked.append(method), call(method, params))[1])
        wait_until(lambda: asked.count("echo") >= 3, what="it was asked thrice", timeout=5)
        assert client.connected.is_set()
        assert resets == [True]
    finally:
        client.close()


def test_a_refused_monitor_is_asked_for_again() -> None:
    with switch_database() as made:
        client = ovsdb.OvsdbClient(made.socket)
        try:
            client.monitor(TABLES, lambda changes, reset: None)
            with pytest.raises(ovsdb.DatabaseUnavailable):
                client.wait_connected(0.3)
            path = made.directory / "sluice.db"
            subprocess.run(["ovsdb-tool", "create", str(path), str(SLUICE_SCHEMA)], check=True)
            subprocess.run(
                ["ovs-appctl", "-t", f"{made.directory}/db.ctl", "ovsdb-server/add-db", str(path)], check=True
            )
            client.wait_connected(5)
        finally:
            client.close()
