"""Rows of the database as links, and what the daemon remembers, says to FRR and writes back."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bgp.configuration import Configuration, Line
from bgp.desired_state import DesiredInterconnects, InterconnectSource
from bgp.hold_down import HoldDown, Penalty
from bgp.state_file import FrrStateFile
from bgp.status import InterconnectReport
from bgp.vty import Vty, VtyError, VtyHung, VtyRefused
from state import interconnect_rows, rows
from state.interconnect import BgpSession, Interconnect, InterconnectKind, Route, SessionState
from state.interconnect_rows import InterconnectStatus
from state.model import Appliance, Drive, Gateway, Kind, Network, PortBlock, State
from state.ovsdb import RowChange, to_map

NETWORK = Network("n", Kind.PRIVATE, "t", 1, "10.1.0.0/16", "10.1.0.1", PortBlock("203.0.113.64", 1, 2), mtu=1400)
APPLIANCE = Appliance(
    Gateway("wan", "203.0.113.2/24", "203.0.113.1", mtu=1480), ("203.0.113.96/27", "203.0.113.64/27"),
    public_pool=("198.51.100.0/25",),
)  # fmt: skip


class Database:
    """Stands in for the client of the database: rows in, changes out."""

    def __init__(self) -> None:
        self.connected = threading.Event()
        self.connected.set()
        self.written: list[list[dict[str, Any]]] = []
        self.handle: Callable[[list[RowChange], bool], None] = lambda _changes, _reset: None

    def monitor(self, _tables: Any, handler: Callable[[list[RowChange], bool], None]) -> None:
        self.handle = handler

    def transact(self, operations: list[dict[str, Any]], *, durable: bool) -> None:
        assert not durable
        self.written.append(operations)

    def add(self, table: str, uuid: str, row: dict[str, Any]) -> None:
        """A new row."""
        self.handle([RowChange(table, uuid, None, row)], False)


@pytest.fixture
def database() -> Database:
    return Database()


@pytest.fixture
def seen(database: Database) -> list[DesiredInterconnects]:
    """What the source reports; the appliance, a network and its drive are there."""
    found: list[DesiredInterconnects] = []
    source = InterconnectSource(database)  # type: ignore[arg-type]
    source.watch(found.append)
    settings = {"name": "a", "settings": to_map(APPLIANCE.to_settings())}
    drive = rows.drive_row(Drive("d", "10.250.0.9"), ["uuid", "net"], 0)
    database.handle(
        [RowChange("Network", "net", None, rows.network_row(NETWORK)), RowChange("Drive", "d", None, drive),
         RowChange("Appliance", "a", None, settings)], True,
    )  # fmt: skip
    return found


def row(kind: InterconnectKind = InterconnectKind.DIRECT_CONNECT, **fields: Any) -> dict[str, Any]:
    """The row of an interconnect."""
    direct = kind is InterconnectKind.DIRECT_CONNECT
    one = Interconnect(**{
        "name": "i", "kind": kind, "number": 1, "slot": 1, "port": "xc1", "vlan": 7, "local_address": "192.0.2.1/30",
        "peer_address": "192.0.2.2", "local_as": 64512, "peer_as": 65001, "accept": ("10.0.0.0/8",), **fields,
    })  # fmt: skip
    # The database answers a set of one by what is in it.
    return interconnect_rows.interconnect_row(one, None) | ({"network": ["uuid", "net"]} if direct else {})


def test_a_direct_connect_announces_its_network_and_drives(
    database: Database, seen: list[DesiredInterconnects]
) -> None:
    database.add("Interconnect", "i", row())
    link = seen[-1].links[0]
    assert (link.mtu, link.announced) == (1400, ("10.1.0.0/16", "10.250.0.9/32"))
    assert link.own[0] == ("10.1.0.0/16", "the network's own prefix")


def test_it_announces_what_it_is_told_to_as_far_as_it_is_there(
    database: Database, seen: list[DesiredInterconnects]
) -> None:
    announce = ("10.250.0.9/32", "10.1.4.0/24", "10.250.0.8/32")
    database.add("Interconnect", "i", row(announce=announce))
    assert seen[-1].links[0].announced == ("10.1.4.0/24", "10.250.0.9/32")
    drive = rows.drive_row(Drive("d", "10.250.0.9"), ["uuid", "net"], 0)
    database.handle([RowChange("Drive", "d", drive, None)], False)
    assert seen[-1].links[0].announced == ("10.1.4.0/24",)


def test_a_peering_announces_the_pools_as_few_prefixes(database: Database, seen: list[DesiredInterconnects]) -> None:
    database.add("Interconnect", "i", row(InterconnectKind.PEERING))
    link = seen[-1].links[0]
    assert (link.mtu, link.announced) == (1480, ("198.51.100.0/25", "203.0.113.64/26"))
    assert ("203.0.113.0/24", "the gateway's subnet") in link.own


def test_what_is_written_back_is_no_change(database: Database, seen: list[DesiredInterconnects]) -> None:
    database.add("Interconnect", "i", row())
    before = len(seen)
    status = InterconnectStatus("i", 1, State.LIVE)
    database.add("Interconnect_Status", "s", interconnect_rows.status_row(status))
    database.add("Interconnect_Routes", "r", {"interconnect": "i", "part": 3, "routes": "10.0.0.0/8|1|0|"})
    assert len(seen) == before


def test_networks_without_interconnects_cost_nothing(
    database: Database, seen: list[DesiredInterconnects], monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many there are, and however often they change."""
    database.add("Interconnect", "i", row())
    desired = seen[-1]
    made: list[DesiredInterconnects] = []
    monkeypatch.setattr(InterconnectSource, "_desired", lambda self, appliance: made.append(desired) or desired)
    drive = rows.drive_row(Drive("e", "10.250.0.10"), ["uuid", "other"], 0)
    database.add("Network", "other", {"prefix": "10.2.0.0/16", "mtu": 1400})
    database.add("Drive", "e", drive)
    database.handle([RowChange("Drive", "e", drive, None)], False)
    assert not made
    database.add("Network", "net", {"prefix": "10.1.0.0/16", "mtu": 1300})
    database.add("Drive", "f", drive | {"network": ["uuid", "net"]})
    assert len(made) == 2


def test_an_interconnect_whose_network_is_not_there_yet_waits(
    database: Database, seen: list[DesiredInterconnects]
) -> None:
    database.add("Interconnect", "i", row() | {"network": ["uuid", "other"]})
    assert all(not one.links for one in seen)


def test_nothing_before_the_appliance_is_known(database: Database) -> None:
    found: list[DesiredInterconnects] = []
    InterconnectSource(database).watch(found.append)  # type: ignore[arg-type]
    database.handle([RowChange("Network", "net", None, rows.network_row(NETWORK))], True)
    assert not found


def test_what_was_told_is_remembered_without_the_password(tmp_path: Path) -> None:
    line = Line("bgpd", ("router bgp 1",), "password", "neighbor 192.0.2.2 password d1gest", secret=True)
    memory = FrrStateFile(tmp_path / "1.json")
    assert not memory.read()
    memory.told, memory.holds = Configuration("x", (line,)), HoldDown().hold(Penalty.FLAPS, "flaps", 5)
    memory.keep()
    assert (tmp_path / "1.json").stat().st_mode & 0o777 == 0o600
    other = FrrStateFile(tmp_path / "1.json")
    assert other.read()
    assert (other.told, other.holds) == (memory.told, memory.holds)
    other.forget()
    assert not FrrStateFile(tmp_path / "1.json").read()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"identity": "x", "lines": [{"a": 1}]}', "\x00"])
def test_a_broken_memory_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "1.json").write_text(text)
    assert not FrrStateFile(tmp_path / "1.json").read()


def write(database: Database, report: InterconnectReport) -> list[list[dict[str, Any]]]:
    """What a report writes until it is stopped."""
    report.start()
    report.stop()
    return database.written


def test_routes_are_read_as_they_were_written() -> None:
    routes = (
        Route("10.0.0.0/8", "65001 65002", 7),
        Route("10.0.1.0/24", refusal="longer than /24"),
        Route("10.0.2.0/24", "65001", graceful_shutdown=True),
        Route("10.0.3.0/24", refusal="flapping: damped", graceful_shutdown=True),
    )
    texts = interconnect_rows.parts(routes)
    read = [route for text in texts.values() for route in interconnect_rows.routes({"routes": text})]
    assert sorted(read, key=interconnect_rows.order) == list(routes)


def test_the_session_is_told_before_its_routes(database: Database) -> None:
    texts = interconnect_rows.parts([Route("10.0.0.0/8"), Route("10.0.1.0/24")])
    known = InterconnectStatus("i", 1, State.LIVE, "", BgpSession(SessionState.ESTABLISHED))
    report = InterconnectReport(database, lambda: {"i": known, "gone": known}, lambda: {"i": texts, "gone": {1: ""}})  # type: ignore[arg-type]
    report.only(["i"])
    report.tell_routes("i", ())
    report.tell(InterconnectStatus("i", 1, State.LIVE, "", BgpSession(SessionState.DOWN)))
    first, second = write(database, report)[:2]
    assert {one["table"] for one in first} == {"Interconnect_Status"}
    assert [one["op"] for one in first] == ["update", "delete"]
    assert {one["table"] for one in second} == {"Interconnect_Routes"}
    assert [one["op"] for one in second] == ["delete"] * (len(texts) + 1)


def test_only_what_differs_is_written(database: Database) -> None:
    texts = interconnect_rows.parts([Route("10.0.0.0/8"), Route("10.0.1.0/24")])
    known = InterconnectStatus("i", 1, State.LIVE)
    report = InterconnectReport(database, lambda: {"i": known}, lambda: {"i": texts})  # type: ignore[arg-type]
    report.only(["i"])
    report.tell(known)
    report.tell_routes("i", [Route("10.0.0.0/8"), Route("10.0.1.0/24"), Route("10.0.2.0/24", "65001")])
    part = interconnect_rows.part_of("10.0.2.0/24")
    for operations in write(database, report):
        assert [one["op"] for one in operations] == ["update" if part in texts else "insert"]


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Path]:
    """The socket of a daemon: it takes `good`, refuses `bad`, hangs at `hang` and ends at `end`."""
    path = tmp_path / "bgpd.vty"
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(path))
    server.listen()

    def serve() -> None:
        while True:
            try:
                link, _ = server.accept()
            except OSError:
                return
            with link:
                while command := link.recv(4096).rstrip(b"\0"):
                    if command == b"end it":
                        break
                    if command != b"hang":
                        link.sendall(json.dumps({"said": command.decode()}).encode())
                        link.sendall(b"\0\0\0" + (b"\x02" if command == b"bad secret" else b"\0"))

    threading.Thread(target=serve, daemon=True).start()
    yield path
    server.close()


def test_a_conversation_with_a_daemon(daemon: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bgp.vty.ANSWER_SECONDS", 0.2)
    vty = Vty(daemon)
    assert json.loads(vty.ask("show good")) == {"said": "show good"}
    with pytest.raises(VtyRefused) as refused:
        vty.configure(["router bgp 1"], ["bad secret"])
    # What is refused may have a password in it.
    assert "secret" not in str(refused.value)
    assert vty.ask("good")
    with pytest.raises(VtyError):
        vty.ask("end it")
    assert vty.ask("good")
    with pytest.raises(VtyHung):
        vty.ask("hang")
    vty.close()


def test_no_daemon_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(VtyError):
        Vty(tmp_path / "bgpd.vty").ask("good")
