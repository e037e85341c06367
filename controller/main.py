"""Entry point of the controller: `python -m controller.main`."""

from __future__ import annotations

import gc
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable

import click

from controller import metrics
from controller.conntrack.flush import ConntrackFlush
from controller.desired_state.source import DesiredStateSource
from controller.gratuitous_arp import GratuitousArp
from controller.instance_lock import InstanceLock, path_of
from controller.openflow.switch import Switch
from controller.openflow.table_names import name_tables
from controller.packet_in.worker import PacketInWorker
from controller.reconcile.events import CountFlows, Stop, Verify
from controller.reconcile.reconciler import Reconciler
from controller.reconcile.status import Statuses
from controller.usage import counters
from controller.usage.collector import UsageCollector
from state import logs
from state.heartbeat import Heartbeat, Name
from state.ovsdb import SOCKET, DatabaseError

log = logging.getLogger("sluice.controller")

_LOAD_SECONDS = 5.0
_NAME_SECONDS = 5.0
_COUNT_SECONDS = 1.0


@click.command(context_settings={"auto_envvar_prefix": "SLUICE", "show_default": True})
@click.option("--database", default=SOCKET, help="Unix socket of the Sluice database.")
@click.option("--bridge", default="br-sluice", help="Name of the bridge.")
@click.option("--ovs-rundir", default="/var/run/openvswitch", help="Run directory of Open vSwitch.")
@click.option("--ovs-database", default="", help="Unix socket of the Open_vSwitch database [default: RUNDIR/db.sock].")
@click.option(
    "--listen",
    default="",
    help="Unix socket the bridge connects to as its controller [default: connect to the bridge's own socket].",
)
@click.option("--metrics-address", default="127.0.0.1", help="Address of the metrics.")
@click.option("--metrics-port", default=7402, help="TCP port of the metrics; 0: none.")
@click.option("--verify-seconds", default=600.0, help="Time between deep comparisons with the switch; 0: none.")
@click.option("--usage-seconds", default=60.0, help="Time between readings of what machines used; 0: none.")
@click.option("--force", is_flag=True, help="Delete flows even when most networks are gone.")
@click.option("--log-level", default="info", type=click.Choice(["debug", "info", "warning", "error"]))
def main(
    database: str,
    bridge: str,
    ovs_rundir: str,
    ovs_database: str,
    listen: str,
    metrics_address: str,
    metrics_port: int,
    verify_seconds: float,
    usage_seconds: float,
    force: bool,
    log_level: str,
) -> None:
    """Keep the flows of one bridge at the desired state; SIGTERM ends it and leaves the flows.

    Every option may be given as environment variable, such as SLUICE_DATABASE.
    """
    logs.configure(log_level)
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    # The switch's socket is for root and its group.
    os.umask(0o007)
    try:
        instance_lock = InstanceLock(path_of(ovs_rundir, bridge))
    except OSError as error:
        log.error("cannot start: is another controller running?", extra={"bridge": bridge, "error": str(error)})
        sys.exit(1)
    mgmt = os.path.join(ovs_rundir, f"{bridge}.mgmt")
    switch = Switch(mgmt)
    source = DesiredStateSource(database)
    statuses = Statuses(source)
    reconciler = Reconciler(source, switch, statuses, force=force)
    connections = ConntrackFlush(mgmt)
    announcer = GratuitousArp(switch, reconciler)
    reconciler.committer.addresses.gone = connections.forget
    reconciler.committer.assignments.gone = connections.forget_assignment
    reconciler.committer.drive_zones.gone = connections.forget_zone
    reconciler.committer.assignments.new = announcer.announce
    reconciler.gateway_up = announcer.announce_all
    heartbeat = Heartbeat(
        source.client, Name.CONTROLLER, lambda: "" if switch.connected else "no switch is connected",
        lambda: reconciler.remark,
    )  # fmt: skip
    reconciler.turning = heartbeat.mark
    metrics.UNPLUGGED.set_function(lambda: reconciler.committer.cut_off()[0])
    metrics.DEGRADED.set_function(lambda: reconciler.committer.cut_off()[1])
    answers = PacketInWorker(source, switch, reconciler)
    collector = UsageCollector(database, mgmt, usage_seconds) if usage_seconds else None
    if collector is not None:
        reconciler.committer.changing = collector.changing
    source.watch(reconciler.post)
    # Loading os-ken takes longer than loading the state: do both at once.
    from controller.openflow import app

    try:
        source.wait_loaded(_LOAD_SECONDS)
    except DatabaseError as error:
        log.warning("going on without the database for now", extra={"error": str(error)})
    # What was loaded stays, and flows have no cycles: the collector has little to find.
    gc.set_threshold(20_000, 20, 50)
    gc.collect()
    gc.freeze()
    worker = threading.Thread(target=reconciler.run, name="reconcile", daemon=True)
    worker.start()
    heartbeat.start()
    answers.start()
    connections.start()
    if collector is not None:
        collector.start()
    announcer.start()
    try:
        if metrics_port:
            metrics.serve(metrics_address, metrics_port, lambda: counters.read(mgmt, reconciler.committer, source))
        if listen:
            app.listen(listen, switch, reconciler, answers, instance_lock)
        else:
            app.connect(mgmt, switch, reconciler, answers, instance_lock)
    except OSError as error:
        log.error("cannot start", extra={"error": str(error)})
        sys.exit(1)
    database_of_switch = ovs_database or os.path.join(ovs_rundir, "db.sock")
    _wait(stopped, reconciler, verify_seconds, lambda: name_tables(database_of_switch, bridge))
    log.info("stopping; flows stay")
    reconciler.post(Stop())
    worker.join(5)
    heartbeat.stop()
    statuses.close(2)
    if collector is not None:
        collector.close(2)
    source.close()
    instance_lock.close()


def _wait(stopped: threading.Event, reconciler: Reconciler, verify_seconds: float, name: Callable[[], bool]) -> None:
    due = time.monotonic() + verify_seconds
    named, name_due = name(), time.monotonic() + _NAME_SECONDS
    while not stopped.wait(_COUNT_SECONDS):
        # The bridge may come after the controller.
        if not named and time.monotonic() > name_due:
            named, name_due = name(), time.monotonic() + _NAME_SECONDS
        reconciler.post(CountFlows())
        if verify_seconds and time.monotonic() > due:
            reconciler.post(Verify())
            due = time.monotonic() + verify_seconds


if __name__ == "__main__":
    main()
