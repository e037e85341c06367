"""Metrics of the agent."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

REGISTRY = CollectorRegistry()
ProcessCollector(registry=REGISTRY)

CALLS = Counter("sluice_api_calls", "Finished API calls.", ["method", "code"], registry=REGISTRY)
SECONDS = Histogram(
    "sluice_api_seconds",
    "Time of unary API calls, waiting for flows included.",
    ["method"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
    registry=REGISTRY,
)
REQUESTS_MISSING = Counter(
    "sluice_api_requests_missing",
    "Calls ended because their request did not come while others began.",
    registry=REGISTRY,
)
INTERNAL = Counter("sluice_internal_errors", "Faults of the agent itself; each is in the log.", registry=REGISTRY)
CONFLICTS = Counter(
    "sluice_store_conflicts",
    "Transactions refused since another writer was faster.",
    registry=REGISTRY,
)
WATCHES = Gauge("sluice_watches", "Open watch streams.", registry=REGISTRY)
SLOW_WATCHES = Counter("sluice_slow_watches", "Watch streams ended since their client was too slow.", registry=REGISTRY)
CONNECTED = Gauge("sluice_database_connected", "1 while the database is connected.", registry=REGISTRY)
BRIDGE_SETTLED = Gauge("sluice_bridge_settled", "1 while the bridge has every setting.", registry=REGISTRY)
DESIRED = Gauge("sluice_desired_revision", "Revision of desired state: each command makes the next.", registry=REGISTRY)
REALIZED = Gauge(
    "sluice_realized_revision",
    "Revision up to which the controller says that the switch has all of it; 0: not known.",
    registry=REGISTRY,
)
FREE = Gauge("sluice_pool_free", "Values that can be handed out now.", ["pool"], registry=REGISTRY)
SIZE = Gauge("sluice_pool_size", "Values of the pool.", ["pool"], registry=REGISTRY)
