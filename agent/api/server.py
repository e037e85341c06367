"""The gRPC server: services, reflection, health."""

from __future__ import annotations

import logging
import threading
from concurrent import futures

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from agent.api import reflection
from agent.api.appliance import ApplianceService
from agent.api.arrivals import Arrivals
from agent.api.calls import CallInterceptor, ConcurrencyLimit
from agent.api.drive import DriveService
from agent.api.interconnect import InterconnectService
from agent.api.machine import MachineService
from agent.api.network import NetworkService
from agent.api.public_address import PublicAddressService
from agent.api.translation import TranslationService
from agent.api.usage import UsageService
from agent.api.vpn_connection import VpnConnectionService
from agent.api.vpn_gateway import VpnGatewayService
from agent.config import Config
from agent.daemon_health import Daemon, Daemons
from agent.store import Store
from sluice.v1 import (
    appliance_pb2,
    appliance_pb2_grpc,
    drive_pb2,
    drive_pb2_grpc,
    interconnect_pb2,
    interconnect_pb2_grpc,
    machine_pb2,
    machine_pb2_grpc,
    network_pb2,
    network_pb2_grpc,
    public_address_pb2,
    public_address_pb2_grpc,
    translation_pb2,
    translation_pb2_grpc,
    usage_pb2,
    usage_pb2_grpc,
    vpn_connection_pb2,
    vpn_connection_pb2_grpc,
    vpn_gateway_pb2,
    vpn_gateway_pb2_grpc,
)

log = logging.getLogger("sluice.api")

# Threads for calls that neither wait for flows nor watch.
OTHER_CALLS = 32
# Threads for calls whose request has not come yet.
AWAITED_CALLS = 64
# Bytes of a request: a batch of 1,000 machines, or a VPN connection with certificates, has less than half of it.
LARGEST_REQUEST = 1 << 20
HEALTH_INTERVAL = 0.2

SERVICES = (
    network_pb2.DESCRIPTOR.services_by_name["NetworkService"].full_name,
    machine_pb2.DESCRIPTOR.services_by_name["MachineService"].full_name,
    public_address_pb2.DESCRIPTOR.services_by_name["PublicAddressService"].full_name,
    drive_pb2.DESCRIPTOR.services_by_name["DriveService"].full_name,
    vpn_gateway_pb2.DESCRIPTOR.services_by_name["VpnGatewayService"].full_name,
    vpn_connection_pb2.DESCRIPTOR.services_by_name["VpnConnectionService"].full_name,
    interconnect_pb2.DESCRIPTOR.services_by_name["InterconnectService"].full_name,
    translation_pb2.DESCRIPTOR.services_by_name["TranslationService"].full_name,
    usage_pb2.DESCRIPTOR.services_by_name["UsageService"].full_name,
    appliance_pb2.DESCRIPTOR.services_by_name["ApplianceService"].full_name,
)


class ApiServer:
    """Serves `store` on the configured addresses. Raises RuntimeError when one cannot be bound."""

    def __init__(self, store: Store, config: Config, daemons: Daemons) -> None:
        self._store, self._daemons = store, daemons
        limits = config.limits
        waiting = ConcurrencyLimit("waiting calls", limits.waiting_calls)
        watching = ConcurrencyLimit("watch streams", limits.watches)
        # Threads are made as they are needed.
        threads = limits.waiting_calls + limits.watches + OTHER_CALLS + AWAITED_CALLS
        self._server = grpc.server(
            futures.ThreadPoolExecutor(threads, "call"),
            interceptors=[CallInterceptor(Arrivals(AWAITED_CALLS))],
            options=[("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", LARGEST_REQUEST)],
        )
        network_pb2_grpc.add_NetworkServiceServicer_to_server(NetworkService(store, waiting, watching), self._server)
        machine_pb2_grpc.add_MachineServiceServicer_to_server(MachineService(store, waiting, watching), self._server)
        public_address_pb2_grpc.add_PublicAddressServiceServicer_to_server(
            PublicAddressService(store, waiting, watching), self._server
        )
        drive_pb2_grpc.add_DriveServiceServicer_to_server(DriveService(store, waiting, watching), self._server)
        vpn_gateway_pb2_grpc.add_VpnGatewayServiceServicer_to_server(
            VpnGatewayService(store, waiting, watching), self._server
        )
        vpn_connection_pb2_grpc.add_VpnConnectionServiceServicer_to_server(
            VpnConnectionService(store, waiting, watching), self._server
        )
        interconnect_pb2_grpc.add_InterconnectServiceServicer_to_server(
            InterconnectService(store, waiting, watching), self._server
        )
        translation_pb2_grpc.add_TranslationServiceServicer_to_server(TranslationService(store), self._server)
        usage_pb2_grpc.add_UsageServiceServicer_to_server(UsageService(store), self._server)
        appliance_pb2_grpc.add_ApplianceServiceServicer_to_server(ApplianceService(store, daemons), self._server)
        # Not on the pool's account: its own watch streams are callbacks without a thread.
        self._health = health.HealthServicer()
        self._set_health(serving=False)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        reflection.serve([*SERVICES, health.SERVICE_NAME], self._server)
        self.ports = [self._server.add_insecure_port(address) for address in config.api.listen]
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._tell_health, name="health", daemon=True)

    def start(self) -> None:
        """Begin to answer calls."""
        self._server.start()
        self._thread.start()

    def stop(self, grace: float) -> None:
        """Refuse new calls, end streams, give calls in flight `grace` seconds."""
        self._stop.set()
        self._health.enter_graceful_shutdown()
        ended = self._server.stop(grace)
        self._store.release_waiting()
        ended.wait()

    def _tell_health(self) -> None:
        told = False
        well: dict[str, bool] = {}
        while not self._stop.is_set():
            serving = self._store.serving
            if serving is not told:
                self._set_health(serving=serving)
                log.info("health", extra={"serving": serving})
                told = serving
            for daemon in self._daemons.all(self._store.has_work_for):
                self._tell_daemon(daemon, well)
            self._stop.wait(HEALTH_INTERVAL)

    def _tell_daemon(self, daemon: Daemon, told: dict[str, bool]) -> None:
        service, well = f"sluice.{daemon.name.value}", daemon.condition.well
        if told.get(service) is well:
            return
        told[service] = well
        status = health_pb2.HealthCheckResponse
        self._health.set(service, status.SERVING if well else status.NOT_SERVING)
        extra = {"daemon": daemon.name.value, "condition": daemon.condition.value, "problem": daemon.problem}
        log.log(logging.INFO if well else logging.WARNING, "health of a daemon", extra=extra)

    def _set_health(self, *, serving: bool) -> None:
        status = health_pb2.HealthCheckResponse
        for service in ("", *SERVICES):
            self._health.set(service, status.SERVING if serving else status.NOT_SERVING)
