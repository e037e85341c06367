"""Has the switch open devices again that were deleted and made anew under its ports (userspace datapath).

ovs-vswitchd with the userspace datapath goes on with the device that is gone,
and says that the port has a link when one of the same name appears: nothing
passes. A port taken out of the datapath is opened anew when the bridge is
configured the next time, with its number and everything else it has.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Container
from pathlib import Path

from agent.host.userspace_tables import DATAPATH, ControlError, call
from state.ovsdb import Operation, OvsdbClient, RowChange, atoms, by_uuid, to_map

log = logging.getLogger("sluice.bridge")

# In `external_ids` of an interface: the index of the device it was last opened anew with.
DEVICE = "sluice-device"


class DeletedDevices:
    """Notices from rows of `Interface` that a device was made anew, and has the switch open it.

    `control` answers the switch's control socket, None while no switch runs.
    """

    def __init__(self, client: OvsdbClient, control: Callable[[], Path | None]) -> None:
        self._client, self._control = client, control
        self._lock = threading.Lock()
        self._indexes: dict[str, int] = {}
        # Rows whose device was made anew, with its name.
        self._renewed: dict[str, str] = {}

    def apply(self, change: RowChange) -> bool:
        """Take in a change of an `Interface` row; whether there is a device to open anew."""
        with self._lock:
            if change.new is None:
                self._indexes.pop(change.uuid, None)
                self._renewed.pop(change.uuid, None)
                return False
            # 0, or none, while there is no device.
            index = next(iter(atoms(change.new["ifindex"])), 0)
            if not index or self._indexes.setdefault(change.uuid, index) == index:
                return False
            self._indexes[change.uuid] = index
            self._renewed[change.uuid] = change.new["name"]
            return True

    def open_again(self, bridge: str, without: Container[str]) -> str:
        """Have the switch open what was made anew on `bridge`; answer what is in the way of that.

        Those in `without` are others' concern. Raises DatabaseError.
        """
        with self._lock:
            renewed = list(self._renewed.items())
        for uuid, name in renewed:
            if name not in without and self._is_on(bridge, uuid):
                control = self._control()
                if control is None:
                    return f"port {name}: the switch does not run"
                try:
                    call(control, "dpctl/del-if", DATAPATH, name)
                except ControlError as error:
                    # The switch may have been restarted since, which opens everything.
                    log.info("port is not in the datapath", extra={"port": name, "error": str(error)})
                self._reconfigure(uuid)
                log.warning("a device was made anew: opened again", extra={"bridge": bridge, "port": name})
            with self._lock:
                self._renewed.pop(uuid, None)
        return ""

    def _is_on(self, bridge: str, interface: str) -> bool:
        having = [["interfaces", "includes", ["set", [["uuid", interface]]]]]
        (ports,) = self._client.transact([{"op": "select", "table": "Port", "where": having, "columns": ["_uuid"]}])
        references = [row["_uuid"] for row in ports["rows"]]
        having = [["name", "==", bridge], ["ports", "includes", ["set", references]]]
        (bridges,) = self._client.transact([{"op": "select", "table": "Bridge", "where": having, "columns": ["name"]}])
        return bool(references and bridges["rows"])

    def _reconfigure(self, interface: str) -> None:
        """Have ovs-vswitchd configure its bridges: it does so when an interface's row changes."""
        with self._lock:
            index = self._indexes.get(interface, 0)
        of: Operation = {"op": "mutate", "table": "Interface", "where": by_uuid(interface)}
        before = {**of, "mutations": [["external_ids", "delete", ["set", [DEVICE]]]]}
        after = {**of, "mutations": [["external_ids", "insert", to_map({DEVICE: str(index)})]]}
        self._client.transact([before, after], durable=False)
