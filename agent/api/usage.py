"""UsageService: decode, ask the store, encode."""

from __future__ import annotations

from agent.api import encode, paging
from agent.api.calls import Context, time_left
from agent.api.names import identifier, optional_identifier
from agent.store import Store
from sluice.v1 import usage_pb2, usage_pb2_grpc


class UsageService(usage_pb2_grpc.UsageServiceServicer):
    """Usage over gRPC; the contract is usage.proto. Faults become statuses in `calls`."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def GetUsage(self, request: usage_pb2.GetUsageRequest, context: Context) -> usage_pb2.Usage:
        """What one network or machine used."""
        of_machine = request.name.startswith("machines/")
        name = identifier("name", request.name, "machines" if of_machine else "networks")
        self._store.wait_connected(time_left(context))
        return encode.usage(self._store.machine_usage(name) if of_machine else self._store.network_usage(name))

    def ListUsage(self, request: usage_pb2.ListUsageRequest, context: Context) -> usage_pb2.ListUsageResponse:
        """A page of networks, or of the machines of one, in order of name."""
        size = paging.size(request.page_size)
        network = optional_identifier("network", request.network, "networks")
        after = paging.decode("usage", network, request.page_token)
        self._store.wait_connected(time_left(context))
        if network:
            found = self._store.list_machine_usage(network, after, size + 1)
        else:
            found = self._store.list_network_usage(after, size + 1)
        page, token = paging.cut(found, size, "usage", network, lambda usage: usage.name.partition("/")[2])
        return usage_pb2.ListUsageResponse(usages=map(encode.usage, page), next_page_token=token)
