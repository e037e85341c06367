"""Entry point of the BGP daemon: `python -m bgp.main`."""

from __future__ import annotations

import logging
import signal
import sys
import threading
from pathlib import Path

import click
from prometheus_client import start_http_server

from bgp import metrics
from bgp.desired_state import InterconnectSource
from bgp.namespace import LEG_PORTS
from bgp.status import InterconnectReport
from bgp.worker import InterconnectContext
from bgp.workers import InterconnectWorkers
from daemons.veth_ports import VethPorts
from state import logs
from state.encryption import EncryptionError, SecretBox
from state.heartbeat import Heartbeat, Name
from state.ovsdb import SOCKET, OvsdbClient

log = logging.getLogger("sluice.bgp")


@click.command(context_settings={"auto_envvar_prefix": "SLUICE", "show_default": True})
@click.option("--database", default=SOCKET, help="Unix socket of the Sluice database.")
@click.option("--ovsdb", default="/var/run/openvswitch/db.sock", help="Unix socket of the Open_vSwitch database.")
@click.option("--bridge", default="br-sluice", help="Name of the bridge.")
@click.option("--key", default="/var/lib/sluice/vpn.key", help="File with the key that passwords are sealed with.")
@click.option("--directory", default="/run/sluice-bgp", help="Directory for the files of interconnects.")
@click.option("--metrics-address", default="127.0.0.1", help="Address of the metrics.")
@click.option("--metrics-port", default=7405, help="TCP port of the metrics; 0: none.")
@click.option("--log-level", default="info", type=click.Choice(["debug", "info", "warning", "error"]))
def main(
    database: str,
    ovsdb: str,
    bridge: str,
    key: str,
    directory: str,
    metrics_address: str,
    metrics_port: int,
    log_level: str,
) -> None:
    """Keep interconnects and their BGP sessions; SIGTERM ends it and leaves them running.

    Every option may be given as environment variable, such as SLUICE_DATABASE.
    """
    logs.configure(log_level)
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    files = Path(directory)
    try:
        files.mkdir(parents=True, exist_ok=True)
        # The user that FRR runs as has to come through, and to see nothing.
        files.chmod(0o711)
        if metrics_port:
            start_http_server(metrics_port, metrics_address, registry=metrics.REGISTRY)
        seal = SecretBox.once_made(Path(key), stopped)
    except (OSError, EncryptionError) as error:
        log.error("cannot start", extra={"error": str(error)})
        sys.exit(1)
    if seal is None:
        return
    log.info("starting")
    client = OvsdbClient(database)
    source, legs = InterconnectSource(client), VethPorts(ovsdb, bridge, LEG_PORTS, metrics.FAULTS.inc)
    report = InterconnectReport(client, source.statuses, source.parts)
    driver = InterconnectWorkers(InterconnectContext(files, seal, legs, report))
    report.start()
    heartbeat = Heartbeat(client, Name.BGP)
    source.watch(driver.set)
    heartbeat.start()
    heartbeat.mark_until(stopped)
    log.info("stopping; sessions go on")
    driver.stop()
    report.stop()
    legs.stop()
    heartbeat.stop()
    client.close()


if __name__ == "__main__":
    main()
