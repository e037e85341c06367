"""Metrics of the resolver."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

QUERIES = Counter("sluice_names_queries", "Questions of machines, by transport and what came of them.",
                  ["transport", "outcome"])  # fmt: skip
DELAYED = Counter("sluice_names_delayed", "Questions over TCP that waited for the rate of their machine or network.")
ASKED = Counter("sluice_names_asked", "Questions to other servers, by whose they are and what came of them.",
                ["servers", "outcome"])  # fmt: skip
SECONDS = Histogram(
    "sluice_names_forward_seconds", "From a question to what other servers answered.",
    buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5),
)  # fmt: skip
IGNORED = Counter("sluice_names_ignored", "Packets that were no answer to what was asked.")
WAITING = Gauge("sluice_names_waiting", "Questions that wait for other servers.")
CONNECTIONS = Gauge("sluice_names_connections", "Connections of machines.")
LINKED = Gauge("sluice_names_linked", "Whether the link to the bridge is there (1) or not (0).")
FAULTS = Counter("sluice_names_faults", "Internal faults.")
