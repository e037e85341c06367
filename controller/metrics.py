"""Metrics of the controller."""

from __future__ import annotations

import collections
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from prometheus_client import REGISTRY, Counter, Gauge, Histogram, start_http_server
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from controller.conntrack import statistics

CONNECTED = Gauge("sluice_switch_connected", "Whether the bridge is connected (1) or not (0).")
REFUSED = Gauge(
    "sluice_reconcile_refused",
    "1 while deletion is refused: desired state lacks most networks.",
)
FLOWS = Gauge("sluice_flows_installed", "Flows on the switch.")
NETWORKS = Gauge("sluice_networks", "Networks of desired state.")
PENDING = Gauge("sluice_networks_pending", "Networks, of those heard of, whose flows are to be compared or sent.")
DESIRED = Gauge("sluice_desired_revision", "The last revision of desired state this controller heard of.")
REALIZED = Gauge("sluice_realized_revision", "The revision up to which the switch has all of it; 0: not known.")
UNPLUGGED = Gauge("sluice_unplugged_objects", "Machines, drives, gateways and interconnects whose port is not there.")
DEGRADED = Gauge("sluice_degraded_objects", "The same, and the appliance's own ports, where the port has no link.")
BUNDLES = Counter("sluice_bundles", "Bundles sent, by what became of them.", ["result"])
CHANGES = Counter("sluice_flow_changes", "Flows added and deleted.", ["change"])
RECONCILE = Histogram(
    "sluice_reconcile_seconds",
    "From a change of desired state to its commit on the switch, a network.",
    buckets=(0.001, 0.002, 0.003, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1, 5, 30),
)
NETWORK_ERRORS = Counter("sluice_network_errors", "Networks the switch refused or that could not be compiled.")
FAULTS = Counter("sluice_controller_faults", "Internal faults, by the part of the controller.", ["part"])
STATUS_ERRORS = Counter("sluice_status_write_errors", "Writes of status or neighbours the database refused.")
PACKET_INS = Counter("sluice_packet_ins", "Packets the switch sent up, by table and outcome.", ["table", "what"])
PACKET_INS_LOST = Counter("sluice_packet_ins_lost", "Packets dropped because too many of their network were waiting.")
DRIFT = Counter("sluice_drift", "Flows and meters verification found different from desired state.", ["kind"])
FOREIGN_CHANGES = Counter("sluice_foreign_flow_changes", "Times somebody else was found to have changed flows.")
COUNTED = Gauge("sluice_usage_timestamp_seconds", "When all meters were last read and usage was stored (Unix time).")
VERIFIED = Gauge("sluice_verified_timestamp_seconds", "When the last verification ended (Unix time).")


@dataclass(frozen=True, slots=True)
class Counters:
    """Packets dropped by network name (empty: the appliance's own) and reason; connections begun by network name."""

    drops: collections.Counter[tuple[str, str]] = field(default_factory=collections.Counter)
    connections: collections.Counter[str] = field(default_factory=collections.Counter)


class _SwitchCollector(Collector):
    def __init__(self, read: Callable[[], Counters]) -> None:
        self._read = read

    def describe(self) -> Iterable[Metric]:
        """The metrics' names without reading the switch."""
        return self._families()

    def collect(self) -> Iterable[Metric]:
        """Read the counters of drop flows and meters from the switch."""
        drops, connections = self._families()
        found = self._read()
        for (network, reason), packets in found.drops.items():
            drops.add_metric([network, reason], packets)
        for network, begun in found.connections.items():
            connections.add_metric([network], begun)
        return [drops, connections]

    @staticmethod
    def _families() -> tuple[CounterMetricFamily, CounterMetricFamily]:
        return CounterMetricFamily(
            "sluice_dropped_packets",
            "Packets dropped by flows and meters of a network (empty: the appliance's own), by reason.",
            labels=["network", "reason"],
        ), CounterMetricFamily(
            "sluice_new_connections",
            "Connections to the Internet that a network began; [limits] connection_rate bounds how many a second.",
            labels=["network"],
        )


class ConntrackCollector(Collector):
    """What the kernel's conntrack dropped, by its own counters; nothing where it is not loaded."""

    def describe(self) -> Iterable[Metric]:
        """The metric's name without reading the kernel's file."""
        return [self._family()]

    def collect(self) -> Iterable[Metric]:
        """Read the counters of the controller's network namespace."""
        family = self._family()
        for counter, value in statistics.read().items():
            family.add_metric([counter], value)
        return [family]

    @staticmethod
    def _family() -> CounterMetricFamily:
        return CounterMetricFamily(
            "sluice_conntrack",
            "Statistics of the kernel's conntrack since the host started: insert_failed, drop and early_drop.",
            labels=["counter"],
        )


def serve(address: str, port: int, read_counters: Callable[[], Counters]) -> None:
    """Serve all metrics over HTTP at `address`:`port`. Raises OSError when the port is taken."""
    REGISTRY.register(_SwitchCollector(read_counters))
    REGISTRY.register(ConntrackCollector())
    start_http_server(port, address)
