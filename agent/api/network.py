"""NetworkService: decode, call the store, encode."""

from __future__ import annotations

from collections.abc import Iterator

from google.protobuf.empty_pb2 import Empty

from agent.api import encode, paging
from agent.api.calls import Context, Seats, idempotency, time_left
from agent.api.names import identifier, optional_identifier
from agent.intent import NewNetwork
from agent.store import Store
from sluice.v1 import network_pb2, network_pb2_grpc, status_pb2

KIND_NAMES = {
    network_pb2.Network.KIND_UNSPECIFIED: "PRIVATE",
    network_pb2.Network.PRIVATE: "PRIVATE",
    network_pb2.Network.ISOLATED: "ISOLATED",
}


class NetworkService(network_pb2_grpc.NetworkServiceServicer):
    """Networks over gRPC; the contract is network.proto. Faults become statuses in `calls`."""

    def __init__(self, store: Store, waiting: Seats, watching: Seats) -> None:
        self._store, self._waiting, self._watching = store, waiting, watching

    def CreateNetwork(self, request: network_pb2.CreateNetworkRequest, context: Context) -> network_pb2.Network:
        """Create a network, and wait for its flows if asked to."""
        asked = request.network
        new = NewNetwork(
            name=request.network_id,
            kind=KIND_NAMES.get(asked.kind, str(asked.kind)),
            tenant=asked.tenant,
            prefix=asked.prefix,
            dns_servers=tuple(asked.dns_servers),
            mtu=asked.mtu,
        )
        with self._waiting.seated(request.wait_live):
            view = self._store.create_network(new, idempotency(request, "CreateNetwork"), time_left(context))
            if request.wait_live:
                view = self._store.wait_network(view, time_left(context))
        return encode.network(view)

    def GetNetwork(self, request: network_pb2.GetNetworkRequest, context: Context) -> network_pb2.Network:
        """One network."""
        name = identifier("name", request.name, "networks")
        self._store.wait_connected(time_left(context))
        view = self._store.network(name)
        if request.wait_live:
            with self._waiting.seated():
                view = self._store.wait_network(view, time_left(context))
        return encode.network(view)

    def ListNetworks(
        self, request: network_pb2.ListNetworksRequest, context: Context
    ) -> network_pb2.ListNetworksResponse:
        """A page of networks in order of name."""
        size = paging.size(request.page_size)
        after = paging.decode("networks", request.tenant, request.page_token)
        self._store.wait_connected(time_left(context))
        views = self._store.list_networks(request.tenant, after, size + 1)
        more = len(views) > size
        return network_pb2.ListNetworksResponse(
            networks=map(encode.network, views[:size]),
            next_page_token=paging.encode("networks", request.tenant, views[size - 1].network.name) if more else "",
        )

    def DeleteNetwork(self, request: network_pb2.DeleteNetworkRequest, context: Context) -> Empty:
        """Delete an empty network."""
        self._store.delete_network(identifier("name", request.name, "networks"), time_left(context))
        return Empty()

    def WatchNetworks(
        self, request: network_pb2.WatchNetworksRequest, context: Context
    ) -> Iterator[network_pb2.NetworkEvent]:
        """Every network there is, SYNCED, then each change."""
        name = optional_identifier("name", request.name, "networks")
        self._store.wait_connected(time_left(context))
        with self._watching.seated():
            existing, watcher = self._store.watch_networks(name)
            try:
                if not context.add_callback(watcher.close):
                    return
                for view in existing:
                    yield network_pb2.NetworkEvent(type=status_pb2.EXISTING, network=encode.network(view))
                yield network_pb2.NetworkEvent(type=status_pb2.SYNCED)
                for event in watcher:
                    yield network_pb2.NetworkEvent(type=encode.CHANGES[event.kind], network=encode.network(event.view))
            finally:
                self._store.hub.remove(watcher)
