"""`python -m agent.main`: reads the configuration and serves the API until SIGTERM."""

from __future__ import annotations

import logging
import signal
import sys
import threading
from pathlib import Path

import click
from prometheus_client import start_http_server

from agent import metrics
from agent.api.server import ApiServer
from agent.config import Config, ConfigError, load
from agent.daemon_health import Daemons
from agent.host.bridge import Bridge, BridgeDriver
from agent.housekeeping import Housekeeping
from agent.store import Store
from state import logs
from state.encryption import EncryptionError, SecretBox
from state.ovsdb import OvsdbClient

log = logging.getLogger("sluice.agent")

GRACE = 5.0


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--config", "path", default="/etc/sluice/sluice.toml", show_default=True, help="Configuration file.")
@click.option("--check", is_flag=True, help="Check the configuration and exit.")
def main(path: str, check: bool) -> None:
    """Serve the Sluice API on one appliance."""
    try:
        config = load(path)
    except ConfigError as error:
        for problem in error.problems:
            click.echo(f"{path}: {problem}", err=True)
        sys.exit(2)
    if check:
        click.echo(f"{path}: fine")
        return
    logs.configure(config.log_level)
    serve(config)


def serve(config: Config) -> None:
    """Serve until SIGTERM or SIGINT; then calls in flight have 5 s to end."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        # sluice-vpn and sluice-bgp wait for it.
        SecretBox.at(Path(config.vpn_key))
    except EncryptionError as error:
        log.error("secrets cannot be stored", extra={"error": str(error)})
    client = OvsdbClient(config.database)
    store, daemons = Store(client, config), Daemons(config.database)
    housekeeping = Housekeeping(store)
    bridge = BridgeDriver(config.bridge.ovsdb)
    bridge.set(
        Bridge(
            config.bridge.name,
            config.bridge.datapath_type,
            config.bridge.controller,
            config.appliance.own_ports,
            config.conntrack.timeouts,
            config.conntrack.max_entries,
        )
    )
    try:
        server = ApiServer(store, config, daemons)
        if config.api.metrics:
            host, _, port = config.api.metrics.rpartition(":")
            start_http_server(int(port), host, metrics.REGISTRY)
    except (RuntimeError, OSError) as error:
        log.error("cannot listen", extra={"error": str(error), "listen": config.api.listen})
        sys.exit(1)
    housekeeping.start()
    server.start()
    log.info("serving", extra={"listen": config.api.listen, "metrics": config.api.metrics})
    stop.wait()
    log.info("stopping")
    server.stop(GRACE)
    housekeeping.stop()
    bridge.stop()
    daemons.close()
    client.close()


if __name__ == "__main__":
    main()
