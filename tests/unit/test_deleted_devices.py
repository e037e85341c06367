"""Devices made anew under a machine's port are opened again, others are left alone."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.host import deleted_devices
from agent.host.deleted_devices import DEVICE, DeletedDevices
from agent.host.userspace_tables import ControlError
from state.ovsdb import OvsdbClient, RowChange
from tests.agents import Database, switch_database

CONTROL = Path("/nowhere.ctl")


@pytest.fixture
def server() -> Iterator[Database]:
    with switch_database() as made:
        yield made


@pytest.fixture
def client(server: Database) -> Iterator[OvsdbClient]:
    made = OvsdbClient(server.socket, "Open_vSwitch")
    made.wait_connected(5)
    yield made
    made.close()


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    made: list[tuple[str, ...]] = []
    monkeypatch.setattr(deleted_devices, "call", lambda path, *command: made.append(command))
    return made


def vsctl(server: Database, *arguments: str) -> str:
    command = ["ovs-vsctl", "--no-wait", f"--db=unix:{server.socket}", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def uuid(server: Database, port: str) -> str:
    return vsctl(server, "get", "Interface", port, "_uuid")


def change(of: str, name: str, index: object, *, gone: bool = False) -> RowChange:
    row = {"name": name, "ifindex": index}
    return RowChange("Interface", of, row, None if gone else row)


def test_only_another_index_is_a_device_made_anew() -> None:
    devices = DeletedDevices(None, lambda: CONTROL)  # type: ignore[arg-type]
    told = [devices.apply(change("u", "pc", index)) for index in (["set", []], 0, 7, 7, 0, 7, 0, 9, 9, 10)]
    assert told == [False, False, False, False, False, False, False, True, False, True]
    devices.apply(change("u", "pc", 10, gone=True))
    assert not devices.apply(change("u", "pc", 11)), "a row of its own"


def test_it_is_opened_again_where_it_is_on_the_bridge(
    server: Database, client: OvsdbClient, calls: list[tuple[str, ...]]
) -> None:
    vsctl(server, "add-br", "br-test", "--", "add-port", "br-test", "pc", "--", "add-port", "br-test", "own",
          "--", "add-br", "br-else", "--", "add-port", "br-else", "other",
          "--", "set", "Interface", "pc", "external_ids:iface-id=x")  # fmt: skip
    devices = DeletedDevices(client, lambda: CONTROL)
    for name in ("pc", "own", "other"):
        devices.apply(change(uuid(server, name), name, 7))
        devices.apply(change(uuid(server, name), name, 9))
    assert devices.open_again("br-test", ("own",)) == ""
    assert calls == [("dpctl/del-if", "netdev@ovs-netdev", "pc")]
    assert vsctl(server, "get", "Interface", "pc", f"external_ids:{DEVICE}") == '"9"'
    assert vsctl(server, "get", "Interface", "pc", "external_ids:iface-id") == "x"
    for name in ("own", "other"):
        assert vsctl(server, "get", "Interface", name, "external_ids") == "{}"
    assert devices.open_again("br-test", ("own",)) == ""
    assert len(calls) == 1, "once"


def test_it_waits_for_the_switch(server: Database, client: OvsdbClient, calls: list[tuple[str, ...]]) -> None:
    vsctl(server, "add-br", "br-test", "--", "add-port", "br-test", "pc")
    control: list[Path | None] = [None]
    devices = DeletedDevices(client, lambda: control[0])
    for index in (7, 9):
        devices.apply(change(uuid(server, "pc"), "pc", index))
    assert "does not run" in devices.open_again("br-test", ())
    control[0] = CONTROL
    assert devices.open_again("br-test", ()) == ""
    assert len(calls) == 1


def test_a_port_that_has_left_the_datapath_already_is_no_fault(
    server: Database, client: OvsdbClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> str:
        raise ControlError("no such port")

    monkeypatch.setattr(deleted_devices, "call", refuse)
    vsctl(server, "add-br", "br-test", "--", "add-port", "br-test", "pc")
    devices = DeletedDevices(client, lambda: CONTROL)
    for index in (7, 9):
        devices.apply(change(uuid(server, "pc"), "pc", index))
    assert devices.open_again("br-test", ()) == ""
    assert vsctl(server, "get", "Interface", "pc", f"external_ids:{DEVICE}") == '"9"'
