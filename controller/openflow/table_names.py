"""Sets the names of tables on the bridge, which `ovs-ofctl --names` shows."""

from __future__ import annotations

import logging

from controller.pipeline.registry import Table
from state.ovsdb import DatabaseError, Operation, OvsdbClient, Row

log = logging.getLogger("sluice.table_names")

_CONNECT_SECONDS = 2.0


def name_tables(path: str, bridge: str) -> bool:
    """Name the tables of `bridge` in the Open_vSwitch database at the socket `path`.

    Does nothing when all names are right; see `Flow_Table` in
    ovs-vswitchd.conf.db(5). Names only help to read: a failure is logged and
    False returned.
    """
    client = OvsdbClient(path, "Open_vSwitch")
    try:
        client.wait_connected(_CONNECT_SECONDS)
        return _name(client, bridge)
    except DatabaseError as error:
        log.warning("tables not named", extra={"bridge": bridge, "error": str(error)})
        return False
    finally:
        client.close()


def _name(client: OvsdbClient, bridge: str) -> bool:
    where = ["name", "==", bridge]
    bridges, tables = client.transact(
        [
            {"op": "select", "table": "Bridge", "where": [where], "columns": ["flow_tables"]},
            {"op": "select", "table": "Flow_Table", "where": [], "columns": ["_uuid", "name"]},
        ]
    )
    if not bridges["rows"]:
        log.warning("tables not named: no such bridge", extra={"bridge": bridge})
        return False
    present: dict[int, list[str]] = dict(bridges["rows"][0]["flow_tables"][1])
    names = {row["_uuid"][1]: row["name"] for row in tables["rows"]}
    operations: list[Operation] = []
    ours, numbers = {table.title for table in Table}, {table.number for table in Table}
    # Of another version, where the table had another number: no two may have one name.
    stale = [number for number, one in present.items() if number not in numbers and names.get(one[1]) in ours]
    for number in stale:
        del present[number]
    for table in Table:
        reference = present.get(table.number)
        if reference is None:
            name = f"t{table.number}"
            operations.append({"op": "insert", "table": "Flow_Table", "row": {"name": table.title}, "uuid-name": name})
            present[table.number] = ["named-uuid", name]
        elif names.get(reference[1]) != table.title:
            where_table = ["_uuid", "==", reference]
            operations.append(
                {"op": "update", "table": "Flow_Table", "where": [where_table], "row": {"name": table.title}}
            )
    if operations or stale:
        row: Row = {"flow_tables": ["map", list(present.items())]}
        operations.append({"op": "update", "table": "Bridge", "where": [where], "row": row})
        client.transact(operations)
        log.info("tables named", extra={"bridge": bridge, "changed": len(operations) - 1})
    return True
