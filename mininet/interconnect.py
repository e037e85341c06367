"""Calls of the API about interconnects, for sandboxes."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from google.protobuf.field_mask_pb2 import FieldMask
from sandbox import CALL_SECONDS, Sandbox, require_live
from supervisor import PATIENCE

from sluice.v1 import interconnect_pb2
from sluice.v1.interconnect_pb2 import Interconnect, InterconnectRoute, InterconnectSession

ESTABLISHED = InterconnectSession.SESSION_ESTABLISHED


class Interconnects:
    """Interconnects of a sandbox, by identifier."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._service = sandbox.interconnects

    def create(self, name: str, *, live: bool = True, **fields: Any) -> Interconnect:
        """An interconnect, once it is `live`; `fields` are those of the message. Raises grpc.RpcError, NotLive."""
        if fields.get("network"):
            fields = {"kind": Interconnect.DIRECT_CONNECT} | fields | {"network": f"networks/{fields['network']}"}
        else:
            fields = {"kind": Interconnect.PEERING} | fields
        request = interconnect_pb2.CreateInterconnectRequest(
            interconnect_id=name, interconnect=Interconnect(**fields), wait_live=live
        )
        made: Interconnect = self._service.CreateInterconnect(request, timeout=CALL_SECONDS)
        if live:
            require_live(made)
        return made

    def change(self, name: str, fields: Mapping[str, Any], *, live: bool = True) -> Interconnect:
        """Set fields of an interconnect, and wait until it is `live`. Raises grpc.RpcError, NotLive."""
        request = interconnect_pb2.UpdateInterconnectRequest(
            interconnect=Interconnect(name=f"interconnects/{name}", **fields),
            update_mask=FieldMask(paths=list(fields)),
            wait_live=live,
        )
        changed: Interconnect = self._service.UpdateInterconnect(request, timeout=CALL_SECONDS)
        if live:
            require_live(changed)
        return changed

    def delete(self, name: str) -> None:
        """Delete an interconnect. Raises grpc.RpcError."""
        request = interconnect_pb2.DeleteInterconnectRequest(name=f"interconnects/{name}")
        self._service.DeleteInterconnect(request, timeout=CALL_SECONDS)

    def get(self, name: str) -> Interconnect:
        """An interconnect as the API has it. Raises grpc.RpcError."""
        request = interconnect_pb2.GetInterconnectRequest(name=f"interconnects/{name}")
        found: Interconnect = self._service.GetInterconnect(request, timeout=CALL_SECONDS)
        return found

    def session(self, name: str) -> InterconnectSession:
        """What the API says of the session. Raises grpc.RpcError."""
        return self.get(name).session

    def routes(self, name: str, *, refused: bool = False) -> Iterator[InterconnectRoute]:
        """All routes the peer announces, page by page; only those `refused`. Raises grpc.RpcError."""
        token = ""
        while True:
            request = interconnect_pb2.ListInterconnectRoutesRequest(
                parent=f"interconnects/{name}", page_size=1000, page_token=token, refused=refused
            )
            page = self._service.ListInterconnectRoutes(request, timeout=CALL_SECONDS)
            yield from page.routes
            token = page.next_page_token
            if not token:
                return

    def accepted(self, name: str) -> list[str]:
        """The prefixes packets are sent to. Raises grpc.RpcError."""
        return [route.prefix for route in self.routes(name) if route.accepted]

    def refusals(self, name: str) -> dict[str, str]:
        """Why prefixes are not accepted. Raises grpc.RpcError."""
        return {route.prefix: route.refusal for route in self.routes(name, refused=True)}

    def established(self, name: str) -> bool:
        """Whether routes are exchanged. Raises grpc.RpcError."""
        return self.session(name).state == ESTABLISHED

    def watched(self, name: str) -> bool:
        """Whether routes are exchanged, and BFD watches the peer: it comes up some seconds after the session."""
        session = self.session(name)
        return session.state == ESTABLISHED and session.bfd == InterconnectSession.BFD_UP

    def seconds_until_established(self, *names: str, limit: float = 30.0) -> float:
        """How long it takes from now until the API says so of all. Raises TimeoutError with what it says instead."""
        began, limit = time.monotonic(), limit * PATIENCE
        missing: Sequence[str] = names
        while missing := [name for name in missing if not self.established(name)]:
            if time.monotonic() - began > limit:
                found = self.get(missing[0])
                said = f"{found.status.detail} {found.session.detail} {found.session.last_error}"
                raise TimeoutError(f"{missing[0]} is not established within {limit:g} s: {said}")
            time.sleep(0.05)
        return time.monotonic() - began
