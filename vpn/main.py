"""Entry point of the VPN daemon: `python -m vpn.main`."""

from __future__ import annotations

import logging
import signal
import sys
import threading
from pathlib import Path

import click
from prometheus_client import start_http_server

from daemons.veth_ports import VethPorts
from state import logs
from state.encryption import EncryptionError, SecretBox
from state.heartbeat import Heartbeat, Name
from state.ovsdb import SOCKET, OvsdbClient
from vpn import metrics
from vpn.desired_state import GatewaySource
from vpn.namespace import kernel_has_esp
from vpn.peer_addresses import PeerAddresses
from vpn.status import GatewayStatus
from vpn.worker import GatewayContext
from vpn.workers import GatewayWorkers

log = logging.getLogger("sluice.vpn")

LEG_PORTS = r"vpn\d+-(in|out)"


@click.command(context_settings={"auto_envvar_prefix": "SLUICE", "show_default": True})
@click.option("--database", default=SOCKET, help="Unix socket of the Sluice database.")
@click.option("--ovsdb", default="/var/run/openvswitch/db.sock", help="Unix socket of the Open_vSwitch database.")
@click.option("--bridge", default="br-sluice", help="Name of the bridge.")
@click.option("--key", default="/var/lib/sluice/vpn.key", help="File with the key that secrets are sealed with.")
@click.option("--directory", default="/run/sluice/vpn", help="Directory for the files of gateways.")
@click.option("--metrics-address", default="127.0.0.1", help="Address of the metrics.")
@click.option("--metrics-port", default=7404, help="TCP port of the metrics; 0: none.")
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
    """Keep VPN gateways and their IKE daemons; SIGTERM ends it and leaves them running.

    Every option may be given as environment variable, such as SLUICE_DATABASE.
    """
    logs.configure(log_level)
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    files = Path(directory)
    try:
        files.mkdir(mode=0o700, parents=True, exist_ok=True)
        if metrics_port:
            start_http_server(metrics_port, metrics_address, registry=metrics.REGISTRY)
        seal = SecretBox.once_made(Path(key), stopped)
    except (OSError, EncryptionError) as error:
        log.error("cannot start", extra={"error": str(error)})
        sys.exit(1)
    if seal is None:
        return
    kernel_esp = kernel_has_esp()
    log.info("starting", extra={"esp": "kernel" if kernel_esp else "libipsec"})
    client = OvsdbClient(database)
    source, legs = GatewaySource(client), VethPorts(ovsdb, bridge, LEG_PORTS, metrics.FAULTS.inc)
    report = GatewayStatus(client, source.statuses, source.peers)
    peers = PeerAddresses(report.tell_peer)
    driver = GatewayWorkers(GatewayContext(files, seal, legs, report, kernel_esp), peers)
    report.start()
    heartbeat = Heartbeat(client, Name.VPN)
    source.watch(driver.set)
    heartbeat.start()
    heartbeat.mark_until(stopped)
    log.info("stopping; gateways go on")
    peers.stop()
    driver.stop()
    report.stop()
    legs.stop()
    heartbeat.stop()
    client.close()


if __name__ == "__main__":
    main()
