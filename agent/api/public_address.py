"""PublicAddressService: decode, call the store, encode."""

from __future__ import annotations

from collections.abc import Iterator

from google.protobuf.empty_pb2 import Empty

from agent.api import encode, paging
from agent.api.calls import ConcurrencyLimit, Context, idempotency, time_left
from agent.api.mask import mask
from agent.api.names import identifier, optional_identifier
from agent.api.watching import stream
from agent.cache.records import PublicAddressView
from agent.requests import PublicAddressSpec, PublicAddressUpdate
from agent.store import Store
from sluice.v1 import public_address_pb2, public_address_pb2_grpc, status_pb2

COLLECTION = "publicAddresses"
CHANGEABLE = ("machine", "tenant")


class PublicAddressService(public_address_pb2_grpc.PublicAddressServiceServicer):
    """Public addresses over gRPC; the contract is public_address.proto. Faults become statuses in `calls`."""

    def __init__(self, store: Store, waiting: ConcurrencyLimit, watching: ConcurrencyLimit) -> None:
        self._store, self._waiting, self._watching = store, waiting, watching

    def CreatePublicAddress(
        self, request: public_address_pb2.CreatePublicAddressRequest, context: Context
    ) -> public_address_pb2.PublicAddress:
        """Take a public address, and wait for the flows of its assignment if asked to."""
        asked = request.public_address
        new = PublicAddressSpec(request.public_address_id, asked.address, asked.machine, asked.tenant)
        repeat = idempotency(request, "CreatePublicAddress")
        with self._waiting.seated(request.wait_live):
            view = self._store.create_public_address(new, repeat, time_left(context))
            if request.wait_live:
                view = self._store.wait_public_address(view, time_left(context))
        return encode.public_address(view)

    def GetPublicAddress(
        self, request: public_address_pb2.GetPublicAddressRequest, context: Context
    ) -> public_address_pb2.PublicAddress:
        """One public address."""
        name = identifier("name", request.name, COLLECTION)
        self._store.wait_connected(time_left(context))
        view = self._store.public_address(name)
        if request.wait_live:
            with self._waiting.seated():
                view = self._store.wait_public_address(view, time_left(context))
        return encode.public_address(view)

    def ListPublicAddresses(
        self, request: public_address_pb2.ListPublicAddressesRequest, context: Context
    ) -> public_address_pb2.ListPublicAddressesResponse:
        """A page of public addresses in order of name."""
        size = paging.size(request.page_size)
        after = paging.decode(COLLECTION, request.tenant, request.page_token)
        self._store.wait_connected(time_left(context))
        views = self._store.list_public_addresses(request.tenant, after, size + 1)
        page, token = paging.cut(views, size, COLLECTION, request.tenant, lambda view: view.address.name)
        return public_address_pb2.ListPublicAddressesResponse(
            public_addresses=map(encode.public_address, page), next_page_token=token
        )

    def UpdatePublicAddress(
        self, request: public_address_pb2.UpdatePublicAddressRequest, context: Context
    ) -> public_address_pb2.PublicAddress:
        """Give the address to another machine or to none, or change its tenant."""
        asked = request.public_address
        name = identifier("public_address.name", asked.name, COLLECTION)
        self._store.wait_connected(time_left(context))
        kept = None if request.update_mask.paths else {"address": self._store.public_address(name).address.address}
        paths = mask("public_address", asked, request.update_mask, CHANGEABLE, kept=kept)
        change = PublicAddressUpdate(
            machine=asked.machine if "machine" in paths else None,
            tenant=asked.tenant if "tenant" in paths else None,
        )
        with self._waiting.seated(request.wait_live):
            view = self._store.update_public_address(name, change, time_left(context))
            if request.wait_live:
                view = self._store.wait_public_address(view, time_left(context))
        return encode.public_address(view)

    def DeletePublicAddress(self, request: public_address_pb2.DeletePublicAddressRequest, context: Context) -> Empty:
        """Release a public address, also while a machine has it."""
        self._store.delete_public_address(identifier("name", request.name, COLLECTION), time_left(context))
        return Empty()

    def WatchPublicAddresses(
        self, request: public_address_pb2.WatchPublicAddressesRequest, context: Context
    ) -> Iterator[public_address_pb2.PublicAddressEvent]:
        """Every public address there is, SYNCED, then each change."""
        name = optional_identifier("name", request.name, COLLECTION)
        self._store.wait_connected(time_left(context))

        def event(
            kind: status_pb2.ChangeType.ValueType, view: PublicAddressView | None
        ) -> public_address_pb2.PublicAddressEvent:
            shown = None if view is None else encode.public_address(view)
            return public_address_pb2.PublicAddressEvent(type=kind, public_address=shown)

        return stream(self._store, self._watching, context, lambda: self._store.watch_public_addresses(name), event)
