"""Interconnects, their routes, and drives of the API in memory."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import grpc
from fake_answers import LIVE, page, refuse
from google.protobuf.empty_pb2 import Empty
from google.rpc import error_details_pb2

from sluice.v1 import drive_pb2, drive_pb2_grpc, interconnect_pb2_grpc
from sluice.v1 import interconnect_pb2 as pb
from sluice.v1.status_pb2 import EXISTING, SYNCED


def cross(**changes: Any) -> pb.Interconnect:
    """A live Direct Connect of the office as the API returns it, with its effective values."""
    values: dict[str, Any] = {
        "name": "interconnects/cross", "kind": pb.Interconnect.DIRECT_CONNECT, "network": "networks/office",
        "port": "eno3", "vlan": 101, "local_address": "169.254.101.1/30", "peer_address": "169.254.101.2",
        "local_as": 64512, "peer_as": 65010, "has_password": True, "accept_prefixes": ["192.168.0.0/16"],
        "maximum_prefixes": 100, "preference": 100, "bfd_interval_milliseconds": 100, "hold_seconds": 9,
        "tenant": "acme", "status": LIVE,
    }  # fmt: skip
    return pb.Interconnect(**{**values, **changes})


def exchange(**changes: Any) -> pb.Interconnect:
    """A live peering that accepts any public prefix."""
    values: dict[str, Any] = {
        "name": "interconnects/exchange", "kind": pb.Interconnect.PEERING, "network": "", "port": "eno4", "vlan": 0,
        "local_address": "192.0.2.1/31", "peer_address": "192.0.2.0", "peer_as": 4200000010, "accept_prefixes": [],
        "has_password": False, "maximum_prefixes": 5000, "tenant": "",
    }  # fmt: skip
    return cross(**{**values, **changes})


class Interconnects(interconnect_pb2_grpc.InterconnectServiceServicer):
    """Interconnects in `api.interconnects`, their routes in `api.routes`."""

    def __init__(self, api: Any) -> None:
        self.api = api

    def CreateInterconnect(self, request: Any, context: Any) -> pb.Interconnect:
        self.api.requests.append(request)
        if request.interconnect.network == "networks/shop":
            violation = error_details_pb2.PreconditionFailure.Violation
            failed = error_details_pb2.PreconditionFailure(
                violations=[violation(subject="networks/shop", description="is ISOLATED; allowed: a PRIVATE one")]
            )
            refuse(context, grpc.StatusCode.FAILED_PRECONDITION, "the network cannot have an interconnect", failed)
        made = pb.Interconnect()
        made.CopyFrom(request.interconnect)
        made.has_password, made.password = bool(made.password), ""
        made.name = f"interconnects/{request.interconnect_id or 'chosen'}"
        made.status.CopyFrom(self.api.new_status)
        self.api.interconnects[made.name] = made
        return made

    def GetInterconnect(self, request: Any, context: Any) -> pb.Interconnect:
        self.api.requests.append(request)
        return self._found(request.name, context)

    def ListInterconnects(self, request: Any, context: Any) -> pb.ListInterconnectsResponse:
        self.api.requests.append(request)
        found = [i for _, i in sorted(self.api.interconnects.items()) if request.network in ("", i.network)]
        found, token = page(request, found)
        return pb.ListInterconnectsResponse(interconnects=found, next_page_token=token)

    def UpdateInterconnect(self, request: Any, context: Any) -> pb.Interconnect:
        self.api.requests.append(request)
        interconnect = self._found(request.interconnect.name, context)
        request.update_mask.MergeMessage(request.interconnect, interconnect, True, True)
        interconnect.password = ""
        return interconnect

    def DeleteInterconnect(self, request: Any, context: Any) -> Empty:
        self.api.requests.append(request)
        del self.api.interconnects[self._found(request.name, context).name]
        return Empty()

    def WatchInterconnects(self, request: Any, context: Any) -> Iterator[pb.InterconnectEvent]:
        self.api.requests.append(request)
        ended = threading.Event()
        context.add_callback(ended.set)
        for interconnect in self.api.interconnects.values():
            yield pb.InterconnectEvent(type=EXISTING, interconnect=interconnect)
        yield pb.InterconnectEvent(type=SYNCED)
        yield from self.api.interconnect_events
        if not self.api.watch_ends:
            ended.wait()

    def ListInterconnectRoutes(self, request: Any, context: Any) -> pb.ListInterconnectRoutesResponse:
        self.api.requests.append(request)
        routes = self.api.routes.get(self._found(request.parent, context).name, [])
        found, token = page(request, [route for route in routes if not (request.refused and route.accepted)])
        return pb.ListInterconnectRoutesResponse(routes=found, next_page_token=token)

    def _found(self, name: str, context: Any) -> pb.Interconnect:
        if name not in self.api.interconnects:
            context.abort(grpc.StatusCode.NOT_FOUND, f"no interconnect {name}")
        found: pb.Interconnect = self.api.interconnects[name]
        return found


class Drives(drive_pb2_grpc.DriveServiceServicer):
    """Drives in `api.drives`."""

    def __init__(self, api: Any) -> None:
        self.api = api

    def ListDrives(self, request: Any, context: Any) -> drive_pb2.ListDrivesResponse:
        self.api.requests.append(request)
        found, token = page(request, [drive for drive in self.api.drives if drive.network == request.network])
        return drive_pb2.ListDrivesResponse(drives=found, next_page_token=token)
