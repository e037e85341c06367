"""Restores all flows before a restarted switch forwards: `sluice-restore`.

Run between the start of ovs-vswitchd with `other_config:flow-restore-wait=true`
(ovs-vswitchd.conf.db(5)) and the removal of that setting, which this does last.
Until then the switch forwards by no flow and connects to no controller.
"""

from __future__ import annotations

import gc
import itertools
import logging
import os
import socket
import sys
import time
from collections.abc import Container, Iterable, Iterator

import click

from controller.desired_state.source import DesiredStateSource
from controller.openflow import group_messages, wire
from controller.openflow.client import OpenFlowClient, SwitchError
from controller.reconcile.compile import Compiled, PipelineContext, compile_network, compile_shared
from state import logs
from state.ovsdb import SOCKET, DatabaseError, OvsdbClient

log = logging.getLogger("sluice.restore")

_POLL_SECONDS = 0.01
# The database is started before the switch: where it is not there by now, it is not going to be.
_DATABASE_SECONDS = 3.0


class RestoreError(Exception):
    """Flows could not be put back; `flow-restore-wait` stays as it is."""


@click.command(context_settings={"auto_envvar_prefix": "SLUICE", "show_default": True})
@click.option("--database", default=SOCKET, help="Unix socket of the Sluice database.")
@click.option("--bridge", default="br-sluice", help="Name of the bridge.")
@click.option("--ovs-rundir", default="/var/run/openvswitch", help="Run directory of Open vSwitch.")
@click.option("--ovs-database", default="", help="Unix socket of the Open_vSwitch database [default: RUNDIR/db.sock].")
@click.option("--timeout", default=30.0, help="Seconds to wait for database and bridge.")
@click.option("--log-level", default="info", type=click.Choice(["debug", "info", "warning", "error"]))
def main(database: str, bridge: str, ovs_rundir: str, ovs_database: str, timeout: float, log_level: str) -> None:
    """Install all flows from desired state, then let the switch forward."""
    logs.configure(log_level)
    # A short run that throws nothing away has nothing for the collector.
    gc.disable()
    try:
        restore(database, bridge, ovs_rundir, ovs_database or os.path.join(ovs_rundir, "db.sock"), timeout)
    except (RestoreError, SwitchError, DatabaseError) as error:
        log.error("flows not restored", extra={"bridge": bridge, "error": str(error)})
        sys.exit(1)


def restore(database: str, bridge: str, ovs_rundir: str, ovs_database: str, timeout: float) -> None:
    """Install all flows and release the switch.

    An empty desired state is no error: then there is nothing to wait for.
    Raises RestoreError, SwitchError, DatabaseError.
    """
    started = time.monotonic()
    _await_socket(database, min(timeout, _DATABASE_SECONDS), "the database")
    source = DesiredStateSource(database)
    try:
        source.watch(lambda changed: None)
        source.wait_loaded(timeout)
        management = os.path.join(ovs_rundir, f"{bridge}.mgmt")
        # The switch makes its bridges some milliseconds after it starts, and tells nobody.
        _await_socket(management, timeout, "the bridge")
        flows, refused = 0, 0
        appliance = source.appliance
        if appliance is not None:
            with OpenFlowClient(management) as connection:
                site = PipelineContext(appliance, connection.ports(), source.neighbors, peerings=source.peerings)
                compiled = itertools.chain(
                    (compile_shared(site),), (compile_network(network, site) for network in source.networks())
                )
                errors = connection.send(_messages(compiled, connection.meters(), connection.groups()))
                flows, refused = len(connection.flow_ids()), len(errors)
                for error in sorted(set(errors.values())):
                    log.error("the switch refused a message", extra={"error": error})
    finally:
        source.close()
    _release(ovs_database, timeout)
    log.info("flows restored", extra={
        "bridge": bridge, "flows": flows, "refused": refused, "seconds": round(time.monotonic() - started, 3),
    })  # fmt: skip


def _messages(compiled: Iterable[Compiled], present: Container[int], groups: Container[int]) -> Iterator[bytes]:
    yield wire.set_config()
    for one in compiled:
        for number, group in one.groups.items():
            change = group_messages.modify if number in groups else group_messages.add
            yield change(number, group_messages.buckets(group))
        for meter, rate in one.meters.items():
            yield wire.meter_modify(meter, rate) if meter in present else wire.meter_add(meter, rate)
        for cookie, flow in one.flows.items():
            yield wire.flow_add(flow, cookie)


def _await_socket(path: str, timeout: float, owner: str) -> None:
    deadline = time.monotonic() + timeout
    while not _accepts(path):
        if time.monotonic() > deadline:
            raise RestoreError(f"no answer from {owner} at {path} after {timeout:g} s")
        time.sleep(_POLL_SECONDS)


def _accepts(path: str) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(path) == 0


def _release(path: str, timeout: float) -> None:
    client = OvsdbClient(path, "Open_vSwitch")
    try:
        client.wait_connected(timeout)
        client.transact(
            [
                {
                    "op": "mutate",
                    "table": "Open_vSwitch",
                    "where": [],
                    "mutations": [["other_config", "delete", ["set", ["flow-restore-wait"]]]],
                }
            ]
        )
    finally:
        client.close()


if __name__ == "__main__":
    main()
