"""The appliance's bridge: `BridgeDriver.set(desired)` keeps it as desired, tolerant of repeats.

It makes what is missing in the Open_vSwitch database and mends what differs
(ovs-vswitchd.conf.db(5)); ports of machines and names of tables are others'.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agent import metrics
from agent.config.values import MAX_ENTRIES, TIMEOUTS
from agent.host.deleted_devices import DeletedDevices
from agent.host.userspace_tables import UserspaceTables
from daemons.bridge_ports import OF_BRIDGE, OWNER, PortPlugger, Rows, add, insert, named, unplug_operations
from state.datapath import missing, remarks
from state.ovsdb import DatabaseError, Operation, OvsdbClient, Row, RowChange, atoms, by_uuid, mapping, to_map, to_set

log = logging.getLogger("sluice.bridge")

PROTOCOLS = ("OpenFlow10", "OpenFlow13", "OpenFlow14", "OpenFlow15")
CONNTRACK_ZONE = 1

COLUMNS: Mapping[str, tuple[str, ...]] = {
    "Open_vSwitch": ("bridges", "datapaths", "ovs_version"),
    # Not `ports`: with thousands of them it would be sent again for each one added.
    "Bridge": ("name", "datapath_type", "fail_mode", "protocols", "controller", "other_config"),
    "Controller": ("target", "type", "connection_mode", "inactivity_probe", "max_backoff"),
    "Port": ("name", "external_ids"),
    "Interface": ("name", "ifindex"),
    "Datapath": ("ct_zones", "capabilities"),
    "CT_Zone": ("timeout_policy",),
    "CT_Timeout_Policy": ("timeouts",),
}

AGENT = "agent"
"""The owner of ports that the agent put on a bridge."""

RETRY_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Bridge:
    """What the bridge is to be: `controller` is the path of its unix socket, `ports` are devices of this host.

    `timeouts` are seconds by state of a connection, `max_entries` is how many there may be at once.
    """

    name: str
    datapath_type: str
    controller: str
    ports: tuple[str, ...]
    timeouts: Mapping[str, int] = field(default_factory=lambda: TIMEOUTS)
    max_entries: int = MAX_ENTRIES


def bridge_operations(rows: Rows, desired: Bridge) -> list[Operation]:
    """What to do in the Open_vSwitch database so that the bridge is as desired; empty when it is."""
    root = next(iter(rows["Open_vSwitch"]), None)
    if root is None:
        return []
    operations: list[Operation] = []
    controller: Row = {
        "target": f"unix:{desired.controller}",
        # A bridge that gets its first primary one loses all flows, also those just restored (connmgr of OVS 3.1).
        "type": "service",
        # Otherwise hidden flows let the controller's TCP traffic pass the bridge.
        "connection_mode": "out-of-band",
        "inactivity_probe": 5000,
        # The least ovs-vswitchd takes: reconnects within a second.
        "max_backoff": 1000,
    }
    bridge: Row = {
        "datapath_type": desired.datapath_type,
        # Without a controller: drop, never learn and flood.
        "fail_mode": "secure",
        "protocols": to_set(PROTOCOLS),
    }
    uuid = named(rows["Bridge"], desired.name)
    if uuid is None:
        name = desired.name
        operations += [
            insert("Controller", "controller", controller),
            insert("Interface", "interface", {"name": name, "type": "internal"}),
            insert("Port", "local", {"name": name, "interfaces": ["named-uuid", "interface"]}),
            insert(
                "Bridge",
                "bridge",
                {
                    **bridge,
                    "name": name,
                    "ports": ["named-uuid", "local"],
                    "controller": ["named-uuid", "controller"],
                    "other_config": to_map({"disable-in-band": "true"}),
                },
            ),
            add(root, "Open_vSwitch", "bridges", ["named-uuid", "bridge"]),
        ]
    else:
        operations += _bridge_changes(uuid, rows, bridge, controller)
    return [*operations, *_timeout_operations(root, rows, desired)]


def _bridge_changes(uuid: str, rows: Rows, bridge: Row, controller: Row) -> list[Operation]:
    operations: list[Operation] = []
    present = rows["Bridge"][uuid]
    changed: Row = {column: value for column, value in bridge.items() if not _same(present[column], value)}
    if mapping(present["other_config"]).get("disable-in-band") != "true":
        config = {**mapping(present["other_config"]), "disable-in-band": "true"}
        changed["other_config"] = to_map(config)
    controllers = [reference[1] for reference in atoms(present["controller"])]
    if len(controllers) != 1:
        operations.append(insert("Controller", "controller", controller))
        changed["controller"] = ["named-uuid", "controller"]
    else:
        row = rows["Controller"].get(controllers[0], {})
        differs = {c: v for c, v in controller.items() if c not in row or not _same(row[c], v)}
        if differs:
            operations.append({"op": "update", "table": "Controller", "where": by_uuid(controllers[0]), "row": differs})
    if changed:
        operations.append({"op": "update", "table": "Bridge", "where": by_uuid(uuid), "row": changed})
    return operations


@dataclass(frozen=True, slots=True)
class Datapath:
    """The datapath as the switch reports it: version of Open vSwitch, and its capabilities, empty when unknown."""

    version: str
    capabilities: Mapping[str, str]


def reported_datapath(rows: Rows, datapath_type: str) -> Datapath | None:
    """What the switch reports of the datapath of that type; None before it does."""
    root = next(iter(rows["Open_vSwitch"].values()), None)
    reference = None if root is None else mapping(root["datapaths"]).get(datapath_type)
    row = None if reference is None else rows["Datapath"].get(reference[1])
    if root is None or row is None or not mapping(row["capabilities"]):
        return None
    return Datapath(next(iter(atoms(root["ovs_version"])), ""), mapping(row["capabilities"]))


def _timeout_operations(root: str, rows: Rows, desired: Bridge) -> list[Operation]:
    """As `ovs-vsctl add-zone-tp DATAPATH zone=1 ...`."""
    policy: Row = {"timeouts": to_map(desired.timeouts)}
    new_policy = insert("CT_Timeout_Policy", "policy", policy)
    new_zone = insert("CT_Zone", "zone", {"timeout_policy": ["named-uuid", "policy"]})
    zones = ["map", [[CONNTRACK_ZONE, ["named-uuid", "zone"]]]]
    datapath = mapping(rows["Open_vSwitch"][root]["datapaths"]).get(desired.datapath_type)
    if datapath is None:
        reference = ["map", [[desired.datapath_type, ["named-uuid", "datapath"]]]]
        return [
            new_policy,
            new_zone,
            insert("Datapath", "datapath", {"ct_zones": zones}),
            add(root, "Open_vSwitch", "datapaths", reference),
        ]
    zones_present: dict[Any, Any] = mapping(rows["Datapath"].get(datapath[1], {"ct_zones": ["map", []]})["ct_zones"])
    zone = zones_present.get(CONNTRACK_ZONE)
    if zone is None:
        return [new_policy, new_zone, add(datapath[1], "Datapath", "ct_zones", zones)]
    policies = atoms(rows["CT_Zone"].get(zone[1], {"timeout_policy": ["set", []]})["timeout_policy"])
    if not policies:
        row: Row = {"timeout_policy": ["named-uuid", "policy"]}
        return [new_policy, {"op": "update", "table": "CT_Zone", "where": by_uuid(zone[1]), "row": row}]
    present = rows["CT_Timeout_Policy"].get(policies[0][1])
    if present is not None and mapping(present["timeouts"]) != dict(desired.timeouts):
        return [{"op": "update", "table": "CT_Timeout_Policy", "where": by_uuid(policies[0][1]), "row": policy}]
    return []


def former_ports(rows: Rows, desired: Bridge) -> list[tuple[str, str]]:
    """Bridge and name of ports that the agent plugged and that its configuration has no more, or on another bridge.

    A port that somebody else plugged, such as a machine's, is never among them.
    """
    found = []
    for row in rows["Port"].values():
        ids = mapping(row["external_ids"])
        here = ids.get(OF_BRIDGE) == desired.name and row["name"] in desired.ports
        if ids.get(OWNER) == AGENT and not here:
            found.append((str(ids.get(OF_BRIDGE)), str(row["name"])))
    return sorted(found)


def _same(present: Any, wanted: Any) -> bool:
    return bool(sorted(map(str, atoms(present))) == sorted(map(str, atoms(wanted))))


def log_datapath(reported: Datapath, datapath_type: str) -> None:
    """Log type and version of the datapath, and a warning for each thing it cannot do."""
    log.info("datapath", extra={"type": datapath_type, "version": reported.version})
    for one in missing(reported.capabilities):
        log.warning("datapath lacks a capability", extra={"capability": one.capability, "meaning": one.meaning})
    for remark in remarks(datapath_type, reported.version):
        log.warning("datapath is limited", extra={"meaning": remark})


class BridgeDriver:
    """Keeps the bridge as last `set`, also after the Open_vSwitch database was restarted or emptied.

    Never raises to its caller: while the database cannot be asked, or the
    port's device does not exist, it logs once and tries again.
    """

    def __init__(self, path: str) -> None:
        self._rows: dict[str, dict[str, Row]] = {table: {} for table in COLUMNS}
        self._lock = threading.Lock()
        self._changed = threading.Event()
        self._stop = False
        self._desired: Bridge | None = None
        self._told = ""
        self._datapath: Datapath | None = None
        self._client = OvsdbClient(path, "Open_vSwitch")
        self._plugger = PortPlugger(self._client, AGENT)
        self._userspace_tables = UserspaceTables(Path(path).parent)
        self._deleted_devices = DeletedDevices(self._client, lambda: self._userspace_tables.control)
        self._client.monitor(COLUMNS, self._apply)
        self._thread = threading.Thread(target=self._run, name="bridge", daemon=True)
        self._thread.start()

    def set(self, desired: Bridge) -> None:
        """Have the bridge be as `desired`."""
        self._desired = desired
        self._changed.set()

    def stop(self) -> None:
        """Leave the bridge as it is and end."""
        self._stop = True
        self._changed.set()
        self._client.close()
        self._thread.join()

    def _apply(self, changes: Sequence[RowChange], _reset: bool) -> None:
        ports = () if self._desired is None else self._desired.ports
        with self._lock:
            for change in changes:
                if change.table == "Interface":
                    if self._deleted_devices.apply(change):
                        self._changed.set()
                    continue
                if change.new is None:
                    self._rows[change.table].pop(change.uuid, None)
                else:
                    self._rows[change.table][change.uuid] = change.new
                names = {row["name"] for row in (change.old, change.new) if row and "name" in row}
                if change.table != "Port" or not names.isdisjoint(ports):
                    self._changed.set()

    def _run(self) -> None:
        self._client.connected.wait(RETRY_SECONDS)
        while not self._stop:
            # Also without a change: the database may be back, the device of a port may have appeared.
            self._changed.wait(RETRY_SECONDS)
            self._changed.clear()
            if self._desired is None or self._stop:
                continue
            try:
                problem = self._reconcile(self._desired)
            except DatabaseError as error:
                problem = str(error)
            except Exception:
                metrics.INTERNAL.inc()
                log.exception("keeping the bridge failed")
                problem = "internal fault"
            metrics.BRIDGE_SETTLED.set(not problem)
            if problem != self._told:
                self._told = problem
                extra = {"bridge": self._desired.name, "problem": problem}
                if problem:
                    log.warning("bridge out of sync", extra=extra)
                else:
                    log.info("bridge is as it should be", extra=extra)

    def _reconcile(self, desired: Bridge) -> str:
        """Do what is missing and answer what is still wrong. Raises DatabaseError."""
        if not self._client.connected.is_set():
            return "the Open_vSwitch database cannot be reached"
        with self._lock:
            operations = bridge_operations(self._rows, desired)
            reported = reported_datapath(self._rows, desired.datapath_type)
        if reported != self._datapath:
            self._datapath = reported
            if reported is not None:
                log_datapath(reported, desired.datapath_type)
        if operations:
            self._client.transact(operations, durable=False)
            log.info("bridge changed", extra={"bridge": desired.name, "operations": len(operations)})
        with self._lock:
            former = [
                (bridge, port, unplug_operations(self._rows, bridge, port))
                for bridge, port in former_ports(self._rows, desired)
            ]
        for bridge, port, leaving in former:
            if leaving:
                self._client.transact(leaving, durable=False)
                log.info("former port taken off", extra={"bridge": bridge, "port": port})
        problems = []
        for port in desired.ports:
            with self._lock:
                found = {table: dict(self._rows[table]) for table in ("Bridge", "Port")}
            problems.append(self._plugger.plug(found, desired.name, port))
        # The kernel's limit is set by sluice-host-setup: it belongs to the host, this one to the switch's process.
        if desired.datapath_type == "netdev" and not operations:
            problems.append(self._userspace_tables.apply(desired.max_entries))
            problems.append(self._deleted_devices.open_again(desired.name, desired.ports))
        return "; ".join(filter(None, problems))
