"""Drives over gRPC: which address is whose, how far it is, and what is refused."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from agent.store import Store
from sluice.v1 import drive_pb2 as drives
from sluice.v1 import network_pb2 as networks
from sluice.v1 import status_pb2
from state.model import State
from tests.agents import Api, Controller, Database, machine, network, opened, refusal, served
from tests.dummy_switch import wait_until


@pytest.fixture
def api(store: Store) -> Iterator[Api]:
    with served(store) as made:
        made.networks.CreateNetwork(network("office", tenant="t"))
        made.networks.CreateNetwork(network("lab"))
        made.machines.CreateMachine(machine("web"))
        yield made


def drive(name: str, of: str = "office", address: str = "10.250.0.9", **options: Any) -> drives.CreateDriveRequest:
    return drives.CreateDriveRequest(
        drive_id=name, drive=drives.Drive(network=f"networks/{of}", address=address), **options
    )


def get(api: Api, name: str) -> drives.Drive:
    return api.drives.GetDrive(drives.GetDriveRequest(name=f"drives/{name}"))


def test_a_drive_from_create_to_delete(api: Api, store: Store) -> None:
    revision = store.cache.networks["office"].network.revision
    made = api.drives.CreateDrive(drive("files"))
    assert (made.name, made.network, made.address, made.tenant) == (
        "drives/files", "networks/office", "10.250.0.9", "t",
    )  # fmt: skip
    assert made.status.state == status_pb2.Status.PENDING
    assert store.cache.networks["office"].network.revision == revision + 1
    assert get(api, "files") == made
    code, message, details = refusal(api.networks.DeleteNetwork, networks.DeleteNetworkRequest(name="networks/office"))
    assert (code, message) == ("FAILED_PRECONDITION", "networks/office is used by drives/files")
    assert details["PreconditionFailure"].violations[0].subject == "drives/files"
    api.drives.DeleteDrive(drives.DeleteDriveRequest(name="drives/files"))
    assert store.cache.networks["office"].network.revision == revision + 2
    assert refusal(api.drives.GetDrive, drives.GetDriveRequest(name="drives/files"))[0] == "NOT_FOUND"
    assert refusal(api.drives.DeleteDrive, drives.DeleteDriveRequest(name="drives/files"))[0] == "NOT_FOUND"
    api.networks.DeleteNetwork(networks.DeleteNetworkRequest(name="networks/office"))


def test_refusals_change_nothing(api: Api, server: Database) -> None:
    api.drives.CreateDrive(drive("files"))
    before = server.dump()
    for request, expected, said in (
        (drive("files", address="10.250.0.10"), "ALREADY_EXISTS", "drives/files exists already"),
        (drive("b", "lab"), "ALREADY_EXISTS", "address 10.250.0.9 is that of drives/files"),
        (drive("b", "none", "10.250.0.10"), "NOT_FOUND", "networks/none does not exist"),
        (drive("b", "web", "10.250.0.10"), "FAILED_PRECONDITION", "networks/web is ISOLATED"),
        (drive("b", address="10.250.1.1"), "INVALID_ARGUMENT", "10.250.0.0/24"),
        (drive("b", address="10.250.0.2"), "INVALID_ARGUMENT", "the appliance's"),
        (drive("b", address="10.250.0.0"), "INVALID_ARGUMENT", "drive.address is"),
        (drive("b", address="10.250.0.255"), "INVALID_ARGUMENT", "drive.address is"),
        (drive("b", address=""), "INVALID_ARGUMENT", "drive.address is ''"),
        (drive("B", address="10.250.0.10"), "INVALID_ARGUMENT", "drive_id is"),
        (drive("b", "No", "10.250.0.10"), "INVALID_ARGUMENT", "drive.network is"),
    ):
        code, message, _ = refusal(api.drives.CreateDrive, request)
        assert (code, said in message) == (expected, True), message
    assert server.dump() == before
    _, _, details = refusal(api.drives.CreateDrive, drive("b", "web", "10.250.0.10"))
    assert details["ErrorInfo"].reason == "NETWORK_ISOLATED"
    assert details["PreconditionFailure"].violations[0].subject == "networks/web"


def test_without_a_storage_network(server: Database) -> None:
    with opened(server, storage=None) as store, served(store) as api:
        api.networks.CreateNetwork(network("office"))
        code, message, details = refusal(api.drives.CreateDrive, drive("files"))
        assert (code, details["ErrorInfo"].reason) == ("FAILED_PRECONDITION", "NO_STORAGE_NETWORK")
        assert "[storage] port" in message


def test_an_address_in_the_network_s_own_prefix(server: Database) -> None:
    # A network that is older than the storage network.
    with opened(server, storage=None) as store, served(store) as api:
        api.networks.CreateNetwork(network("old", prefix="10.250.0.0/16"))
    with opened(server) as store, served(store) as api:
        code, message, _ = refusal(api.drives.CreateDrive, drive("files", "old"))
        assert (code, "outside of 10.250.0.0/16" in message) == ("INVALID_ARGUMENT", True)


def test_no_private_network_overlaps_the_storage_network(api: Api) -> None:
    code, message, _ = refusal(api.networks.CreateNetwork, network("new", prefix="10.250.0.0/16"))
    assert (code, "the storage network" in message) == ("INVALID_ARGUMENT", True)


def test_a_drive_is_live_when_somebody_answers_for_it(api: Api, server: Database) -> None:
    controller = Controller(server)
    try:
        api.drives.CreateDrive(drive("files"))
        reason = "nobody on the storage network answers ARP for 10.250.0.9"
        controller.report("office", State.LIVE, machines={"drives/files": reason})
        waiting = drives.GetDriveRequest(name="drives/files", wait_live=True)
        status = api.drives.GetDrive(waiting).status
        assert (status.state, status.detail) == (status_pb2.Status.ERROR, reason)
        controller.report("office", State.LIVE)
        wait_until(lambda: get(api, "files").status.state == status_pb2.Status.LIVE)
        # A machine and a drive may have one name.
        api.machines.CreateMachine(machine("files", "office", 5))
        assert get(api, "files").status.state == status_pb2.Status.LIVE
        controller.report("office", State.LIVE, machines={"files": "port files is not on the bridge"})
        assert get(api, "files").status.state == status_pb2.Status.LIVE
    finally:
        controller.close()


def test_a_repeated_create_answers_the_same(api: Api) -> None:
    request = drive("", request_id=str(uuid.uuid4()))
    made = api.drives.CreateDrive(request)
    assert made.name.startswith("drives/drive-")
    assert api.drives.CreateDrive(request) == made
    request.drive.address = "10.250.0.77"
    assert refusal(api.drives.CreateDrive, request)[0] == "INVALID_ARGUMENT"


def test_pages_by_network(api: Api) -> None:
    for at, (name, of) in enumerate((("a", "office"), ("b", "lab"), ("c", "office"))):
        api.drives.CreateDrive(drive(name, of, f"10.250.0.{10 + at}"))
    request = drives.ListDrivesRequest(network="networks/office", page_size=1)
    first = api.drives.ListDrives(request)
    request.page_token = first.next_page_token
    second = api.drives.ListDrives(request)
    assert [d.name for d in (*first.drives, *second.drives)] == ["drives/a", "drives/c"]
    assert second.next_page_token == ""
    assert len(api.drives.ListDrives(drives.ListDrivesRequest()).drives) == 3
    assert refusal(api.drives.ListDrives, drives.ListDrivesRequest(network="networks/none"))[0] == "NOT_FOUND"


def test_changes_are_streamed(api: Api) -> None:
    api.drives.CreateDrive(drive("files"))
    stream = api.drives.WatchDrives(drives.WatchDrivesRequest(network="networks/office"))
    event = next(stream)
    assert (event.type, event.drive.name) == (status_pb2.EXISTING, "drives/files")
    assert next(stream).type == status_pb2.SYNCED
    api.drives.CreateDrive(drive("other", "lab", "10.250.0.11"))
    api.drives.CreateDrive(drive("more", address="10.250.0.10"))
    event = next(stream)
    assert (event.type, event.drive.name) == (status_pb2.CREATED, "drives/more")
    api.drives.DeleteDrive(drives.DeleteDriveRequest(name="drives/files"))
    event = next(stream)
    assert (event.type, event.drive.name) == (status_pb2.DELETED, "drives/files")
    stream.cancel()
