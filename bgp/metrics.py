"""Metrics of the BGP daemon."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, ProcessCollector

REGISTRY = CollectorRegistry()
ProcessCollector(registry=REGISTRY)

WANTED = Gauge("sluice_bgp_interconnects_wanted", "Interconnects there are to be.", registry=REGISTRY)
RUNNING = Gauge("sluice_bgp_interconnects_running", "Interconnects whose FRR answers.", registry=REGISTRY)
RESTARTS = Counter("sluice_bgp_frr_restarts", "FRR started since the one before ended.", registry=REGISTRY)
SESSIONS = Gauge("sluice_bgp_sessions", "Sessions by how far they have come.", ["state"], registry=REGISTRY)
PREFIXES = Gauge("sluice_bgp_prefixes", "Prefixes that peers announce.", ["verdict"], registry=REGISTRY)
HOLDS = Counter("sluice_bgp_holds", "Times a session was kept closed since its peer did harm.", ["reason"],
                registry=REGISTRY)  # fmt: skip
FAULTS = Counter("sluice_bgp_faults", "Internal faults.", registry=REGISTRY)
