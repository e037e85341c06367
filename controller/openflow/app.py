"""The os-ken application: passes events of the switch on.

Handlers run on os-ken's threads and return at once; a fault in one is logged
and counted, and the next event is handled.
"""

from __future__ import annotations

import functools
import logging
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from controller import metrics
from controller.instance_lock import InstanceLock
from controller.openflow import workarounds
from controller.openflow.switch import Switch
from controller.packet_in.handler import PacketIn
from controller.packet_in.worker import PacketInWorker
from controller.pipeline.registry import ATTACHMENT, MARK, Table, split_cookie
from controller.reconcile.events import PortsChanged, SwitchDown, SwitchUp
from controller.reconcile.reconciler import Reconciler

# isort: split
from os_ken import cfg
from os_ken.base.app_manager import AppManager, OSKenApp
from os_ken.controller import controller, ofp_event
from os_ken.controller.handler import DEAD_DISPATCHER, MAIN_DISPATCHER, set_ev_cls
from os_ken.controller.ofp_handler import OFPHandler
from os_ken.ofproto import ofproto_v1_4

log = logging.getLogger("sluice.app")

_ECHO_SECONDS = 0.5
_ECHOES_UNREPLIED = 3
_RECONNECT_SECONDS = 0.05
_TABLES = {table.number: table for table in Table}

Handler = Callable[[Any, Any], None]
"""A method of the app that is given an os-ken event."""


def _handles(events: Any, states: Any) -> Callable[[Handler], Handler]:
    """Have a method called for these os-ken events in these connection states."""

    def decorate(handler: Handler) -> Handler:
        @functools.wraps(handler)
        def run(self: Any, event: Any) -> None:
            try:
                handler(self, event)
            except Exception:
                metrics.FAULTS.labels("app").inc()
                log.exception("fault while handling an event", extra={"handler": handler.__name__})

        registered: Handler = set_ev_cls(events, states)(run)
        return registered

    return decorate


class SluiceApp(OSKenApp):  # type: ignore[misc]
    """One bridge's events."""

    OFP_VERSIONS = (ofproto_v1_4.OFP_VERSION,)

    def __init__(
        self, switch: Switch, reconciler: Reconciler, answers: PacketInWorker, instance_lock: InstanceLock
    ) -> None:
        super().__init__()
        self._switch, self._reconciler, self._answers, self._instance_lock = switch, reconciler, answers, instance_lock

    @_handles(ofp_event.EventOFPStateChange, [MAIN_DISPATCHER, DEAD_DISPATCHER])
    def on_state(self, event: Any) -> None:
        """The switch has connected, or is gone."""
        datapath = event.datapath
        if event.state == MAIN_DISPATCHER:
            log.info("switch connected", extra={"datapath": f"{datapath.id:016x}"})
            self._switch.attach(datapath)
            # Of ports that came after os-ken asked, and before it listens, it knows nothing: ask again.
            datapath.send_msg(datapath.ofproto_parser.OFPPortDescStatsRequest(datapath, 0))
            self._instance_lock.tell(connected=True)
            self._reconciler.post(SwitchUp())
        elif self._switch.detach(datapath):
            log.warning("switch disconnected")
            self._instance_lock.tell(connected=False)
            self._reconciler.post(SwitchDown())

    @_handles(ofp_event.EventOFPPortStateChange, MAIN_DISPATCHER)
    def on_port(self, event: Any) -> None:
        """A port came, went or changed."""
        self._reconciler.post(PortsChanged())

    @_handles(ofp_event.EventOFPPortDescStatsReply, MAIN_DISPATCHER)
    def on_ports(self, event: Any) -> None:
        """The ports there are, asked for once the switch had connected."""
        event.msg.datapath.ports.update({port.port_no: port for port in event.msg.body})
        self._reconciler.post(PortsChanged())

    @_handles(ofp_event.EventOFPErrorMsg, MAIN_DISPATCHER)
    def on_error(self, event: Any) -> None:
        """The switch refused a message."""
        self._switch.on_error(event.msg)

    @_handles([ofp_event.EventOFPBarrierReply, ofp_event.EventOFPBundleCtrlMsg], MAIN_DISPATCHER)
    def on_reply(self, event: Any) -> None:
        """The switch has done what it was told."""
        self._switch.on_reply(event.msg)

    @_handles(ofp_event.EventOFPPacketIn, MAIN_DISPATCHER)
    def on_packet(self, event: Any) -> None:
        """A flow sent a packet up."""
        message = event.msg
        table = _TABLES.get(message.table_id)
        if table is not None:
            key = split_cookie(message.cookie)[0]
            mark, attachment = (message.match.get(register.text, 0) for register in (MARK, ATTACHMENT))
            port, frame = message.match["in_port"], bytes(message.data)
            self._answers.put(PacketIn(table, key, port, frame, mark, attachment))


class _Handshake(OFPHandler):  # type: ignore[misc]
    """os-ken's handshake and echo without its listener."""

    def start(self) -> None:
        OSKenApp.start(self)


def listen(
    path: str, switch: Switch, reconciler: Reconciler, answers: PacketInWorker, instance_lock: InstanceLock
) -> None:
    """Wait for the switch at the unix socket `path`; returns at once.

    Who holds the presence may remove what an earlier process left there. The
    bridge's `Controller` is to be of type `service`, see `instance_lock`.
    """
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).unlink(missing_ok=True)
    _start(path, OFPHandler, switch, reconciler, answers, instance_lock)
    log.info("waiting for the switch", extra={"socket": path, "os_ken": workarounds.VERSION})


def connect(
    path: str, switch: Switch, reconciler: Reconciler, answers: PacketInWorker, instance_lock: InstanceLock
) -> None:
    """Connect to the switch's management socket `path`, again whenever it is lost; returns at once.

    The bridge needs no `Controller` then, and a controller that was restarted
    does not wait until the switch tries again.
    """
    _start(path, _Handshake, switch, reconciler, answers, instance_lock)
    threading.Thread(target=_keep_connected, args=(path,), name="connect", daemon=True).start()
    log.info("connecting to the switch", extra={"socket": path, "os_ken": workarounds.VERSION})


def _start(path: str, handshake: type[Any], *parts: Switch | Reconciler | PacketInWorker | InstanceLock) -> None:
    cfg.CONF([], project="sluice", default_config_files=[])
    cfg.CONF.set_override("ofp_listen_host", path)
    # Any value: without one, os-ken opens TCP port 6633 as well.
    cfg.CONF.set_override("ofp_tcp_listen_port", 1)
    cfg.CONF.set_override("echo_request_interval", _ECHO_SECONDS)
    cfg.CONF.set_override("maximum_unreplied_echo_requests", _ECHOES_UNREPLIED)
    manager = AppManager.get_instance()
    manager.instantiate(handshake)
    manager.instantiate(SluiceApp, *parts)
    manager.instantiate_apps()


def _keep_connected(path: str) -> None:
    while True:
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.connect(path)
        except OSError:
            connection.close()
        else:
            try:
                controller.datapath_connection_factory(connection, path)
            except Exception:
                metrics.FAULTS.labels("connection").inc()
                log.exception("fault of the connection to the switch")
        time.sleep(_RECONNECT_SECONDS)
