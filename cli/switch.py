"""Asks the bridge, by the operator's own tools: ovs-ofctl(8), ovs-appctl(8), ovs-vsctl(8).

Each function raises ServerUnreachable, or NotPermitted for a user who may not use the switch's sockets.
"""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

from cli.errors import Failure, NotPermitted, ServerUnreachable
from cli.session import CliSession
from controller import explain
from controller.pipeline.registry import Table

_TIMEOUT = 30.0
_QUICK = 5.0
_NEXT_HOP_MAC = re.compile(r"set_field:([0-9a-f:]{17})->(?:eth_dst|dl_dst)")


def dump_flows(session: CliSession, *filters: str) -> str:
    """`ovs-ofctl dump-flows` with names."""
    return _ofctl(session, "dump-flows", *filters)


def meter_stats(session: CliSession) -> str:
    """`ovs-ofctl meter-stats`."""
    return _ofctl(session, "meter-stats")


def flow_count(session: CliSession) -> int:
    """How many flows the bridge holds."""
    answer = _ofctl(session, "dump-aggregate")
    return int(answer.rpartition("flow_count=")[2].split()[0])


def trace(session: CliSession, packet: str, *options: str) -> str:
    """`ofproto/trace` of a packet written as a flow."""
    return _appctl(session, "ofproto/trace", session.bridge, packet, *options)


def version(session: CliSession) -> str:
    """Version of the running ovs-vswitchd, which answers this at once unless it is stuck."""
    return _appctl(session, "version", seconds=_QUICK).splitlines()[0].rpartition(" ")[2]


def max_meters(session: CliSession) -> int:
    """How many meters the datapath can have, by `ovs-ofctl meter-features`; 0 when it does not say."""
    found = re.search(r"max_meter:(\d+)", _ofctl(session, "meter-features"))
    return int(found[1]) if found else 0


def capabilities(session: CliSession, datapath_type: str) -> dict[str, str]:
    """Capabilities of the datapath of that type; empty while the switch reports none."""
    for root in rows(session, "Open_vSwitch", "datapaths"):
        reference = dict(root["datapaths"][1]).get(datapath_type)
        for row in rows(session, "Datapath", "_uuid", "capabilities") if reference else ():
            if row["_uuid"] == reference:
                return dict(row["capabilities"][1])
    return {}


def ports(session: CliSession) -> dict[int, str]:
    """Names of the ports of all bridges that have a number."""
    found = {row["ofport"]: str(row["name"]) for row in rows(session, "Interface", "name", "ofport")}
    return {number: name for number, name in found.items() if isinstance(number, int)}


def next_hop_mac(session: CliSession) -> str:
    """The MAC that flows send to at the gateway port; empty while it is not known."""
    for record in explain.parse_dump(dump_flows(session, f"table={Table.GATEWAY_OUT.number}")):
        if found := _NEXT_HOP_MAC.search(record.actions):
            return found[1]
    return ""


def _appctl(session: CliSession, *command: str, seconds: float = _TIMEOUT) -> str:
    pid_file = session.rundir / "ovs-vswitchd.pid"
    pattern = f"ovs-vswitchd.{pid_file.read_text().strip()}.ctl" if pid_file.exists() else "*vswitchd*.ctl"
    sockets = sorted(session.rundir.glob(pattern))
    if not sockets:
        raise _silent(session, f"no ovs-vswitchd in {session.rundir}")
    return _run(session, "ovs-appctl", "-t", str(sockets[0]), *command, seconds=seconds)


def rows(session: CliSession, table: str, *columns: str, name: str | None = None) -> list[dict[str, Any]]:
    """Rows (or the one called `name`) of a table of the Open_vSwitch database."""
    database = f"unix:{session.rundir / 'db.sock'}"
    answer = _run(session, "ovs-vsctl", f"--db={database}", "--timeout=5", "--format=json",
                  f"--columns={','.join(columns)}", "list", table, *([name] if name else []))  # fmt: skip
    found = json.loads(answer)
    return [dict(zip(found["headings"], row, strict=True)) for row in found["data"]]


def _ofctl(session: CliSession, command: str, *filters: str) -> str:
    target = f"unix:{Path(session.rundir, session.bridge)}.mgmt"
    return _run(session, "ovs-ofctl", "-O", "OpenFlow14", "--names", command, target, *filters)


def _run(session: CliSession, *command: str, seconds: float = _TIMEOUT) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)
    except FileNotFoundError as error:
        raise _silent(session, f"{command[0]} is not installed") from error
    except subprocess.TimeoutExpired as error:
        raise _silent(session, f"{command[0]} had no answer within {seconds:g} s") from error
    if done.returncode:
        raise _silent(session, done.stderr.strip() or f"{command[0]} failed")
    return done.stdout


def _silent(session: CliSession, text: str) -> Failure:
    # The tools have no exit code of their own for it; the words are those of strerror(3) for EACCES.
    if "Permission denied" in text:
        return NotPermitted(
            "PERMISSION_DENIED", f"needs root: the sockets of Open vSwitch in {session.rundir} are root's"
        )
    where = f"bridge {session.bridge} in {session.rundir}"
    return ServerUnreachable("SWITCH", f"cannot ask {where}: {text}")
