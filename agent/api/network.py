"""NetworkService: decode, call the store, encode."""

from __future__ import annotations

from collections.abc import Iterator

from google.protobuf.empty_pb2 import Empty

from agent.api import encode, limits, paging
from agent.api.calls import ConcurrencyLimit, Context, idempotency, time_left
from agent.api.mask import mask
from agent.api.names import identifier, optional_identifier
from agent.api.watching import stream
from agent.cache.records import NetworkView
from agent.requests import DnsForwardingRule, NetworkSpec, NetworkUpdate
from agent.store import Store
from sluice.v1 import network_pb2, network_pb2_grpc, status_pb2

KIND_NAMES = {
    network_pb2.Network.KIND_UNSPECIFIED: "PRIVATE",
    network_pb2.Network.PRIVATE: "PRIVATE",
    network_pb2.Network.ISOLATED: "ISOLATED",
}
CHANGEABLE = ("dns_servers", "search_domain", "dns_forwarding", "limits")


def _forwarding(asked: network_pb2.Network) -> tuple[DnsForwardingRule, ...]:
    return tuple(DnsForwardingRule(rule.domain, tuple(rule.servers)) for rule in asked.dns_forwarding)


class NetworkService(network_pb2_grpc.NetworkServiceServicer):
    """Networks over gRPC; the contract is network.proto. Faults become statuses in `calls`."""

    def __init__(self, store: Store, waiting: ConcurrencyLimit, watching: ConcurrencyLimit) -> None:
        self._store, self._waiting, self._watching = store, waiting, watching

    def CreateNetwork(self, request: network_pb2.CreateNetworkRequest, context: Context) -> network_pb2.Network:
        """Create a network, and wait for its flows if asked to."""
        asked = request.network
        new = NetworkSpec(
            name=request.network_id,
            kind=KIND_NAMES.get(asked.kind, str(asked.kind)),
            tenant=asked.tenant,
            prefix=asked.prefix,
            dns_servers=tuple(asked.dns_servers),
            mtu=asked.mtu,
            search_domain=asked.search_domain,
            dns_forwarding=_forwarding(asked),
            public_rate=asked.limits.public_kbps,
            storage_rate=asked.limits.storage_kbps,
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
        page, token = paging.cut(views, size, "networks", request.tenant, lambda view: view.network.name)
        return network_pb2.ListNetworksResponse(networks=map(encode.network, page), next_page_token=token)

    def UpdateNetwork(self, request: network_pb2.UpdateNetworkRequest, context: Context) -> network_pb2.Network:
        """Change what the mask names."""
        asked = request.network
        name = identifier("network.name", asked.name, "networks")
        self._store.wait_connected(time_left(context))
        paths = self._mask(request, name)
        public_rate, storage_rate = limits.changed(asked.limits, paths)
        change = NetworkUpdate(
            dns_servers=tuple(asked.dns_servers) if "dns_servers" in paths else None,
            search_domain=asked.search_domain if "search_domain" in paths else None,
            dns_forwarding=_forwarding(asked) if "dns_forwarding" in paths else None,
            public_rate=public_rate,
            storage_rate=storage_rate,
        )
        with self._waiting.seated(request.wait_live):
            view = self._store.update_network(name, change, time_left(context))
            if request.wait_live:
                view = self._store.wait_network(view, time_left(context))
        return encode.network(view)

    def _mask(self, request: network_pb2.UpdateNetworkRequest, name: str) -> set[str]:
        """Which fields to set. Raises InvalidArgument, NotFound."""
        kept = None
        if not request.update_mask.paths:
            present = encode.network(self._store.network(name))
            kept = {field: getattr(present, field) for field in ("kind", "tenant", "prefix", "mtu")}
        return mask("network", request.network, request.update_mask, CHANGEABLE, limits.PATHS, kept)

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

        def event(kind: status_pb2.ChangeType.ValueType, view: NetworkView | None) -> network_pb2.NetworkEvent:
            return network_pb2.NetworkEvent(type=kind, network=None if view is None else encode.network(view))

        return stream(self._store, self._watching, context, lambda: self._store.watch_networks(name), event)
