"""Metrics of the VPN daemon."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, ProcessCollector

REGISTRY = CollectorRegistry()
ProcessCollector(registry=REGISTRY)

WANTED = Gauge("sluice_vpn_gateways_wanted", "VPN gateways there are to be.", registry=REGISTRY)
RUNNING = Gauge("sluice_vpn_gateways_running", "VPN gateways whose IKE daemon answers.", registry=REGISTRY)
RESTARTS = Counter("sluice_vpn_ike_daemon_restarts", "IKE daemons started since the one before ended.",
                   registry=REGISTRY)  # fmt: skip
TUNNELS = Gauge("sluice_vpn_tunnels", "Connections by how far they have come.", ["state"], registry=REGISTRY)
FAULTS = Counter("sluice_vpn_faults", "Internal faults.", registry=REGISTRY)
