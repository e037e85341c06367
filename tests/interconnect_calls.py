"""Requests for interconnects, and what a BGP daemon would say of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from google.protobuf.field_mask_pb2 import FieldMask

from sluice.v1 import interconnect_pb2 as interconnects
from state import interconnect_rows
from state.interconnect import BgpSession, Route
from state.interconnect_rows import InterconnectStatus
from state.model import State
from state.ovsdb import Operation, OvsdbClient
from tests.agents import Api, Database

PASSWORD = "correct-horse-battery"
Interconnect = interconnects.Interconnect


def direct(name: str, of: str = "office", **fields: Any) -> interconnects.CreateInterconnectRequest:
    """A request for an interconnect of network `of`; `request_id` and `wait_live` are the request's."""
    values = {
        "kind": Interconnect.DIRECT_CONNECT, "network": f"networks/{of}", "port": "xc1", "vlan": 101,
        "local_address": "169.254.101.1/30", "peer_address": "169.254.101.2", "peer_as": 65001,
        "accept_prefixes": ["192.168.0.0/16"],
    }  # fmt: skip
    return _request(name, values | fields)


def peering(name: str, **fields: Any) -> interconnects.CreateInterconnectRequest:
    """A request for a peering; as `direct`."""
    values = {
        "kind": Interconnect.PEERING, "port": "ix1", "vlan": 0, "local_address": "192.0.2.1/24",
        "peer_address": "192.0.2.9", "peer_as": 64999,
    }  # fmt: skip
    return _request(name, values | fields)


def _request(name: str, fields: dict[str, Any]) -> interconnects.CreateInterconnectRequest:
    options = {key: fields.pop(key) for key in ("request_id", "wait_live") if key in fields}
    made = Interconnect(**fields)
    return interconnects.CreateInterconnectRequest(interconnect_id=name, interconnect=made, **options)


def changed(name: str, *paths: str, **fields: Any) -> interconnects.UpdateInterconnectRequest:
    """A request to change an interconnect; without paths those that are set."""
    value = Interconnect(name=f"interconnects/{name}", **fields)
    return interconnects.UpdateInterconnectRequest(interconnect=value, update_mask=FieldMask(paths=paths))


def create(api: Api, request: interconnects.CreateInterconnectRequest) -> Interconnect:
    """Make an interconnect."""
    return api.interconnects.CreateInterconnect(request)


def update(api: Api, name: str, *paths: str, **fields: Any) -> Interconnect:
    """Change an interconnect; the arguments are those of `changed`."""
    return api.interconnects.UpdateInterconnect(changed(name, *paths, **fields))


def get(api: Api, name: str, **options: Any) -> Interconnect:
    """An interconnect as it is now."""
    return api.interconnects.GetInterconnect(
        interconnects.GetInterconnectRequest(name=f"interconnects/{name}", **options)
    )


def delete(api: Api, name: str) -> None:
    """Delete an interconnect."""
    api.interconnects.DeleteInterconnect(interconnects.DeleteInterconnectRequest(name=f"interconnects/{name}"))


def routes(api: Api, name: str, **options: Any) -> interconnects.ListInterconnectRoutesResponse:
    """A page of routes."""
    request = interconnects.ListInterconnectRoutesRequest(parent=f"interconnects/{name}", **options)
    return api.interconnects.ListInterconnectRoutes(request)


class BgpDaemon:
    """Says of interconnects what the BGP daemon would say, by request of the test."""

    def __init__(self, of: Database) -> None:
        self._client = OvsdbClient(of.socket)
        self._client.wait_connected(5)

    def say(
        self,
        name: str,
        state: State = State.LIVE,
        detail: str = "",
        session: BgpSession | None = None,
        revision: int | None = None,
    ) -> None:
        """Report of interconnect `name`, as it is now unless another `revision` is given."""
        if revision is None:
            revision = self.revision(name)
        status = InterconnectStatus(name, revision, state, detail, session or BgpSession())
        self._client.transact(
            [
                {"op": "delete", "table": "Interconnect_Status", "where": [["interconnect", "==", name]]},
                {"op": "insert", "table": "Interconnect_Status", "row": interconnect_rows.status_row(status)},
            ]
        )

    def announce(self, name: str, announced: Iterable[Route]) -> None:
        """The peer of interconnect `name` announces these routes, and no others."""
        operations: list[Operation] = [
            {"op": "delete", "table": "Interconnect_Routes", "where": [["interconnect", "==", name]]}
        ]
        for part, text in interconnect_rows.parts(announced).items():
            row = interconnect_rows.part_row(name, part, text)
            operations.append({"op": "insert", "table": "Interconnect_Routes", "row": row})
        self._client.transact(operations)

    def revision(self, name: str) -> int:
        """The present revision of interconnect `name`."""
        where = [["name", "==", name]]
        select = {"op": "select", "table": "Interconnect", "where": where, "columns": ["revision"]}
        (answer,) = self._client.transact([select])
        return int(answer["rows"][0]["revision"])

    def close(self) -> None:
        """End its connection."""
        self._client.close()
