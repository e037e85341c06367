"""Counters per network for metrics: drops by reason, and new connections."""

from __future__ import annotations

import logging

from controller.desired_state.source import DesiredStateSource
from controller.metrics import Counters
from controller.openflow.client import OpenFlowClient, SwitchError
from controller.pipeline.drop_reasons import meter_reason
from controller.pipeline.registry import APPLIANCE_KEY, MeterClass, Table, split_cookie, split_meter
from controller.reconcile.commit import Committer

log = logging.getLogger("sluice.metrics")


def read(mgmt: str, committer: Committer, source: DesiredStateSource) -> Counters:
    """Read the counters of all drop flows and meters; those of a switch that does not answer are missing."""
    found = Counters()
    try:
        with OpenFlowClient(mgmt) as bridge:
            for table in Table:
                for flow in bridge.flows(table.number):
                    key = split_cookie(flow.cookie)[0]
                    why = committer.drops(key).get(flow.cookie) if flow.packets else None
                    if why is not None:
                        found.drops[_name(source, key), why] += flow.packets
            for number, count in bridge.meter_counts().items():
                kind, _ = split_meter(number)
                owner = committer.installed_state.owner(number)
                if owner is None:
                    continue
                name = _name(source, owner)
                if count.dropped:
                    found.drops[name, meter_reason(number).word] += count.dropped
                if kind is MeterClass.NETWORK_CONNECTIONS:
                    found.connections[name] += count.packets
    except SwitchError as error:
        log.warning("counters not read", extra={"error": str(error)})
    return found


def _name(source: DesiredStateSource, key: int) -> str:
    network = None if key == APPLIANCE_KEY else source.network(key)
    return "" if network is None else network.name
