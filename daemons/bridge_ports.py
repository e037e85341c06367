"""Adds ports to a bridge, removes them, and adds those again whose device is new (Open_vSwitch database)."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Mapping
from typing import Any

from state.ovsdb import Operation, OvsdbClient, Row, by_uuid, to_map

log = logging.getLogger("sluice.bridge")

# In `external_ids` of a port: which daemon of Sluice put it on a bridge, and may take it off, and on which.
OWNER, OF_BRIDGE = "sluice-owner", "sluice-bridge"

# How long a port that was taken off stays off, so that ovs-vswitchd sees it leave.
REST_SECONDS = 0.5

Rows = Mapping[str, Mapping[str, Row]]


def named(rows: Mapping[str, Row], name: str) -> str | None:
    """The uuid of the row of that name."""
    return next((uuid for uuid, row in rows.items() if row["name"] == name), None)


def insert(table: str, handle: str, row: Row) -> Operation:
    """Insert a row that other operations of the transaction call `handle`."""
    return {"op": "insert", "table": table, "uuid-name": handle, "row": row}


def port_operations(rows: Rows, bridge: str, port: str, owner: str = "") -> list[Operation]:
    """Put a device of this host on the bridge, as a port of `owner`; empty when a port has its name."""
    uuid = named(rows["Bridge"], bridge)
    if uuid is None or named(rows["Port"], port) is not None:
        return []
    ids = to_map({OWNER: owner, OF_BRIDGE: bridge} if owner else {})
    return [
        insert("Interface", "interface", {"name": port}),
        insert("Port", "port", {"name": port, "interfaces": ["named-uuid", "interface"], "external_ids": ids}),
        add(uuid, "Bridge", "ports", ["named-uuid", "port"]),
    ]


def unplug_operations(rows: Rows, bridge: str, port: str) -> list[Operation]:
    """Take a port off the bridge of that name; empty when it is not there."""
    uuid, row = named(rows["Bridge"], bridge), named(rows["Port"], port)
    if uuid is None or row is None:
        return []
    mutation = [["ports", "delete", ["uuid", row]]]
    return [{"op": "mutate", "table": "Bridge", "where": by_uuid(uuid), "mutations": mutation}]


def add(uuid: str, table: str, column: str, value: list[Any]) -> Operation:
    """Add to a set of the row `uuid`."""
    return {"op": "mutate", "table": table, "where": by_uuid(uuid), "mutations": [[column, "insert", value]]}


def device_index(name: str) -> int | None:
    """Index of the device of that name in this network namespace; a device made anew has another one."""
    try:
        return socket.if_nametoindex(name)
    except OSError:
        return None


class PortPlugger:
    """Puts devices of this host on a bridge, and those made anew once more; one thread's."""

    def __init__(self, client: OvsdbClient, owner: str = "") -> None:
        self._client, self._owner = client, owner
        self._devices: dict[str, int] = {}
        self._rest: dict[str, float] = {}

    def renew(self, port: str) -> None:
        """The device of `port` was made anew; by whoever put it on the bridge before, another one was meant."""
        if self._devices.get(port) != device_index(port):
            # An index that no device has.
            self._devices[port] = 0

    def plug(self, rows: Rows, bridge: str, port: str) -> str:
        """Put `port` on the bridge; returns what is still wrong. Raises DatabaseError."""
        index = device_index(port)
        operations = port_operations(rows, bridge, port, self._owner)
        leaving = unplug_operations(rows, bridge, port)
        if index is None:
            return f"port {port} does not exist" if operations else ""
        if leaving and self._devices.setdefault(port, index) != index:
            # ovs-vswitchd 3.1 with the userspace datapath goes on with the device that is gone.
            self._client.transact(leaving, durable=False)
            del self._devices[port]
            self._rest[port] = time.monotonic() + REST_SECONDS
            log.info("port taken off", extra={"bridge": bridge, "port": port})
            return f"port {port} was made anew"
        if operations and time.monotonic() >= self._rest.get(port, 0.0):
            self._client.transact(operations, durable=False)
            self._devices[port] = index
            log.info("port added", extra={"bridge": bridge, "port": port})
            return ""
        return f"port {port} was made anew" if operations else ""
