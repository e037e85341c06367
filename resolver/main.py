"""Entry point of the resolver: `python -m resolver.main`."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import resource
import signal
import socket
import sys
from collections.abc import Callable

import click
from prometheus_client import start_http_server

from controller.desired_state.source import DesiredStateChange, DesiredStateSource
from resolver import metrics
from resolver.directory import Directory
from resolver.namespace import ResolverNamespace, ResolverNamespaceError
from resolver.service import Service
from resolver.tunnels import Tunnels
from resolver.upstream import Upstream
from state import logs
from state.heartbeat import INTERVAL, Heartbeat, Name
from state.ovsdb import SOCKET

log = logging.getLogger("sluice.resolver")

LOOK_SECONDS = 2.0


@click.command(context_settings={"auto_envvar_prefix": "SLUICE", "show_default": True})
@click.option("--database", default=SOCKET, help="Unix socket of the Sluice database.")
@click.option("--namespace", default="sluice-dns", help="Name of the network namespace, as `ip netns` lists it.")
@click.option("--metrics-address", default="127.0.0.1", help="Address of the metrics.")
@click.option("--metrics-port", default=7403, help="TCP port of the metrics; 0: none.")
@click.option("--log-level", default="info", type=click.Choice(["debug", "info", "warning", "error"]))
def main(database: str, namespace: str, metrics_address: str, metrics_port: int, log_level: str) -> None:
    """Answer names behind the resolver's port of the bridge; SIGTERM ends it and leaves the namespace.

    Every option may be given as environment variable, such as SLUICE_DATABASE.
    """
    logs.configure(log_level)
    # A socket for each question that waits, and each connection.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    home = ResolverNamespace(namespace)
    try:
        home.make()
        udp, tcp = home.listener(socket.SOCK_DGRAM), home.listener(socket.SOCK_STREAM)
        if metrics_port:
            start_http_server(metrics_port, metrics_address)
    except (ResolverNamespaceError, OSError) as error:
        log.error("cannot start", extra={"namespace": namespace, "error": str(error)})
        sys.exit(1)
    asyncio.run(_run(DesiredStateSource(database), home, udp, tcp))


async def _run(source: DesiredStateSource, home: ResolverNamespace, udp: socket.socket, tcp: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    stopped, settings = asyncio.Event(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    directory, tunnels = Directory(), Tunnels()

    def take(changed: DesiredStateChange) -> None:
        if changed.appliance or changed.reset:
            directory.replace(source.appliance, source.networks())
            settings.set()
        else:
            directory.update(changed.networks)

    # Changes come on the thread of the database client.
    source.watch(lambda changed: _hand_over(loop, take, changed))
    service = Service(directory, Upstream(home.client, tunnels.client))
    heartbeat = Heartbeat(source.client, Name.RESOLVER)
    heartbeat.start()
    tasks = [
        asyncio.create_task(service.serve(udp, tcp)),
        asyncio.create_task(_keep_linked(source, home, settings)),
        asyncio.create_task(_mark(heartbeat)),
    ]
    ending = asyncio.create_task(stopped.wait())
    done, _ = await asyncio.wait([*tasks, ending], return_when=asyncio.FIRST_COMPLETED)
    log.info("stopping; the namespace stays")
    for task in (*tasks, ending):
        task.cancel()
    await asyncio.gather(*tasks, ending, return_exceptions=True)
    heartbeat.stop()
    source.close()
    tunnels.close()
    for task in done - {ending}:
        # What never ends by itself has failed: the supervisor starts all anew.
        task.result()


async def _mark(heartbeat: Heartbeat) -> None:
    """The loop goes round: questions are answered."""
    while True:
        heartbeat.mark()
        await asyncio.sleep(INTERVAL / 2)


async def _keep_linked(source: DesiredStateSource, home: ResolverNamespace, settings: asyncio.Event) -> None:
    """Have the link to the bridge there, whoever takes it away."""
    told = ""
    while True:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(settings.wait(), LOOK_SECONDS)
        changed = settings.is_set()
        settings.clear()
        appliance = source.appliance
        if appliance is None or not appliance.resolver_port:
            continue
        try:
            if changed or told or not await asyncio.to_thread(home.present):
                made = await asyncio.to_thread(home.link, appliance.resolver_port, appliance.router_mac)
                log.info("link made" if made else "link found", extra={"port": appliance.resolver_port})
            problem = ""
        except (ResolverNamespaceError, OSError) as error:
            problem = str(error)
        metrics.LINKED.set(not problem)
        if problem and problem != told:
            log.error("no link to the bridge", extra={"port": appliance.resolver_port, "error": problem})
        told = problem


def _hand_over(
    loop: asyncio.AbstractEventLoop, take: Callable[[DesiredStateChange], None], changed: DesiredStateChange
) -> None:
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(take, changed)


if __name__ == "__main__":
    main()
