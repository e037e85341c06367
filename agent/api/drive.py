"""DriveService: decode, call the store, encode."""

from __future__ import annotations

from collections.abc import Iterator

from google.protobuf.empty_pb2 import Empty

from agent.api import encode, paging
from agent.api.calls import ConcurrencyLimit, Context, idempotency, time_left
from agent.api.names import identifier, optional_identifier
from agent.api.watching import stream
from agent.cache.records import DriveView
from agent.requests import DriveSpec
from agent.store import Store
from sluice.v1 import drive_pb2, drive_pb2_grpc, status_pb2


class DriveService(drive_pb2_grpc.DriveServiceServicer):
    """Drives over gRPC; the contract is drive.proto. Faults become statuses in `calls`."""

    def __init__(self, store: Store, waiting: ConcurrencyLimit, watching: ConcurrencyLimit) -> None:
        self._store, self._waiting, self._watching = store, waiting, watching

    def CreateDrive(self, request: drive_pb2.CreateDriveRequest, context: Context) -> drive_pb2.Drive:
        """Make a drive reachable, and wait for its flows if asked to."""
        new = DriveSpec(request.drive_id, request.drive.network, request.drive.address)
        with self._waiting.seated(request.wait_live):
            view = self._store.create_drive(new, idempotency(request, "CreateDrive"), time_left(context))
            if request.wait_live:
                view = self._store.wait_drive(view, time_left(context))
        return encode.drive(view)

    def GetDrive(self, request: drive_pb2.GetDriveRequest, context: Context) -> drive_pb2.Drive:
        """One drive."""
        name = identifier("name", request.name, "drives")
        self._store.wait_connected(time_left(context))
        view = self._store.drive(name)
        if request.wait_live:
            with self._waiting.seated():
                view = self._store.wait_drive(view, time_left(context))
        return encode.drive(view)

    def ListDrives(self, request: drive_pb2.ListDrivesRequest, context: Context) -> drive_pb2.ListDrivesResponse:
        """A page of drives in order of name."""
        size = paging.size(request.page_size)
        network = optional_identifier("network", request.network, "networks")
        selection = paging.selection(network, request.tenant)
        after = paging.decode("drives", selection, request.page_token)
        self._store.wait_connected(time_left(context))
        views = self._store.list_drives(network, request.tenant, after, size + 1)
        page, token = paging.cut(views, size, "drives", selection, lambda view: view.drive.name)
        return drive_pb2.ListDrivesResponse(drives=map(encode.drive, page), next_page_token=token)

    def DeleteDrive(self, request: drive_pb2.DeleteDriveRequest, context: Context) -> Empty:
        """Take a drive away from its network."""
        self._store.delete_drive(identifier("name", request.name, "drives"), time_left(context))
        return Empty()

    def WatchDrives(self, request: drive_pb2.WatchDrivesRequest, context: Context) -> Iterator[drive_pb2.DriveEvent]:
        """Every drive there is, SYNCED, then each change."""
        network = optional_identifier("network", request.network, "networks")
        self._store.wait_connected(time_left(context))

        def event(kind: status_pb2.ChangeType.ValueType, view: DriveView | None) -> drive_pb2.DriveEvent:
            return drive_pb2.DriveEvent(type=kind, drive=None if view is None else encode.drive(view))

        return stream(self._store, self._watching, context, lambda: self._store.watch_drives(network), event)
