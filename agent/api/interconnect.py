"""InterconnectService: decode, call the store, encode. A client's password goes to the store alone."""

from __future__ import annotations

from collections.abc import Iterator

from google.protobuf.empty_pb2 import Empty

from agent.api import encode_interconnect, paging
from agent.api.calls import ConcurrencyLimit, Context, idempotency, time_left
from agent.api.mask import mask
from agent.api.names import identifier, optional_identifier
from agent.api.watching import stream
from agent.cache.learned_routes import Position
from agent.cache.records import InterconnectView
from agent.errors import InvalidArgument
from agent.requests import Idempotency, InterconnectSpec, InterconnectUpdate
from agent.store import Store
from agent.validation.interconnects import FIELD
from agent.validation.objects import wrong
from agent.validation.prefixes import prefix
from sluice.v1 import interconnect_pb2, interconnect_pb2_grpc, status_pb2

COLLECTION, ROUTES = "interconnects", "interconnectRoutes"
# Fields of messages and of requests, the same in both directions.
FIELDS = {
    "port": "port",
    "vlan": "vlan",
    "local_address": "local_address",
    "peer_address": "peer_address",
    "local_as": "local_as",
    "peer_as": "peer_as",
    "password": "password",
    "accept_prefixes": "accept",
    "announce_prefixes": "announce",
    "maximum_prefixes": "maximum_prefixes",
    "preference": "preference",
    "rate_kbps": "rate",
    "disable_bfd": "disable_bfd",
    "bfd_interval_milliseconds": "bfd_milliseconds",
    "hold_seconds": "hold_seconds",
    "disabled": "disabled",
}
KIND_NAMES = {
    interconnect_pb2.Interconnect.KIND_UNSPECIFIED: "KIND_UNSPECIFIED",
    interconnect_pb2.Interconnect.DIRECT_CONNECT: "DIRECT_CONNECT",
    interconnect_pb2.Interconnect.PEERING: "PEERING",
}


def _new(name: str, asked: interconnect_pb2.Interconnect) -> InterconnectSpec:
    return InterconnectSpec(
        name=name,
        kind=KIND_NAMES.get(asked.kind, str(asked.kind)),
        network=asked.network,
        port=asked.port,
        vlan=asked.vlan,
        local_address=asked.local_address,
        peer_address=asked.peer_address,
        local_as=asked.local_as,
        peer_as=asked.peer_as,
        password=asked.password,
        accept=tuple(asked.accept_prefixes),
        announce=tuple(asked.announce_prefixes),
        maximum_prefixes=asked.maximum_prefixes,
        preference=asked.preference,
        rate=asked.rate_kbps,
        disable_bfd=asked.disable_bfd,
        bfd_milliseconds=asked.bfd_interval_milliseconds,
        hold_seconds=asked.hold_seconds,
        disabled=asked.disabled,
    )


def _change(asked: interconnect_pb2.Interconnect, paths: set[str]) -> InterconnectUpdate:
    sent = _new("", asked)
    return InterconnectUpdate(**{FIELDS[path]: getattr(sent, FIELDS[path]) for path in paths})


def _kept(asked: interconnect_pb2.Interconnect, view: InterconnectView) -> None:
    """Raises InvalidArgument if fields that cannot be changed are set to another value."""
    kind, network = view.interconnect.kind.name, view.network and f"networks/{view.network}"
    given, found = KIND_NAMES.get(asked.kind, str(asked.kind)), []
    if asked.kind and given != kind:
        found.append(wrong(f"{FIELD}.kind", given, f"{kind}; it cannot be changed"))
    if asked.network and asked.network != network:
        found.append(wrong(f"{FIELD}.network", asked.network, f"{network or 'empty'}; it cannot be changed"))
    if found:
        raise InvalidArgument(found)


def _position(last: str) -> Position:
    """The position of the prefix a page token names; of none, before all. Raises InvalidArgument."""
    if not last:
        return -1, -1
    found = prefix(last)
    if found is None:
        raise paging.unknown_token()
    return int(found.network_address), found.prefixlen


class InterconnectService(interconnect_pb2_grpc.InterconnectServiceServicer):
    """Interconnects over gRPC; the contract is interconnect.proto. Faults become statuses in `calls`."""

    def __init__(self, store: Store, waiting: ConcurrencyLimit, watching: ConcurrencyLimit) -> None:
        self._store, self._waiting, self._watching = store, waiting, watching

    def CreateInterconnect(
        self, request: interconnect_pb2.CreateInterconnectRequest, context: Context
    ) -> interconnect_pb2.Interconnect:
        """Add an interconnect, and wait until switch and BGP daemon act by it if asked to."""
        new = _new(request.interconnect_id, request.interconnect)
        repeat = self._repeat(request)
        with self._waiting.seated(request.wait_live):
            view = self._store.create_interconnect(new, repeat, time_left(context))
            if request.wait_live:
                view = self._store.wait_interconnect(view, time_left(context))
        return encode_interconnect.interconnect(view)

    def _repeat(self, request: interconnect_pb2.CreateInterconnectRequest) -> Idempotency:
        """As `idempotency`; a digest of a password as it is would let whoever reads the database guess it."""
        if not request.request_id:
            return Idempotency()
        closed = interconnect_pb2.CreateInterconnectRequest()
        closed.CopyFrom(request)
        if closed.interconnect.password:
            closed.interconnect.password = self._store.seal.digest(closed.interconnect.password)
        return idempotency(closed, "CreateInterconnect")

    def GetInterconnect(
        self, request: interconnect_pb2.GetInterconnectRequest, context: Context
    ) -> interconnect_pb2.Interconnect:
        """One interconnect."""
        name = identifier("name", request.name, COLLECTION)
        self._store.wait_connected(time_left(context))
        view = self._store.interconnect(name)
        if request.wait_live:
            with self._waiting.seated():
                view = self._store.wait_interconnect(view, time_left(context))
        return encode_interconnect.interconnect(view)

    def ListInterconnects(
        self, request: interconnect_pb2.ListInterconnectsRequest, context: Context
    ) -> interconnect_pb2.ListInterconnectsResponse:
        """A page of interconnects in order of name."""
        size = paging.size(request.page_size)
        network = optional_identifier("network", request.network, "networks")
        selection = paging.selection(network, request.tenant)
        after = paging.decode(COLLECTION, selection, request.page_token)
        self._store.wait_connected(time_left(context))
        views = self._store.list_interconnects(network, request.tenant, after, size + 1)
        page, token = paging.cut(views, size, COLLECTION, selection, lambda view: view.interconnect.name)
        return interconnect_pb2.ListInterconnectsResponse(
            interconnects=map(encode_interconnect.interconnect, page), next_page_token=token
        )

    def UpdateInterconnect(
        self, request: interconnect_pb2.UpdateInterconnectRequest, context: Context
    ) -> interconnect_pb2.Interconnect:
        """Change what the mask names."""
        asked = request.interconnect
        name = identifier(f"{FIELD}.name", asked.name, COLLECTION)
        self._store.wait_connected(time_left(context))
        if not request.update_mask.paths:
            _kept(asked, self._store.interconnect(name))
        unread = () if asked.password else ("password",)
        change = _change(asked, mask(FIELD, asked, request.update_mask, tuple(FIELDS), unread=unread))
        with self._waiting.seated(request.wait_live):
            view = self._store.update_interconnect(name, change, time_left(context))
            if request.wait_live:
                view = self._store.wait_interconnect(view, time_left(context))
        return encode_interconnect.interconnect(view)

    def DeleteInterconnect(self, request: interconnect_pb2.DeleteInterconnectRequest, context: Context) -> Empty:
        """End the session and delete an interconnect."""
        self._store.delete_interconnect(identifier("name", request.name, COLLECTION), time_left(context))
        return Empty()

    def WatchInterconnects(
        self, request: interconnect_pb2.WatchInterconnectsRequest, context: Context
    ) -> Iterator[interconnect_pb2.InterconnectEvent]:
        """Every interconnect there is, SYNCED, then each change."""
        network = optional_identifier("network", request.network, "networks")
        self._store.wait_connected(time_left(context))

        def event(
            kind: status_pb2.ChangeType.ValueType, view: InterconnectView | None
        ) -> interconnect_pb2.InterconnectEvent:
            shown = None if view is None else encode_interconnect.interconnect(view)
            return interconnect_pb2.InterconnectEvent(type=kind, interconnect=shown)

        return stream(self._store, self._watching, context, lambda: self._store.watch_interconnects(network), event)

    def ListInterconnectRoutes(
        self, request: interconnect_pb2.ListInterconnectRoutesRequest, context: Context
    ) -> interconnect_pb2.ListInterconnectRoutesResponse:
        """A page of what the peer announces, in order of address, then length."""
        size = paging.size(request.page_size)
        name = identifier("parent", request.parent, COLLECTION)
        selection = f"{name} refused" if request.refused else name
        after = _position(paging.decode(ROUTES, selection, request.page_token))
        self._store.wait_connected(time_left(context))
        found = self._store.list_interconnect_routes(name, after, size + 1, refused=request.refused)
        page, token = paging.cut(found, size, ROUTES, selection, lambda route: route.prefix)
        return interconnect_pb2.ListInterconnectRoutesResponse(
            routes=map(encode_interconnect.route, page), next_page_token=token
        )
